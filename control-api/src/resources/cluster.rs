//! `/api/v1/cluster`: the cluster as the answering node sees it, and how a node becomes a member.

use super::nodes::Node;
use crate::error::ApiError;
use crate::extract::Body;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Overview, Result};
use crate::schema;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use holdfast_consensus::command::Command;
use holdfast_consensus::decide::headroom::{Headroom, Victim};
use holdfast_consensus::model::Secret;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_consensus::{JoinToken, NoToken};
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// `GET /cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// `null` while this node belongs to no cluster.
    pub id: Option<String>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub this_node: Option<NodeId>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub leader: Option<NodeId>,
    pub term: u64,
    #[schema(value_type = Vec<schema::NodeId>)]
    pub voters: Vec<NodeId>,
    pub nodes: Vec<Node>,
    pub cameras: usize,
    /// Cameras whose watermark advances.
    pub cameras_recording: usize,
    /// The cost of the next failure, as of about a second ago; `null` until it is computed.
    #[serde(default)]
    pub failover_headroom: Option<FailoverHeadroom>,
    /// A rebalance is in progress.
    #[serde(default)]
    pub rebalancing: bool,
    /// The newest version of the cluster's commands that is finalised; 0 while this node belongs
    /// to no cluster.
    #[serde(default)]
    pub version: u16,
    /// Why this node can make no changes now, as in `readyz`; `null` if it can.
    #[serde(default)]
    pub no_part: Option<String>,
    /// Starts at 1; grows by one with each recovery from the loss of a majority. 0 while this node
    /// belongs to no cluster.
    #[serde(default)]
    pub generation: u64,
}

/// Whether every camera would still be recorded if a node died now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverHeadroom {
    pub survives_any_node: bool,
    /// `null` if the settings do not require it.
    pub survives_any_domain: Option<bool>,
    /// The loss that would cost the most cameras; `null` if none would cost a camera.
    pub worst: Option<WorstLoss>,
    /// How many cameras of 4 Mbit/s could be added.
    pub spare_cameras: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorstLoss {
    /// `null` if the loss is that of a whole failure domain, or if cameras are already not
    /// recorded.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    pub failure_domain: Option<String>,
    /// How many cameras would not be recorded.
    pub cameras_lost: usize,
}

/// Body of `POST /cluster/init`: this node becomes the first member of a new cluster. Empty today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitCluster {}

/// Body of `POST /cluster/join`: this node joins the cluster that invited it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinCluster {
    #[schema(value_type = schema::JoinToken)]
    pub token: Secret,
}

#[derive(OpenApi)]
#[openapi(paths(show, init, join, finalize, rebalance))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/cluster", get(show::<B>))
        .route("/api/v1/cluster/init", post(init::<B>))
        .route("/api/v1/cluster/join", post(join::<B>))
        .route("/api/v1/cluster/rebalance", post(rebalance::<B>))
        .route("/api/v1/cluster/finalize", post(finalize::<B>))
}

impl Cluster {
    /// As a node shows it that belongs to none.
    fn none() -> Self {
        Self {
            id: None,
            this_node: None,
            leader: None,
            term: 0,
            voters: Vec::new(),
            nodes: Vec::new(),
            cameras: 0,
            cameras_recording: 0,
            failover_headroom: None,
            rebalancing: false,
            version: 0,
            no_part: None,
            generation: 0,
        }
    }

    fn of(overview: &Overview) -> Self {
        let Overview {
            state,
            sight,
            membership,
            headroom,
            ..
        } = overview;
        let recording = state.assignments.iter().filter(|(camera, assignment)| {
            sight
                .recorder(*camera, assignment)
                .is_some_and(|(_, report)| report.state == RecorderState::Recording)
        });
        Self {
            id: state.cluster.map(|cluster| cluster.to_string()),
            this_node: Some(membership.node),
            leader: membership.leader,
            term: membership.term,
            cameras: state.cameras.len(),
            cameras_recording: recording.count(),
            nodes: Node::all(overview),
            voters: membership.voters.clone(),
            failover_headroom: headroom.as_deref().map(FailoverHeadroom::of),
            rebalancing: state.rebalancing_since.is_some(),
            version: state.version,
            no_part: membership.no_part.clone(),
            generation: membership.generation,
        }
    }
}

impl FailoverHeadroom {
    fn of(headroom: &Headroom) -> Self {
        let worst = headroom.worst.as_ref().map(|(victim, lost)| {
            let (node, failure_domain) = match victim {
                Victim::None => (None, None),
                Victim::Node(node) => (Some(*node), None),
                Victim::Domain(name) => (None, Some(name.clone())),
            };
            WorstLoss {
                node,
                failure_domain,
                cameras_lost: lost.len(),
            }
        });
        Self {
            survives_any_node: headroom.survives_any_node,
            survives_any_domain: headroom.survives_any_domain,
            worst,
            spare_cameras: headroom.spare_cameras,
        }
    }
}

/// The cluster as the answering node sees it.
#[utoipa::path(
    get,
    path = "/api/v1/cluster",
    operation_id = "show_cluster",
    responses((status = 200, body = Cluster)),
)]
async fn show<B: Backend>(State(app): State<App<B>>) -> Result<Json<Cluster>> {
    shown(&app).await
}

async fn shown<B: Backend>(app: &App<B>) -> Result<Json<Cluster>> {
    let overview = app.backend.overview().await;
    Ok(Json(
        overview.as_ref().map_or_else(Cluster::none, Cluster::of),
    ))
}

/// This node becomes the first member of a new cluster.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/init",
    operation_id = "init_cluster",
    request_body = InitCluster,
    responses((status = 200, body = Cluster)),
)]
async fn init<B: Backend>(
    State(app): State<App<B>>,
    Body(InitCluster {}): Body<InitCluster>,
) -> Result<Json<Cluster>> {
    app.backend.init_cluster().await?;
    shown(&app).await
}

/// This node joins the cluster that invited it.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/join",
    operation_id = "join_cluster",
    request_body = JoinCluster,
    responses((status = 200, body = Cluster)),
)]
async fn join<B: Backend>(
    State(app): State<App<B>>,
    Body(join): Body<JoinCluster>,
) -> Result<Json<Cluster>> {
    let token: JoinToken = join.token.0.parse().map_err(|error: NoToken| {
        ApiError::invalid(format!("`token`: {error}")).code("token-invalid")
    })?;
    app.backend.join_cluster(token).await?;
    shown(&app).await
}

/// Ends an upgrade: an older program can no longer be a member.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/finalize",
    operation_id = "finalize_upgrade",
    responses((status = 200, body = Cluster)),
)]
async fn finalize<B: Backend>(State(app): State<App<B>>) -> Result<Json<Cluster>> {
    let state = app.state()?;
    let known_by_all = state.nodes.values().map(|node| node.spec.version).min();
    let version = known_by_all.unwrap_or(state.version);
    app.change(Command::FinalizeVersion { version }).await?;
    shown(&app).await
}

/// Spreads cameras evenly over the nodes again.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/rebalance",
    operation_id = "rebalance_cameras",
    responses((status = 202, body = Cluster)),
)]
async fn rebalance<B: Backend>(State(app): State<App<B>>) -> Result<(StatusCode, Json<Cluster>)> {
    app.change(Command::BeginRebalance).await?;
    Ok((StatusCode::ACCEPTED, shown(&app).await?))
}
