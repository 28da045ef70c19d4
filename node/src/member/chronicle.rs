//! The log lines that operators look for: which node records which camera from now on, and why, in
//! one line, with names. Pure.

use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;

/// Names of cameras that a line lists.
const NAMES_MAX: usize = 10;

/// A line, and whether it reports a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) is_warning: bool,
}

/// The node that recorded cameras before, and the node that does now.
type Change = (Option<NodeId>, Option<NodeId>);

/// What happened between two states. Returns nothing for the first state that is seen: everything
/// would be new.
pub(crate) fn lines(before: &ClusterState, now: &ClusterState, sight: &Sight) -> Vec<Line> {
    let is_first = before.cluster.is_none();
    if is_first || before.assignments.is_same(&now.assignments) {
        return Vec::new();
    }
    let mut changes: BTreeMap<Change, Vec<CameraId>> = BTreeMap::new();
    for (camera, assignment) in now.assignments.iter() {
        let owner = before
            .assignments
            .get(camera)
            .and_then(|before| before.owner);
        if owner != assignment.owner {
            changes
                .entry((owner, assignment.owner))
                .or_default()
                .push(camera);
        }
    }
    changes
        .into_iter()
        .map(|(change, cameras)| line(change, &names(now, &cameras), before, sight))
        .collect()
}

fn line((from, to): Change, cameras: &str, before: &ClusterState, sight: &Sight) -> Line {
    let name = |node: NodeId| {
        before
            .nodes
            .get(node)
            .map_or_else(|| format!("node {node}"), |node| node.spec.name.to_string())
    };
    // A node that was removed, or not heard yet, is not known to have died.
    let died = |node: &NodeId| {
        sight
            .verdicts
            .get(node)
            .is_some_and(|verdict| verdict.is_suspect())
    };
    let (text, is_warning) = match (from, to) {
        (Some(from), Some(to)) if died(&from) => (
            format!("{} died: {} records {cameras}", name(from), name(to)),
            true,
        ),
        (Some(from), Some(to)) => (
            format!("{} records {cameras}, and {} no more", name(to), name(from)),
            false,
        ),
        (None, Some(to)) => (format!("{} records {cameras}", name(to)), false),
        (Some(from), None) if died(&from) => (
            format!("{} died: no node records {cameras}", name(from)),
            true,
        ),
        (Some(_) | None, None) => (
            format!("no node records {cameras}: no node that may has room"),
            true,
        ),
    };
    Line { text, is_warning }
}

fn names(state: &ClusterState, cameras: &[CameraId]) -> String {
    let name = |camera: &CameraId| {
        state.cameras.get(*camera).map_or_else(
            || format!("camera {camera}"),
            |camera| camera.spec.name.to_string(),
        )
    };
    let mut names: Vec<String> = cameras.iter().take(NAMES_MAX).map(name).collect();
    let more = cameras.len().saturating_sub(NAMES_MAX);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command, admission};
    use holdfast_consensus::model::{Actor, CameraSpec, KeyHash, NodeSpec};
    use holdfast_consensus::observe::liveness::{Verdict, Why};
    use holdfast_storage::ids::Epoch;
    use holdfast_storage::time::Timestamp;
    use std::time::Duration;
    use uuid::Uuid;

    fn apply(state: &mut ClusterState, command: Command) {
        state
            .apply(command.by(Actor::System, Timestamp(0)))
            .unwrap();
    }

    fn site(cameras: usize) -> ClusterState {
        let mut state = ClusterState::default();
        let node = |name: &str| {
            NodeSpec::new(name, &format!("{name}:8481"), &format!("{name}:8480")).unwrap()
        };
        apply(
            &mut state,
            Command::Initialize {
                cluster: Uuid::from_u128(1),
                node: node("rec1"),
                key: KeyHash::default(),
            },
        );
        for command in admission(node("rec2"), Timestamp(0)) {
            apply(&mut state, command);
        }
        for number in 0..cameras {
            let spec = CameraSpec::new(&format!("cam{number}"), "rtsp://c/1").unwrap();
            apply(
                &mut state,
                Command::CreateCamera {
                    spec,
                    only_after: None,
                },
            );
        }
        state
    }

    fn assigned(before: &ClusterState, expect: u64, op: AssignmentOp) -> ClusterState {
        let mut state = before.clone();
        let changes = before
            .cameras
            .keys()
            .map(|camera| AssignmentChange {
                camera,
                expect: Epoch(expect),
                op,
            })
            .collect();
        apply(&mut state, Command::Assign { changes });
        state
    }

    #[test]
    fn a_death_is_logged_with_names_in_one_line() {
        let added = site(2);
        let op = AssignmentOp::Place {
            owner: NodeId(1),
            mirror: None,
            successor: None,
        };
        let placed = assigned(&added, 0, op);
        let sight = Sight::default();
        let shown = |before, now, sight: &Sight| -> Vec<String> {
            lines(before, now, sight)
                .into_iter()
                .map(|line| line.text)
                .collect()
        };
        assert_eq!(shown(&added, &placed, &sight), ["rec1 records cam0, cam1"]);
        let op = AssignmentOp::TakeOver {
            owner: NodeId(2),
            mirror: None,
            successor: None,
            watermark: None,
        };
        let moved = assigned(&placed, 1, op);
        let suspect = Verdict::Suspect {
            since: Duration::ZERO,
            why: Why::Refused,
        };
        let dead = Sight {
            verdicts: [(NodeId(1), suspect)].into(),
            ..Sight::default()
        };
        assert_eq!(
            shown(&placed, &moved, &dead),
            ["rec1 died: rec2 records cam0, cam1"]
        );
        assert!(lines(&placed, &moved, &dead)[0].is_warning);
        assert_eq!(
            shown(&placed, &moved, &sight),
            ["rec2 records cam0, cam1, and rec1 no more"]
        );
        let shed = assigned(&moved, 2, AssignmentOp::Shed { watermark: None });
        assert_eq!(
            shown(&moved, &shed, &sight),
            ["no node records cam0, cam1: no node that may has room"]
        );
        let nothing = ClusterState::default();
        assert!(
            shown(&nothing, &moved, &sight).is_empty(),
            "a start is no news"
        );
        assert!(shown(&moved, &moved, &sight).is_empty());
    }

    #[test]
    fn a_line_is_bounded() {
        let added = site(500);
        let placed = assigned(
            &added,
            0,
            AssignmentOp::Place {
                owner: NodeId(1),
                mirror: None,
                successor: None,
            },
        );
        let shown = lines(&added, &placed, &Sight::default());
        assert!(
            shown.len() == 1 && shown[0].text.ends_with("cam9, and 490 more"),
            "{shown:?}"
        );
    }
}
