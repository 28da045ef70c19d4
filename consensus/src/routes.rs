//! What other members may ask of this one: Raft's messages, forwarded writes, joining. Bodies are postcard, both ways.

#![expect(clippy::disallowed_methods, reason = "an edge: it waits for the world, and keeps deadlines")]

use crate::auth::peer_auth;
use crate::command::{Command, LogEntry, Rejection};
use crate::consensus::{Consensus, Proposal, WriteError};
use crate::model::{Actor, NodeSpec, Secret};
use crate::raft::snapshot_file::SnapshotImage;
use crate::raft::{Outcome, TypeConfig, Vote};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::storage::Snapshot;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const APPEND: &str = "/raft/append";
pub(crate) const VOTE: &str = "/raft/vote";
pub(crate) const PRE_VOTE: &str = "/raft/pre-vote";
pub(crate) const SNAPSHOT: &str = "/raft/snapshot";
pub(crate) const TRANSFER: &str = "/raft/transfer-leader";
pub(crate) const WRITE: &str = "/write";
pub(crate) const JOIN: &str = "/join";
pub(crate) const CLUSTER: &str = "/cluster";

/// Entries of one append: 64 commands of at most 4,096 assignment changes.
const APPEND_BYTES_MAX: usize = 32 << 20;
/// 10,000 cameras with all their tenures are about 30 MiB.
const SNAPSHOT_BYTES_MAX: usize = 128 << 20;
const WRITE_BYTES_MAX: usize = 1 << 20;
const JOIN_BYTES_MAX: usize = 64 << 10;

/// Every message says for whom it is, so that an address that another node (or cluster) took over answers no.
#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope<T> {
    pub(crate) cluster: Uuid,
    pub(crate) to: NodeId,
    pub(crate) body: T,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotRequest {
    pub(crate) vote: Vote,
    pub(crate) image: SnapshotImage,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WriteRequest {
    pub(crate) entry: LogEntry,
    /// Milliseconds that the asking node still waits.
    pub(crate) deadline_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum WriteAnswer {
    /// Committed as entry `index`.
    Applied {
        outcome: Outcome,
        index: u64,
    },
    /// `leader`: who is, as far as the asked node knows.
    NotLeader {
        leader: Option<NodeId>,
    },
    Unknown,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) spec: NodeSpec,
    pub(crate) attempt: Uuid,
    /// The newcomer's wall clock.
    pub(crate) at: Timestamp,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum JoinAnswer {
    Joined {
        node: NodeId,
        cluster: Uuid,
    },
    Rejected(Rejection),
    /// Ask again.
    Unavailable(String),
}

pub(crate) fn router(consensus: Consensus, secret: Secret) -> Router {
    let limited =
        |limit| move |route: axum::routing::MethodRouter<Consensus>| route.layer(DefaultBodyLimit::max(limit));
    let routes = Router::new()
        .route(APPEND, limited(APPEND_BYTES_MAX)(post(append)))
        .route(VOTE, limited(JOIN_BYTES_MAX)(post(vote)))
        .route(PRE_VOTE, limited(JOIN_BYTES_MAX)(post(pre_vote)))
        .route(SNAPSHOT, limited(SNAPSHOT_BYTES_MAX)(post(snapshot)))
        .route(TRANSFER, limited(JOIN_BYTES_MAX)(post(transfer_leader)))
        .route(WRITE, limited(WRITE_BYTES_MAX)(post(write)))
        .route(JOIN, limited(JOIN_BYTES_MAX)(post(join)))
        .route(CLUSTER, limited(JOIN_BYTES_MAX)(post(cluster)))
        .with_state(consensus);
    peer_auth(secret, routes)
}

/// Why a message was not taken in. The text goes to the asking node's log.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

type Answer = Result<Vec<u8>, Refusal>;

fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let bad = |error| {
        Refusal(
            StatusCode::BAD_REQUEST,
            format!("the message cannot be read ({error}): do all nodes run the same version?"),
        )
    };
    postcard::from_bytes(body).map_err(bad)
}

fn open<T: DeserializeOwned>(consensus: &Consensus, body: &Bytes) -> Result<T, Refusal> {
    let envelope: Envelope<T> = decode(body)?;
    if (envelope.cluster, envelope.to) != (consensus.cluster(), consensus.node()) {
        let (me, meant) = (consensus.node(), envelope.to);
        let message = format!(
            "this is node {me} of cluster {}; the message is for node {meant} of {}",
            consensus.cluster(),
            envelope.cluster
        );
        return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, message));
    }
    Ok(envelope.body)
}

fn answer<T: Serialize>(answer: &T) -> Answer {
    postcard::to_allocvec(answer).map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Raft itself failed (its storage did, or it is shutting down).
fn stopped(error: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn append(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let request: AppendEntriesRequest<TypeConfig> = open(&consensus, &body)?;
    answer(&consensus.raft().append_entries(request).await.map_err(stopped)?)
}

async fn vote(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let request: VoteRequest<TypeConfig> = open(&consensus, &body)?;
    answer(&consensus.raft().vote(request).await.map_err(stopped)?)
}

async fn pre_vote(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let request: VoteRequest<TypeConfig> = open(&consensus, &body)?;
    answer(&consensus.raft().pre_vote(request).await.map_err(stopped)?)
}

async fn snapshot(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let SnapshotRequest { vote, image } = open(&consensus, &body)?;
    let snapshot = Snapshot { meta: image.meta, snapshot: image.state };
    answer(&consensus.raft().install_full_snapshot(vote, snapshot).await.map_err(stopped)?)
}

async fn transfer_leader(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let request: TransferLeaderRequest<TypeConfig> = open(&consensus, &body)?;
    answer(&consensus.raft().handle_transfer_leader(request).await.map_err(stopped)?)
}

async fn write(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let WriteRequest { entry, deadline_ms } = open(&consensus, &body)?;
    if let Some(why) = consensus.stopped() {
        return Err(stopped(why));
    }
    let deadline = Instant::now() + Duration::from_millis(deadline_ms);
    answer(&match consensus.propose(entry, deadline).await {
        Ok(Proposal::Applied { outcome, index }) => WriteAnswer::Applied { outcome, index },
        Ok(Proposal::NotTaken { leader }) => WriteAnswer::NotLeader { leader },
        // Also where Raft stopped meanwhile: the entry may be in its log.
        Err(_) => WriteAnswer::Unknown,
    })
}

/// Any member answers: the leader's log gives out the id, wherever the question arrived.
async fn join(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let JoinRequest { spec, attempt, at } = decode(&body)?;
    answer(&match consensus.write(Command::JoinNode { spec, attempt }.by(Actor::System, at)).await {
        Ok(crate::command::Response::Node(node)) => JoinAnswer::Joined { node, cluster: consensus.cluster() },
        Ok(other) => JoinAnswer::Unavailable(format!("the cluster answered {other:?}")),
        Err(WriteError::Rejected(rejection)) => JoinAnswer::Rejected(rejection),
        Err(error) => JoinAnswer::Unavailable(error.to_string()),
    })
}

/// For who wants to join, and has data of some cluster.
async fn cluster(State(consensus): State<Consensus>) -> Answer {
    answer(&consensus.cluster())
}
