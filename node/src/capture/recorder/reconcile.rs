//! What to start, change and stop so that the running recorders match the desired ones. Pure.

use super::status::Identity;
use holdfast_consensus::decide::desired::Desired;
use holdfast_consensus::model::{Assignment, Camera, Source, Treatment};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, StreamId, StreamKind};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How this node should record one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredRecording {
    pub epoch: Epoch,
    pub rank: Rank,
    /// The revision of the camera's specification; a new one with the same source and retention
    /// class restarts nothing.
    pub revision: u64,
    pub source: Source,
    pub retention_class: String,
    /// 0 to 255; the highest is started first.
    pub priority: u8,
    /// Whether it is held back, because processes that recorded it ended.
    pub treatment: Treatment,
}

impl DesiredRecording {
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            epoch: self.epoch,
            rank: self.rank,
        }
    }
}

/// The recorders to run, one for each stream of the desired cameras, with the facts that they need.
#[must_use]
pub fn recordings<'a>(
    state: &'a ClusterState,
    desired: &'a BTreeMap<CameraId, Desired>,
    treatments: &'a BTreeMap<CameraId, Treatment>,
) -> BTreeMap<StreamId, DesiredRecording> {
    let known = desired
        .iter()
        .filter_map(|(camera, desired)| Some((state.cameras.get(*camera)?, desired)));
    let of_camera = |(camera, desired): (&'a Camera, &'a Desired)| {
        camera.streams().map(move |stream| {
            let recording = DesiredRecording {
                epoch: desired.epoch,
                rank: desired.rank,
                revision: desired.revision,
                source: stream.source.clone(),
                retention_class: stream.retention_class.to_string(),
                priority: camera.spec.priority,
                treatment: treatments.get(&camera.id).copied().unwrap_or_default(),
            };
            (stream.id, recording)
        })
    };
    known.flat_map(of_camera).collect()
}

/// The role of a newly started process for a camera that its node may have recorded before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Former {
    /// Its recording broke off with the last process: the time since then is a gap.
    Recorder,
    /// It stands in for the owner when it must. Its absence is no gap, but its new footage must not
    /// lie before its old.
    StandIn,
}

impl Former {
    /// `None` if it has no part in the camera.
    #[must_use]
    pub fn of(assignment: &Assignment, me: NodeId) -> Option<Self> {
        let is_target = assignment.handoff.is_some_and(|handoff| handoff.to == me);
        if [assignment.owner, assignment.mirror].contains(&Some(me)) || is_target {
            return Some(Self::Recorder);
        }
        (assignment.successor == Some(me)).then_some(Self::StandIn)
    }

    #[must_use]
    pub fn cause(self) -> Option<GapCause> {
        (self == Self::Recorder).then_some(GapCause::NodeDown)
    }
}

/// Where a recorder is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// It was asked to stop, and its last chunk may not be handed over yet.
    Stopping,
    /// It ended by itself (a panic) and waits before it starts again.
    Resting,
    /// It has waited long enough.
    Rested,
}

/// A present recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub phase: Phase,
    /// The recording that it was started or last updated with.
    pub with: DesiredRecording,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the recorder its new identity and priority.
    Update(StreamId),
    Start(StreamId),
    /// Stop the recorder. If the stream is still desired, the next reconciliation after its end
    /// starts it again.
    Stop(StreamId),
    /// It is at rest and no longer wanted.
    Forget(StreamId),
}

/// The actions in the order to take them: first those that cost nothing, then starts, stops last
/// (make before break). Held-back cameras start after the others, and of each, main streams start
/// before all sub streams, by priority.
#[must_use]
pub fn reconcile(
    desired: &BTreeMap<StreamId, DesiredRecording>,
    running: &BTreeMap<StreamId, Running>,
) -> Vec<Action> {
    let mut actions: Vec<_> = desired
        .iter()
        .filter_map(|(id, want)| for_desired(*id, want, running.get(id)))
        .collect();
    let unwanted = running.iter().filter(|(id, _)| !desired.contains_key(id));
    actions.extend(unwanted.filter_map(|(id, is)| for_unwanted(*id, is.phase)));
    actions.sort_by_key(|action| order(*action, desired));
    actions
}

