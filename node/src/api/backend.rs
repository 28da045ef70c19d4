//! This node as the backend of the control API: configuration from the replicated state, writes
//! through consensus, footage from the whole cluster.

use crate::api::adding::Adding;
use crate::api::backup;
use crate::api::status;
use crate::api::views;
use crate::footage::cluster_footage::ViewError;
use crate::footage::former::Remains;
use crate::footage::retention::OrderRequest;
use crate::host::member::Member;
use crate::host::process::{BecomeError, Host};
use crate::parts::drills;
use bytes::Bytes;
use holdfast_consensus::command::{AdoptedCamera, Command, Rejection, Response};
use holdfast_consensus::decide::drill::{self, Drilled};
use holdfast_consensus::model::{
    Actor, CameraName, Duty, Export, ExportSpec, Hold, HoldSpec, Invalid, OperatorName, Secret,
    SettingsChange,
};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::{JoinError, WriteError};
use holdfast_control_api::ports::{Listed, Payload, Result};
use holdfast_control_api::{ApiError, Backend, ErrorKind, wire};
use holdfast_storage::Range;
use holdfast_storage::chunk::{ChunkEntry, Gap, InitId};
use holdfast_storage::ids::{CameraId, DrillId, ExportId, HoldId, NodeId, StreamKind};
use holdfast_storage::retention::{RetentionAction, RetentionOrder, Subject};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct NodeBackend {
    pub(crate) host: Arc<Host>,
    pub(crate) metrics: prometheus::Registry,
}

impl NodeBackend {
    pub(super) fn member(&self) -> Result<&Member> {
        self.host.member().ok_or_else(|| {
            ApiError::unavailable(
                "this node belongs to no cluster yet; run `holdfast cluster init` or `join` on it",
            )
            .code("no-cluster")
        })
    }

    async fn write(&self, command: Command) -> Result<Response> {
        self.submit(self.member()?, command)
            .await
            .map_err(write_error)
    }

    /// A change that the API's user requests.
    pub(crate) async fn submit(
        &self,
        member: &Member,
        command: Command,
    ) -> std::result::Result<Response, WriteError> {
        let entry = command.by(
            Actor::Operator(OperatorName::admin()),
            self.host.clock.now(),
        );
        let (actor, what) = (entry.actor.to_string(), entry.to_string());
        let written = member.consensus.write(entry).await;
        if written.is_ok() {
            tracing::info!(actor, what, "changed");
        }
        written
    }

    pub(super) async fn camera_view(&self, member: &Member, id: CameraId) -> Result<wire::Camera> {
        let sight = member.view.whole_sight().await;
        let state = member.consensus.state();
        let camera = state.cameras.get(id).ok_or_else(|| no_camera(id))?;
        Ok(views::camera(
            camera,
            &state,
            &sight,
            member.headroom.borrow().as_deref(),
        ))
    }

    async fn node_view(&self, member: &Member, id: NodeId) -> Result<wire::Node> {
        let sight = member.view.whole_sight().await;
        let nodes = views::nodes(&member.consensus, &sight);
        nodes
            .into_iter()
            .find(|node| node.id == id)
            .ok_or_else(|| no_node(id))
    }
}

impl Backend for NodeBackend {
    async fn status(&self) -> Result<wire::Status> {
        let now = self.host.clock.now();
        let Some(member) = self.host.member() else {
            return Ok(status::status(&status::Known {
                now,
                state: &ClusterState::default(),
                sight: &Sight::default(),
                leader: None,
                no_part: None,
                headroom: None,
                down_since: BTreeMap::new(),
                volumes: BTreeMap::new(),
            }));
        };
        let (sight, volumes) = tokio::join!(member.view.whole_sight(), member.view.all_volumes());
        let headroom = member.headroom.borrow().clone();
        Ok(status::status(&status::Known {
            now,
            state: &member.consensus.state(),
            sight: &sight,
            leader: member.consensus.leader(),
            no_part: views::standing_apart(&member.consensus),
            headroom: headroom.as_deref(),
            down_since: sight.down_since(now, self.host.clock.elapsed()),
            volumes,
        }))
    }

    async fn cluster(&self) -> Result<wire::Cluster> {
        Ok(match self.host.member() {
            Some(member) => {
                let sight = member.view.whole_sight().await;
                let headroom = member.headroom.borrow().clone();
                views::cluster(&member.consensus, &sight, headroom.as_deref())
            }
            None => views::no_cluster(),
        })
    }

    async fn init_cluster(&self) -> Result<wire::Cluster> {
        self.host.found().await.map_err(become_error)?;
        self.cluster().await
    }

