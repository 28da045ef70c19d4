//! The configuration of the cluster in a sealed file, and back. Only sealed bytes leave the node.

mod contents;
mod plan;
mod sealed;

use crate::api::backend::{NodeBackend, write_error};
use crate::clock::Clock;
use crate::host::member::Member;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contents::Contents;
use holdfast_consensus::WriteError;
use holdfast_consensus::command::Response;
use holdfast_consensus::model::{Actor, OperatorName, Secret};
use holdfast_consensus::state::ClusterState;
use holdfast_control_api::limits::REQUEST_DEADLINE;
use holdfast_control_api::ports::Result;
use holdfast_control_api::{ApiError, ErrorKind, wire};
use holdfast_storage::time::Timestamp;
use plan::{Plan, Work, refused};
use sealed::{OpenError, SealError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// How long one request may apply changes; the next request does the rest.
const RESTORES_FOR: Duration = Duration::from_secs(7);

const _: () = assert!(RESTORES_FOR.as_secs() * 2 <= REQUEST_DEADLINE.as_secs());

/// Deriving a key from a passphrase takes a core for a while: one at a time.
static SEALING: Semaphore = Semaphore::const_new(1);

pub(crate) async fn make(
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

pub(crate) async fn restore(
    backend: &NodeBackend,
    member: &Member,
    request: wire::NewRestore,
    clock: Clock,
) -> Result<wire::Restored> {
    let wire::NewRestore {
        passphrase,
        backup,
        dry_run,
        overwrite,
        from,
    } = request;
    let (consensus, now) = (member.consensus.clone(), clock.now());
    let footage_upto = consensus.identity().camera_highest();
    let planned = apart(move || {
        let mut plan = Plan::new(read(&backup, &passphrase)?, overwrite, footage_upto);
        let state = consensus.state();
        pass_over(&mut plan, &state, from);
        let tried = dry_run.then(|| tried(&mut plan, ClusterState::clone(&state), now));
        Ok((plan, tried))
    });
    let (mut plan, tried) = planned.await?;
    let items = match tried {
        Some(items) => items,
        None => put_back(backend, member, &mut plan, clock).await?,
    };
    let (made_at, cluster) = (plan.contents().made_at, plan.contents().cluster.to_string());
    Ok(wire::Restored {
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
fn tried(plan: &mut Plan, mut state: ClusterState, now: Timestamp) -> Vec<wire::RestoredItem> {
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
async fn put_back(
    backend: &NodeBackend,
    member: &Member,
    plan: &mut Plan,
    clock: Clock,
) -> Result<Vec<wire::RestoredItem>> {
    let until = clock.elapsed() + RESTORES_FOR;
    let mut items = Vec::new();
    while clock.elapsed() < until {
        let Some(work) = plan.next(&member.consensus.state()) else {
            break;
        };
        let Some(command) = work.command.clone() else {
            items.push(work.item);
            continue;
        };
        items.push(match backend.submit(member, command).await {
            Ok(response) => done(plan, work, &response),
            Err(WriteError::Rejected(rejection)) => not_done(plan, work, rejection.to_string()),
            Err(error) => return Err(write_error(error)),
        });
    }
    Ok(items)
}

fn done(plan: &mut Plan, work: Work, response: &Response) -> wire::RestoredItem {
    let camera = match response {
        Response::Camera { camera, .. } => Some(*camera),
        _ => None,
    };
    plan.done(&work, camera);
    work.item
}

fn not_done(plan: &mut Plan, work: Work, why: String) -> wire::RestoredItem {
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
        let made = make(Arc::default(), Timestamp(0), passphrase());
        futures::pin_mut!(made);
        assert!(
            (&mut made).now_or_never().is_none(),
            "nothing is looked at on the runtime's thread"
        );
        drop(turn);
        assert_eq!(made.await.unwrap_err().code, "no-cluster");
    }
}
