//! One camera's timeline from the nodes' answers and what is known of those that did not answer.
//! Pure.

use crate::footage::explain::explain;
use crate::volumes::report::Recorded;
use holdfast_consensus::model::{Pause, Tenure};
use holdfast_control_api::wire;
use holdfast_storage::Range;
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::{Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::{Span, holes, merge_spans};
use std::collections::BTreeMap;

/// A new camera's first keyframe comes within this time; longer is a gap.
const FIRST_START_US_MAX: i64 = 5_000_000;

/// Recorders end and begin within this time of an operator's request.
const PAUSE_EDGE_US_MAX: i64 = 10_000_000;

/// Clocks of two nodes may differ by a part of this: footage that begins later than this from now
/// was recorded by a clock that was ahead.
const FUTURE_US_MIN: i64 = 60_000_000;

/// What one node answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer<T> {
    pub(crate) node: NodeId,
    /// `None` if it did not answer.
    pub(crate) answer: Option<T>,
}

/// Everything that a timeline is made of.
pub(crate) struct Known<'a> {
    pub(crate) range: Range,
    pub(crate) now: Timestamp,
    /// One of each member.
    pub(crate) answers: Vec<Answer<Recorded>>,
    pub(crate) tenures: &'a [Tenure],
    /// How far each node's recording of the camera is durable, by its last report.
    pub(crate) watermarks: BTreeMap<NodeId, Timestamp>,
    /// When the camera was deleted.
    pub(crate) pauses: Vec<Pause>,
}

/// What was recorded and what was not, cut to the range. Holes are reported up to the durable end
/// of the recording, which lies after `now` if the wall clock stepped back; up to `now` if no node
/// knows that end.
pub(crate) fn put_together(known: Known<'_>) -> wire::Timeline {
    let Known {
        range,
        now,
        answers,
        tenures,
        watermarks,
        pauses,
    } = known;
    let (silent, partial) = left_out(&answers);
    let (mut ledger, available) = merged(answers);
    let paused: Vec<Gap> = pauses
        .iter()
        .map(|pause| entry_of(pause, range, tenures, &available))
        .collect();
    let own_gaps = |span: &Span| -> Vec<Gap> {
        let own = ledger.iter().filter(|gap| gap.node == span.node);
        own.chain(&paused).copied().collect()
    };
    // Where there is neither footage nor a gap of its own, a node may hold footage that it cannot
    // list now; what another node could not record meanwhile says nothing of it.
    let unlisted = silent_spans(tenures, &partial, &watermarks)
        .into_iter()
        .flat_map(|span| without(span, &own_gaps(&span)));
    let mut unavailable = silent_spans(tenures, &silent, &watermarks);
    unavailable.extend(unlisted);
    ledger.extend(&paused);
    let durable = watermarks.values().max().copied();
    let end = recorded_until(durable.unwrap_or(now), &pauses, tenures, &available).min(range.to);
    let spans = with_silent(&available, &unavailable, range);
    let covered: Vec<Span> = spans.iter().map(|(span, _)| *span).collect();
    let holes = holes(&covered, &ledger, range.from, end.max(range.from));
    let gaps = explain(
        &known_holes(holes, &ledger, tenures, &covered),
        &ledger,
        tenures,
    );
    let spans = spans
        .into_iter()
        .map(|(span, available)| wire_span(&span, available, now))
        .collect();
    let Range {
        camera, from, to, ..
    } = range;
    wire::Timeline {
        camera,
        from,
        to,
        spans,
        gaps,
        nodes_left_out: silent.into_iter().chain(partial).collect(),
    }
}

/// The nodes that did not answer, and those that cannot list all that they hold.
fn left_out(answers: &[Answer<Recorded>]) -> (Vec<NodeId>, Vec<NodeId>) {
    let is_silent = |answer: &Answer<Recorded>| answer.answer.is_none();
    let is_partial = |answer: &Answer<Recorded>| {
        let recorded = answer.answer.as_ref();
        recorded.is_some_and(|recorded| !recorded.complete)
    };
    let nodes = |is: &dyn Fn(&Answer<Recorded>) -> bool| -> Vec<NodeId> {
        let answers = answers.iter().filter(|answer| is(answer));
        answers.map(|answer| answer.node).collect()
    };
    (nodes(&is_silent), nodes(&is_partial))
}

