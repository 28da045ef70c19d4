//! Clients are told the truth: what was acknowledged was carried out, what was refused never is,
//! and nothing is carried out twice.
//!
//! That what was acknowledged stays is for [`super::one_log`]: another entry in its place, or a log
//! that ends before it, is noticed there.

use super::{Invariant, Seen};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Acknowledged {
    /// At which entry each write was carried out.
    carried_out: BTreeMap<u64, u64>,
    refused: BTreeSet<u64>,
}

impl Acknowledged {
    fn apply(&mut self, number: u64, index: u64) -> Result<(), String> {
        if self.refused.contains(&number) {
            return Err(format!(
                "write {number} is entry {index}, and its client was told that nothing was changed"
            ));
        }
        match self.carried_out.insert(number, index) {
            Some(before) if before != index => Err(format!(
                "write {number} is entry {before} and entry {index}"
            )),
            _ => Ok(()),
        }
    }
}

impl Invariant for Acknowledged {
    fn name(&self) -> &'static str {
        "clients are told the truth"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Applied { entry, .. } => entry
                .number
                .map_or(Ok(()), |number| self.apply(number, entry.index)),
            Seen::Acknowledged { number } if !self.carried_out.contains_key(number) => Err(
                format!("write {number} was acknowledged, and no node has carried it out"),
            ),
            Seen::Refused { number } => match self.carried_out.get(number) {
                Some(index) => Err(format!("write {number} was refused, and is entry {index}")),
                None => {
                    self.refused.insert(*number);
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }
}
