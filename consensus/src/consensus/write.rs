//! The write path: from any node to the leader's log and back, within a deadline; an unknown result
//! is reported as unknown.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use super::Consensus;
use super::messages::{WRITE, WriteAnswer, WriteRequest};
use crate::Boxed;
use crate::command::{Command, LogEntry, Rejection, Response};
use crate::model::Actor;
use crate::peer::client::{Member, PeerError};
use crate::raft::Outcome;
use holdfast_storage::ids::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Every write is answered within this time.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(2);
/// Reserved from the deadline, so that the answer arrives in time.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Why a write failed, or its result is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing was changed; try again.
    #[error(
        "the cluster has no leader now (too few of its voters reach each other); nothing was \
         changed, recording continues"
    )]
    NoLeader,
    /// Read before trying again: the change may or may not have been made.
    #[error(
        "the cluster did not confirm in time; whether the change was made is unknown: read it back \
         before trying again"
    )]
    Unknown,
    #[error("{0}")]
    Rejected(#[from] Rejection),
    #[error("this node takes no part in consensus any more: {0}")]
    Fatal(String),
}

/// The result of one proposal.
pub(crate) enum Proposal {
    Applied {
        outcome: Outcome,
        index: u64,
    },
    /// Certainly not applied: not the leader, or the leader is gone. `leader`: the leader, as far
    /// as the answering node knows.
    NotTaken {
        leader: Option<NodeId>,
    },
}

/// Which member to ask next: the leader that was named last, then each member in turn, because a
/// node that was away may name an old leader.
#[derive(Debug, Default)]
struct Route {
    hint: Option<NodeId>,
    asked: usize,
}

impl Route {
    fn next(
        &mut self,
        leader: Option<NodeId>,
        me: NodeId,
        members: impl Iterator<Item = NodeId>,
    ) -> Option<NodeId> {
        if let Some(hint) = self.hint.take() {
            return Some(hint);
        }
        self.asked += 1;
        if self.asked % 2 == 1 {
            return leader;
        }
        let others: Vec<NodeId> = members.filter(|member| *member != me).collect();
        others
            .get((self.asked / 2 - 1) % others.len().max(1))
            .copied()
    }
}