/// The gap ledger of all nodes, and the spans that they recorded.
fn merged(answers: Vec<Answer<Recorded>>) -> (Vec<Gap>, Vec<Span>) {
    let recorded: Vec<Recorded> = answers
        .into_iter()
        .filter_map(|answer| answer.answer)
        .collect();
    let ledger = recorded
        .iter()
        .flat_map(|recorded| recorded.gaps.iter().copied())
        .collect();
    let spans = recorded
        .into_iter()
        .flat_map(|recorded| recorded.spans)
        .collect();
    (ledger, merge_spans(spans))
}

/// A ledger entry for the time in which a camera was deleted. Its recorder ends soon after the
/// deletion at the latest, and the next one begins soon after the restoration.
fn entry_of(pause: &Pause, range: Range, tenures: &[Tenure], spans: &[Span]) -> Gap {
    let last = spans
        .iter()
        .map(|span| span.end)
        .filter(|end| *end <= pause.from)
        .max();
    let next = spans
        .iter()
        .map(|span| span.start)
        .filter(|start| *start >= pause.to)
        .min();
    let is_near = |micros: i64| micros <= PAUSE_EDGE_US_MAX;
    let owner = tenures.iter().rfind(|tenure| tenure.from <= pause.from);
    Gap {
        camera: range.camera,
        stream: range.stream,
        node: owner.map_or(NodeId(0), |owner| owner.node),
        epoch: owner.map_or(Epoch(0), |owner| owner.epoch),
        start: last
            .filter(|last| is_near(pause.from.micros_since(*last)))
            .unwrap_or(pause.from),
        end: next
            .filter(|next| is_near(next.micros_since(pause.to)))
            .unwrap_or(pause.to),
        cause: GapCause::RecorderStopped,
        frames_missing: None,
    }
}

/// Footage on nodes that do not answer, or cannot list all that they hold: their time with the
/// camera, as far as they reported it.
fn silent_spans(
    tenures: &[Tenure],
    nodes: &[NodeId],
    watermarks: &BTreeMap<NodeId, Timestamp>,
) -> Vec<Span> {
    let spans = tenures
        .iter()
        .filter(|tenure| nodes.contains(&tenure.node))
        .filter_map(|tenure| {
            let end = tenure
                .until
                .or_else(|| watermarks.get(&tenure.node).copied())?;
            let Tenure {
                epoch,
                node,
                from: start,
                ..
            } = *tenure;
            (end > start).then_some(Span {
                start,
                end,
                node,
                epoch,
                rank: Rank::Owner,
                damaged: false,
            })
        });
    spans.collect()
}

/// What is left of a span between gaps.
fn without(span: Span, gaps: &[Gap]) -> Vec<Span> {
    let mut gaps: Vec<&Gap> = gaps.iter().collect();
    gaps.sort_by_key(|gap| gap.start);
    let (mut left, mut start) = (Vec::new(), span.start);
    for gap in gaps {
        let end = gap.start.min(span.end);
        left.extend((start < end).then_some(Span { start, end, ..span }));
        start = start.max(gap.end);
    }
    left.extend((start < span.end).then_some(Span { start, ..span }));
    left
}

/// Until when holes are gaps: until `durable`, or of a deleted camera, until its deletion.
fn recorded_until(
    durable: Timestamp,
    pauses: &[Pause],
    tenures: &[Tenure],
    spans: &[Span],
) -> Timestamp {
    let Some(deleted) = pauses.last().filter(|pause| pause.to == Timestamp::MAX) else {
        return durable;
    };
    let last_end = spans.last().map_or(Timestamp::MIN, |span| span.end);
    // Nothing was to be recorded since; of another cluster's camera, since its last footage.
    if tenures.is_empty() {
        last_end
    } else {
        last_end.max(deleted.from)
    }
}

/// Both kinds of spans in one order, cut to the range; playable footage hides footage that is not
/// available.
fn with_silent(available: &[Span], silent: &[Span], range: Range) -> Vec<(Span, bool)> {
    let mut spans: Vec<_> = available.iter().map(|span| (*span, true)).collect();
    for span in silent {
        let pieces = holes(available, &[], span.start, span.end);
        spans.extend(pieces.into_iter().map(|(start, end)| {
            (
                Span {
                    start,
                    end,
                    ..*span
                },
                false,
            )
        }));
    }
    for (span, _) in &mut spans {
        (span.start, span.end) = (span.start.max(range.from), span.end.min(range.to));
    }
    spans.retain(|(span, _)| span.start < span.end);
    spans.sort_by_key(|(span, _)| (span.start, span.end));
    spans
}

