//! What is known of a camera before its next recorder of this node begins: how far it was recorded,
//! and since when nothing says why it was not. Pure.

use super::pipeline::Before;
use super::reconcile::Former;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

/// As many cameras as this process ever recorded.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Nothing is stamped before.
    recorded_until: BTreeMap<CameraId, Timestamp>,
    /// Recorded, or in the ledger why not, by recorders that ended.
    accounted_until: BTreeMap<CameraId, Timestamp>,
    /// Since when and why cameras were not recorded before their first recorder of this process.
    missing: BTreeMap<CameraId, (Timestamp, GapCause)>,
}

/// What was received so shortly before a process ended was not durable, and its last sign of life
/// is as old as their interval, at most.
const UNFLUSHED_US: i64 = 2_000_000;
/// Where footage was coming until so shortly before, nothing else stopped it: a volume that is slow
/// keeps more of it in memory. An outage of the camera that had lasted longer is in the ledger: it
/// is noticed within seconds, and its first piece is written after ten more.
const UNWRITTEN_US: i64 = super::gaps::PIECE_US_MAX + 5_000_000;

impl Accounts {
    /// Of the cameras that node `me` still has. Its last process gave its last sign of life at
    /// `last_sign`, and had recorded each camera `until` then: why nothing was recorded before that
    /// it had written down itself. Where `is_all_read` is false a volume is away, and may hold
    /// more: then nothing is stamped before that sign either, whatever the clock says now.
    pub fn of(
        state: &ClusterState,
        me: NodeId,
        last_sign: Option<Timestamp>,
        (until, is_all_read): (impl Fn(CameraId) -> Option<Timestamp>, bool),
    ) -> Self {
        let mut accounts = Self::default();
        let floor = last_sign.filter(|_| !is_all_read);
        for (camera, now) in state.assignments.iter() {
            let Some(former) = Former::of(now, me) else {
                continue;
            };
            let until = until(camera);
            let was_coming = |sign: Timestamp| {
                until.is_some_and(|until| sign.micros_since(until) <= UNWRITTEN_US)
            };
            let lost_since = last_sign
                .filter(|sign| !was_coming(*sign))
                .map(|sign| sign.plus_micros(-UNFLUSHED_US));
            let missing = until.max(lost_since).zip(former.cause());
            accounts.earlier(camera, until.max(floor), missing);
        }
        accounts
    }

    fn earlier(
        &mut self,
        camera: CameraId,
        until: Option<Timestamp>,
        missing: Option<(Timestamp, GapCause)>,
    ) {
        self.recorded_until
            .extend(until.map(|until| (camera, until)));
        self.missing
            .extend(missing.map(|missing| (camera, missing)));
    }

    /// A recorder has ended that had come so far.
    pub fn ended(
        &mut self,
        camera: CameraId,
        recorded_until: Option<Timestamp>,
        accounted_until: Option<Timestamp>,
    ) {
        self.recorded_until
            .extend(recorded_until.map(|until| (camera, until)));
        self.accounted_until
            .extend(accounted_until.map(|until| (camera, until)));
    }

    /// What goes before a recorder that begins now; `cause` says why nothing was recorded since the
    /// last one of this process, where that was its duty.
    pub fn before(&mut self, camera: CameraId, cause: Option<GapCause>) -> Before {
        let (missing_since, cause) = match (cause, self.missing.remove(&camera)) {
            (Some(cause), _) => (self.accounted_until.get(&camera).copied(), Some(cause)),
            (None, Some((since, cause))) => (Some(since), Some(cause)),
            (None, None) => (None, None),
        };
        Before {
            recorded_until: self.recorded_until.get(&camera).copied(),
            missing_since,
            cause,
        }
    }

    /// The recorder could not begin: the next one explains the same.
    pub fn not_begun(&mut self, camera: CameraId, before: &Before) {
        self.accounted_until
            .extend(before.missing_since.map(|since| (camera, since)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command};
    use holdfast_consensus::model::{Actor, CameraSpec, NodeSpec};
    use holdfast_storage::ids::Epoch;
    use uuid::Uuid;

    const CAMERA: CameraId = CameraId(1);

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
            },
        );
        apply(
            &mut state,
            Command::JoinNode {
                spec: node("b"),
                attempt: Uuid::from_u128(2),
            },
        );
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
        let missing = |me, sign: Option<i64>, until: Option<i64>| {
            let mut accounts = Accounts::of(
                &state,
                NodeId(me),
                sign.map(at),
                (|_: CameraId| until.map(at), true),
            );
            accounts.before(CAMERA, None).missing_since
        };
        let floor = |until: Option<i64>, is_all_read| {
            let mut accounts = Accounts::of(
                &state,
                NodeId(1),
                Some(at(100)),
                (|_: CameraId| until.map(at), is_all_read),
            );
            accounts.before(CAMERA, None).recorded_until
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
    fn a_recorder_explains_what_none_before_it_has() {
        let mut accounts = Accounts::default();
        accounts.earlier(
            CAMERA,
            Some(Timestamp(10)),
            Some((Timestamp(60), GapCause::NodeDown)),
        );
        let first = accounts.before(CAMERA, None);
        assert_eq!(
            (first.missing_since, first.cause),
            (Some(Timestamp(60)), Some(GapCause::NodeDown))
        );
        // It wrote why nothing came until 90; then its source was changed.
        accounts.ended(CAMERA, None, Some(Timestamp(90)));
        let next = accounts.before(CAMERA, Some(GapCause::RecorderStopped));
        assert_eq!(
            (next.recorded_until, next.missing_since),
            (Some(Timestamp(10)), Some(Timestamp(90)))
        );
        let later = accounts.before(CAMERA, None);
        assert_eq!(
            (later.missing_since, later.cause),
            (None, None),
            "another node's time was not its duty"
        );
    }

    #[test]
    fn what_could_not_begin_leaves_the_next_to_explain() {
        let mut accounts = Accounts::default();
        accounts.earlier(CAMERA, None, Some((Timestamp(60), GapCause::NodeDown)));
        let first = accounts.before(CAMERA, None);
        accounts.not_begun(CAMERA, &first);
        assert_eq!(
            accounts.before(CAMERA, first.cause).missing_since,
            Some(Timestamp(60))
        );
    }
}
