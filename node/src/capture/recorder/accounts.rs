//! What this node knows of a stream before its next recorder begins: how far it was recorded, and
//! from when on a gap is still unexplained. Pure.

use super::pipeline::Before;
use super::reconcile::Former;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{NodeId, StreamId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// When earlier processes ran, from what they left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// The last sign of life of the last process, by its wall clock.
    pub last: Option<Timestamp>,
    /// The same of those that had run for [`ACCOUNTED_AFTER`]; before there is one, when the first
    /// process began.
    pub accounted: Option<Timestamp>,
    /// The newest time that recorders had stamped by then: ahead of the clock if that was set back.
    pub stamped: Option<Timestamp>,
}

impl Signs {
    /// The signs after the next one, at `now`, of a process that has run for `uptime` and whose
    /// recorders have stamped up to `newest`. Earlier stamps count until the clock is certain: the
    /// volume that holds that footage may be away.
    #[must_use]
    pub fn given(
        self,
        now: Timestamp,
        uptime: Duration,
        (newest, is_certain): (Option<Timestamp>, bool),
    ) -> Self {
        let accounted = if uptime >= ACCOUNTED_AFTER {
            Some(now)
        } else {
            // The first process of all: before it began, nothing was to be written down.
            let uptime_us = i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX);
            let began = || self.last.is_none().then(|| now.plus_micros(-uptime_us));
            self.accounted.or_else(began)
        };
        let stamped = if is_certain {
            newest.max(Some(now))
        } else {
            newest.max(self.stamped)
        };
        Self {
            last: Some(now),
            accounted,
            stamped,
        }
    }

    /// Nothing was stamped after it.
    fn floor(self) -> Option<Timestamp> {
        let stamped = self.stamped.map(|stamped| stamped.plus_micros(SIGN_US_MAX));
        stamped.max(self.last)
    }

    /// Up to when the ledger explains what was not recorded. Processes that end right after they
    /// start, as a deadly camera causes one after the other, write nothing there.
    fn written_down(self) -> Option<Timestamp> {
        self.last
            .map(|last| self.accounted.map_or(last, |accounted| accounted.min(last)))
    }
}

/// The most that may have been recorded since the last sign.
const SIGN_US_MAX: i64 = 2_000_000;

/// A process that has run this long has made its first gap entries durable.
pub const ACCOUNTED_AFTER: Duration = Duration::from_secs(3);

/// As many streams as this process ever recorded.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Nothing is stamped before.
    recorded_until: BTreeMap<StreamId, Timestamp>,
    /// Recorded or explained in the ledger, by recorders that have ended.
    accounted_until: BTreeMap<StreamId, Timestamp>,
    /// Since when and why streams were not recorded before their first recorder of this process.
    missing: BTreeMap<StreamId, (Timestamp, GapCause)>,
}

/// Footage received this shortly before a process ended was not durable. Includes the age of its
/// last sign of life, which is at most one interval.
const UNFLUSHED_US: i64 = 2_000_000;
/// If footage came until this shortly before the end, only the end of the process stopped it: a
/// slow volume keeps more of it in memory. A longer outage of the camera is in the ledger: it is
/// noticed within seconds, and its first piece is written after ten more.
const UNWRITTEN_US: i64 = super::gaps::PIECE_US_MAX + 5_000_000;

impl Accounts {
    /// The accounts of the cameras that node `me` still has. `signs` are its last process's signs
    /// of life, and `until` is how far it had recorded each stream: earlier gaps the process had
    /// entered in the ledger itself, if it had the time. If `is_all_read` is false, a volume is
    /// away, and may hold more: then nothing is stamped before the last process's newest stamp,
    /// whatever the clock says now.
    pub fn of(
        state: &ClusterState,
        me: NodeId,
        signs: Signs,
        (until, is_all_read): (impl Fn(StreamId) -> Option<Timestamp>, bool),
    ) -> Self {
        let mut accounts = Self::default();
        let floor = signs.floor().filter(|_| !is_all_read);
        let parts = state.assignments.iter().filter_map(|(camera, now)| {
            let former = Former::of(now, me)?;
            Some((state.cameras.get(camera)?, former))
        });
        let streams = parts
            .flat_map(|(camera, former)| camera.streams().map(move |stream| (stream.id, former)));
        for (stream, former) in streams {
            let until = until(stream);
            let was_coming = |sign: Timestamp| {
                until.is_some_and(|until| sign.micros_since(until) <= UNWRITTEN_US)
            };
            let lost_since = signs
                .written_down()
                .filter(|sign| !was_coming(*sign))
                .map(|sign| sign.plus_micros(-UNFLUSHED_US));
            let missing = until.max(lost_since).zip(former.cause());
            accounts.earlier(stream, until.max(floor), missing);
        }
        accounts
    }

