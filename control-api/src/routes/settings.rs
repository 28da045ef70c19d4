//! `/api/v1/settings`: the settings of the whole cluster.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Body;
use crate::wire::{Settings, SettingsPatch};
use axum::Json;
use axum::extract::State;

/// Settings of the whole cluster.
#[utoipa::path(
    get,
    path = "/api/v1/settings",
    operation_id = "show_settings",
    responses((status = 200, body = Settings)),
)]
pub(super) async fn show<B: Backend>(State(app): State<App<B>>) -> Result<Json<Settings>> {
    app.backend.settings().await.map(Json)
}

// The replicated state checks the request; there is no check here.
/// Changes settings; absent fields stay.
#[utoipa::path(
    patch,
    path = "/api/v1/settings",
    operation_id = "change_settings",
    request_body = SettingsPatch,
    responses((status = 200, body = Settings)),
)]
pub(super) async fn change<B: Backend>(
    State(app): State<App<B>>,
    Body(patch): Body<SettingsPatch>,
) -> Result<Json<Settings>> {
    app.backend.patch_settings(patch).await.map(Json)
}
