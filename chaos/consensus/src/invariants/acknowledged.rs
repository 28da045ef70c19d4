//! Answers to clients are true: an acknowledged write was carried out, a refused one never is, and
//! none is carried out twice.
//!
//! [`super::one_log`] checks that acknowledged writes stay: it detects another entry in the place
//! of one, and a log that ends before it.

use super::{Invariant, Seen};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Acknowledged {
    /// The entry of each write that was carried out.
    carried_out: BTreeMap<u64, u64>,
    refused: BTreeSet<u64>,
}

impl Acknowledged {
    fn apply(&mut self, number: u64, index: u64) -> Result<(), String> {
        if self.refused.contains(&number) {
            return Err(format!(
                "write {number} is entry {index}, and its client was answered that nothing was \
                 changed"
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
        "answers are true"
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