    fn earlier(
        &mut self,
        stream: StreamId,
        until: Option<Timestamp>,
        missing: Option<(Timestamp, GapCause)>,
    ) {
        self.recorded_until
            .extend(until.map(|until| (stream, until)));
        self.missing
            .extend(missing.map(|missing| (stream, missing)));
    }

    /// A recorder has ended that had got this far.
    pub fn ended(
        &mut self,
        stream: StreamId,
        recorded_until: Option<Timestamp>,
        accounted_until: Option<Timestamp>,
    ) {
        self.recorded_until
            .extend(recorded_until.map(|until| (stream, until)));
        self.accounted_until
            .extend(accounted_until.map(|until| (stream, until)));
    }

    /// What precedes a recorder that begins now; `cause` is why nothing was recorded since the last
    /// one of this process, if this node was responsible.
    pub fn before(&mut self, stream: StreamId, cause: Option<GapCause>) -> Before {
        let (missing_since, cause) = match (cause, self.missing.remove(&stream)) {
            (Some(cause), _) => (self.accounted_until.get(&stream).copied(), Some(cause)),
            (None, Some((since, cause))) => (Some(since), Some(cause)),
            (None, None) => (None, None),
        };
        Before {
            recorded_until: self.recorded_until.get(&stream).copied(),
            missing_since,
            cause,
        }
    }

