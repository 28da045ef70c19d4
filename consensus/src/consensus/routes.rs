//! Requests from other members: Raft's messages, forwarded writes, joining. Bodies name their
//! version in both directions.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use super::messages::{WRITE, WriteAnswer, WriteRequest};
use super::{Consensus, Proposal, WriteError};
use crate::codec::{self, CodecError, Format};
use crate::command::Command;
use crate::join::{CLUSTER, ClusterAnswer, ClusterRequest, JOIN, JoinAnswer, JoinRequest};
use crate::model::Actor;
use crate::peer::auth::{SentBy, invited_only, known_only, members_only, raft_only};
use crate::peer::envelope::Envelope;
use crate::peer::trust::roster::Caller;
use crate::raft::TypeConfig;
use crate::raft::identity::Stamp;
use crate::raft::identity::introductions::{HELLO, Hello, WHO, WhoAnswer, WhoRequest};
use crate::raft::messages::{APPEND, PRE_VOTE, SNAPSHOT, SnapshotRequest, TRANSFER, VOTE};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use holdfast_storage::ids::NodeId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use openraft::storage::Snapshot;
use std::time::Duration;
use tokio::time::Instant;

/// Entries of one append: 64 commands of at most 4,096 assignment changes.
const APPEND_BYTES_MAX: usize = 32 << 20;
/// 10,000 cameras with all their tenures are about 30 MiB.
const SNAPSHOT_BYTES_MAX: usize = 128 << 20;
const WRITE_BYTES_MAX: usize = 1 << 20;
const SMALL_BYTES_MAX: usize = 64 << 10;

pub(crate) fn router(consensus: Consensus) -> Router {
    let trust = consensus.0.trust.clone();
    let limited = |limit| {
        move |route: axum::routing::MethodRouter<Consensus>| {
            route.layer(DefaultBodyLimit::max(limit))
        }
    };
    let for_raft = Router::new()
        .route(APPEND, limited(APPEND_BYTES_MAX)(post(append)))
        .route(VOTE, limited(SMALL_BYTES_MAX)(post(vote)))
        .route(PRE_VOTE, limited(SMALL_BYTES_MAX)(post(pre_vote)))
        .route(SNAPSHOT, limited(SNAPSHOT_BYTES_MAX)(post(snapshot)))
        .route(TRANSFER, limited(SMALL_BYTES_MAX)(post(transfer_leader)))
        .with_state(consensus.clone());
    let for_members = Router::new()
        .route(WRITE, limited(WRITE_BYTES_MAX)(post(write)))
        .route(WHO, limited(SMALL_BYTES_MAX)(post(who)))
        .with_state(consensus.clone());
    let for_known = Router::new()
        .route(HELLO, limited(SMALL_BYTES_MAX)(post(hello)))
        .with_state(consensus.clone());
    let for_invited = Router::new()
        .route(JOIN, limited(SMALL_BYTES_MAX)(post(join)))
        .route(CLUSTER, limited(SMALL_BYTES_MAX)(post(cluster)))
        .with_state(consensus);
    raft_only(trust.clone(), for_raft)
        .merge(members_only(trust.clone(), for_members))
        .merge(known_only(trust.clone(), for_known))
        .merge(invited_only(trust, for_invited))
}

/// Why a message was not accepted. The text appears in the sending node's log.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

type Answer = Result<Vec<u8>, Refusal>;

fn unreadable(error: CodecError) -> Refusal {
    Refusal(
        StatusCode::BAD_REQUEST,
        format!("the message cannot be read: {error}"),
    )
}

fn decode<T: Format>(body: &[u8]) -> Result<T, Refusal> {
    codec::decode(body).map_err(unreadable)
}

/// The part after the envelope of a message for this node.
fn addressed<'a>(consensus: &Consensus, body: &'a [u8]) -> Result<&'a [u8], Refusal> {
    let (envelope, body) = codec::decode_first::<Envelope>(body).map_err(unreadable)?;
    if !consensus.identity().is_addressed(&envelope) {
        let (me, meant) = (consensus.node(), envelope.to);
        let message = format!(
            "this is node {me} of cluster {}, {}; the message is for node {meant} of cluster {}, \
             generation id {}",
            consensus.cluster(),
            consensus.identity().generation(),
            envelope.cluster,
            envelope.generation
        );
        return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, message));
    }
    Ok(body)
}

