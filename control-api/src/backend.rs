//! What the API needs of the node that serves it. Any node answers for the whole cluster: the
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

/// What is left of a chunk that was listed.
pub type Payload = std::result::Result<Bytes, Lost>;

/// Why a chunk that was listed does not come any more: a client does without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is stored and damaged, in words.
    Damaged(String),
    /// Retention deleted it meanwhile.
    Deleted,
}

/// The node behind the API. Implementations keep their own deadlines: a write ends within 2 s, as
/// done, as [`crate::error::ErrorKind::NoLeader`],
/// or as [`crate::error::ErrorKind::OutcomeUnknown`]; the API gives up on anything that takes
/// longer than its own ([`crate::limits`]).
pub trait Backend: Clone + Send + Sync + 'static {
    /// How the cluster does, as far as this node can tell; also while it belongs to none.
    fn status(&self) -> impl Future<Output = Result<wire::Status>> + Send;
    fn cluster(&self) -> impl Future<Output = Result<wire::Cluster>> + Send;
    /// Makes this node the first member of a new cluster; a conflict where it is a member already.
    fn init_cluster(&self) -> impl Future<Output = Result<wire::Cluster>> + Send;
    /// Joins the cluster that `peer` (`host:port`) belongs to; a conflict where this node is a
    /// member already.
    fn join_cluster(&self, peer: String) -> impl Future<Output = Result<wire::Cluster>> + Send;

    /// Has cameras spread evenly over the nodes again, and go to the nodes that they prefer. Asked
    /// twice, it begins anew.
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
    /// Opens a backup and puts it back, or says what that would do. Idempotent; a part may be left
    /// for another time.
    fn restore(
        &self,
        restore: wire::NewRestore,
    ) -> impl Future<Output = Result<wire::Restored>> + Send;

    fn nodes(&self) -> impl Future<Output = Result<Vec<wire::Node>>> + Send;
    /// Takes a member out of the cluster for good; a conflict where it owns cameras, unless
    /// `force`.
    fn remove_node(&self, node: NodeId, force: bool) -> impl Future<Output = Result<()>> + Send;
    /// How the volumes of a member stand, by number.
    fn volumes(&self, node: NodeId) -> impl Future<Output = Result<Vec<wire::Volume>>> + Send;
    /// Sets or lifts an operator's drain. Idempotent.
    fn set_draining(
        &self,
        node: NodeId,
        draining: bool,
    ) -> impl Future<Output = Result<wire::Node>> + Send;

    fn cameras(&self) -> impl Future<Output = Result<Vec<wire::Camera>>> + Send;
    fn camera(&self, id: CameraId) -> impl Future<Output = Result<wire::Camera>> + Send;
    /// [`wire::NewCamera::into_spec`] checks it. A conflict (`no-headroom`) where it would leave a
    /// camera unrecorded after a failure and the settings are strict; else the answer warns.
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
    /// Ends the camera's recording. What was recorded stays until retention deletes it.
    fn delete_camera(&self, id: CameraId) -> impl Future<Output = Result<()>> + Send;

    /// Cameras that are recorded no more and not forgotten, with what there still is of them.
    fn deleted_cameras(&self) -> impl Future<Output = Result<Vec<wire::DeletedCamera>>> + Send;
    /// Records a deleted camera again, under its number.
    fn restore_camera(
        &self,
        id: CameraId,
        restore: wire::RestoreCamera,
    ) -> impl Future<Output = Result<wire::Camera>> + Send;

    /// Gives footage of another cluster's cameras numbers and names here. Idempotent.
    fn adopt_cameras(
        &self,
        adopt: wire::AdoptCameras,
    ) -> impl Future<Output = Result<Vec<wire::CameraNumber>>> + Send;

    /// Forgets that processes ended while they recorded the camera: it is recorded as usual at
    /// once. Idempotent.
    fn release_camera(&self, id: CameraId) -> impl Future<Output = Result<wire::Camera>> + Send;

    fn holds(&self) -> impl Future<Output = Result<Vec<wire::Hold>>> + Send;
    fn hold(&self, id: HoldId) -> impl Future<Output = Result<wire::Hold>> + Send;
    /// The camera may have been deleted; not found where it never existed.
    fn create_hold(&self, hold: wire::NewHold) -> impl Future<Output = Result<wire::Hold>> + Send;
    /// Retention may delete what no other hold covers, from now on.
    fn delete_hold(&self, id: HoldId) -> impl Future<Output = Result<()>> + Send;

    /// Those that have not expired, oldest first.
    fn exports(&self) -> impl Future<Output = Result<Vec<wire::Export>>> + Send;
    fn export(&self, id: ExportId) -> impl Future<Output = Result<wire::Export>> + Send;
    /// Holds its footage until it expires. Cameras may have been deleted; not found where one never
    /// existed.
    fn create_export(
        &self,
        export: wire::NewExport,
    ) -> impl Future<Output = Result<wire::Export>> + Send;
    fn delete_export(&self, id: ExportId) -> impl Future<Output = Result<()>> + Send;

    /// The newest drills, oldest first; of one camera, where one is named.
    fn drills(
        &self,
        camera: Option<CameraId>,
    ) -> impl Future<Output = Result<Vec<wire::Drill>>> + Send;
    fn drill(&self, id: DrillId) -> impl Future<Output = Result<wire::Drill>> + Send;
    /// Begins a drill; a conflict (`cannot-drill`, `nothing-to-drill`) says why not.
    fn begin_drill(&self, of: wire::DrillOf) -> impl Future<Output = Result<wire::Drill>> + Send;

    /// Spans and gaps that overlap `from..to`, cut to it.
    fn timeline(
        &self,
        camera: CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<wire::Timeline>> + Send;
    /// The cameras of the cluster.
    fn camera_ids(&self) -> impl Future<Output = Result<Vec<CameraId>>> + Send;
    /// As [`Backend::timeline`], of at most [`crate::limits::TIMELINES_AT_ONCE`] cameras, in their
    /// order, whether they exist or not.
    fn timelines(
        &self,
        cameras: &[CameraId],
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Vec<wire::Timeline>>> + Send;
    /// The durable chunks of the whole cluster that overlap `from..to`, merged: per track sorted by
    /// start, without overlaps. Known for deleted cameras too; not found where the camera never
    /// existed. Chunks on nodes that cannot be reached now are not among them: they would break
    /// every export of their range off, and without them others' recordings may fill it.
    fn entries(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Vec<ChunkEntry>>> + Send;
    /// The gap ledger's entries that overlap `from..to`.
    fn gaps(
        &self,
        camera: CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Future<Output = Result<Vec<Gap>>> + Send;
    fn init(&self, camera: CameraId, id: InitId) -> impl Future<Output = Result<Bytes>> + Send;
    /// The payload of each chunk of a run ([`crate::playback::runs`]), from the node that holds
    /// them, checked against its checksum; or why it will never come. An error where any of
    /// them may come another time.
    fn read(&self, run: &[ChunkEntry]) -> impl Future<Output = Result<Vec<Payload>>> + Send;

    /// How the volumes of every node that answers are scrubbed, by node and volume.
    fn scrub(&self) -> impl Future<Output = Result<Vec<wire::VolumeScrub>>> + Send;
    /// Has a node read all of its volumes again, from now on. Idempotent but for the work.
    fn start_scrub(&self, node: NodeId) -> impl Future<Output = Result<()>> + Send;

    /// What the volumes of every node that answers delete, and what they do not yet, by node and
    /// volume.
    fn retention(&self) -> impl Future<Output = Result<Vec<wire::VolumeRetention>>> + Send;
    /// Passes an operator's word on to the nodes that are meant; not found where there is no such
    /// node.
    fn order_retention(
        &self,
        target: wire::RetentionTarget,
        action: RetentionAction,
    ) -> impl Future<Output = Result<()>> + Send;
    /// What an operator should know though this node is ready, a line each.
    fn notes(&self) -> Vec<String>;

    /// Whether this node can do its work now; else why not, in words for the operator.
    fn ready(&self) -> impl Future<Output = std::result::Result<(), String>> + Send;
    /// Where this node's metrics are registered; the API adds its own.
    fn metrics(&self) -> prometheus::Registry;
}
