//! Watches the cluster through every node's API while faults come and go, and writes changes to the
//! history.

use super::look::{self, ClusterStatus, ask};
use crate::history::{History, LedgerGap, Mark, What};
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::Camera;
use holdfast_node::client::Api;
use holdfast_node::terminal::clock::monotonic_now;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Pause between polls of one node; longer with many cameras.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);
const LOOK_INTERVAL_MANY: Duration = Duration::from_millis(1000);
const MANY_CAMERAS: usize = 60;

/// How often to ask for all gaps of the run.
const GAPS_INTERVAL: Duration = Duration::from_secs(5);

/// Starts one watcher for each node; dropping the result ends them. They report gaps since `from`.
pub(super) fn watch(
    clients: Vec<(String, Api)>,
    cameras: BTreeMap<CameraId, String>,
    from: Timestamp,
    history: &History,
) -> JoinSet<()> {
    let cameras = Arc::new(cameras);
    let interval = if cameras.len() > MANY_CAMERAS {
        LOOK_INTERVAL_MANY
    } else {
        LOOK_INTERVAL
    };
    let mut watchers = JoinSet::new();
    for (name, api) in clients {
        let (history, cameras) = (history.clone(), Arc::clone(&cameras));
        watchers.spawn(async move {
            let mut seen = Seen {
                name,
                ..Seen::default()
            };
            loop {
                for what in seen.compare(ask(&api, &cameras).await) {
                    history.add(what);
                }
                if seen
                    .asked_gaps_at
                    .is_none_or(|at| at.elapsed() >= GAPS_INTERVAL)
                {
                    seen.asked_gaps_at = Some(monotonic_now());
                    // If a node does not answer, the history has that already.
                    let reported = look::gaps(&api, &cameras, from)
                        .await
                        .ok()
                        .flatten()
                        .unwrap_or_default();
                    seen.new_gaps(reported)
                        .into_iter()
                        .for_each(|what| history.add(what));
                }
                sleep(interval).await;
            }
        });
    }
    watchers
}

/// A node's last report.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    answers: Option<bool>,
    leader: Option<(Option<String>, u64)>,
    alive: BTreeMap<String, bool>,
    assignments: BTreeMap<String, What>,
    recorders: BTreeMap<String, What>,
    gaps: BTreeSet<LedgerGap>,
    asked_gaps_at: Option<Instant>,
}

impl Seen {
    /// Returns the changes.
    fn compare(&mut self, answer: Result<ClusterStatus, String>) -> Vec<What> {
        let mut news = Vec::new();
        let yes = answer.is_ok();
        if self.answers.replace(yes) != Some(yes) {
            news.push(What::Answers {
                reported_by: self.name.clone(),
                yes,
            });
        }
        let Ok(status) = answer else { return news };
        let leader = (
            status.cluster.leader.and_then(|id| status.name(id)),
            status.cluster.term,
        );
        if self.leader.as_ref() != Some(&leader) {
            self.leader = Some(leader.clone());
            news.push(What::Leader {
                reported_by: self.name.clone(),
                leader: leader.0,
                term: leader.1,
            });
        }
        for node in &status.cluster.nodes {
            if self.alive.insert(node.name.clone(), node.alive) != Some(node.alive) {
                let (reported_by, node, yes) = (self.name.clone(), node.name.clone(), node.alive);
                news.push(What::Alive {
                    reported_by,
                    node,
                    yes,
                });
            }
        }
        let mut marks = BTreeMap::new();
        for camera in &status.cameras {
            let (assignment, recorder) = (
                self.assignment(&status, camera),
                self.recorder(&status, camera),
            );
            changed(&mut self.assignments, &camera.name, assignment, &mut news);
            changed(&mut self.recorders, &camera.name, recorder, &mut news);
            let node = camera.recording.node.and_then(|id| status.name(id));
            if let (Some(node), Some(watermark)) = (node, camera.recording.watermark) {
                let mark = Mark {
                    node,
                    epoch: camera.assignment.epoch.0,
                    is_recording: camera.recording.state == Some(RecorderState::Recording),
                    watermark_us: watermark.micros(),
                };
                marks.insert(camera.name.clone(), mark);
            }
        }
        news.push(What::Watermarks {
            reported_by: self.name.clone(),
            marks,
        });
        news
    }

    fn new_gaps(&mut self, reported: Vec<LedgerGap>) -> Option<What> {
        let new: Vec<LedgerGap> = reported
            .into_iter()
            .filter(|gap| self.gaps.insert(gap.clone()))
            .collect();
        (!new.is_empty()).then(|| What::Gaps {
            reported_by: self.name.clone(),
            gaps: new,
        })
    }

    fn assignment(&self, status: &ClusterStatus, camera: &Camera) -> What {
        let name = |id: Option<_>| id.and_then(|id| status.name(id));
        let assignment = &camera.assignment;
        What::Assignment {
            reported_by: self.name.clone(),
            camera: camera.name.clone(),
            epoch: assignment.epoch.0,
            owner: name(assignment.owner),
            mirror: name(assignment.mirror),
            successor: name(assignment.successor),
            moving_to: name(assignment.moving_to),
        }
    }

    fn recorder(&self, status: &ClusterStatus, camera: &Camera) -> What {
        What::Recorder {
            reported_by: self.name.clone(),
            camera: camera.name.clone(),
            node: camera.recording.node.and_then(|id| status.name(id)),
            state: camera
                .recording
                .state
                .map(|state| format!("{state:?}").to_lowercase()),
            error: camera.recording.error.clone(),
        }
    }
}

fn changed(known: &mut BTreeMap<String, What>, name: &str, now: What, news: &mut Vec<What>) {
    if known.get(name) != Some(&now) {
        known.insert(name.to_owned(), now.clone());
        news.push(now);
    }
}
