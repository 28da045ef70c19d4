//! Cameras that are recorded no more: their remaining footage, and when they are forgotten.

use crate::clock::Clock;
use crate::footage::cluster_footage::View;
use crate::footage::timeline::Answer;
use crate::volumes::report::Recorded;
use holdfast_consensus::Consensus;
use holdfast_consensus::command::Command;
use holdfast_consensus::model::{Actor, FormerCamera};
use holdfast_control_api::limits::TIMELINES_AT_ONCE;
use holdfast_control_api::ports::Remains;
use holdfast_control_api::wire::FootageExtent;
use holdfast_storage::Range;
use holdfast_storage::ids::{CameraId, NodeId, StreamKind};
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

/// How often the leader checks whether footage of deleted cameras is gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);

/// A deleted camera can be restored for at least this long, and footage of another cluster may take
/// this long to reach a node.
const KEPT_MIN: Duration = Duration::from_secs(7 * 24 * 3600);

impl View {
    /// In the order of the cameras.
    pub(crate) async fn remains(&self, cameras: &[CameraId]) -> Vec<Remains> {
        let mut remains = Vec::with_capacity(cameras.len());
        for some in cameras.chunks(TIMELINES_AT_ONCE) {
            let of = |stream| {
                some.iter()
                    .map(|camera| Range::all(*camera, stream))
                    .collect::<Vec<_>>()
            };
            let (main, sub) = (of(StreamKind::Main), of(StreamKind::Sub));
            let (main, sub) = tokio::join!(self.recorded(&main), self.recorded(&sub));
            let members: Vec<NodeId> = self.state.borrow().nodes.keys().collect();
            let found = (0..some.len()).map(|at| put_together(&members, at, [&main, &sub]));
            remains.extend(found);
        }
        remains
    }
}

fn put_together(
    members: &[NodeId],
    at: usize,
    answers: [&Vec<Answer<Vec<Recorded>>>; 2],
) -> Remains {
    let of = |answer: &Answer<Vec<Recorded>>| {
        answer.answer.as_ref().and_then(|all| all.get(at)).cloned()
    };
    let has_said_all = |node: &NodeId| {
        let of_node = |answers: &Vec<Answer<Vec<Recorded>>>| {
            answers
                .iter()
                .find(|answer| answer.node == *node)
                .and_then(of)
                .is_some_and(|recorded| recorded.complete)
        };
        answers.iter().all(|answers| of_node(answers))
    };
    let spans = || {
        answers
            .iter()
            .flat_map(|answers| answers.iter().filter_map(of))
            .flat_map(|recorded| recorded.spans)
    };
    let first = spans().map(|span| span.start).min();
    let last = spans().map(|span| span.end).max();
    Remains {
        extent: first.zip(last).map(|(from, to)| FootageExtent { from, to }),
        is_complete: members.iter().all(has_said_all),
    }
}

/// Has the cluster forget cameras that have no footage left anywhere, as long as this node leads.
/// While a node is away nothing is forgotten: it may have some.
pub(crate) async fn forget(consensus: Consensus, view: View, clock: Clock) {
    loop {
        sleep(LOOK_INTERVAL).await;
        if !consensus.leadership().borrow().is_leader {
            continue;
        }
        let state = consensus.state();
        let recovered = state
            .generation()
            .and_then(|generation| generation.recovered)
            .map(|recovered| recovered.at);
        let old = old_enough(state.former.values(), recovered, clock.now());
        let remains = view
            .remains(&old.iter().map(|(camera, _)| *camera).collect::<Vec<_>>())
            .await;
        let gone: Vec<(CameraId, Timestamp)> = old
            .into_iter()
            .zip(remains)
            .filter(|(_, remains)| is_gone(remains))
            .map(|(former, _)| former)
            .collect();
        if gone.is_empty() {
            continue;
        }
        let command =
            Command::ForgetCameras { cameras: gone }.by(Actor::Node(view.me), clock.now());
        let what = command.to_string();
        match consensus.write(command).await {
            Ok(_) => tracing::info!(what, "no footage is left of them"),
            Err(error) => tracing::warn!(%error, what, "tried again later"),
        }
    }
}

