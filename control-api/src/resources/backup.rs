//! `/api/v1/backup` and `/api/v1/restore`: export and import of the cluster's configuration,
//! including the cameras' passwords. The node seals a backup: no cleartext leaves it.

use crate::extract::Body;
use crate::limits::RESTORE_BODY_BYTES_MAX;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use holdfast_consensus::model::Secret;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// Body of `POST /backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// Seals the backup; without it the backup cannot be read.
    #[schema(value_type = schema::Passphrase)]
    pub passphrase: Secret,
}

/// Body of `POST /restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRestore {
    #[schema(value_type = schema::Secret)]
    pub passphrase: Secret,
    /// The answer of `POST /backup`, in base64 (RFC 4648 clause 4).
    pub backup: String,
    /// Only report what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Also change what differs.
    #[serde(default)]
    pub overwrite: bool,
    /// An earlier request processed everything before this item: it is neither repeated nor
    /// reported again.
    #[serde(default)]
    pub from: usize,
}

/// Answer of `POST /restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    pub dry_run: bool,
    /// When the backup was made, and of which cluster.
    #[schema(value_type = schema::Timestamp)]
    pub made_at: holdfast_storage::time::Timestamp,
    pub cluster: String,
    pub items: Vec<RestoredItem>,
    /// How many items were not processed in time: a request with a later `from` processes them.
    pub left: usize,
}

/// One item of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredItem {
    pub kind: RestoredKind,
    pub name: String,
    pub outcome: RestoreOutcome,
    /// A description; empty if there is nothing to say.
    #[serde(default)]
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoredKind {
    RetentionClass,
    Settings,
    Camera,
    Hold,
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreOutcome {
    /// It exists already, as in the backup.
    Same,
    /// It did not exist. In a dry run: it would be added.
    Added,
    /// It was different. In a dry run: it would be changed.
    Changed,
    /// It is different, and stays so.
    Differs,
    /// It could not be restored.
    Refused,
}

#[derive(OpenApi)]
#[openapi(paths(make, restore))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/backup", post(make::<B>))
        .route(
            "/api/v1/restore",
            post(restore::<B>).layer(DefaultBodyLimit::max(RESTORE_BODY_BYTES_MAX)),
        )
}

/// The cluster's configuration, sealed with the passphrase.
#[utoipa::path(
    post,
    path = "/api/v1/backup",
    operation_id = "make_backup",
    request_body = NewBackup,
    responses((status = 200, content_type = "application/octet-stream", body = schema::Media)),
)]
async fn make<B: Backend>(
    State(app): State<App<B>>,
    Body(NewBackup { passphrase }): Body<NewBackup>,
) -> Result<impl IntoResponse> {
    let sealed = app.backend.backup(passphrase).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, sealed))
}

/// Opens a backup and restores it, or reports what that would do.
#[utoipa::path(
    post,
    path = "/api/v1/restore",
    operation_id = "restore_backup",
    request_body = NewRestore,
    responses((status = 200, body = Restored)),
)]
async fn restore<B: Backend>(
    State(app): State<App<B>>,
    Body(restore): Body<NewRestore>,
) -> Result<Json<Restored>> {
    app.backend.restore(restore).await.map(Json)
}