    async fn join_cluster(&self, peer: String) -> Result<wire::Cluster> {
        self.host.join(peer).await.map_err(become_error)?;
        self.cluster().await
    }

    async fn rebalance(&self) -> Result<wire::Cluster> {
        self.write(Command::BeginRebalance).await?;
        self.cluster().await
    }

    async fn finalize(&self) -> Result<wire::Cluster> {
        let state = self.member()?.consensus.state();
        let known_by_all = state.nodes.values().map(|node| node.spec.version).min();
        let version = known_by_all.unwrap_or(state.version);
        self.write(Command::FinalizeVersion { version }).await?;
        self.cluster().await
    }

    async fn settings(&self) -> Result<wire::Settings> {
        Ok(views::settings(&self.member()?.consensus.state()))
    }

    async fn patch_settings(&self, patch: wire::SettingsPatch) -> Result<wire::Settings> {
        let change = SettingsChange {
            headroom: patch.headroom,
            headroom_over_domains: patch.headroom_over_domains,
            failback: patch.failback,
            failback_after_s: patch.failback_after_s,
            drill_every_s: patch.drill_every_s,
            retention_classes: None,
        };
        if change != SettingsChange::default() {
            self.write(Command::ChangeSettings(change)).await?;
        }
        self.settings().await
    }

    async fn backup(&self, passphrase: Secret) -> Result<Bytes> {
        backup::make(
            self.member()?.consensus.state(),
            self.host.clock.now(),
            passphrase,
        )
        .await
    }

    async fn restore(&self, restore: wire::NewRestore) -> Result<wire::Restored> {
        backup::restore(self, self.member()?, restore, self.host.clock).await
    }

    async fn nodes(&self) -> Result<Vec<wire::Node>> {
        let member = self.member()?;
        let sight = member.view.whole_sight().await;
        Ok(views::nodes(&member.consensus, &sight))
    }

    async fn remove_node(&self, node: NodeId, force: bool) -> Result<()> {
        self.write(Command::RemoveNode { node, force })
            .await
            .map(drop)
    }

    async fn volumes(&self, node: NodeId) -> Result<Vec<wire::Volume>> {
        let member = self.member()?;
        if !member.consensus.state().nodes.contains(node) {
            return Err(no_node(node));
        }
        let reports = member.view.volumes(node).await.map_err(view_error)?;
        Ok(reports.into_iter().map(views::volume).collect())
    }

    async fn set_draining(&self, node: NodeId, draining: bool) -> Result<wire::Node> {
        let duty = if draining {
            Duty::Draining
        } else {
            Duty::Active
        };
        self.write(Command::SetDuty { node, duty }).await?;
        self.node_view(self.member()?, node).await
    }

    async fn cameras(&self) -> Result<Vec<wire::Camera>> {
        let member = self.member()?;
        let sight = member.view.whole_sight().await;
        let state = member.consensus.state();
        let headroom = member.headroom.borrow().clone();
        let view = |camera| views::camera(camera, &state, &sight, headroom.as_deref());
        Ok(state.cameras.values().map(view).collect())
    }

    async fn camera(&self, id: CameraId) -> Result<wire::Camera> {
        self.camera_view(self.member()?, id).await
    }

    async fn create_camera(&self, camera: wire::NewCamera) -> Result<wire::Camera> {
        self.add(|state, only_after| {
            let preferred_node = preferred_node(state, camera.preferred_node.as_ref())?;
            let spec = camera.clone().into_spec(preferred_node)?;
            let command = Command::CreateCamera { spec, only_after };
            Ok(Adding {
                as_new: command.clone(),
                command,
            })
        })
        .await
    }

    async fn patch_camera(&self, id: CameraId, patch: wire::CameraPatch) -> Result<wire::Camera> {
        let member = self.member()?;
        let state = member.consensus.state();
        let camera = state.cameras.get(id).ok_or_else(|| no_camera(id))?;
        let preferred_node = match &patch.preferred_node {
            None => camera.spec.preferred_node,
            changed => preferred_node(&state, changed.as_ref())?,
        };
        let spec = patch.onto(camera.spec.clone(), preferred_node)?;
        let command = Command::UpdateCamera {
            camera: id,
            spec,
            expect_revision: camera.revision,
        };
        let warning = self.check_headroom(member, &command).await?;
        self.write(command).await?;
        let view = self.camera_view(member, id).await?;
        Ok(wire::Camera {
            warnings: warning.into_iter().collect(),
            ..view
        })
    }