fn open<T: Format>(consensus: &Consensus, body: &[u8]) -> Result<T, Refusal> {
    decode(addressed(consensus, body)?)
}

/// A member speaks for itself alone.
fn speaks_for(SentBy(sender): SentBy, node: NodeId) -> Result<(), Refusal> {
    if sender == node {
        return Ok(());
    }
    tracing::warn!(%sender, %node, "a message of one node was sent by another; refused");
    let message = format!("node {sender} may not speak for node {node}");
    Err(Refusal(StatusCode::FORBIDDEN, message))
}

/// Reads a message of Raft. Accepted only if this node takes part, and only from an admitted
/// process.
fn open_raft<T: Format>(consensus: &Consensus, sent_by: SentBy, body: &[u8]) -> Result<T, Refusal> {
    let (stamp, body) =
        codec::decode_first::<Stamp>(addressed(consensus, body)?).map_err(unreadable)?;
    speaks_for(sent_by, stamp.node)?;
    let identity = consensus.identity();
    if !identity.counts(&stamp) {
        let message = format!(
            "this process of node {} has not introduced itself to node {}",
            stamp.node,
            identity.node()
        );
        return Err(Refusal(StatusCode::CONFLICT, message));
    }
    if !identity.is_open() {
        let message = identity.standing().borrow().to_string();
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    decode(body)
}

/// Answers a message of Raft, with this node's identity. If it was fenced in the meantime, it has
/// confirmed nothing.
fn answer_raft<T: Format>(consensus: &Consensus, answer: &T) -> Answer {
    let identity = consensus.identity();
    if !identity.is_open() {
        return Err(Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            identity.standing().borrow().to_string(),
        ));
    }
    let unwritable =
        |error: CodecError| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let finalized = identity.finalized();
    let stamp = codec::encode(&identity.stamp(), finalized).map_err(unwritable)?;
    let answer = codec::encode(answer, finalized).map_err(unwritable)?;
    Ok([stamp, answer].concat())
}

