//! `/api/v1/backup` and `/api/v1/restore`: export and import of the cluster's configuration,
//! including the cameras' passwords. The node seals a backup: no cleartext leaves it.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Body;
use crate::schema;
use crate::wire::{NewBackup, NewRestore, Restored};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

/// The cluster's configuration, sealed with the passphrase.
#[utoipa::path(
    post,
    path = "/api/v1/backup",
    operation_id = "make_backup",
    request_body = NewBackup,
    responses((status = 200, content_type = "application/octet-stream", body = schema::Media)),
)]
pub(super) async fn make<B: Backend>(
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
pub(super) async fn restore<B: Backend>(
    State(app): State<App<B>>,
    Body(restore): Body<NewRestore>,
) -> Result<Json<Restored>> {
    app.backend.restore(restore).await.map(Json)
}
