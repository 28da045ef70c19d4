//! Asks the cluster for its state, through any node that answers.

use super::aim::{View, ViewCamera};
use crate::history::LedgerGap;
use crate::site::SETTLE_TIMEOUT;
use crate::stage::Stage;
use crate::{Error, Result, wait};
use futures::future::join_all;
use holdfast_consensus::model::Role;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::{Camera, Cluster, GapLedger};
use holdfast_node::client::Api;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// A node that takes longer is asked again the next time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// One node's report of the cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterStatus {
    pub(super) cluster: Cluster,
    pub(super) cameras: Vec<Camera>,
}

impl ClusterStatus {
    pub(super) fn name(&self, id: NodeId) -> Option<String> {
        self.cluster
            .nodes
            .iter()
            .find(|node| node.id == id)
            .map(|node| node.name.clone())
    }

    fn leads(&self) -> bool {
        self.cluster.leader.is_some() && self.cluster.leader == self.cluster.this_node
    }

    fn view(&self, names: &[String]) -> View {
        let index = |id: Option<NodeId>| {
            let name = self.name(id?)?;
            names.iter().position(|known| *known == name)
        };
        let records =
            |node: &&holdfast_control_api::wire::Node| node.role == Role::Recorder && node.alive;
        let camera = |(number, camera): (u32, &Camera)| {
            let assignment = &camera.assignment;
            let seen = ViewCamera {
                number,
                owner: index(assignment.owner),
                mirror: index(assignment.mirror),
                successor: index(assignment.successor),
                recorder: index(camera.recording.node),
            };
            (camera.name.clone(), seen)
        };
        let numbered = self
            .cameras
            .iter()
            .filter_map(|camera| Some((camera.name.strip_prefix("cam")?.parse().ok()?, camera)));
        View {
            leader: index(self.cluster.leader),
            recorders: self
                .cluster
                .nodes
                .iter()
                .filter(records)
                .filter_map(|node| index(Some(node.id)))
                .collect(),
            nodes: names.len(),
            cameras: numbered.map(camera).collect(),
        }
    }
}

/// Asks one node.
///
/// # Errors
/// The node's error, or that it does not answer.
pub(super) async fn ask(
    api: &Api,
    ours: &BTreeMap<CameraId, String>,
) -> std::result::Result<ClusterStatus, String> {
    let asked = async {
        let cluster = api
            .get(&["cluster"], &[])
            .await
            .map_err(|error| error.to_string())?;
        let all: Vec<Camera> = api
            .get(&["cameras"], &[])
            .await
            .map_err(|error| error.to_string())?;
        // An attached cluster has other cameras too, and knows ours by longer names.
        let named = all.into_iter().filter_map(|camera| {
            Some(Camera {
                name: ours.get(&camera.id)?.clone(),
                ..camera
            })
        });
        Ok(ClusterStatus {
            cluster,
            cameras: named.collect(),
        })
    };
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())))
}

/// The gaps since `from` that one node reports; `None` if another node was left out of its answer,
/// so that it cannot know them all.
///
/// # Errors
/// The node's error, or that it does not answer.
pub(super) async fn gaps(
    api: &Api,
    ours: &BTreeMap<CameraId, String>,
    from: Timestamp,
) -> std::result::Result<Option<Vec<LedgerGap>>, String> {
    let (from, to) = (from.to_string(), wall_now().to_string());
    let asked = async {
        let mut all = Vec::new();
        let mut after: Option<CameraId> = None;
        loop {
            let page = after.map(|after| after.to_string());
            let mut query = vec![("from", from.as_str()), ("to", to.as_str())];
            query.extend(page.as_deref().map(|after| ("after", after)));
            let ledger: GapLedger = api
                .get(&["gaps"], &query)
                .await
                .map_err(|error| error.to_string())?;
            if !ledger.nodes_left_out.is_empty() {
                return Ok(None);
            }
            let named = ledger
                .gaps
                .into_iter()
                .filter_map(|gap| Some((ours.get(&gap.camera)?, gap)));
            all.extend(named.map(|(name, gap)| LedgerGap {
                camera: name.clone(),
                start_us: gap.start.micros(),
                end_us: gap.end.micros(),
                cause: gap.cause,
            }));
            after = ledger.next_after;
            if after.is_none() {
                return Ok(Some(all));
            }
        }
    };
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())))
}

