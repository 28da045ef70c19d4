//! The parts that a simulation replaces: the network, the disk, randomness. Everything else is the
//! code of a node: openraft, the log and the snapshot in real files, the messages, routes,
//! authorisation and deadlines.
//!
//! A simulation runs on one thread, in a current-thread runtime whose clock is paused, from
//! [`enter`] until the value that it returns is dropped. Then it is deterministic: openraft draws
//! its timeouts from the seed, file work is done immediately while time stands still, and nothing
//! runs on other threads except the log's own, which is waited for.

use crate::Boxed;
use crate::codec::Finalized;
use crate::consensus::Way;
use crate::consensus::{Consensus, OpenError, Options, Pace};
use crate::join::{JoinError, Joined, Newcomer};
use crate::model::NodeSpec;
use crate::peer::client::PeerClient;
pub use crate::peer::transport::Transport;
use crate::peer::trust::keys::PublicKey;
pub use crate::peer::trust::roster::Caller;
pub use crate::raft::simulated_disk::{Applied, Disk, SavedVote, Twist, Witness};
use crate::raft::simulated_log::SimulatedLog;
use crate::raft::simulated_runtime::Seeded;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use holdfast_storage::random::Random;
use std::io;
use std::sync::Arc;
use tower::ServiceExt as _;

/// Longer than any answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The answer of `routes` to a request, as if a listener had received it.
///
/// # Errors
/// The arguments do not form a request, or its answer cannot be read.
pub async fn deliver(
    routes: Router,
    path: String,
    caller: Caller,
    body: Vec<u8>,
) -> io::Result<(u16, Vec<u8>)> {
    let request = Request::post(path).extension(caller);
    let request = request.body(Body::from(body)).map_err(io::Error::other)?;
    let Ok(response) = routes.oneshot(request).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .map_err(io::Error::other)?;
    Ok((status, body.to_vec()))
}

/// From now on, until the returned value is dropped, this thread simulates: randomness comes from
/// `random`.
#[must_use]
pub fn enter(random: Random) -> impl Drop {
    Seeded::new(random)
}

/// Like [`Consensus::open`], over `transport` and on `disk`. `snapshot_after`: entries between
/// snapshots; a quarter of that stays in the log.
///
/// # Errors
/// See [`OpenError`].
pub fn open(
    options: Options,
    transport: Arc<dyn Transport>,
    disk: Disk,
    snapshot_after: u64,
) -> Boxed<'static, Result<Consensus, OpenError>> {
    let pace = Pace {
        snapshot_after,
        kept: snapshot_after / 4,
        purged_at_once: 1,
        lag_max: snapshot_after.saturating_mul(2),
        restores_leaders: disk.restores_leaders(),
        checks_directories: disk.checks_directories(),
    };
    let finalized = Finalized::default();
    let way = Way {
        client: PeerClient::over(transport, finalized.clone()),
        trust: None,
        authority: None,
    };
    Box::pin(Consensus::open_over(
        options,
        way,
        finalized,
        pace,
        move |log, machine| {
            machine.witness = Some(disk.witness());
            machine.report_installed();
            disk.settle();
            SimulatedLog::new(log, disk)
        },
    ))
}

/// Like [`Newcomer::join`], over `transport`.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(
    transport: Arc<dyn Transport>,
    peer: &str,
    spec: NodeSpec,
    key: PublicKey,
) -> Result<Joined, JoinError> {
    Newcomer::over(PeerClient::over(transport, Finalized::default()), peer)
        .join(spec, key)
        .await
}
