//! This node as the ports of the control API: the replicated state and changes to it through
//! consensus, footage and volumes of the whole cluster through its peers.

use crate::footage::cluster_footage::ViewError;
use crate::footage::retention::OrderRequest;
use crate::host::member::Member;
use crate::host::process::{BecomeError, Host};
use bytes::Bytes;
use holdfast_consensus::command::{LogEntry, Response};
use holdfast_consensus::model::KeyHash;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::{Consensus, JoinError, JoinToken, WriteError};
use holdfast_control_api::ports::{
    Cluster, Listed, Membership, Overview, Payload, Process, Recordings, Remains, Result, Volumes,
};
use holdfast_control_api::{ApiError, ErrorKind, wire};
use holdfast_storage::Range;
use holdfast_storage::chunk::{ChunkEntry, Gap, InitId};
use holdfast_storage::ids::{CameraId, NodeId, StreamKind};
use holdfast_storage::retention::RetentionOrder;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct NodePorts {
    pub(crate) host: Arc<Host>,
    pub(crate) metrics: prometheus::Registry,
}

impl NodePorts {
    fn member(&self) -> Result<&Member> {
        self.host.member().ok_or_else(ApiError::no_cluster)
    }
}

impl Cluster for NodePorts {
    fn state(&self) -> Option<Arc<ClusterState>> {
        self.host.member().map(|member| member.consensus.state())
    }

    async fn overview(&self) -> Option<Overview> {
        let member = self.host.member()?;
        let sight = member.view.whole_sight().await;
        let state = member.consensus.state();
        let headroom = member.headroom.borrow().clone();
        let clock = self.host.clock;
        let down_since = sight.down_since(clock.now(), clock.elapsed());
        Some(Overview {
            membership: membership(&member.consensus, &state),
            state,
            sight,
            headroom,
            down_since,
        })
    }

    fn camera_highest(&self) -> CameraId {
        self.host.member().map_or(CameraId(0), |member| {
            member.consensus.identity().camera_highest()
        })
    }

    async fn write(&self, entry: LogEntry) -> std::result::Result<Response, WriteError> {
        match self.host.member() {
            Some(member) => member.consensus.write(entry).await,
            None => Err(WriteError::NoLeader),
        }
    }

    async fn init_cluster(&self) -> Result<()> {
        self.host.found().await.map_err(become_error)
    }

    async fn join_cluster(&self, token: JoinToken) -> Result<()> {
        self.host.join(token).await.map_err(become_error)
    }

    fn root(&self) -> Option<(NodeId, KeyHash)> {
        let consensus = &self.host.member()?.consensus;
        Some((consensus.node(), consensus.root()?))
    }
}

impl Recordings for NodePorts {
    async fn remains(&self, cameras: &[CameraId]) -> Result<Vec<Remains>> {
        Ok(self.member()?.view.remains(cameras).await)
    }