    async fn delete_camera(&self, id: CameraId) -> Result<()> {
        self.write(Command::DeleteCamera { camera: id })
            .await
            .map(drop)
    }

    async fn deleted_cameras(&self) -> Result<Vec<wire::DeletedCamera>> {
        let member = self.member()?;
        let state = member.consensus.state();
        let cameras: Vec<CameraId> = state.former.keys().collect();
        let remains = member.view.remains(&cameras).await;
        let view = |(former, remains): (_, Remains)| {
            wire::DeletedCamera::of(former, remains.extent, remains.is_complete)
        };
        Ok(state.former.values().zip(remains).map(view).collect())
    }

    async fn restore_camera(
        &self,
        id: CameraId,
        restore: wire::RestoreCamera,
    ) -> Result<wire::Camera> {
        let name = restore.name.map(CameraName::try_from).transpose();
        let name = name.map_err(|error: Invalid| rejected(&error.into()))?;
        self.add(|state, only_after| {
            let (spec, _) = state
                .restorable(id)
                .map_err(|rejection| rejected(&rejection))?;
            let command = Command::RestoreCamera {
                camera: id,
                name: name.clone(),
                only_after,
            };
            Ok(Adding {
                as_new: Command::CreateCamera { spec, only_after },
                command,
            })
        })
        .await
    }

    async fn adopt_cameras(&self, adopt: wire::AdoptCameras) -> Result<Vec<wire::CameraNumber>> {
        let cluster = adopt.cluster.parse().map_err(|_| {
            ApiError::invalid(format!("cluster: {:?} is no cluster's id", adopt.cluster))
                .code("invalid")
        })?;
        let theirs: Vec<CameraId> = adopt.cameras.iter().map(|adopted| adopted.camera).collect();
        let named = adopt
            .cameras
            .into_iter()
            .map(|wire::AdoptCamera { camera, name }| {
                Ok(AdoptedCamera {
                    camera,
                    name: name.try_into()?,
                })
            });
        let cameras = named
            .collect::<std::result::Result<_, Invalid>>()
            .map_err(|error| rejected(&error.into()))?;
        match self
            .write(Command::AdoptCameras { cluster, cameras })
            .await?
        {
            Response::Cameras(ours) => {
                let number = |(camera, id)| wire::CameraNumber { camera, id };
                Ok(theirs.into_iter().zip(ours).map(number).collect())
            }
            other => Err(ApiError::internal(format!(
                "taking cameras over was answered with {other:?}"
            ))),
        }
    }

    async fn release_camera(&self, id: CameraId) -> Result<wire::Camera> {
        self.write(Command::ClearCameras { cameras: vec![id] })
            .await?;
        self.camera(id).await
    }

    async fn holds(&self) -> Result<Vec<wire::Hold>> {
        let state = self.member()?.consensus.state();
        Ok(state.holds.values().map(views::hold).collect())
    }

    async fn hold(&self, id: HoldId) -> Result<wire::Hold> {
        let state = self.member()?.consensus.state();
        state
            .holds
            .get(id)
            .map(views::hold)
            .ok_or_else(|| no_hold(id))
    }

    async fn create_hold(&self, hold: wire::NewHold) -> Result<wire::Hold> {
        let wire::NewHold {
            reason,
            camera,
            from,
            to,
        } = hold;
        let reason = reason
            .try_into()
            .map_err(|error: Invalid| rejected(&error.into()))?;
        let (spec, at) = (
            HoldSpec {
                reason,
                camera,
                from,
                to,
            },
            self.host.clock.now(),
        );
        match self
            .write(Command::CreateHold { spec: spec.clone() })
            .await?
        {
            // This node's state may be a moment behind.
            Response::Hold(id) => Ok(views::hold(&Hold {
                id,
                spec,
                created_at: at,
            })),
            other => Err(ApiError::internal(format!(
                "creating a hold was answered with {other:?}"
            ))),
        }
    }

    async fn delete_hold(&self, id: HoldId) -> Result<()> {
        self.write(Command::DeleteHold { hold: id }).await.map(drop)
    }

    async fn exports(&self) -> Result<Vec<wire::Export>> {
        let (state, now) = (self.member()?.consensus.state(), self.host.clock.now());
        let kept = state
            .exports
            .values()
            .filter(|export| export.expires_at() > now);
        Ok(kept.map(views::export).collect())
    }

    async fn export(&self, id: ExportId) -> Result<wire::Export> {
        let (state, now) = (self.member()?.consensus.state(), self.host.clock.now());
        let kept = state
            .exports
            .get(id)
            .filter(|export| export.expires_at() > now);
        kept.map(views::export).ok_or_else(|| no_export(id))
    }

