//! The interface between the API and its node. Any node answers for the whole cluster: the
//! implementation forwards writes to the leader and fetches chunks from the node that holds them.

use crate::error::ApiError;
use crate::wire;
use bytes::Bytes;
use holdfast_consensus::model::Secret;
use holdfast_storage::chunk::{ChunkEntry, Gap, InitId};
use holdfast_storage::ids::{CameraId, DrillId, ExportId, HoldId, NodeId, StreamKind};
use holdfast_storage::retention::RetentionAction;
use holdfast_storage::time::Timestamp;
use std::future::Future;

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

/// The node behind the API. Implementations set their own deadlines: a write ends within 2 s, as
/// done, as [`crate::error::ErrorKind::NoLeader`], or as
/// [`crate::error::ErrorKind::OutcomeUnknown`]; the API gives up on any call that takes longer than
/// its own limits ([`crate::limits`]).
pub trait Backend: Clone + Send + Sync + 'static {
    /// The state of the cluster, as far as this node knows; also while it belongs to none.
    fn status(&self) -> impl Future<Output = Result<wire::Status>> + Send;
    fn cluster(&self) -> impl Future<Output = Result<wire::Cluster>> + Send;
    /// Makes this node the first member of a new cluster; a conflict if it is a member already.
    fn init_cluster(&self) -> impl Future<Output = Result<wire::Cluster>> + Send;
    /// Joins the cluster that `peer` (`host:port`) belongs to; a conflict if this node is a member
    /// already.
    fn join_cluster(&self, peer: String) -> impl Future<Output = Result<wire::Cluster>> + Send;

    /// Spreads cameras evenly over the nodes again, and moves them to their preferred nodes. A
    /// second request restarts it.
    fn rebalance(&self) -> impl Future<Output = Result<wire::Cluster>> + Send;
    /// Finalises the upgrade to the newest version that every member understands. Idempotent.
    fn finalize(&self) -> impl Future<Output = Result<wire::Cluster>> + Send;
    fn settings(&self) -> impl Future<Output = Result<wire::Settings>> + Send;
    fn patch_settings(
        &self,
        patch: wire::SettingsPatch,
    ) -> impl Future<Output = Result<wire::Settings>> + Send;

    /// The configuration of the cluster, sealed with the passphrase.
    fn backup(&self, passphrase: Secret) -> impl Future<Output = Result<Bytes>> + Send;
    /// Opens a backup and restores it, or returns what that would do. Idempotent; a part may be
    /// left for another request.
    fn restore(
        &self,
        restore: wire::NewRestore,
    ) -> impl Future<Output = Result<wire::Restored>> + Send;

    fn nodes(&self) -> impl Future<Output = Result<Vec<wire::Node>>> + Send;
    /// Removes a member from the cluster permanently; a conflict if it owns cameras, unless
    /// `force`.
    fn remove_node(&self, node: NodeId, force: bool) -> impl Future<Output = Result<()>> + Send;
    /// The state of a member's volumes, by number.
    fn volumes(&self, node: NodeId) -> impl Future<Output = Result<Vec<wire::Volume>>> + Send;
    /// Sets or lifts an operator's drain. Idempotent.
    fn set_draining(
        &self,
        node: NodeId,
        draining: bool,
    ) -> impl Future<Output = Result<wire::Node>> + Send;

    fn cameras(&self) -> impl Future<Output = Result<Vec<wire::Camera>>> + Send;
    fn camera(&self, id: CameraId) -> impl Future<Output = Result<wire::Camera>> + Send;
    /// [`wire::NewCamera::into_spec`] checks it. A conflict (`no-headroom`) if it would leave a
    /// camera unrecorded after a failure and the settings are strict; otherwise the answer contains
    /// a warning.
    fn create_camera(
        &self,
        camera: wire::NewCamera,
    ) -> impl Future<Output = Result<wire::Camera>> + Send;
    /// [`wire::CameraPatch::onto`] checks and applies it.
    fn patch_camera(
        &self,
        id: CameraId,
        patch: wire::CameraPatch,
    ) -> impl Future<Output = Result<wire::Camera>> + Send;
    /// Ends the camera's recording. Its footage stays until retention deletes it.
    fn delete_camera(&self, id: CameraId) -> impl Future<Output = Result<()>> + Send;

    /// Cameras that are no longer recorded but not forgotten, with what is left of their footage.
    fn deleted_cameras(&self) -> impl Future<Output = Result<Vec<wire::DeletedCamera>>> + Send;
    /// Records a deleted camera again, under its number.
    fn restore_camera(
        &self,
        id: CameraId,
        restore: wire::RestoreCamera,
    ) -> impl Future<Output = Result<wire::Camera>> + Send;

    /// Assigns numbers and names in this cluster to footage of another cluster's cameras.
    /// Idempotent.
    fn adopt_cameras(
        &self,
        adopt: wire::AdoptCameras,
    ) -> impl Future<Output = Result<Vec<wire::CameraNumber>>> + Send;

    /// Clears the suspicion that a camera ended processes: it is recorded as usual immediately.
    /// Idempotent.
    fn release_camera(&self, id: CameraId) -> impl Future<Output = Result<wire::Camera>> + Send;

    fn holds(&self) -> impl Future<Output = Result<Vec<wire::Hold>>> + Send;
    fn hold(&self, id: HoldId) -> impl Future<Output = Result<wire::Hold>> + Send;
    /// The camera may have been deleted; not found if it never existed.
    fn create_hold(&self, hold: wire::NewHold) -> impl Future<Output = Result<wire::Hold>> + Send;
    /// Retention may delete what no other hold covers from now on.
    fn delete_hold(&self, id: HoldId) -> impl Future<Output = Result<()>> + Send;

    /// Exports that have not expired, oldest first.
    fn exports(&self) -> impl Future<Output = Result<Vec<wire::Export>>> + Send;
    fn export(&self, id: ExportId) -> impl Future<Output = Result<wire::Export>> + Send;
    /// Holds its footage until it expires. Cameras may have been deleted; not found if one never
    /// existed.
    fn create_export(
        &self,
        export: wire::NewExport,
    ) -> impl Future<Output = Result<wire::Export>> + Send;
    fn delete_export(&self, id: ExportId) -> impl Future<Output = Result<()>> + Send;

    /// The newest drills, oldest first; if a camera is given, only its drills.
    fn drills(
        &self,
        camera: Option<CameraId>,
    ) -> impl Future<Output = Result<Vec<wire::Drill>>> + Send;
    fn drill(&self, id: DrillId) -> impl Future<Output = Result<wire::Drill>> + Send;
    /// Begins a drill; a conflict (`cannot-drill`, `nothing-to-drill`) contains the reason against
    /// it.
    fn begin_drill(&self, of: wire::DrillOf) -> impl Future<Output = Result<wire::Drill>> + Send;

    /// Spans and gaps that overlap `from..to`, clipped to it.
    fn timeline(
        &self,
        camera: CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<wire::Timeline>> + Send;
    /// The cameras of the cluster.
    fn camera_ids(&self) -> impl Future<Output = Result<Vec<CameraId>>> + Send;
    /// Like [`Backend::timeline`], for at most [`crate::limits::TIMELINES_AT_ONCE`] cameras, in
    /// their order, whether or not they exist.
    fn timelines(
        &self,
        cameras: &[CameraId],
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Vec<wire::Timeline>>> + Send;
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

    /// The scrub's status for the volumes of every node that answers, by node and volume.
    fn scrub(&self) -> impl Future<Output = Result<Vec<wire::VolumeScrub>>> + Send;
    /// Starts a scrub of all volumes of a node. Idempotent except for the work.
    fn start_scrub(&self, node: NodeId) -> impl Future<Output = Result<()>> + Send;

    /// What the volumes of every node that answers delete, and what they do not delete yet, by node
    /// and volume.
    fn retention(&self) -> impl Future<Output = Result<Vec<wire::VolumeRetention>>> + Send;
    /// Passes on an operator's decision to the nodes that it concerns; not found if there is no
    /// such node.
    fn order_retention(
        &self,
        target: wire::RetentionTarget,
        action: RetentionAction,
    ) -> impl Future<Output = Result<()>> + Send;
    /// What an operator should know although this node is ready, one line each.
    fn notes(&self) -> Vec<String>;

    /// Whether this node can work now; if not, why, as text for the operator.
    fn ready(&self) -> impl Future<Output = std::result::Result<(), String>> + Send;
    /// The registry of this node's metrics; the API adds its own.
    fn metrics(&self) -> prometheus::Registry;
}
