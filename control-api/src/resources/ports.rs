//! The only interface between the API and its node, in four ports. Any node answers for the whole
//! cluster: implementations forward changes to the leader, and fetch chunks from the node that
//! holds them.

use super::cameras::FootageExtent;
use super::parts::Part;
use super::retention::VolumeRetention;
use super::scrub::VolumeScrub;
use super::timeline::Timeline;
use crate::error::ApiError;
use bytes::Bytes;
use holdfast_consensus::command::{LogEntry, Response};
use holdfast_consensus::decide::headroom::Headroom;
use holdfast_consensus::model::KeyHash;
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::{JoinToken, WriteError};
use holdfast_storage::chunk::{ChunkEntry, Gap, InitId};
use holdfast_storage::ids::{CameraId, NodeId, StreamKind};
use holdfast_storage::retention::RetentionOrder;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

pub type Result<T> = std::result::Result<T, ApiError>;

/// The payload of a listed chunk, or why it is lost.
pub type Payload = std::result::Result<Bytes, Lost>;

/// Why a listed chunk is lost permanently: a client has to do without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is stored but damaged; the text describes the damage.
    Damaged(String),
    /// Retention deleted it in the meantime.
    Deleted,
}

/// The durable chunks of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub chunks: Vec<ChunkEntry>,
    /// Who is expected to list more in a moment: a node that is alive and did not answer in time,
    /// or a volume whose disk is slow or whose catalogue is being rebuilt. Who is away altogether
    /// is not late.
    pub late: Option<String>,
}

/// What is left of a camera's footage on all nodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    pub extent: Option<FootageExtent>,
    /// Every member has reported all that it has.
    pub is_complete: bool,
}

/// What this node is in its cluster, and how it reaches the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub node: NodeId,
    /// The leader, if a majority follows it.
    pub leader: Option<NodeId>,
    pub term: u64,
    pub voters: Vec<NodeId>,
    /// Grows with each recovery from the loss of a majority.
    pub generation: u64,
    /// Why this node can make no changes now; `None` if it can.
    pub no_part: Option<String>,
    /// The part of it that does not pass: its data directory is old or a copy, or it was removed.
    pub stands_apart: Option<String>,
    /// Addresses that differ from those in the replicated state.
    pub peer_addrs: BTreeMap<NodeId, String>,
    /// Why this node refuses processes of other nodes.
    pub refused: BTreeMap<NodeId, String>,
}

/// The cluster as this node knows it at one moment.
#[derive(Clone, Debug)]
pub struct Overview {
    pub state: Arc<ClusterState>,
    pub sight: Arc<Sight>,
    pub membership: Membership,
    /// The cost of the next failure; `None` until it has been computed.
    pub headroom: Option<Arc<Headroom>>,
    /// Since when nodes do not answer.
    pub down_since: BTreeMap<NodeId, Timestamp>,
}

/// The replicated state, and changes to it.
pub trait Cluster {
    /// The state as this node has it; `None` while it belongs to no cluster.
    fn state(&self) -> Option<Arc<ClusterState>>;
    /// The same, with what this node sees of the others.
    fn overview(&self) -> impl Future<Output = Option<Overview>> + Send;
    /// The highest number of a camera of which any node has footage.
    fn camera_highest(&self) -> CameraId;
    /// Proposes a change to the leader, and waits until this node has it, unless the node lags by
    /// more than the deadline. Ends within 2 s. A node that belongs to no cluster has no leader.
    fn write(
        &self,
        entry: LogEntry,
    ) -> impl Future<Output = std::result::Result<Response, WriteError>> + Send;
    /// Makes this node the first member of a new cluster; a conflict if it is a member already.
    fn init_cluster(&self) -> impl Future<Output = Result<()>> + Send;
    /// Joins the cluster that the token invites to; a conflict if this node is a member already.
    fn join_cluster(&self, token: JoinToken) -> impl Future<Output = Result<()>> + Send;
    /// This node, and the fingerprint of the root under which it can admit others; `None` if it
    /// cannot.
    fn root(&self) -> Option<(NodeId, KeyHash)>;
}

/// The recordings of all nodes as one.
pub trait Recordings {
    /// What is left of each of these cameras, in their order.
    fn remains(&self, cameras: &[CameraId]) -> impl Future<Output = Result<Vec<Remains>>> + Send;
    /// Spans and gaps that overlap `from..to`, clipped to it, for at most
    /// [`crate::limits::TIMELINES_AT_ONCE`] cameras, in their order, whether or not they exist.
    fn timelines(
        &self,
        cameras: &[CameraId],
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Vec<Timeline>>> + Send;
    /// The durable chunks of the whole cluster that overlap `from..to`, merged: per track sorted by
    /// start, without overlaps. Also for deleted cameras; not found if the camera never existed.
    /// Leaves out chunks on nodes that cannot be reached now: they would break off every export of
    /// their range, and without them other nodes' recordings may fill it.
    fn entries(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Listed>> + Send;
    /// The gap ledger's entries that overlap `from..to`.
    fn gaps(
        &self,
        camera: CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Vec<Gap>>> + Send;
    fn init(&self, camera: CameraId, id: InitId) -> impl Future<Output = Result<Bytes>> + Send;
    /// The payload of each chunk of a run ([`crate::playback::runs`]), from the node that holds
    /// them, verified against its checksum; or why it is lost permanently. An error if any of them
    /// may be available later.
    fn read(&self, run: &[ChunkEntry]) -> impl Future<Output = Result<Vec<Payload>>> + Send;
}

/// The volumes of all nodes. A node that does not answer is an error if it is asked for by its
/// number, else it is left out.
pub trait Volumes {
    /// By number.
    fn volumes(&self, node: NodeId) -> impl Future<Output = Result<Vec<VolumeReport>>> + Send;
    fn all_volumes(
        &self,
    ) -> impl Future<Output = Result<BTreeMap<NodeId, Vec<VolumeReport>>>> + Send;
    /// By node and volume.
    fn scrub(&self) -> impl Future<Output = Result<Vec<VolumeScrub>>> + Send;
    /// Starts a scrub of all volumes of a node. Idempotent except for the work.
    fn start_scrub(&self, node: NodeId) -> impl Future<Output = Result<()>> + Send;
    /// What they delete, and what they do not delete yet, by node and volume.
    fn retention(&self) -> impl Future<Output = Result<Vec<VolumeRetention>>> + Send;
    /// Gives an operator's decision to the node, for one volume or for all.
    fn order_retention(
        &self,
        node: NodeId,
        volume: Option<u16>,
        order: RetentionOrder,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// The process of this node.
pub trait Process {
    /// Whether this node can work now; if not, why, as text for the operator.
    fn ready(&self) -> impl Future<Output = std::result::Result<(), String>> + Send;
    /// What an operator should know although this node is ready, one line each.
    fn notes(&self) -> Vec<String>;
    /// What it does in the background; nothing while it belongs to no cluster.
    fn parts(&self) -> Vec<Part>;
    /// The registry of this node's metrics; the API adds its own.
    fn metrics(&self) -> prometheus::Registry;
}

/// All ports of a node. Implementations set their own deadlines; the API gives up on any call that
/// takes longer than its own limits ([`crate::limits`]).
pub trait Backend:
    Cluster + Recordings + Volumes + Process + Clone + Send + Sync + 'static
{
}

impl<N: Cluster + Recordings + Volumes + Process + Clone + Send + Sync + 'static> Backend for N {}