    async fn create_export(&self, export: wire::NewExport) -> Result<wire::Export> {
        let wire::NewExport {
            name,
            cameras,
            from,
            to,
            strict,
        } = export;
        let name = name
            .try_into()
            .map_err(|error: Invalid| rejected(&error.into()))?;
        let (spec, at) = (
            ExportSpec {
                name,
                cameras,
                from,
                to,
                strict,
            },
            self.host.clock.now(),
        );
        match self
            .write(Command::CreateExport { spec: spec.clone() })
            .await?
        {
            Response::Export(id) => {
                // This node's state may be a moment behind.
                let made = Export {
                    id,
                    spec,
                    created_at: at,
                };
                let state = self.member()?.consensus.state();
                Ok(views::export(state.exports.get(id).unwrap_or(&made)))
            }
            other => Err(ApiError::internal(format!(
                "creating an export was answered with {other:?}"
            ))),
        }
    }

    async fn delete_export(&self, id: ExportId) -> Result<()> {
        self.write(Command::DeleteExport { export: id })
            .await
            .map(drop)
    }

    async fn drills(&self, camera: Option<CameraId>) -> Result<Vec<wire::Drill>> {
        let state = self.member()?.consensus.state();
        let shown = state
            .drills
            .log
            .values()
            .map(|drill| drills::drill(drill, &state, camera));
        Ok(shown
            .filter(|drill| camera.is_none() || !drill.cameras.is_empty())
            .collect())
    }

    async fn drill(&self, id: DrillId) -> Result<wire::Drill> {
        let state = self.member()?.consensus.state();
        state
            .drills
            .log
            .get(id)
            .map(|drill| drills::drill(drill, &state, None))
            .ok_or_else(|| no_drill(id))
    }

    async fn begin_drill(&self, of: wire::DrillOf) -> Result<wire::Drill> {
        let member = self.member()?;
        let sight = member.view.whole_sight().await;
        let state = member.consensus.state();
        let who = match of {
            wire::DrillOf::Camera(camera) => Drilled::Camera(camera),
            wire::DrillOf::Node(node) => Drilled::Node(named_node(&state, &node)?),
        };
        let command = drill::begin(
            who,
            false,
            (&state, &sight, member.view.me),
            self.host.clock.now(),
        );
        match self.write(command).await? {
            Response::Drill(id) => self.drill(id).await,
            other => Err(ApiError::internal(format!(
                "beginning a drill was answered with {other:?}"
            ))),
        }
    }