impl Consensus {
    /// Applies the command of `entry`, through whichever node leads; answers within
    /// [`WRITE_DEADLINE`]. The change is in [`Self::state`] of this node when it returns, unless
    /// this node lags by more than the deadline.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(&self, entry: LogEntry) -> Result<Response, WriteError> {
        self.write_by(entry, Instant::now() + WRITE_DEADLINE - ANSWER_MARGIN)
            .await
    }

    /// Applies the command of `entry` if this node leads, and never asks another node: a leader's
    /// decision from its own view of which nodes are alive is worthless once another node leads.
    /// Answers within [`WRITE_DEADLINE`].
    ///
    /// # Errors
    /// [`WriteError::NoLeader`]: this node does not lead, nothing was changed; otherwise see
    /// [`WriteError`].
    pub async fn propose_as_leader(&self, entry: LogEntry) -> Result<Response, WriteError> {
        match self
            .propose(entry, Instant::now() + WRITE_DEADLINE - ANSWER_MARGIN)
            .await?
        {
            Proposal::Applied { outcome, .. } => outcome.0.map_err(WriteError::Rejected),
            Proposal::NotTaken { .. } => Err(WriteError::NoLeader),
        }
    }

    /// Applies the command of `entry` like [`Self::write`]. Returns whether that succeeded and this
    /// node has applied it, together with everything committed before.
    pub async fn write_and_see(&self, entry: LogEntry) -> bool {
        let written = self
            .write_there(entry, Instant::now() + WRITE_DEADLINE - ANSWER_MARGIN)
            .await;
        written.is_ok_and(|(_, is_seen)| is_seen)
    }

    pub(super) async fn write_by(
        &self,
        entry: LogEntry,
        deadline: Instant,
    ) -> Result<Response, WriteError> {
        self.write_there(entry, deadline)
            .await
            .map(|(response, _)| response)
    }

    /// The answer, and whether this node has applied the command.
    fn write_there(
        &self,
        entry: LogEntry,
        deadline: Instant,
    ) -> Boxed<'_, Result<(Response, bool), WriteError>> {
        Box::pin(self.write_somewhere(entry, deadline))
    }

    async fn write_somewhere(
        &self,
        entry: LogEntry,
        deadline: Instant,
    ) -> Result<(Response, bool), WriteError> {
        let mut leadership = self.leadership();
        let mut route = Route::default();
        loop {
            if let Some(why) = self.stopped() {
                return Err(WriteError::Fatal(why));
            }
            let now = leadership.borrow_and_update().clone();
            let target = if now.is_leader {
                Some(self.node())
            } else {
                route.next(now.leader, self.node(), self.state().nodes.keys())
            };
            let proposal = match target {
                Some(target) if target == self.node() => {
                    self.propose(entry.clone(), deadline).await?
                }
                Some(target) => self.forward(target, entry.clone(), deadline).await?,
                None => Proposal::NotTaken { leader: None },
            };
            match proposal {
                Proposal::Applied { outcome, index } => {
                    let is_seen = self.catch_up(index, deadline).await;
                    return outcome
                        .0
                        .map(|response| (response, is_seen))
                        .map_err(WriteError::Rejected);
                }
                Proposal::NotTaken { leader } => {
                    route.hint =
                        leader.filter(|leader| Some(*leader) != target && *leader != self.node())
                }
            }
            if Instant::now() + RETRY_INTERVAL >= deadline {
                return Err(WriteError::NoLeader);
            }
            // On any change, or after a moment without one, look again.
            if let Ok(Err(_)) = timeout(RETRY_INTERVAL, leadership.changed()).await {
                // This node is shutting down and nothing changes any more: looking again would
                // never wait.
                return Err(WriteError::NoLeader);
            }
        }
    }

    /// Proposes as the leader.
    pub(crate) fn propose(
        &self,
        entry: LogEntry,
        deadline: Instant,
    ) -> Boxed<'_, Result<Proposal, WriteError>> {
        Box::pin(self.propose_here(entry, deadline))
    }

    async fn propose_here(
        &self,
        entry: LogEntry,
        deadline: Instant,
    ) -> Result<Proposal, WriteError> {
        if self.leadership().borrow().is_leader {
            self.state().check_usable(&entry.command)?;
            self.reserve_numbers(&entry, deadline).await;
        }
        match timeout_at(deadline, self.raft().client_write(entry)).await {
            Ok(Ok(answer)) => Ok(Proposal::Applied {
                outcome: answer.data,
                index: answer.log_id.index,
            }),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Ok(Proposal::NotTaken {
                    leader: to.leader_id.map(NodeId),
                })
            }
            Ok(Err(RaftError::Fatal(error))) => Err(WriteError::Fatal(
                self.0.fatal.raised().unwrap_or(error.to_string()),
            )),
            Ok(Err(RaftError::APIError(_))) | Err(_) => Err(WriteError::Unknown),
        }
    }

    /// Before a camera is added: makes sure that no number is assigned of which any node holds
    /// footage, whatever the state knows of it. If that fails, adding the camera fails as well.
    async fn reserve_numbers(&self, entry: &LogEntry, deadline: Instant) {
        let upto = self.identity().camera_highest();
        let gives_numbers = |command| {
            matches!(
                command,
                &Command::CreateCamera { .. }
                    | &Command::ReinstateCamera { camera: None, .. }
                    | &Command::AdoptCameras { .. }
            )
        };
        if gives_numbers(&entry.command) && upto > self.state().camera_last() {
            tracing::warn!(
                %upto,
                "there is footage of cameras that the cluster does not know; their numbers are not \
                 given out"
            );
            let reserve = Command::ReserveCameras { upto }.by(Actor::System, entry.at);
            drop(timeout_at(deadline, self.raft().client_write(reserve)).await);
        }
    }

    async fn forward(
        &self,
        leader: NodeId,
        entry: LogEntry,
        deadline: Instant,
    ) -> Result<Proposal, WriteError> {
        let Some(addr) = self.addr_of(leader) else {
            return Ok(Proposal::NotTaken { leader: None });
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let deadline_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let envelope = self.identity().envelope(leader);
        let request = WriteRequest { entry, deadline_ms };
        // A bug; nothing was sent.
        let Ok(request) = envelope.seal(&request, self.identity().finalized()) else {
            return Err(WriteError::Unknown);
        };
        let member = Member {
            node: Some(leader),
            addr: &addr,
        };
        match self
            .0
            .client
            .call_encoded(member, WRITE, request, left)
            .await
        {
            Ok(WriteAnswer::Applied { outcome, index }) => Ok(Proposal::Applied { outcome, index }),
            Ok(WriteAnswer::NotLeader { leader }) => Ok(Proposal::NotTaken { leader }),
            Err(error) if error.is_unsent() => Ok(Proposal::NotTaken { leader: None }),
            // Refused without being examined: another node or cluster is at that address, or it is
            // shutting down.
            Err(PeerError::Rejected { status, .. }) if status != 500 => {
                Ok(Proposal::NotTaken { leader: None })
            }
            Ok(WriteAnswer::Unknown) | Err(_) => Err(WriteError::Unknown),
        }
    }

    fn addr_of(&self, node: NodeId) -> Option<String> {
        self.identity().addresses().of(node).or_else(|| {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow_watched();
            metrics
                .membership_config
                .membership()
                .get_node(&node.0)
                .map(|node| node.addr.clone())
        })
    }

    /// Waits until this node has applied entry `index`, so that a client reads what it wrote.
    async fn catch_up(&self, index: u64, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        // The write is done either way; a lagging node returns an older state for a moment.
        self.raft()
            .wait(Some(left))
            .applied_index_at_least(Some(index), "written")
            .await
            .is_ok()
    }
}
