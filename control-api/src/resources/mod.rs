//! The resources of `/api/v1`, one file a noun: its JSON, its view of the replicated state, its
//! handlers and their part of the OpenAPI document. Times are RFC 3339 UTC; passwords are accepted
//! and never returned.

pub(crate) mod app;
pub mod backup;
pub mod cameras;
pub mod cluster;
pub mod drills;
pub mod exports;
pub mod gaps;
pub(crate) mod health;
pub mod holds;
pub mod invites;
pub mod nodes;
pub mod parts;
pub mod ports;
pub mod retention;
pub mod scrub;
pub mod settings;
pub mod status;
pub mod timeline;

use app::App;
use axum::Router;
use ports::Backend;
use serde::Deserialize;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

/// The routes of all resources.
pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .merge(backup::routes())
        .merge(cameras::routes())
        .merge(cluster::routes())
        .merge(drills::routes())
        .merge(exports::routes())
        .merge(gaps::routes())
        .merge(holds::routes())
        .merge(invites::routes())
        .merge(nodes::routes())
        .merge(parts::routes())
        .merge(retention::routes())
        .merge(scrub::routes())
        .merge(settings::routes())
        .merge(status::routes())
        .merge(timeline::routes())
}

/// What the OpenAPI document says of each.
pub(crate) fn documents() -> Vec<(&'static str, OpenApi)> {
    vec![
        ("backup", backup::Paths::openapi()),
        ("cameras", cameras::Paths::openapi()),
        ("cluster", cluster::Paths::openapi()),
        ("drills", drills::Paths::openapi()),
        ("exports", exports::Paths::openapi()),
        ("gaps", gaps::Paths::openapi()),
        ("health", health::Paths::openapi()),
        ("holds", holds::Paths::openapi()),
        ("invites", invites::Paths::openapi()),
        ("nodes", nodes::Paths::openapi()),
        ("parts", parts::Paths::openapi()),
        ("retention", retention::Paths::openapi()),
        ("scrub", scrub::Paths::openapi()),
        ("settings", settings::Paths::openapi()),
        ("status", status::Paths::openapi()),
        ("timeline", timeline::Paths::openapi()),
    ]
}

/// A field that is present in a patch: `null` is not a value.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Option::<T>::deserialize(deserializer)?;
    value
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("null is not a value; leave the field out"))
}