/// The leader's report; otherwise that of a node that knows a leader, otherwise any.
///
/// # Errors
/// If no node answers.
pub(super) async fn status(stage: &Stage) -> std::result::Result<ClusterStatus, String> {
    let clients = stage.clients().map_err(|error| error.to_string())?;
    let (wanted, ours) = (stage.wanted(), stage.camera_names());
    let asked = wanted
        .iter()
        .filter_map(|&index| clients.get(index))
        .map(|(_, api)| ask(api, &ours));
    let mut answers: Vec<ClusterStatus> = join_all(asked)
        .await
        .into_iter()
        .filter_map(std::result::Result::ok)
        .collect();
    answers.sort_by_key(|status| (!status.leads(), status.cluster.leader.is_none()));
    answers
        .into_iter()
        .next()
        .ok_or_else(|| "no node answers".to_owned())
}

/// The state of the cluster now.
///
/// # Errors
/// If there is no leader in time.
pub(super) async fn view(stage: &Stage) -> Result<View> {
    wait::until("there is a leader", SETTLE_TIMEOUT, async || {
        let view = status(stage).await?.view(&stage.names());
        if view.leader.is_some() {
            Ok(view)
        } else {
            Err("no node leads".to_owned())
        }
    })
    .await
}

/// The state of the cluster now, with or without a leader.
///
/// # Errors
/// If no node answers.
pub(super) async fn view_as_it_is(stage: &Stage) -> Result<View> {
    status(stage)
        .await
        .map(|status| status.view(&stage.names()))
        .map_err(Error::Wrong)
}

/// Waits until each camera has one owner that records it, no move is under way, and the cameras
/// have no more sessions than recorders.
///
/// # Errors
/// Names the camera that is not settled in time, and its state.
pub(super) async fn settled(stage: &Stage, within: Duration) -> Result<()> {
    wait::until(
        "each camera has its recorders and no others",
        within,
        async || {
            let status = status(stage).await?;
            for (camera, class) in stage.cameras() {
                let found = status.cameras.iter().find(|known| known.id == camera.id);
                let found = found.ok_or_else(|| format!("{} is not known", camera.name))?;
                let assignment = &found.assignment;
                let recording = &found.recording;
                let is_settled = assignment.owner.is_some()
                    && assignment.moving_to.is_none()
                    && recording.state == Some(RecorderState::Recording)
                    && [assignment.owner, assignment.mirror].contains(&recording.node);
                let mirrored = assignment.mirror.is_some();
                let wanted = 1 + usize::from(mirrored);
                let sessions = camera.handle.sessions();
                if !is_settled || sessions != wanted {
                    return Err(format!(
                        "{} ({class:?}) with {sessions} sessions: {found:?}",
                        camera.name
                    ));
                }
            }
            Ok(())
        },
    )
    .await
}

/// Waits until every camera is durable beyond `instant`.
///
/// # Errors
/// Names the cameras that are not in time.
pub(super) async fn recorded_beyond(
    stage: &Stage,
    instant: Timestamp,
    within: Duration,
) -> Result<()> {
    wait::until("every camera is recorded", within, async || {
        let status = status(stage).await?;
        let late = |camera: &&Camera| {
            camera
                .recording
                .watermark
                .is_none_or(|watermark| watermark <= instant)
        };
        let ours = status
            .cameras
            .iter()
            .filter(|camera| stage.cameras().iter().any(|(own, _)| own.id == camera.id));
        let late: Vec<&str> = ours
            .filter(late)
            .map(|camera| camera.name.as_str())
            .collect();
        if late.is_empty() {
            Ok(())
        } else {
            Err(late.join(", "))
        }
    })
    .await
}