fn for_desired(id: StreamId, want: &DesiredRecording, is: Option<&Running>) -> Option<Action> {
    let Some(is) = is else {
        return Some(Action::Start(id));
    };
    match is.phase {
        Phase::Rested => Some(Action::Start(id)),
        Phase::Stopping | Phase::Resting => None,
        Phase::Running if is.with == *want => None,
        Phase::Running if is.with.source != want.source => Some(Action::Stop(id)),
        Phase::Running if is.with.retention_class != want.retention_class => Some(Action::Stop(id)),
        Phase::Running => Some(Action::Update(id)),
    }
}

fn for_unwanted(id: StreamId, phase: Phase) -> Option<Action> {
    match phase {
        Phase::Running => Some(Action::Stop(id)),
        Phase::Stopping => None,
        Phase::Resting | Phase::Rested => Some(Action::Forget(id)),
    }
}

fn order(
    action: Action,
    desired: &BTreeMap<StreamId, DesiredRecording>,
) -> (u8, bool, StreamKind, Reverse<u8>, StreamId) {
    let (step, id) = match action {
        Action::Update(id) => (0, id),
        Action::Start(id) => (1, id),
        Action::Stop(id) => (2, id),
        Action::Forget(id) => (3, id),
    };
    let priority = desired.get(&id).map_or(0, |want| want.priority);
    let is_held_back = desired
        .get(&id)
        .is_some_and(|want| want.treatment != Treatment::Usual);
    (step, is_held_back, id.kind, Reverse(priority), id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn main(camera: u32) -> StreamId {
        StreamId::main(CameraId(camera))
    }

    fn sub(camera: u32) -> StreamId {
        StreamId {
            kind: StreamKind::Sub,
            ..main(camera)
        }
    }

    fn want(epoch: u64, path: u8, priority: u8) -> DesiredRecording {
        let url = format!("rtsp://camera/{path}");
        DesiredRecording {
            epoch: Epoch(epoch),
            rank: Rank::Owner,
            revision: 1,
            source: Source::new(&url).unwrap(),
            retention_class: "default".to_owned(),
            priority,
            treatment: Treatment::Usual,
        }
    }

    fn running(phase: Phase, with: DesiredRecording) -> Running {
        Running { phase, with }
    }

    #[test]
    fn starts_by_priority_before_it_stops() {
        let desired = BTreeMap::from([(main(1), want(1, 1, 5)), (main(2), want(1, 2, 200))]);
        let is = BTreeMap::from([(main(3), running(Phase::Running, want(1, 3, 255)))]);
        let actions = reconcile(&desired, &is);
        assert_eq!(
            actions,
            [
                Action::Start(main(2)),
                Action::Start(main(1)),
                Action::Stop(main(3))
            ]
        );
    }

    #[test]
    fn main_streams_start_before_all_sub_streams() {
        let desired = BTreeMap::from([
            (sub(1), want(1, 1, 200)),
            (main(1), want(1, 2, 200)),
            (main(2), want(1, 3, 5)),
        ]);
        assert_eq!(
            reconcile(&desired, &BTreeMap::new()),
            [main(1), main(2), sub(1)].map(Action::Start)
        );
    }

    #[test]
    fn one_stream_of_a_camera_is_changed_or_stopped_without_the_other() {
        let is = [(main(1), 1), (sub(1), 2)]
            .map(|(stream, path)| (stream, running(Phase::Running, want(1, path, 5))));
        let is = BTreeMap::from(is);
        let both = |path| BTreeMap::from([(main(1), want(1, 1, 5)), (sub(1), want(1, path, 5))]);
        assert_eq!(reconcile(&both(2), &is), []);
        assert_eq!(reconcile(&both(3), &is), [Action::Stop(sub(1))]);
        let mut other_class = both(2);
        let wanted = other_class.get_mut(&sub(1)).unwrap();
        wanted.retention_class = "short".to_owned();
        assert_eq!(reconcile(&other_class, &is), [Action::Stop(sub(1))]);
        let alone = BTreeMap::from([(main(1), want(1, 1, 5))]);
        assert_eq!(reconcile(&alone, &is), [Action::Stop(sub(1))]);
    }

    #[test]
    fn who_is_held_back_starts_after_all_others() {
        let suspect = DesiredRecording {
            treatment: Treatment::Suspect,
            ..want(1, 1, 255)
        };
        let desired = BTreeMap::from([(main(1), suspect), (main(2), want(1, 2, 0))]);
        let starts = reconcile(&desired, &BTreeMap::new());
        assert_eq!(starts, [Action::Start(main(2)), Action::Start(main(1))]);
    }

    #[test]
    fn a_new_epoch_or_revision_restarts_nothing_and_a_new_source_does() {
        let is = BTreeMap::from([(main(1), running(Phase::Running, want(1, 1, 5)))]);
        let with = |want| reconcile(&BTreeMap::from([(main(1), want)]), &is);
        assert_eq!(with(want(1, 1, 5)), []);
        assert_eq!(with(want(2, 1, 5)), [Action::Update(main(1))]);
        assert_eq!(
            with(DesiredRecording {
                revision: 2,
                ..want(1, 1, 5)
            }),
            [Action::Update(main(1))]
        );
        assert_eq!(with(want(1, 2, 5)), [Action::Stop(main(1))]);
    }

    #[test]
    fn one_that_stops_or_rests_is_left_alone() {
        let desired = BTreeMap::from([(main(1), want(2, 2, 5))]);
        for (phase, expected) in [
            (Phase::Stopping, vec![]),
            (Phase::Resting, vec![]),
            (Phase::Rested, vec![Action::Start(main(1))]),
        ] {
            let is = BTreeMap::from([(main(1), running(phase, want(1, 1, 5)))]);
            assert_eq!(reconcile(&desired, &is), expected);
        }
    }

    /// Carries out actions on the model, as the supervisor does for real.
    fn act(
        action: Action,
        desired: &BTreeMap<StreamId, DesiredRecording>,
        is: &mut BTreeMap<StreamId, Running>,
    ) {
        match action {
            Action::Start(id) => drop(is.insert(id, running(Phase::Running, desired[&id].clone()))),
            Action::Update(id) => {
                is.entry(id)
                    .and_modify(|is| is.with = desired[&id].clone())
                    .or_insert_with(|| unreachable!())
                    .phase = Phase::Running
            }
            Action::Stop(id) | Action::Forget(id) => drop(is.remove(&id)),
        }
    }

    proptest! {
        /// Two rounds reach the goal (a changed source is a stop, then a start), and a third finds
        /// nothing to do.
        #[test]
        fn converges(
            desired in prop::collection::btree_map(1_u32..8, (1_u64..4, 0_u8..3, 0_u8..4), 0..8),
            is in prop::collection::btree_map(
                1_u32..8,
                (any::<bool>(), 1_u64..4, 0_u8..3, 0_u8..4),
                0..8,
            ),
        ) {
            let desired: BTreeMap<_, _> = desired
                .into_iter()
                .map(|(id, (e, s, p))| (main(id), want(e, s, p)))
                .collect();
            let mut is: BTreeMap<_, _> = is
                .into_iter()
                .map(|(id, (runs, e, s, p))| {
                    let phase = if runs { Phase::Running } else { Phase::Rested };
                    (main(id), running(phase, want(e, s, p)))
                })
                .collect();
            for _ in 0..2 {
                for action in reconcile(&desired, &is) {
                    act(action, &desired, &mut is);
                }
            }
            prop_assert_eq!(reconcile(&desired, &is), vec![]);
            let with: BTreeMap<_, _> = is.into_iter().map(|(id, is)| (id, is.with)).collect();
            prop_assert_eq!(with, desired);
        }
    }
}