    async fn timelines(
        &self,
        cameras: &[CameraId],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<wire::Timeline>> {
        Ok(self
            .member()?
            .view
            .timelines(cameras, (from, to), self.host.clock.now())
            .await)
    }

    async fn entries(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Listed> {
        let member = self.member()?;
        let listing = member
            .view
            .entries(Range {
                camera,
                stream,
                from,
                to,
            })
            .await
            .map_err(view_error)?;
        let may_be_known = !listing.chunks.is_empty() || listing.late.is_some();
        let state = member.consensus.state();
        let is_known = state.cameras.contains(camera) || state.former.contains(camera);
        if is_known || may_be_known {
            Ok(listing)
        } else {
            Err(ApiError::no_camera(camera))
        }
    }

    async fn gaps(&self, camera: CameraId, from: Timestamp, to: Timestamp) -> Result<Vec<Gap>> {
        Ok(self
            .member()?
            .view
            .gaps(Range {
                camera,
                stream: StreamKind::Main,
                from,
                to,
            })
            .await)
    }

    async fn init(&self, camera: CameraId, id: InitId) -> Result<Bytes> {
        self.member()?
            .view
            .init(camera, id)
            .await
            .map_err(view_error)
    }

    async fn read(&self, run: &[ChunkEntry]) -> Result<Vec<Payload>> {
        self.member()?.view.read(run).await.map_err(view_error)
    }
}

impl Volumes for NodePorts {
    async fn volumes(&self, node: NodeId) -> Result<Vec<VolumeReport>> {
        let found = self.member()?.view.volumes(node).await;
        found.map_err(view_error)
    }

    async fn all_volumes(&self) -> Result<BTreeMap<NodeId, Vec<VolumeReport>>> {
        Ok(self.member()?.view.all_volumes().await)
    }

    async fn scrub(&self) -> Result<Vec<wire::VolumeScrub>> {
        Ok(self.member()?.view.scrub().await)
    }

    async fn start_scrub(&self, node: NodeId) -> Result<()> {
        let started = self.member()?.view.start_scrub(node).await;
        started.map_err(view_error)
    }

    async fn retention(&self) -> Result<Vec<wire::VolumeRetention>> {
        Ok(self.member()?.view.retention().await)
    }

    async fn order_retention(
        &self,
        node: NodeId,
        volume: Option<u16>,
        order: RetentionOrder,
    ) -> Result<()> {
        let request = OrderRequest { volume, order };
        let passed = self.member()?.view.order_retention(node, &request).await;
        passed.map_err(view_error)
    }
}

impl Process for NodePorts {
    async fn ready(&self) -> std::result::Result<(), String> {
        let member = self
            .host
            .member()
            .ok_or("this node belongs to no cluster yet")?;
        member.volumes.writable()?;
        member.volumes.room()?;
        let state = member.consensus.state();
        no_part(&member.consensus, &state).map_or(Ok(()), Err)
    }

    fn notes(&self) -> Vec<String> {
        self.host
            .member()
            .map(|member| member.volumes.retention_notes())
            .unwrap_or_default()
    }

    fn parts(&self) -> Vec<wire::Part> {
        self.host
            .member()
            .map(|member| member.parts.statuses())
            .unwrap_or_default()
    }

    fn metrics(&self) -> prometheus::Registry {
        self.metrics.clone()
    }
}

fn membership(consensus: &Consensus, state: &ClusterState) -> Membership {
    let (identity, leadership) = (
        consensus.identity(),
        consensus.leadership().borrow().clone(),
    );
    let addresses = identity.addresses();
    let known = |node| Some((node, addresses.of(node)?));
    Membership {
        node: consensus.node(),
        leader: consensus.leader(),
        term: leadership.term,
        voters: leadership.voters,
        generation: identity.generation().number,
        no_part: no_part(consensus, state),
        stands_apart: stands_apart(consensus),
        peer_addrs: state.nodes.keys().filter_map(known).collect(),
        refused: identity.refused(),
    }
}

/// Why this node takes no part in what the cluster decides: its data directory is old or a copy, or
/// it was removed.
fn stands_apart(consensus: &Consensus) -> Option<String> {
    let standing = *consensus.identity().standing().borrow();
    standing.is_final().then(|| standing.to_string())
}

/// Why this node cannot make changes, or `None` if it can: for health and status alike.
fn no_part(consensus: &Consensus, state: &ClusterState) -> Option<String> {
    let identity = consensus.identity();
    if let Some(why) = stands_apart(consensus) {
        return Some(why);
    }
    if consensus.leader().is_some() {
        return None;
    }
    let mut why = "no leader with a majority behind it is known; recording continues, changes of \
                   configuration wait"
        .to_owned();
    let strangers = identity.strangers();
    let names = strangers
        .iter()
        .filter_map(|node| Some(state.nodes.get(*node)?.spec.name.as_str()));
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        why.push_str(&format!(
            "; this node and {} do not recognise each other",
            names.join(", ")
        ));
    }
    Some(why)
}

fn become_error(error: BecomeError) -> ApiError {
    let detail = error.to_string();
    match error {
        BecomeError::Member { .. } => {
            ApiError::new(ErrorKind::Conflict, detail).code("already-member")
        }
        BecomeError::ForeignData { .. } | BecomeError::LostIdentity { .. } => {
            ApiError::new(ErrorKind::Conflict, detail).code("foreign-data")
        }
        BecomeError::Join(JoinError::Rejected(rejection)) => rejection.into(),
        BecomeError::Join(_) => ApiError::unavailable(detail).code("cannot-join"),
        BecomeError::Initialize(_) => ApiError::unavailable(detail).code("cannot-initialize"),
        BecomeError::Config(_)
        | BecomeError::Identity(_)
        | BecomeError::Keys(_)
        | BecomeError::Token(_)
        | BecomeError::Start(_)
        | BecomeError::Bug(_) => ApiError::internal(detail),
    }
}

fn view_error(error: ViewError) -> ApiError {
    let detail = error.to_string();
    match error {
        ViewError::Local(error) if error.is_damage() => ApiError::damaged(detail),
        ViewError::Local(error) if error.is_passing() => ApiError::unavailable(detail),
        ViewError::Local(_) => ApiError::internal(detail),
        ViewError::NoInit => ApiError::unavailable(detail),
        ViewError::Peer(_) => ApiError::unavailable(detail),
        ViewError::Gone(_) => ApiError::not_found(detail),
    }
}