    async fn timeline(
        &self,
        camera: CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<wire::Timeline> {
        let member = self.member()?;
        let found = self.timelines(&[camera], from, to).await?.pop();
        let exists = is_known(&member.consensus.state(), camera);
        found
            .filter(|timeline| exists || !timeline.spans.is_empty())
            .ok_or_else(|| no_camera(camera))
    }

    async fn camera_ids(&self) -> Result<Vec<CameraId>> {
        Ok(self.member()?.consensus.state().cameras.keys().collect())
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
        let is_known = is_known(&member.consensus.state(), camera) || may_be_known;
        if is_known {
            Ok(listing)
        } else {
            Err(no_camera(camera))
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

    async fn scrub(&self) -> Result<Vec<wire::VolumeScrub>> {
        Ok(self.member()?.view.scrub().await)
    }

    async fn start_scrub(&self, node: NodeId) -> Result<()> {
        let member = self.member()?;
        if !member
            .consensus
            .state()
            .nodes
            .keys()
            .any(|known| known == node)
        {
            return Err(no_node(node));
        }
        member.view.start_scrub(node).await.map_err(view_error)
    }

    async fn retention(&self) -> Result<Vec<wire::VolumeRetention>> {
        Ok(self.member()?.view.retention().await)
    }

    async fn order_retention(
        &self,
        target: wire::RetentionTarget,
        action: RetentionAction,
    ) -> Result<()> {
        let member = self.member()?;
        let state = member.consensus.state();
        let nodes: Vec<NodeId> = match &target.node {
            Some(node) => vec![named_node(&state, node)?],
            None => state.nodes.keys().collect(),
        };
        if action == RetentionAction::RemoveFuture {
            crate::footage::retention::check_times(
                &member.view.retention().await,
                &nodes,
                target.volume,
            )?;
        }
        let order = RetentionOrder {
            action,
            subject: target.class.map(Subject::Class),
        };
        let request = OrderRequest {
            volume: target.volume,
            order,
        };
        // If a node is away the request fails and has to be repeated: the others have the order by
        // then.
        let passed = nodes
            .into_iter()
            .map(|node| member.view.order_retention(node, &request));
        let passed = futures::future::join_all(passed).await;
        passed
            .into_iter()
            .collect::<std::result::Result<(), _>>()
            .map_err(view_error)
    }

    fn notes(&self) -> Vec<String> {
        self.host
            .member()
            .map(|member| member.volumes.retention_notes())
            .unwrap_or_default()
    }

    async fn ready(&self) -> std::result::Result<(), String> {
        let member = self
            .host
            .member()
            .ok_or("this node belongs to no cluster yet")?;
        member.volumes.writable()?;
        member.volumes.room()?;
        views::takes_part(&member.consensus).map_or(Ok(()), Err)
    }

    fn metrics(&self) -> prometheus::Registry {
        self.metrics.clone()
    }
}

/// # Errors
/// The cluster has no such node.
fn preferred_node(state: &ClusterState, node: Option<&wire::NodeRef>) -> Result<Option<NodeId>> {
    match node {
        None => Ok(None),
        Some(wire::NodeRef::Name(name)) if name.is_empty() => Ok(None),
        Some(node) => named_node(state, node).map(Some),
    }
}

/// # Errors
/// The cluster has no such node.
fn named_node(state: &ClusterState, node: &wire::NodeRef) -> Result<NodeId> {
    match node {
        wire::NodeRef::Id(id) if state.nodes.contains(*id) => Ok(*id),
        wire::NodeRef::Id(id) => Err(no_node(*id)),
        wire::NodeRef::Name(name) => {
            let detail = format!("there is no node named {name:?}; GET /api/v1/nodes lists them");
            let found = state
                .node_named(name)
                .ok_or_else(|| ApiError::not_found(detail).code("unknown-node"));
            found.map(|node| node.id)
        }
    }
}

fn no_camera(id: CameraId) -> ApiError {
    ApiError::not_found(format!(
        "there is no camera {id}; GET /api/v1/cameras lists them"
    ))
    .code("unknown-camera")
}

fn no_hold(id: HoldId) -> ApiError {
    ApiError::not_found(format!(
        "there is no hold {id}; GET /api/v1/holds lists them"
    ))
    .code("unknown-hold")
}

fn no_export(id: ExportId) -> ApiError {
    let detail =
        format!("there is no export {id}, or it has expired; GET /api/v1/exports lists them");
    ApiError::not_found(detail).code("unknown-export")
}

fn no_drill(id: DrillId) -> ApiError {
    ApiError::not_found(format!(
        "there is no drill {id}, or it was forgotten; GET /api/v1/drills lists the newest"
    ))
    .code("unknown-drill")
}

fn no_node(id: NodeId) -> ApiError {
    ApiError::not_found(format!(
        "there is no node {id}; GET /api/v1/nodes lists them"
    ))
    .code("unknown-node")
}

/// Whether the camera is recorded, or deleted and not forgotten.
fn is_known(state: &ClusterState, camera: CameraId) -> bool {
    state.cameras.contains(camera) || state.former.contains(camera)
}

pub(crate) fn write_error(error: WriteError) -> ApiError {
    let detail = error.to_string();
    match error {
        WriteError::NoLeader => ApiError::new(ErrorKind::NoLeader, detail),
        WriteError::Unknown => ApiError::new(ErrorKind::OutcomeUnknown, detail),
        WriteError::Fatal(_) => ApiError::unavailable(detail).code("consensus-stopped"),
        WriteError::Rejected(rejection) => rejected(&rejection),
    }
}

fn rejected(rejection: &Rejection) -> ApiError {
    let kind = match rejection {
        Rejection::UnknownNode(_)
        | Rejection::UnknownCamera(_)
        | Rejection::UnknownHold(_)
        | Rejection::NotDeleted(_)
        | Rejection::UnknownExport(_) => ErrorKind::NotFound,
        Rejection::Invalid(_) | Rejection::UnknownRetentionClass(_) => ErrorKind::Invalid,
        _ => ErrorKind::Conflict,
    };
    ApiError::new(kind, rejection.to_string()).code(rejection.code())
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
        BecomeError::Join(JoinError::Rejected(rejection)) => rejected(&rejection),
        BecomeError::Join(_) => ApiError::unavailable(detail).code("cannot-join"),
        BecomeError::Initialize(_) => ApiError::unavailable(detail).code("cannot-initialize"),
        BecomeError::Config(_)
        | BecomeError::Identity(_)
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
