//! A hold: footage that no retention may delete.

use super::interval::check_order;
use super::text::{Invalid, TextRule, checked_text};
use holdfast_storage::ids::{CameraId, HoldId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

pub const HOLDS_MAX: usize = 1_000;
const REASON_CHARS_MAX: usize = 512;

checked_text!(
    /// For people: who requested a hold, and why. 1 to 512 characters, not only blanks, without
    /// control characters.
    HoldReason,
    "reason",
    rule TextRule::ForPeople {
        chars_max: REASON_CHARS_MAX
    }
);

/// Footage that no retention may delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldSpec {
    pub reason: HoldReason,
    /// A deleted camera is allowed.
    pub camera: CameraId,
    pub from: Timestamp,
    /// `None`: all future footage, until the hold is removed.
    pub to: Option<Timestamp>,
}

impl HoldSpec {
    /// # Errors
    /// It ends before it begins.
    pub fn check(&self) -> Result<(), Invalid> {
        self.to.map_or(Ok(()), |to| {
            check_order(self.from, to, "; leave it out for no end")
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub id: HoldId,
    pub spec: HoldSpec,
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_after_it_begins() {
        let reason = "case 7".parse().unwrap();
        let hold = HoldSpec {
            reason,
            camera: CameraId(1),
            from: Timestamp(5),
            to: Some(Timestamp(6)),
        };
        assert_eq!(hold.check(), Ok(()));
        assert_eq!(
            HoldSpec {
                to: None,
                ..hold.clone()
            }
            .check(),
            Ok(())
        );
        assert_eq!(
            HoldSpec {
                to: Some(Timestamp(5)),
                ..hold
            }
            .check()
            .unwrap_err()
            .field,
            "to"
        );
    }
}
