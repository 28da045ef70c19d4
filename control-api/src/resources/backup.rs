//! `/api/v1/backup` and `/api/v1/restore`: export and import of the cluster's configuration,
//! including the cameras' passwords. Only sealed bytes leave the node.

mod contents;
mod plan;
mod sealed;

use crate::error::{ApiError, ErrorKind};
use crate::extract::Body;
use crate::limits::{REQUEST_DEADLINE, RESTORE_BODY_BYTES_MAX};
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contents::Contents;
use holdfast_consensus::WriteError;
use holdfast_consensus::command::Response;
use holdfast_consensus::model::{Actor, OperatorName, Secret};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::time::Timestamp;
use plan::{Plan, Work, refused};
use sealed::{OpenError, SealError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
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
    pub made_at: Timestamp,
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
    let sealed = sealed_backup(app.state()?, app.now(), passphrase).await?;
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
    restored(&app, restore).await.map(Json)
}

/// How long one request may apply changes; the next request does the rest.
const RESTORES_FOR: Duration = Duration::from_secs(7);

const _: () = assert!(RESTORES_FOR.as_secs() * 2 <= REQUEST_DEADLINE.as_secs());

/// Deriving a key from a passphrase takes a core for a while: one at a time.
static SEALING: Semaphore = Semaphore::const_new(1);

async fn sealed_backup(
    state: Arc<ClusterState>,
    now: Timestamp,
    passphrase: Secret,
) -> Result<Bytes> {
    let sealed = apart(move || {
        let contents = Contents::of(&state, now).ok_or_else(|| {
            ApiError::unavailable("this node does not know its cluster yet").code("no-cluster")
        })?;
        let contents = serde_json::to_vec(&contents).map_err(|error| {
            ApiError::internal(format!("the configuration cannot be written: {error}"))
        })?;
        sealed::seal(&contents, &passphrase).map_err(|error| seal_error(&error))
    });
    sealed.await.map(Bytes::from)
}

async fn restored<B: Backend>(app: &App<B>, request: NewRestore) -> Result<Restored> {
    let NewRestore {
        passphrase,
        backup,
        dry_run,
        overwrite,
        from,
    } = request;
    app.state()?;
    let (backend, now) = (app.backend.clone(), app.now());
    let planned = apart(move || {
        let footage_upto = backend.camera_highest();
        let mut plan = Plan::new(read(&backup, &passphrase)?, overwrite, footage_upto);
        // After its turn has come: an earlier restore may have changed it.
        let state = backend.state().unwrap_or_default();
        pass_over(&mut plan, &state, from);
        let tried = dry_run.then(|| tried(&mut plan, ClusterState::clone(&state), now));
        Ok((plan, tried))
    });
    let (mut plan, tried) = planned.await?;
    let items = match tried {
        Some(items) => items,
        None => put_back(app, &mut plan).await?,
    };
    let (made_at, cluster) = (plan.contents().made_at, plan.contents().cluster.to_string());
    Ok(Restored {
        dry_run,
        made_at,
        cluster,
        items,
        left: plan.left(),
    })
}

/// Runs work that takes a core for a while off the runtime's threads: deriving a key, and
/// everything that iterates over all cameras.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    // The turn ends with the work, whether a client waits for it or not.
    let turn = SEALING.acquire().await.ok();
    let done = spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    let done = done.await;
    done.map_err(|error| {
        ApiError::internal(format!(
            "a bug kept the backup from being read or written: {error}"
        ))
    })?
}

fn read(backup: &str, passphrase: &Secret) -> Result<Contents> {
    let bytes = STANDARD.decode(backup);
    let bytes = bytes.map_err(|error| {
        ApiError::invalid(format!("`backup` is no base64: {error}")).code("backup-invalid")
    })?;
    let contents = sealed::open(&bytes, passphrase).map_err(|error| open_error(&error))?;
    // Not the error's text, which may hold a value.
    serde_json::from_slice(&contents).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!(
            "the backup was opened, and this release cannot read what it holds (line {line}, \
             column {column}): upgrade"
        );
        ApiError::invalid(detail).code("backup-invalid")
    })
}

/// Skips what an earlier request dealt with. A camera that is not there now was refused.
fn pass_over(plan: &mut Plan, state: &ClusterState, count: usize) {
    for _ in 0..count {
        let Some(work) = plan.next(state) else { return };
        plan.done(&work, None);
    }
}

/// What a restore would do, tried on a copy of the state.
fn tried(plan: &mut Plan, mut state: ClusterState, now: Timestamp) -> Vec<RestoredItem> {
    let mut items = Vec::new();
    while let Some(work) = plan.next(&state) {
        let Some(command) = work.command.clone() else {
            items.push(work.item);
            continue;
        };
        items.push(
            match state.apply(command.by(Actor::Operator(OperatorName::admin()), now)) {
                Ok(response) => done(plan, work, &response),
                Err(rejection) => not_done(plan, work, rejection.to_string()),
            },
        );
    }
    items
}

/// # Errors
/// The cluster takes no changes now; what was restored so far stays.
#[expect(
    clippy::disallowed_methods,
    reason = "an edge: it changes the cluster for a limited time"
)]
async fn put_back<B: Backend>(app: &App<B>, plan: &mut Plan) -> Result<Vec<RestoredItem>> {
    let mut items = Vec::new();
    let until = Instant::now() + RESTORES_FOR;
    while Instant::now() < until {
        let Some(work) = plan.next(&*app.state()?) else {
            break;
        };
        let Some(command) = work.command.clone() else {
            items.push(work.item);
            continue;
        };
        items.push(match app.submit(command).await {
            Ok(response) => done(plan, work, &response),
            Err(WriteError::Rejected(rejection)) => not_done(plan, work, rejection.to_string()),
            Err(error) => return Err(error.into()),
        });
    }
    Ok(items)
}

fn done(plan: &mut Plan, work: Work, response: &Response) -> RestoredItem {
    let camera = match response {
        Response::Camera { camera, .. } => Some(*camera),
        _ => None,
    };
    plan.done(&work, camera);
    work.item
}

fn not_done(plan: &mut Plan, work: Work, why: String) -> RestoredItem {
    plan.done(&work, None);
    refused(work.item, why).item
}

fn seal_error(error: &SealError) -> ApiError {
    let kind = match error {
        SealError::WeakPassphrase(_) => ErrorKind::Invalid,
        SealError::TooLarge(_) | SealError::NoRandomness => ErrorKind::Internal,
    };
    let api = ApiError::new(kind, error.to_string());
    if kind == ErrorKind::Invalid {
        api.code("passphrase-weak")
    } else {
        api
    }
}

fn open_error(error: &OpenError) -> ApiError {
    let code = match error {
        OpenError::NoBackup | OpenError::Newer(_) => "backup-invalid",
        OpenError::Damaged => "backup-damaged",
        OpenError::WrongPassphrase => "passphrase-wrong",
        OpenError::Forged => "backup-forged",
    };
    ApiError::invalid(error.to_string()).code(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// Iterating over the state of 10,000 cameras would block a thread of the runtime.
    #[tokio::test]
    async fn what_goes_over_the_whole_state_waits_for_its_turn_apart() {
        let passphrase = || Secret("correct horse battery staple".to_owned());
        let turn = SEALING.acquire().await.unwrap();
        let made = sealed_backup(Arc::default(), Timestamp(0), passphrase());
        futures::pin_mut!(made);
        assert!(
            (&mut made).now_or_never().is_none(),
            "nothing is looked at on the runtime's thread"
        );
        drop(turn);
        assert_eq!(made.await.unwrap_err().code, "no-cluster");
    }
}
