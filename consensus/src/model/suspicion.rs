//! Cameras whose recorders' processes ended: the suspicion against them, and how long it lasts.

use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The first quarantine of a camera; each further one lasts twice as long.
pub const QUARANTINE_MIN: Duration = Duration::from_secs(600);
/// No quarantine lasts longer.
pub const QUARANTINE_MAX: Duration = Duration::from_secs(86_400);

/// The process of a node ended, and neither its machine nor an operator's stop is the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEnd {
    pub node: NodeId,
    /// When that process had started, in microseconds since the Unix epoch: identifies the process.
    pub boot: u64,
    /// The suspect that had its turn there; without one, all cameras whose sessions were fresh.
    pub blamed: Vec<CameraId>,
    /// Whether the blamed cameras had their turn as suspects.
    pub on_trial: bool,
}

/// The suspicion against a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspicion {
    /// One process ended with a fresh session of it.
    Once { node: NodeId },
    /// Two processes did, one after the other, on different nodes.
    Suspect { first: NodeId, second: NodeId },
    /// A third one ended while the camera had its turn as a suspect.
    Quarantined {
        third: NodeId,
        since: Timestamp,
        times: u32,
    },
}

/// How a camera is recorded because of its suspicion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    #[default]
    Usual,
    /// After all others, one suspect at a time.
    Suspect,
    /// Not at all until then.
    Quarantined { until: Timestamp },
}

impl Suspicion {
    /// The suspicion after a process of `node` ended at `at` for which the camera is blamed. Only a
    /// suspect that had its turn is quarantined: others waited, or had proved themselves.
    #[must_use]
    pub fn after(before: Option<Self>, node: NodeId, on_trial: bool, at: Timestamp) -> Self {
        match before {
            None => Self::Once { node },
            Some(Self::Once { node: first }) if first != node => Self::Suspect {
                first,
                second: node,
            },
            Some(Self::Suspect { .. }) if on_trial => Self::Quarantined {
                third: node,
                since: at,
                times: 1,
            },
            Some(Self::Quarantined { times, .. }) if on_trial => Self::Quarantined {
                third: node,
                since: at,
                times: times.saturating_add(1),
            },
            Some(unchanged) => unchanged,
        }
    }

    #[must_use]
    pub fn treatment(self, now: Timestamp) -> Treatment {
        match self {
            Self::Once { .. } => Treatment::Usual,
            Self::Suspect { .. } => Treatment::Suspect,
            Self::Quarantined { since, times, .. } => {
                let lasts = quarantine(times);
                // In both directions: a clock that was ahead at the start does not prolong the
                // quarantine.
                let is_over =
                    u128::from(now.micros_since(since).unsigned_abs()) >= lasts.as_micros();
                if is_over {
                    Treatment::Suspect
                } else {
                    Treatment::Quarantined {
                        until: since.plus(lasts),
                    }
                }
            }
        }
    }
}

fn quarantine(times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(u32::BITS - 1);
    QUARANTINE_MIN
        .saturating_mul(1 << doublings)
        .min(QUARANTINE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_795_341_600_000_000);

    fn after(ends: &[(u64, bool)]) -> Suspicion {
        let end = |before, (node, on_trial): &(u64, bool)| {
            Some(Suspicion::after(before, NodeId(*node), *on_trial, AT))
        };
        ends.iter().fold(None, end).unwrap()
    }

    #[test]
    fn two_nodes_make_a_suspect_and_one_that_ends_twice_does_not() {
        assert_eq!(
            after(&[(1, false), (1, false)]),
            Suspicion::Once { node: NodeId(1) }
        );
        assert_eq!(
            after(&[(1, false), (1, false)]).treatment(AT),
            Treatment::Usual
        );
        assert_eq!(
            after(&[(1, false), (2, false)]).treatment(AT),
            Treatment::Suspect
        );
    }

    #[test]
    fn only_the_suspect_that_has_its_turn_is_quarantined() {
        assert_eq!(
            after(&[(1, false), (2, false), (3, false)]).treatment(AT),
            Treatment::Suspect
        );
        let until = AT.plus(QUARANTINE_MIN);
        assert_eq!(
            after(&[(1, false), (2, false), (3, true)]).treatment(AT),
            Treatment::Quarantined { until }
        );
        // Any process counts then, also the next one of the same node.
        assert_eq!(
            after(&[(1, false), (2, false), (2, true)]).treatment(AT),
            Treatment::Quarantined { until }
        );
    }

    #[test]
    fn a_quarantine_ends_doubles_and_is_bounded() {
        let thrice = after(&[(1, false), (2, false), (3, true), (1, true)]);
        let twice = QUARANTINE_MIN * 2;
        assert_eq!(
            thrice.treatment(AT),
            Treatment::Quarantined {
                until: AT.plus(twice)
            }
        );
        assert_eq!(thrice.treatment(AT.plus(twice)), Treatment::Suspect);
        let often = Suspicion::Quarantined {
            third: NodeId(1),
            since: AT,
            times: u32::MAX,
        };
        assert_eq!(
            often.treatment(AT),
            Treatment::Quarantined {
                until: AT.plus(QUARANTINE_MAX)
            }
        );
    }

    #[test]
    fn a_clock_that_was_years_ahead_prolongs_no_quarantine() {
        let ahead = AT.plus(Duration::from_secs(365 * 86_400));
        let began = Suspicion::Quarantined {
            third: NodeId(1),
            since: ahead,
            times: 1,
        };
        assert_eq!(began.treatment(AT), Treatment::Suspect);
        let a_little = Suspicion::Quarantined {
            third: NodeId(1),
            since: AT.plus(Duration::from_millis(50)),
            times: 1,
        };
        assert!(
            matches!(a_little.treatment(AT), Treatment::Quarantined { .. }),
            "clocks differ a little"
        );
    }
}
