//! Becoming a member, before a node has an identity: request an id from any member.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

pub(crate) mod token;

use self::token::JoinToken;
use crate::codec::{Finalized, Format, first_version};
use crate::command::Rejection;
use crate::generation::ClusterGeneration;
use crate::model::{KeyHash, NodeSpec};
use crate::peer::client::{Member, PeerClient, PeerError};
use crate::peer::connection::Dialer;
use crate::peer::trust::authority::fingerprint;
use crate::peer::trust::keys::{CertificateDer, Credentials, PublicKey, key_of};
use crate::peer::trust::names::NodeUri;
use crate::peer::trust::roster::Roster;
use crate::peer::trust::{Trust, TrustError};
use holdfast_storage::ids::NodeId;
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

/// What a new member stores before it opens `Consensus`. The id is never assigned again.
#[derive(Clone, Debug)]
pub struct Joined {
    pub node: NodeId,
    pub cluster: Uuid,
    pub generation: ClusterGeneration,
    pub issued: Issued,
}

/// Certificates and keys that a member gives to a newcomer, in DER.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The node's own certificate, and the root above it.
    pub chain: Vec<Vec<u8>>,
    /// The key of the cluster's authority, PKCS#8: for nodes that may vote and are no witnesses.
    pub authority: Option<Vec<u8>>,
}

impl Issued {
    /// Whether the certificates are of the node with this name and key, under this root.
    fn is_for(&self, name: NodeUri, key: KeyHash, root: KeyHash) -> bool {
        let chain = self.chain.iter().map(|der| der.as_slice().into());
        let chain: Vec<CertificateDer<'_>> = chain.collect();
        let [own, of_authority] = chain.as_slice() else {
            return false;
        };
        NodeUri::of(own) == Some(name)
            && key_of(own) == Some(key)
            && fingerprint(of_authority) == root
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("the cluster refused: {0}")]
    Rejected(Rejection),
    /// The cluster may have assigned an id nevertheless: the next attempt must have the same key.
    #[error("could not join through {peer} within {JOIN_DEADLINE:?}: {why}")]
    Unavailable { peer: String, why: String },
    #[error("could not join through {peer}: {error}")]
    Peer { peer: String, error: PeerError },
    #[error("a member gave this node certificates of another node or cluster; they were not kept")]
    Forged,
    #[error("{0}")]
    Trust(#[from] TrustError),
}

/// Talks to the members that a token names, as the newcomer that it invites.
#[derive(Clone, Debug)]
pub struct Newcomer {
    client: PeerClient,
    addresses: Vec<String>,
    /// Of the token; `None` in simulations.
    root: Option<KeyHash>,
}

impl Newcomer {
    /// It does not know yet what its cluster has finalised: it writes the oldest versions, which
    /// every member reads.
    ///
    /// # Errors
    /// The token's key cannot be used.
    pub fn new(token: &JoinToken) -> Result<Self, TrustError> {
        let roster = Roster {
            pinned_root: Some(token.root),
            ..Roster::default()
        };
        let trust = Trust::new(&Credentials::of_invitation(token.key()?)?, roster)?;
        Ok(Self {
            client: PeerClient::new(Dialer::new(trust), Finalized::default()),
            addresses: token.addresses.iter().map(ToString::to_string).collect(),
            root: Some(token.root),
        })
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn over(client: PeerClient, address: &str) -> Self {
        Self {
            client,
            addresses: vec![address.to_owned()],
            root: None,
        }
    }

    /// Which cluster the members belong to; retries until [`JOIN_DEADLINE`].
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn cluster(&self) -> Result<Uuid, JoinError> {
        self.ask(CLUSTER, &ClusterRequest, |ClusterAnswer(cluster)| {
            Ok(cluster)
        })
        .await
    }

    /// Requests membership; repeats the same request until [`JOIN_DEADLINE`]. The key pair of `key`
    /// must be durable before: for a repeated request with it, also after a crash, the cluster
    /// returns the same id.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(&self, spec: NodeSpec, key: PublicKey) -> Result<Joined, JoinError> {
        let hash = key.hash();
        let request = JoinRequest { spec, key };
        let joined = self.ask(JOIN, &request, |answer| match answer {
            JoinAnswer::Joined {
                node,
                cluster,
                generation,
                issued,
            } => Ok(Joined {
                node,
                cluster,
                generation,
                issued,
            }),
            JoinAnswer::Rejected(rejection) => Err(Refusal::Final(rejection)),
            JoinAnswer::Unavailable(why) => Err(Refusal::Passing(why)),
        });
        let joined: Joined = joined.await?;
        let name = NodeUri {
            cluster: joined.cluster,
            node: joined.node,
        };
        match self.root {
            Some(root) if !joined.issued.is_for(name, hash, root) => Err(JoinError::Forged),
            _ => Ok(joined),
        }
    }

    /// Asks one address after the other.
    async fn ask<Req: Format, Resp: Format, T>(
        &self,
        path: &str,
        request: &Req,
        take: impl Fn(Resp) -> Result<T, Refusal>,
    ) -> Result<T, JoinError> {
        let give_up_at = Instant::now() + JOIN_DEADLINE;
        let mut failed = None;
        loop {
            for addr in &self.addresses {
                let asked = Member {
                    node: None,
                    addr: addr.as_str(),
                };
                let answer = self
                    .client
                    .call::<_, Resp>(asked, path, request, ASK_DEADLINE);
                let (peer, why) = (
                    addr.clone(),
                    match answer.await.map(&take) {
                        Ok(Ok(taken)) => return Ok(taken),
                        Ok(Err(Refusal::Final(rejection))) => {
                            return Err(JoinError::Rejected(rejection));
                        }
                        Ok(Err(Refusal::Passing(why))) => why,
                        Err(error @ (PeerError::Rejected { .. } | PeerError::Garbled { .. })) => {
                            return Err(JoinError::Peer {
                                peer: addr.clone(),
                                error,
                            });
                        }
                        Err(error) => error.to_string(),
                    },
                );
                failed.get_or_insert(JoinError::Unavailable { peer, why });
            }
            if Instant::now() + ASK_AGAIN_AFTER > give_up_at
                && let Some(failed) = failed
            {
                return Err(failed);
            }
            failed = None;
            sleep(ASK_AGAIN_AFTER).await;
        }
    }
}

/// A negative answer.
enum Refusal {
    Final(Rejection),
    /// Ask again.
    Passing(String),
}

#[derive(Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) spec: NodeSpec,
    /// The newcomer's own key; its invitation's is that of the connection.
    pub(crate) key: PublicKey,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum JoinAnswer {
    Joined {
        node: NodeId,
        cluster: Uuid,
        generation: ClusterGeneration,
        issued: Issued,
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
