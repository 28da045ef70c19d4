//! Whether a timeline covers every instant exactly once. Pure.

use holdfast_control_api::wire::Timeline;
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::HOLE_US_MIN;

/// Spans and gaps in order of time.
fn pieces(timeline: &Timeline) -> Vec<(Timestamp, Timestamp, String)> {
    let spans = timeline
        .spans
        .iter()
        .map(|span| (span.start, span.end, format!("span of node {}", span.node)));
    let gaps = timeline
        .gaps
        .iter()
        .map(|gap| (gap.start, gap.end, format!("gap {:?}", gap.cause)));
    let mut pieces: Vec<_> = spans.chain(gaps).collect();
    pieces.sort_by_key(|(start, end, _)| (*start, *end));
    pieces
}

/// Intervals that the timeline covers twice, not at all, or backwards; empty if spans and gaps
/// cover everything from the first piece to the last exactly once. Seams up to [`HOLE_US_MIN`] are
/// not holes: adjacent frames do not touch to the microsecond.
#[must_use]
pub fn faults(timeline: &Timeline) -> Vec<String> {
    let pieces = pieces(timeline);
    let mut faults = Vec::new();
    for (start, end, what) in &pieces {
        if end <= start || *start < timeline.from || *end > timeline.to {
            faults.push(format!(
                "{what} {start} to {end} is empty or outside {} to {}",
                timeline.from, timeline.to
            ));
        }
    }
    for pair in pieces.windows(2) {
        let ((_, end, before), (start, _, after)) = (&pair[0], &pair[1]);
        match start.micros_since(*end) {
            seam if seam < 0 => faults.push(format!(
                "{after} begins {} us before {before} ends at {end}",
                -seam
            )),
            seam if seam > HOLE_US_MIN => faults.push(format!(
                "no span or gap covers {end} to {start} ({seam} us)"
            )),
            _ => {}
        }
    }
    faults
}

/// The first and the last instant that the timeline covers.
#[must_use]
pub fn extent(timeline: &Timeline) -> Option<(Timestamp, Timestamp)> {
    let pieces = pieces(timeline);
    Some((
        pieces.first()?.0,
        pieces.iter().map(|(_, end, _)| *end).max()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_control_api::wire::{Gap, Span};
    use holdfast_storage::chunk::GapCause;
    use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};

    fn timeline(spans: &[(i64, i64)], gaps: &[(i64, i64)]) -> Timeline {
        let (node, at) = (NodeId(1), Timestamp);
        let span = |&(start, end)| Span {
            start: at(start),
            end: at(end),
            node,
            epoch: Epoch(1),
            rank: Rank::Owner,
            available: true,
            damaged: false,
            in_future: false,
        };
        let gap = |&(start, end)| Gap {
            start: at(start),
            end: at(end),
            cause: GapCause::CameraStalled,
            node: Some(node),
            frames_missing: None,
        };
        let (spans, gaps) = (
            spans.iter().map(span).collect(),
            gaps.iter().map(gap).collect(),
        );
        Timeline {
            camera: CameraId(1),
            from: at(0),
            to: at(100 * HOLE_US_MIN),
            spans,
            gaps,
            nodes_left_out: Vec::new(),
        }
    }

    #[test]
    fn a_whole_timeline_has_no_fault() {
        let ms = HOLE_US_MIN;
        let whole = timeline(
            &[(ms, 10 * ms), (11 * ms, 20 * ms), (30 * ms, 40 * ms)],
            &[(20 * ms, 30 * ms)],
        );
        assert!(faults(&whole).is_empty(), "{:?}", faults(&whole));
        assert_eq!(extent(&whole), Some((Timestamp(ms), Timestamp(40 * ms))));
    }

    #[test]
    fn overlaps_holes_and_empty_pieces_are_faults() {
        let ms = HOLE_US_MIN;
        assert_eq!(
            faults(&timeline(&[(0, 10 * ms)], &[(9 * ms, 12 * ms)])).len(),
            1
        );
        assert_eq!(
            faults(&timeline(&[(0, 10 * ms), (12 * ms + 1, 20 * ms)], &[])).len(),
            1
        );
        assert_eq!(
            faults(&timeline(&[(0, 10 * ms)], &[(10 * ms, 10 * ms)])).len(),
            1
        );
        assert_eq!(faults(&timeline(&[(0, 101 * ms)], &[])).len(), 1);
    }
}
