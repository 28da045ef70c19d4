//! Becoming a member, before a node has an identity: request an id from any member.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use crate::codec::Format;
use crate::command::Rejection;
use crate::first_version;
use crate::generation::ClusterGeneration;
use crate::model::{NodeSpec, Secret};
use crate::peer::client::{PeerClient, PeerError};
use crate::peer::connection::Dialer;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub(crate) const JOIN: &str = "/join";
pub(crate) const CLUSTER: &str = "/cluster";

/// Long enough for an election during the request.
pub const JOIN_DEADLINE: Duration = Duration::from_secs(15);
const ASK_DEADLINE: Duration = Duration::from_secs(4);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The identity that a new member stores before it opens `Consensus`. The id is never assigned
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    pub node: NodeId,
    pub cluster: Uuid,
    pub generation: ClusterGeneration,
}

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("the cluster refused: {0}")]
    Rejected(Rejection),
    /// The cluster may have assigned an id nevertheless: the next attempt must name the same one.
    #[error("could not join through {peer} within {JOIN_DEADLINE:?}: {why}")]
    Unavailable { peer: String, why: String },
    #[error("could not join through {peer}: {error}")]
    Peer { peer: String, error: PeerError },
}

/// Which cluster the member at `peer` (`host:port` of its peer address) belongs to; retries until
/// [`JOIN_DEADLINE`].
///
/// # Errors
/// See [`JoinError`].
pub async fn cluster_of(peer: &str, secret: Secret) -> Result<Uuid, JoinError> {
    let client = PeerClient::new(Dialer::new(secret));
    ask(
        &client,
        peer,
        CLUSTER,
        &ClusterRequest,
        |ClusterAnswer(cluster)| Ok(cluster),
    )
    .await
}

/// Requests membership from the member at `peer` (`host:port` of its peer address); repeats the
/// same request until [`JOIN_DEADLINE`]. `attempt` must be made durable before it is used: for a
/// repeated request with it, also after a crash, the cluster returns the same id instead of
/// rejecting the name as taken. `at`: the wall clock.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(
    peer: &str,
    spec: NodeSpec,
    secret: Secret,
    (attempt, at): (Uuid, Timestamp),
) -> Result<Joined, JoinError> {
    let client = PeerClient::new(Dialer::new(secret));
    join_through(&client, peer, spec, (attempt, at)).await
}

pub(crate) async fn join_through(
    client: &PeerClient,
    peer: &str,
    spec: NodeSpec,
    (attempt, at): (Uuid, Timestamp),
) -> Result<Joined, JoinError> {
    let request = JoinRequest { spec, attempt, at };
    ask(client, peer, JOIN, &request, |answer| match answer {
        JoinAnswer::Joined {
            node,
            cluster,
            generation,
        } => Ok(Joined {
            node,
            cluster,
            generation,
        }),
        JoinAnswer::Rejected(rejection) => Err(Refusal::Final(rejection)),
        JoinAnswer::Unavailable(why) => Err(Refusal::Passing(why)),
    })
    .await
}

/// A negative answer.
enum Refusal {
    Final(Rejection),
    /// Ask again.
    Passing(String),
}

async fn ask<Req: Format, Resp: Format, T>(
    client: &PeerClient,
    peer: &str,
    path: &str,
    request: &Req,
    take: impl Fn(Resp) -> Result<T, Refusal>,
) -> Result<T, JoinError> {
    let give_up_at = Instant::now() + JOIN_DEADLINE;
    loop {
        let why = match client
            .call::<_, Resp>(peer, path, request, ASK_DEADLINE)
            .await
            .map(&take)
        {
            Ok(Ok(taken)) => return Ok(taken),
            Ok(Err(Refusal::Final(rejection))) => return Err(JoinError::Rejected(rejection)),
            Ok(Err(Refusal::Passing(why))) => why,
            Err(error @ (PeerError::Rejected { .. } | PeerError::Garbled { .. })) => {
                return Err(JoinError::Peer {
                    peer: peer.to_owned(),
                    error,
                });
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() + ASK_AGAIN_AFTER > give_up_at {
            return Err(JoinError::Unavailable {
                peer: peer.to_owned(),
                why,
            });
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
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
        generation: ClusterGeneration,
    },
    Rejected(Rejection),
    /// Ask again.
    Unavailable(String),
}

/// Sent by a node that has data of a cluster and wants to join.
#[derive(Serialize, Deserialize)]
pub(crate) struct ClusterRequest;

#[derive(Serialize, Deserialize)]
pub(crate) struct ClusterAnswer(pub(crate) Uuid);

first_version!(
    JoinRequest => "a request to join",
    JoinAnswer => "the answer to a request to join",
    ClusterRequest => "the question for the cluster",
    ClusterAnswer => "the cluster's id",
);
