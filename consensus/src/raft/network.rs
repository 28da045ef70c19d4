//! Raft's messages to other members, as HTTP POSTs. Deadlines are ours: openraft only says how long it would wait.

use super::snapshot_file::SnapshotImage;
use super::state_machine::RaftSnapshot;
use super::{TypeConfig, Vote};
use crate::codec::{CodecError, Format};
use crate::peer::{PeerClient, PeerError};
use crate::routes::{APPEND, Envelope, PRE_VOTE, SNAPSHOT, SnapshotRequest, TRANSFER, VOTE};
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RPCTypes};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// A follower fsyncs before it answers; beside busy video disks that may take several heartbeats.
const APPEND_DEADLINE: Duration = Duration::from_secs(1);
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

/// Makes a [`Link`] to each member.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) me: NodeId,
    pub(crate) cluster: Uuid,
    pub(crate) client: PeerClient,
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
}

/// The way to one member.
pub(crate) struct Link {
    network: Network,
    target: NodeId,
    /// Where it was when it became a member, until the state says where it is now.
    addr_at_join: String,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Link {
        Link { network: self.clone(), target: NodeId(target), addr_at_join: node.addr.clone() }
    }
}

impl Link {
    fn addr(&self) -> String {
        let state = self.network.state.borrow();
        state.nodes.get(self.target).map_or_else(|| self.addr_at_join.clone(), |node| node.spec.peer_addr.to_string())
    }

    async fn call<Req: Format, Resp: Format>(
        &self,
        path: &str,
        request: Req,
        deadline: Duration,
    ) -> Result<Resp, PeerError> {
        let (addr, envelope) = (self.addr(), Envelope { cluster: self.network.cluster, to: self.target });
        let garbled = |error: CodecError| PeerError::Garbled { addr: addr.clone(), why: error.to_string() };
        let message = envelope.seal(&request).map_err(garbled)?;
        self.network.client.call_encoded(&addr, path, message, deadline).await
    }

    fn rpc_error(&self, error: &PeerError, action: RPCTypes, timeout: Duration) -> RPCError<TypeConfig> {
        match error {
            PeerError::Timeout { .. } => {
                RPCError::Timeout(Timeout { action, id: self.network.me.0, target: self.target.0, timeout })
            }
            // Unreachable makes openraft wait before it tries again.
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
        let answer = self.call(APPEND, rpc, deadline).await;
        answer.map_err(|error| self.rpc_error(&error, RPCTypes::AppendEntries, deadline))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.call(VOTE, rpc, option.soft_ttl()).await;
        answer.map_err(|error| self.rpc_error(&error, RPCTypes::Vote, option.soft_ttl()))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.call(PRE_VOTE, rpc, option.soft_ttl()).await;
        answer.map_err(|error| self.rpc_error(&error, RPCTypes::Vote, option.soft_ttl()))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let deadline = option.hard_ttl().max(SNAPSHOT_DEADLINE);
        let image = SnapshotImage { meta: snapshot.meta, state: snapshot.snapshot };
        tokio::select! {
            biased;
            answer = self.call(SNAPSHOT, SnapshotRequest { vote, image }, deadline) => {
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
        let answer = self.call(TRANSFER, rpc, option.soft_ttl()).await;
        answer.map_err(|error| self.rpc_error(&error, RPCTypes::TransferLeader, option.soft_ttl()))
    }
}