    /// The recorder could not begin: the next one explains the same.
    pub fn not_begun(&mut self, stream: StreamId, before: &Before) {
        self.accounted_until
            .extend(before.missing_since.map(|since| (stream, since)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command, admission};
    use holdfast_consensus::model::{Actor, CameraSpec, KeyHash, NodeSpec};
    use holdfast_storage::ids::{CameraId, Epoch};
    use uuid::Uuid;

    const CAMERA: CameraId = CameraId(1);
    const MAIN: StreamId = StreamId::main(CAMERA);

    fn apply(state: &mut ClusterState, command: Command) {
        state
            .apply(command.by(Actor::System, Timestamp(0)))
            .unwrap();
    }

    #[test]
    fn a_node_that_crashed_was_down_from_its_last_sign_of_life_on() {
        let mut state = ClusterState::default();
        let node =
            |name: &str| NodeSpec::new(name, &format!("{name}:1"), &format!("{name}:2")).unwrap();
        apply(
            &mut state,
            Command::Initialize {
                cluster: Uuid::from_u128(1),
                node: node("a"),
                key: KeyHash::default(),
            },
        );
        for command in admission(node("b"), Timestamp(0)) {
            apply(&mut state, command);
        }
        let spec = CameraSpec::new("gate", "rtsp://c/1").unwrap();
        apply(
            &mut state,
            Command::CreateCamera {
                spec,
                only_after: None,
            },
        );
        let op = AssignmentOp::Place {
            owner: NodeId(1),
            mirror: None,
            successor: Some(NodeId(2)),
        };
        apply(
            &mut state,
            Command::Assign {
                changes: vec![AssignmentChange {
                    camera: CAMERA,
                    expect: Epoch(0),
                    op,
                }],
            },
        );
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let since = |me, signs: Signs, until: Option<i64>| {
            let mut accounts = Accounts::of(
                &state,
                NodeId(me),
                signs,
                (|_: StreamId| until.map(at), true),
            );
            accounts.before(MAIN, None).missing_since
        };
        let signs = |last: i64, accounted: i64| Signs {
            last: Some(at(last)),
            accounted: Some(at(accounted)),
            stamped: None,
        };
        let missing = |me, sign: Option<i64>, until| {
            let last = sign.map(at);
            since(
                me,
                Signs {
                    last,
                    accounted: last,
                    stamped: None,
                },
                until,
            )
        };
        let floor = |until: Option<i64>, is_all_read| {
            let mut accounts = Accounts::of(
                &state,
                NodeId(1),
                signs(100, 100),
                (|_: StreamId| until.map(at), is_all_read),
            );
            accounts.before(MAIN, None).recorded_until
        };
        assert_eq!(
            missing(1, Some(100), Some(99)),
            Some(at(99)),
            "footage was coming"
        );
        assert_eq!(
            missing(1, Some(100), Some(86)),
            Some(at(86)),
            "its volume was slow"
        );
        assert_eq!(
            missing(1, Some(100), Some(10)),
            Some(at(98)),
            "the camera was away, as it wrote itself"
        );
        assert_eq!(
            missing(1, Some(100), None),
            Some(at(98)),
            "it never reached the camera"
        );
        assert_eq!(missing(1, None, Some(10)), Some(at(10)), "there is no sign");
        assert_eq!(
            missing(2, Some(100), Some(10)),
            None,
            "it stood in for the owner"
        );
        assert_eq!(
            since(1, signs(100, 60), Some(10)),
            Some(at(58)),
            "several ended soon after their start"
        );
        assert_eq!(
            since(1, signs(100, 60), Some(50)),
            Some(at(50)),
            "after one to which footage was coming"
        );
        assert_eq!(
            since(1, signs(100, 60), Some(70)),
            Some(at(70)),
            "which recorded somewhat"
        );
        assert_eq!(
            since(1, signs(100, 60), Some(95)),
            Some(at(95)),
            "to the end"
        );
        assert_eq!(
            since(1, signs(100, 900), Some(10)),
            Some(at(98)),
            "a clock was ahead once"
        );
        assert_eq!(
            [floor(None, true), floor(Some(90), true)],
            [None, Some(at(90))],
            "its volumes say it"
        );
        assert_eq!(
            [floor(None, false), floor(Some(90), false)],
            [Some(at(100)); 2],
            "one that is away may hold more"
        );
    }

    #[test]
    fn what_was_stamped_ahead_of_the_clock_is_not_forgotten_until_the_clock_is_certain() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let second = Duration::from_secs(1);
        let ahead = Signs::default().given(at(900), second, (Some(at(899)), false));
        assert_eq!(
            ahead,
            Signs {
                last: Some(at(900)),
                accounted: Some(at(899)),
                stamped: Some(at(899))
            }
        );
        // The clock is set back, and the recorder continues from where it was; then none runs.
        let back = ahead
            .given(at(101), ACCOUNTED_AFTER, (Some(at(900)), false))
            .given(at(102), second, (None, false));
        assert_eq!(
            back,
            Signs {
                last: Some(at(102)),
                accounted: Some(at(101)),
                stamped: Some(at(900))
            }
        );
        assert_eq!(back.floor(), Some(at(902)));
        assert_eq!(
            back.given(at(103), second, (None, true)).floor(),
            Some(at(105))
        );
        assert_eq!(
            back.given(at(103), second, (Some(at(102)), true)).floor(),
            Some(at(105)),
            "a recorder that has ended since may have stamped up to now"
        );
    }

    #[test]
    fn a_recorder_explains_what_none_before_it_has() {
        let mut accounts = Accounts::default();
        accounts.earlier(
            MAIN,
            Some(Timestamp(10)),
            Some((Timestamp(60), GapCause::NodeDown)),
        );
        let first = accounts.before(MAIN, None);
        assert_eq!(
            (first.missing_since, first.cause),
            (Some(Timestamp(60)), Some(GapCause::NodeDown))
        );
        // It wrote why nothing came until 90; then its source was changed.
        accounts.ended(MAIN, None, Some(Timestamp(90)));
        let next = accounts.before(MAIN, Some(GapCause::RecorderStopped));
        assert_eq!(
            (next.recorded_until, next.missing_since),
            (Some(Timestamp(10)), Some(Timestamp(90)))
        );
        let later = accounts.before(MAIN, None);
        assert_eq!(
            (later.missing_since, later.cause),
            (None, None),
            "another node's time was not its duty"
        );
    }

    #[test]
    fn what_could_not_begin_leaves_the_next_to_explain() {
        let mut accounts = Accounts::default();
        accounts.earlier(MAIN, None, Some((Timestamp(60), GapCause::NodeDown)));
        let first = accounts.before(MAIN, None);
        accounts.not_begun(MAIN, &first);
        assert_eq!(
            accounts.before(MAIN, first.cause).missing_since,
            Some(Timestamp(60))
        );
    }
}
