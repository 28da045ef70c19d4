//! `/api/v1/settings`: the settings of the whole cluster.

use super::present;
use crate::extract::Body;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_consensus::command::Command;
use holdfast_consensus::model::{self, Failback, HeadroomRule, SettingsChange};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// `GET /settings`: settings of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    #[schema(value_type = schema::HeadroomRule)]
    pub headroom: HeadroomRule,
    /// The site has to survive the loss of any failure domain, not only of any node.
    pub headroom_over_domains: bool,
    #[schema(value_type = schema::Failback)]
    pub failback: Failback,
    /// How many seconds a preferred node must have been well.
    pub failback_after_s: u32,
    /// The number of seconds within which each camera's failover is drilled once; 0: no scheduled
    /// drills.
    #[serde(default)]
    pub drill_every_s: u32,
}

/// Body of `PATCH /settings`: absent fields stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsPatch {
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::HeadroomRule)]
    pub headroom: Option<HeadroomRule>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = bool)]
    pub headroom_over_domains: Option<bool>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Failback)]
    pub failback: Option<Failback>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::FailbackAfter)]
    pub failback_after_s: Option<u32>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::DrillEvery)]
    pub drill_every_s: Option<u32>,
}

#[derive(OpenApi)]
#[openapi(paths(show, change))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new().route("/api/v1/settings", get(show::<B>).patch(change::<B>))
}

impl Settings {
    fn of(settings: &model::Settings) -> Self {
        Self {
            headroom: settings.headroom,
            headroom_over_domains: settings.headroom_over_domains,
            failback: settings.failback,
            failback_after_s: settings.failback_after_s,
            drill_every_s: settings.drill_every_s,
        }
    }
}

impl SettingsPatch {
    fn into_change(self) -> SettingsChange {
        SettingsChange {
            headroom: self.headroom,
            headroom_over_domains: self.headroom_over_domains,
            failback: self.failback,
            failback_after_s: self.failback_after_s,
            drill_every_s: self.drill_every_s,
            retention_classes: None,
        }
    }
}

/// Settings of the whole cluster.
#[utoipa::path(
    get,
    path = "/api/v1/settings",
    operation_id = "show_settings",
    responses((status = 200, body = Settings)),
)]
async fn show<B: Backend>(State(app): State<App<B>>) -> Result<Json<Settings>> {
    Ok(Json(Settings::of(&app.state()?.settings)))
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
async fn change<B: Backend>(
    State(app): State<App<B>>,
    Body(patch): Body<SettingsPatch>,
) -> Result<Json<Settings>> {
    let change = patch.into_change();
    if change != SettingsChange::default() {
        app.change(Command::ChangeSettings(change)).await?;
    }
    Ok(Json(Settings::of(&app.state()?.settings)))
}