/// The holes that are gaps: a camera has none before it first had an owner, or was first recorded,
/// nor while its first recorder connects, unless the ledger has an entry for that time.
fn known_holes(
    holes: Vec<(Timestamp, Timestamp)>,
    ledger: &[Gap],
    tenures: &[Tenure],
    spans: &[Span],
) -> Vec<(Timestamp, Timestamp)> {
    let first = tenures
        .iter()
        .map(|tenure| tenure.from)
        .chain(spans.iter().map(|span| span.start))
        .min();
    let Some(first) = first else {
        return Vec::new();
    };
    let is_first_start = |start: Timestamp, end: Timestamp| {
        start == first
            && end.micros_since(start) <= FIRST_START_US_MAX
            && !ledger.iter().any(|gap| gap.start < end && gap.end > start)
    };
    let clipped = holes
        .into_iter()
        .map(|(start, end)| (start.max(first), end));
    clipped
        .filter(|(start, end)| start < end && !is_first_start(*start, *end))
        .collect()
}

fn wire_span(span: &Span, available: bool, now: Timestamp) -> wire::Span {
    let Span {
        start,
        end,
        node,
        epoch,
        rank,
        damaged,
    } = *span;
    let in_future = start.micros_since(now) > FUTURE_US_MIN;
    wire::Span {
        start,
        end,
        node,
        epoch,
        rank,
        available,
        damaged,
        in_future,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{CameraId, StreamKind};

    const NODE: NodeId = NodeId(1);
    const MIRROR: NodeId = NodeId(2);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn span(from: i64, to: i64) -> Span {
        Span {
            start: at(from),
            end: at(to),
            node: NODE,
            epoch: Epoch(1),
            rank: Rank::Owner,
            damaged: false,
        }
    }

    fn gap(from: i64, to: i64) -> Gap {
        Gap {
            camera: CameraId(1),
            stream: StreamKind::Main,
            node: NODE,
            epoch: Epoch(1),
            start: at(from),
            end: at(to),
            cause: GapCause::CameraUnreachable,
            frames_missing: None,
        }
    }

    /// Of a node that owns the camera from 0 s on and is durable until 100 s.
    fn timeline(complete: bool, spans: &[(i64, i64)], gaps: &[(i64, i64)]) -> wire::Timeline {
        let tenures = [Tenure {
            epoch: Epoch(1),
            node: NODE,
            from: at(0),
            until: None,
        }];
        let recorded = Recorded {
            spans: spans.iter().map(|(from, to)| span(*from, *to)).collect(),
            gaps: gaps.iter().map(|(from, to)| gap(*from, *to)).collect(),
            complete,
        };
        // Another node did not reach the camera at all.
        let elsewhere = Recorded {
            gaps: vec![Gap {
                node: MIRROR,
                ..gap(0, 100)
            }],
            complete: true,
            ..Recorded::default()
        };
        let of = |node, recorded| Answer {
            node,
            answer: Some(recorded),
        };
        put_together(Known {
            range: Range {
                camera: CameraId(1),
                stream: StreamKind::Main,
                from: at(0),
                to: at(100),
            },
            now: at(100),
            answers: vec![of(NODE, recorded), of(MIRROR, elsewhere)],
            tenures: &tenures,
            watermarks: [(NODE, at(100))].into(),
            pauses: Vec::new(),
        })
    }

    #[test]
    fn what_is_not_listed_yet_is_no_gap() {
        let (spans, gaps) = ([(60, 70), (80, 100)], [(70, 80)]);
        let whole = timeline(true, &spans, &gaps);
        assert_eq!(whole.nodes_left_out, []);
        let of = |timeline: &wire::Timeline| -> Vec<(i64, i64)> {
            let seconds = |time: Timestamp| time.micros() / 1_000_000;
            let gaps = timeline.gaps.iter();
            gaps.map(|gap| (seconds(gap.start), seconds(gap.end)))
                .collect()
        };
        assert_eq!(of(&whole), [(0, 60), (70, 80)]);
        let partial = timeline(false, &spans, &gaps);
        assert_eq!(partial.nodes_left_out, [NODE]);
        assert_eq!(of(&partial), [(70, 80)], "what the ledger has is a gap");
        let shown: Vec<_> = partial
            .spans
            .iter()
            .map(|span| (span.start, span.end, span.available))
            .collect();
        let expected = [(0, 60, false), (60, 70, true), (80, 100, true)];
        assert_eq!(
            shown,
            expected.map(|(from, to, available)| (at(from), at(to), available))
        );
    }
}
