//! `/api/v1/cluster`: the cluster as the answering node sees it, and how a node becomes a member.

use super::App;
use crate::backend::{Backend, Result};
use crate::error::ApiError;
use crate::extract::Body;
use crate::wire::{Cluster, InitCluster, JoinCluster};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

/// The cluster as the answering node sees it.
#[utoipa::path(
    get,
    path = "/api/v1/cluster",
    operation_id = "show_cluster",
    responses((status = 200, body = Cluster)),
)]
pub(super) async fn show<B: Backend>(State(app): State<App<B>>) -> Result<Json<Cluster>> {
    app.backend.cluster().await.map(Json)
}

/// This node becomes the first member of a new cluster.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/init",
    operation_id = "init_cluster",
    request_body = InitCluster,
    responses((status = 200, body = Cluster)),
)]
pub(super) async fn init<B: Backend>(
    State(app): State<App<B>>,
    Body(InitCluster {}): Body<InitCluster>,
) -> Result<Json<Cluster>> {
    app.backend.init_cluster().await.map(Json)
}

/// This node joins the cluster that `peer` belongs to.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/join",
    operation_id = "join_cluster",
    request_body = JoinCluster,
    responses((status = 200, body = Cluster)),
)]
pub(super) async fn join<B: Backend>(
    State(app): State<App<B>>,
    Body(join): Body<JoinCluster>,
) -> Result<Json<Cluster>> {
    check_peer(&join.peer)?;
    app.backend.join_cluster(join.peer).await.map(Json)
}

/// Ends an upgrade: an older program can no longer be a member.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/finalize",
    operation_id = "finalize_upgrade",
    responses((status = 200, body = Cluster)),
)]
pub(super) async fn finalize<B: Backend>(State(app): State<App<B>>) -> Result<Json<Cluster>> {
    app.backend.finalize().await.map(Json)
}

/// Spreads cameras evenly over the nodes again.
#[utoipa::path(
    post,
    path = "/api/v1/cluster/rebalance",
    operation_id = "rebalance_cameras",
    responses((status = 202, body = Cluster)),
)]
pub(super) async fn rebalance<B: Backend>(
    State(app): State<App<B>>,
) -> Result<(StatusCode, Json<Cluster>)> {
    app.backend
        .rebalance()
        .await
        .map(|cluster| (StatusCode::ACCEPTED, Json(cluster)))
}

fn check_peer(peer: &str) -> Result<()> {
    let parts = peer
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match parts {
        Some((host, Ok(port))) if !host.is_empty() && port != 0 => Ok(()),
        _ => Err(ApiError::invalid(format!(
            "`peer` is {peer:?}; give the peer address of a member as host:port"
        ))
        .code("peer-invalid")),
    }
}