/// Nodes that a recovery dropped may join again with the footage that they have.
fn old_enough<'a>(
    former: impl Iterator<Item = &'a FormerCamera>,
    recovered: Option<Timestamp>,
    now: Timestamp,
) -> Vec<(CameraId, Timestamp)> {
    let since = |former: &FormerCamera| {
        recovered.map_or(former.since, |recovered| former.since.max(recovered))
    };
    former
        .filter(|former| since(former).plus(KEPT_MIN) <= now)
        .map(|former| (former.id, former.since))
        .collect()
}

fn is_gone(remains: &Remains) -> bool {
    remains.is_complete && remains.extent.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::model::{Origin, Was};
    use holdfast_storage::ids::{Epoch, Rank};
    use holdfast_storage::timeline::Span;
    use uuid::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn recorded(spans: &[(i64, i64)], complete: bool) -> Recorded {
        let span = |(from, to): &(i64, i64)| Span {
            start: at(*from),
            end: at(*to),
            node: NodeId(9),
            epoch: Epoch(1),
            rank: Rank::Owner,
            damaged: false,
        };
        Recorded {
            spans: spans.iter().map(span).collect(),
            gaps: Vec::new(),
            complete,
        }
    }

    fn answer(node: u64, answer: Option<Recorded>) -> Answer<Vec<Recorded>> {
        Answer {
            node: NodeId(node),
            answer: answer.map(|recorded| vec![recorded]),
        }
    }

    #[test]
    fn what_is_left_spans_all_nodes_and_is_known_only_where_all_have_said_it() {
        let members = [NodeId(1), NodeId(2)];
        let none = || {
            vec![
                answer(1, Some(recorded(&[], true))),
                answer(2, Some(recorded(&[], true))),
            ]
        };
        let main = vec![
            answer(1, Some(recorded(&[(5, 9)], true))),
            answer(2, Some(recorded(&[(1, 3)], true))),
        ];
        let extent = Some(FootageExtent {
            from: at(1),
            to: at(9),
        });
        assert_eq!(
            put_together(&members, 0, [&main, &none()]),
            Remains {
                extent,
                is_complete: true
            }
        );
        assert!(is_gone(&put_together(&members, 0, [&none(), &none()])));
        assert!(
            !is_gone(&put_together(&members, 0, [&none(), &main])),
            "the other stream"
        );
        for away in [None, Some(recorded(&[], false))] {
            let silent = vec![answer(1, Some(recorded(&[], true))), answer(2, away)];
            assert!(
                !is_gone(&put_together(&members, 0, [&silent, &none()])),
                "it may have some"
            );
        }
        let missing = vec![answer(1, Some(recorded(&[], true)))];
        assert!(!is_gone(&put_together(&members, 0, [&none(), &missing])));
    }

    #[test]
    fn nothing_is_forgotten_within_a_week() {
        let former = FormerCamera {
            id: CameraId(1),
            name: "gate".parse().unwrap(),
            since: at(100),
            by: Actor::System,
            was: Was::Elsewhere(Origin {
                cluster: Uuid::nil(),
                camera: CameraId(3),
            }),
        };
        let week = 7 * 24 * 3600;
        let old = |recovered, now| old_enough([&former].into_iter(), recovered, now);
        assert!(old(None, at(99 + week)).is_empty());
        assert_eq!(old(None, at(100 + week)), [(CameraId(1), at(100))]);
        let recovered = Some(at(500));
        assert!(
            old(recovered, at(499 + week)).is_empty(),
            "a dropped node may come back with its footage"
        );
        assert_eq!(old(recovered, at(500 + week)), [(CameraId(1), at(100))]);
    }
}
