//! What the scrub does next. Pure: the time, the known state and the requests are arguments.

use crate::ids::SegmentId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A pass reads, by id, the segments up to the one that was the newest when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub(crate) started_at: Timestamp,
    /// Everything below is done.
    pub(crate) next: SegmentId,
    pub(crate) newest: SegmentId,
    pub(crate) done_bytes: u64,
    pub(crate) done_segments: u64,
}

/// The input of the decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) now: Timestamp,
    pub(super) pass_interval: Duration,
    pub(super) is_asked: bool,
    /// All segments of earlier processes are listed.
    pub(super) is_listed: bool,
    pub(super) suspect: Option<SegmentId>,
    pub(super) last_started_at: Option<Timestamp>,
    pub(super) newest: Option<SegmentId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Part of this segment could not be read.
    Suspect(SegmentId),
    Segment(SegmentId),
    Begin,
    End,
    Wait,
}

/// `next_of` returns the next segment of a pass.
pub(super) fn next(
    seen: &Seen,
    pass: Option<&Pass>,
    next_of: impl FnOnce(&Pass) -> Option<SegmentId>,
) -> Next {
    if let Some(suspect) = seen.suspect {
        return Next::Suspect(suspect);
    }
    let can_begin = seen.is_listed && seen.newest.is_some();
    match pass {
        _ if seen.is_asked && can_begin => Next::Begin,
        Some(_) if !seen.is_listed => Next::Wait,
        Some(pass) => next_of(pass).map_or(Next::End, Next::Segment),
        None if can_begin && is_due(seen) => Next::Begin,
        None => Next::Wait,
    }
}

/// If the last pass is in the future, the clock was set back: one pass too many is better than
/// none.
fn is_due(seen: &Seen) -> bool {
    let interval_us = i64::try_from(seen.pass_interval.as_micros()).unwrap_or(i64::MAX);
    seen.last_started_at
        .is_none_or(|last| !(0..interval_us).contains(&seen.now.micros_since(last)))
}

/// How far the writer is behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) queued_bytes: u64,
    pub(super) queued_bytes_max: u64,
    pub(super) last_flush: Duration,
    pub(super) flush_interval: Duration,
    /// Time since the last flush ended, if written data waits for a flush.
    pub(super) unflushed: Duration,
}

/// Whether recording has priority now: records pile up, or flushes take longer than the interval
/// between them.
pub(super) fn is_behind(load: &Load) -> bool {
    load.queued_bytes > load.queued_bytes_max / 8
        || load.last_flush >= load.flush_interval
        || load.unflushed >= load.flush_interval * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn seen(now: i64) -> Seen {
        Seen {
            now: Timestamp(now),
            pass_interval: Duration::from_secs(3600),
            is_asked: false,
            is_listed: true,
            suspect: None,
            last_started_at: Some(Timestamp(HOUR)),
            newest: Some(SegmentId(9)),
        }
    }

    const PASS: Pass = Pass {
        started_at: Timestamp(0),
        next: SegmentId(3),
        newest: SegmentId(9),
        done_bytes: 0,
        done_segments: 0,
    };

    fn decide(seen: Seen, pass: Option<&Pass>) -> Next {
        next(&seen, pass, |pass| {
            (pass.next <= pass.newest).then_some(pass.next)
        })
    }

    #[test]
    fn a_pass_begins_when_it_is_due_or_asked_for_and_there_is_something_to_read() {
        assert_eq!(decide(seen(2 * HOUR - 1), None), Next::Wait);
        assert_eq!(decide(seen(2 * HOUR), None), Next::Begin);
        assert_eq!(decide(seen(HOUR - 1), None), Next::Begin);
        assert_eq!(
            decide(
                Seen {
                    last_started_at: None,
                    ..seen(0)
                },
                None
            ),
            Next::Begin
        );
        assert_eq!(
            decide(
                Seen {
                    is_asked: true,
                    ..seen(HOUR)
                },
                None
            ),
            Next::Begin
        );
        assert_eq!(
            decide(
                Seen {
                    newest: None,
                    ..seen(9 * HOUR)
                },
                None
            ),
            Next::Wait
        );
        assert_eq!(
            decide(
                Seen {
                    is_listed: false,
                    ..seen(9 * HOUR)
                },
                None
            ),
            Next::Wait
        );
    }

    #[test]
    fn a_pass_continues_to_its_end_and_suspects_go_first() {
        assert_eq!(decide(seen(HOUR), Some(&PASS)), Next::Segment(SegmentId(3)));
        assert_eq!(
            decide(
                seen(HOUR),
                Some(&Pass {
                    next: SegmentId(10),
                    ..PASS
                })
            ),
            Next::End
        );
        assert_eq!(
            decide(
                Seen {
                    suspect: Some(SegmentId(7)),
                    ..seen(HOUR)
                },
                Some(&PASS)
            ),
            Next::Suspect(SegmentId(7))
        );
        assert_eq!(
            decide(
                Seen {
                    is_listed: false,
                    ..seen(HOUR)
                },
                Some(&PASS)
            ),
            Next::Wait
        );
        assert_eq!(
            decide(
                Seen {
                    is_asked: true,
                    ..seen(HOUR)
                },
                Some(&PASS)
            ),
            Next::Begin
        );
    }

    #[test]
    fn recording_comes_first() {
        let (second, ms) = (Duration::from_secs(1), Duration::from_millis(1));
        let idle = Load {
            queued_bytes_max: 800,
            flush_interval: second,
            ..Load::default()
        };
        assert!(!is_behind(&Load {
            queued_bytes: 100,
            last_flush: 999 * ms,
            unflushed: 2999 * ms,
            ..idle
        }));
        assert!(is_behind(&Load {
            queued_bytes: 101,
            ..idle
        }));
        assert!(is_behind(&Load {
            last_flush: second,
            ..idle
        }));
        assert!(is_behind(&Load {
            unflushed: 3 * second,
            ..idle
        }));
    }
}
