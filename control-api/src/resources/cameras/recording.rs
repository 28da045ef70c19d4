//! What nodes report of a camera's recording, as answers show it. Pure.

use super::Recording;
use holdfast_consensus::decide::headroom::Headroom;
use holdfast_consensus::model;
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_consensus::observe::sight::Sight;
use holdfast_storage::ids::{CameraId, StreamId};
use holdfast_storage::time::Timestamp;

pub(super) fn recording(
    camera: CameraId,
    assignment: &model::Assignment,
    sight: &Sight,
    headroom: Option<&Headroom>,
) -> Recording {
    let (node, report) = sight.recorder(camera, assignment).unzip();
    let lack = headroom.and_then(|headroom| headroom.waiting.get(&camera).copied());
    let main = StreamId::main(camera);
    let known = sight.progress.iter().map(|(_, progress)| progress);
    let furthest = known
        .filter(|progress| progress.stream == main)
        .filter_map(|progress| progress.watermark)
        .max();
    Recording {
        state: report.map(|report: &Progress| report.state),
        node,
        watermark: watermark(report, furthest),
        error: report.and_then(|report| report.error.clone()),
        waits_for: lack.filter(|_| report.is_none()),
    }
}

/// How far a camera is durable. If a node records it, only that recorder's own report counts: other
/// nodes (an owner that is about to stop, a mirror) may be a moment ahead, and a node that has just
/// restarted has not heard of them; its answer would lie before its earlier one. Until the recorder
/// has something durable, it is what the others have of the time before the recorder's first
/// keyframe. While no node records, it is `furthest`, whatever is known.
fn watermark(recorder: Option<&Progress>, furthest: Option<Timestamp>) -> Option<Timestamp> {
    match recorder.filter(|report| report.state == RecorderState::Recording) {
        Some(report) => report
            .watermark
            .or_else(|| Some(furthest?.min(report.first_keyframe?))),
        None => furthest,
    }
}

#[cfg(test)]
mod tests {
    use super::{recording as recording_of, *};
    use holdfast_consensus::model::Assignment;
    use holdfast_consensus::observe::liveness::Verdict;
    use holdfast_storage::ids::NodeId;
    use holdfast_storage::ids::{Epoch, Rank};

    const CAMERA: CameraId = CameraId(1);
    const OWNER: NodeId = NodeId(1);
    const MIRROR: NodeId = NodeId(2);

    fn progress(epoch: u64, rank: Rank, state: RecorderState, watermark: i64) -> Progress {
        Progress {
            stream: StreamId::main(CAMERA),
            epoch: Epoch(epoch),
            rank,
            state,
            watermark: Some(Timestamp(watermark)),
            first_keyframe: Some(Timestamp(0)),
            error: None,
            bitrate_bps: None,
            patience_ms: None,
            exposure: None,
        }
    }

    fn sight(reports: &[(NodeId, Progress)]) -> Sight {
        Sight {
            verdicts: [OWNER, MIRROR].map(|node| (node, Verdict::Alive)).into(),
            progress: reports
                .iter()
                .map(|(node, progress)| (*node, progress.clone()))
                .collect(),
            ..Sight::default()
        }
    }

    fn shown(assignment: &model::Assignment, sight: &Sight) -> Option<i64> {
        recording_of(CAMERA, assignment, sight, None)
            .watermark
            .map(Timestamp::micros)
    }

    #[test]
    fn a_node_that_restarts_reports_no_earlier_watermark_of_a_recorder_than_before() {
        let assignment = Assignment {
            epoch: Epoch(3),
            owner: Some(OWNER),
            mirror: Some(MIRROR),
            ..Assignment::default()
        };
        let owner = (
            OWNER,
            progress(3, Rank::Owner, RecorderState::Recording, 1_000_000),
        );
        let mirror = (
            MIRROR,
            progress(3, Rank::Mirror, RecorderState::Recording, 1_000_007),
        );
        let before = shown(&assignment, &sight(&[owner.clone(), mirror]));
        let restarted = shown(&assignment, &sight(&[owner]));
        assert_eq!(
            (before, restarted),
            (Some(1_000_000), Some(1_000_000)),
            "it has not heard of the mirror yet"
        );
    }

    #[test]
    fn a_new_owners_watermark_is_its_own_even_while_the_old_one_continues() {
        let mut assignment = Assignment {
            epoch: Epoch(3),
            owner: Some(OWNER),
            mirror: Some(MIRROR),
            ..Assignment::default()
        };
        let owner = (
            OWNER,
            progress(3, Rank::Owner, RecorderState::Recording, 1_000_000),
        );
        let mirror = (
            MIRROR,
            progress(3, Rank::Mirror, RecorderState::Recording, 600_000),
        );
        assert_eq!(
            shown(&assignment, &sight(&[owner.clone(), mirror])),
            Some(1_000_000)
        );
        (assignment.epoch, assignment.owner, assignment.mirror) = (Epoch(4), Some(MIRROR), None);
        let starts = (
            MIRROR,
            progress(4, Rank::Owner, RecorderState::Starting, 600_000),
        );
        assert_eq!(
            shown(&assignment, &sight(&[owner.clone(), starts])),
            Some(1_000_000),
            "no node records"
        );

        // Its first keyframe is there, but nothing is durable yet.
        let (node, recording) = (
            MIRROR,
            progress(4, Rank::Owner, RecorderState::Recording, 0),
        );
        let first = Progress {
            watermark: None,
            first_keyframe: Some(Timestamp(900_000)),
            ..recording
        };
        assert_eq!(
            shown(&assignment, &sight(&[owner, (node, first.clone())])),
            Some(900_000)
        );
        let continues = (
            OWNER,
            progress(3, Rank::Owner, RecorderState::Recording, 1_400_007),
        );
        let own = (
            node,
            Progress {
                watermark: Some(Timestamp(1_400_000)),
                ..first
            },
        );
        let before = shown(&assignment, &sight(&[continues, own.clone()]));
        let restarted = shown(&assignment, &sight(&[own]));
        assert_eq!(
            (before, restarted),
            (Some(1_400_000), Some(1_400_000)),
            "it has not heard of the old owner"
        );
    }
}
