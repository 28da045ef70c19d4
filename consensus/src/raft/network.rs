//! Raft's messages to other members, as HTTP POSTs. We set the deadlines: openraft only says how
//! long it would wait.

use super::messages::{APPEND, PRE_VOTE, SNAPSHOT, SnapshotRequest, TRANSFER, VOTE};
use super::snapshot_file::SnapshotImage;
use super::state_machine::RaftSnapshot;
use super::{TypeConfig, Vote};
use crate::codec::{self, CodecError, Format};
use crate::peer::client::{Member, PeerClient, PeerError};
use crate::raft::identity::{Identity, Position, Stamp};
use holdfast_storage::ids::NodeId;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RPCTypes};
use std::time::Duration;

/// A follower fsyncs before it answers; next to busy video disks that may take several heartbeats.
const APPEND_DEADLINE: Duration = Duration::from_secs(1);
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

/// Makes a [`Link`] to each member.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) identity: Identity,
    pub(crate) client: PeerClient,
}

/// The connection to one member.
pub(crate) struct Link {
    network: Network,
    target: NodeId,
    /// Its address when it became a member, used until the state has its present one.
    addr_at_join: String,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Link {
        Link {
            network: self.clone(),
            target: NodeId(target),
            addr_at_join: node.addr.clone(),
        }
    }
}

impl Link {
    fn addr(&self) -> String {
        self.network
            .identity
            .addresses()
            .of(self.target)
            .unwrap_or_else(|| self.addr_at_join.clone())
    }

    /// The answer, and the process that gave it. A process that does not count gets no messages,
    /// and its answers are ignored.
    async fn call<Req: Format, Resp: Format>(
        &self,
        path: &str,
        request: Req,
        deadline: Duration,
    ) -> Result<(Stamp, Resp), PeerError> {
        let (addr, identity) = (self.addr(), &self.network.identity);
        if !identity.is_open() {
            let why = identity.standing().borrow().to_string();
            return Err(PeerError::Unreachable { addr, why });
        }
        let garbled = |error: CodecError| PeerError::Garbled {
            addr: addr.clone(),
            why: error.to_string(),
        };
        let finalized = identity.finalized();
        let message = [
            codec::encode(&identity.envelope(self.target), finalized).map_err(garbled)?,
            codec::encode(&identity.stamp(), finalized).map_err(garbled)?,
            codec::encode(&request, finalized).map_err(garbled)?,
        ]
        .concat();
        let member = Member {
            node: Some(self.target),
            addr: &addr,
        };
        let answer = self
            .network
            .client
            .fetch_encoded(member, path, message, deadline)
            .await
            .inspect_err(|error| {
                // The peer does not know this process, or this node is no member any more, or the
                // message is not for its node, cluster or generation.
                let is_not_taken = matches!(
                    error,
                    PeerError::Rejected {
                        status: 403 | 409 | 421,
                        ..
                    }
                );
                if is_not_taken {
                    identity.not_taken_by(self.target);
                }
            })?;
        let (stamp, body) = codec::decode_first::<Stamp>(&answer).map_err(garbled)?;
        Ok((stamp, codec::decode(body).map_err(garbled)?))
    }

    /// The answer may be counted once this node has durably recorded the `position` that it
    /// confirms, if it confirms one.
    async fn counted<Resp>(
        &self,
        (stamp, answer): (Stamp, Resp),
        position: Option<Position>,
    ) -> Result<Resp, PeerError> {
        let identity = &self.network.identity;
        let counts = match position {
            Some(position) => identity.confirm(&stamp, position).await,
            None => Ok(identity.counts(&stamp)),
        };
        let why = match counts {
            Ok(true) if stamp.node == self.target => return Ok(answer),
            Ok(_) => format!(
                "another process of node {} answered than the one that counts",
                self.target
            ),
            Err(error) => format!("what it confirmed could not be made durable here: {error}"),
        };
        Err(PeerError::Unreachable {
            addr: self.addr(),
            why,
        })
    }

    fn rpc_error(
        &self,
        error: &PeerError,
        action: RPCTypes,
        timeout: Duration,
    ) -> RPCError<TypeConfig> {
        match error {
            PeerError::Timeout { .. } => RPCError::Timeout(Timeout {
                action,
                id: self.network.identity.node().0,
                target: self.target.0,
                timeout,
            }),
            // `Unreachable` makes openraft wait before it tries again.
            _ => RPCError::Unreachable(Unreachable::new(error)),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let deadline = option.hard_ttl().max(APPEND_DEADLINE);
        let (vote, sent) = (
            rpc.vote,
            rpc.entries
                .last()
                .map(|entry| entry.log_id)
                .or(rpc.prev_log_id),
        );
        let answer = async {
            let (stamp, answer) = self.call(APPEND, rpc, deadline).await?;
            let confirmed = match &answer {
                AppendEntriesResponse::Success => Some(Position::new(Some(&vote), sent.as_ref())),
                AppendEntriesResponse::PartialSuccess(upto) => {
                    Some(Position::new(Some(&vote), upto.as_ref()))
                }
                AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => None,
            };
            self.counted((stamp, answer), confirmed).await
        };
        answer
            .await
            .map_err(|error| self.rpc_error(&error, RPCTypes::AppendEntries, deadline))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let vote = rpc.vote;
        let answer = async {
            let (stamp, answer): (Stamp, VoteResponse<TypeConfig>) =
                self.call(VOTE, rpc, option.soft_ttl()).await?;
            let granted = answer
                .vote_granted
                .then(|| Position::new(Some(&vote), None));
            self.counted((stamp, answer), granted).await
        };
        answer
            .await
            .map_err(|error| self.rpc_error(&error, RPCTypes::Vote, option.soft_ttl()))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        // A pre-vote promises nothing, so nothing is recorded.
        let answer = async {
            self.counted(self.call(PRE_VOTE, rpc, option.soft_ttl()).await?, None)
                .await
        };
        answer
            .await
            .map_err(|error| self.rpc_error(&error, RPCTypes::Vote, option.soft_ttl()))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let deadline = option.hard_ttl().max(SNAPSHOT_DEADLINE);
        let confirmed = Position::new(Some(&vote), snapshot.meta.last_log_id.as_ref());
        let image = SnapshotImage {
            meta: snapshot.meta,
            state: snapshot.snapshot,
        };
        let installed = async {
            let (stamp, answer): (Stamp, SnapshotResponse<TypeConfig>) = self
                .call(SNAPSHOT, SnapshotRequest { vote, image }, deadline)
                .await?;
            let is_taken = answer.vote == vote;
            self.counted((stamp, answer), is_taken.then_some(confirmed))
                .await
        };
        tokio::select! {
            biased;
            answer = installed => {
                answer.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = async {
            self.counted(self.call(TRANSFER, rpc, option.soft_ttl()).await?, None)
                .await
        };
        answer
            .await
            .map_err(|error| self.rpc_error(&error, RPCTypes::TransferLeader, option.soft_ttl()))
    }
}