fn answer<T: Format>(consensus: &Consensus, answer: &T) -> Answer {
    codec::encode(answer, consensus.identity().finalized())
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Raft itself failed (its storage did, or it is shutting down).
fn stopped(error: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn append(State(consensus): State<Consensus>, sent_by: SentBy, body: Bytes) -> Answer {
    let request: AppendEntriesRequest<TypeConfig> = open_raft(&consensus, sent_by, &body)?;
    let leader = NodeId(request.vote.leader_id.node_id);
    speaks_for(sent_by, leader)?;
    let answered = consensus
        .raft()
        .append_entries(request)
        .await
        .map_err(stopped)?;
    if !matches!(answered, AppendEntriesResponse::HigherVote(_)) {
        consensus.follow(leader);
    }
    answer_raft(&consensus, &answered)
}

async fn vote(State(consensus): State<Consensus>, sent_by: SentBy, body: Bytes) -> Answer {
    let request: VoteRequest<TypeConfig> = open_raft(&consensus, sent_by, &body)?;
    speaks_for(sent_by, NodeId(request.vote.leader_id.node_id))?;
    answer_raft(
        &consensus,
        &consensus.raft().vote(request).await.map_err(stopped)?,
    )
}

async fn pre_vote(State(consensus): State<Consensus>, sent_by: SentBy, body: Bytes) -> Answer {
    let request: VoteRequest<TypeConfig> = open_raft(&consensus, sent_by, &body)?;
    speaks_for(sent_by, NodeId(request.vote.leader_id.node_id))?;
    answer_raft(
        &consensus,
        &consensus.raft().pre_vote(request).await.map_err(stopped)?,
    )
}

async fn snapshot(State(consensus): State<Consensus>, sent_by: SentBy, body: Bytes) -> Answer {
    let SnapshotRequest { vote, image } = open_raft(&consensus, sent_by, &body)?;
    speaks_for(sent_by, NodeId(vote.leader_id.node_id))?;
    let snapshot = Snapshot {
        meta: image.meta,
        snapshot: image.state,
    };
    answer_raft(
        &consensus,
        &consensus
            .raft()
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(stopped)?,
    )
}

async fn transfer_leader(
    State(consensus): State<Consensus>,
    sent_by: SentBy,
    body: Bytes,
) -> Answer {
    let request: TransferLeaderRequest<TypeConfig> = open_raft(&consensus, sent_by, &body)?;
    answer_raft(
        &consensus,
        &consensus
            .raft()
            .handle_transfer_leader(request)
            .await
            .map_err(stopped)?,
    )
}

async fn write(State(consensus): State<Consensus>, sent_by: SentBy, body: Bytes) -> Answer {
    let WriteRequest { entry, deadline_ms } = open(&consensus, &body)?;
    if let Some(node) = entry.spoken_by() {
        speaks_for(sent_by, node)?;
    }
    if let Some(why) = consensus.stopped() {
        return Err(stopped(why));
    }
    let deadline = Instant::now() + Duration::from_millis(deadline_ms);
    let answered = match consensus.propose(entry, deadline).await {
        Ok(Proposal::Applied { outcome, index }) => WriteAnswer::Applied { outcome, index },
        Ok(Proposal::NotTaken { leader }) => WriteAnswer::NotLeader { leader },
        // Also if Raft stopped in the meantime: the entry may be in its log.
        Err(_) => WriteAnswer::Unknown,
    };
    answer(&consensus, &answered)
}

/// Any member answers that holds the authority's key: the leader's log assigns the id, wherever the
/// request arrived.
async fn join(
    State(consensus): State<Consensus>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let JoinRequest { spec, key } = decode(&body)?;
    let Caller::Invited(invite) = caller else {
        return Err(Refusal(
            StatusCode::FORBIDDEN,
            "only invited newcomers may ask this".to_owned(),
        ));
    };
    let (now, hash) = (consensus.now(), key.hash());
    let command = Command::JoinNode {
        spec,
        key: hash,
        invite,
    };
    let answered = match consensus.write(command.by(Actor::System, now)).await {
        Ok(crate::command::Response::Node(node)) => {
            let (cluster, generation) = (consensus.cluster(), consensus.identity().generation());
            match consensus.issue(node, &key, now) {
                Ok(issued) => JoinAnswer::Joined {
                    node,
                    cluster,
                    generation,
                    issued,
                },
                Err(why) => JoinAnswer::Unavailable(why),
            }
        }
        Ok(other) => JoinAnswer::Unavailable(format!("the cluster answered {other:?}")),
        Err(WriteError::Rejected(rejection)) => JoinAnswer::Rejected(rejection),
        Err(error) => JoinAnswer::Unavailable(error.to_string()),
    };
    answer(&consensus, &answered)
}

async fn cluster(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let ClusterRequest = decode(&body)?;
    answer(&consensus, &ClusterAnswer(consensus.cluster()))
}

/// A process of another member introduces itself.
async fn hello(
    State(consensus): State<Consensus>,
    Extension(caller): Extension<Caller>,
    sent_by: SentBy,
    body: Bytes,
) -> Answer {
    let introduced: Hello = decode(&body)?;
    speaks_for(sent_by, introduced.sender.stamp.node)?;
    if introduced.cluster != consensus.cluster() {
        let (mine, theirs) = (consensus.cluster(), introduced.cluster);
        let message =
            format!("this is a node of cluster {mine}; the introduction is of a node of {theirs}");
        return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, message));
    }
    runs(&consensus)?;
    answer(
        &consensus,
        &consensus
            .introducer()
            .receive(&introduced, !matches!(caller, Caller::Former(_)))
            .await
            .map_err(stopped)?,
    )
}

/// # Errors
/// This process is about to end, and no longer speaks for its node.
fn runs(consensus: &Consensus) -> Result<(), Refusal> {
    consensus.ended().map_or(Ok(()), |why| Err(stopped(why)))
}

async fn who(State(consensus): State<Consensus>, body: Bytes) -> Answer {
    let WhoRequest = open(&consensus, &body)?;
    runs(&consensus)?;
    answer(
        &consensus,
        &WhoAnswer(consensus.identity().ledger().incarnation()),
    )
}
