//! Recovery after the permanent loss of a majority: the data of one stopped node becomes the
//! beginning of a new generation ([`crate::generation`]) of which it is the only member.
//!
//! Every entry of its log counts, including those that may not have been committed: some may be the
//! last that users had acknowledged. What the lost members acknowledged without this node is gone.
//!
//! Its data is not changed: the new generation gets its own folder ([`Remains::write`]), which has
//! no effect until the caller records durably that this node belongs to that generation. So an
//! interrupted recovery has either happened or not.

use crate::Boxed;
use crate::codec::{self, Finalized};
use crate::generation::{ClusterGeneration, Recovered};
use crate::model::Node;
use crate::raft::fatal::FatalSignal;
use crate::raft::identity::ledger::Kept;
use crate::raft::identity::standing::Standing;
use crate::raft::log_store::LogStore;
use crate::raft::snapshot_file::{SnapshotFile, SnapshotImage};
use crate::raft::state_machine::StateMachine;
use crate::raft::{self, LogId, SnapshotMeta, StoredMembership, Vote};
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use openraft::entry::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use openraft::{BasicNode, Membership};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// How many entries of the log are read at once.
const READ_ENTRIES: u64 = 64;

#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("{} is not there: this node was never a member of a cluster", .0.display())]
    Nothing(PathBuf),
    #[error("the node runs, or another recovery does: {}: {error}", dir.display())]
    InUse { dir: PathBuf, error: io::Error },
    #[error("{}: {error}", dir.display())]
    Unreadable { dir: PathBuf, error: io::Error },
    #[error(
        "node {0} is no member of the cluster that its log describes: it was removed, or had not \
         heard yet that it was added"
    )]
    NoMember(NodeId),
    #[error("{}: {error}", dir.display())]
    Unwritable { dir: PathBuf, error: io::Error },
}

/// The end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

/// The data of a stopped node. As long as this exists, the node cannot start.
pub struct Remains {
    node: NodeId,
    generation: ClusterGeneration,
    machine: StateMachine,
    finalized: Finalized,
    vote: Option<Vote>,
    last: LogId,
    changed_at: Option<Timestamp>,
    /// Old and new set while they change.
    voters: Vec<BTreeSet<NodeId>>,
    fenced: Option<String>,
    // Holds its lock.
    _log: LogStore,
}

impl Remains {
    /// Reads the data of `node` in `dir`, its consensus folder.
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub fn open(dir: PathBuf, node: NodeId) -> Boxed<'static, Result<Self, RecoveryError>> {
        Box::pin(async move { Self::open_here(&dir, node).await })
    }

    async fn open_here(dir: &Path, node: NodeId) -> Result<Self, RecoveryError> {
        let log_dir = dir.join("log");
        if !log_dir.is_dir() {
            return Err(RecoveryError::Nothing(log_dir));
        }
        let unreadable = |error| RecoveryError::Unreadable {
            dir: dir.to_owned(),
            error,
        };
        let finalized = Finalized::default();
        let mut log =
            LogStore::open(&log_dir, FatalSignal::new(), finalized.clone()).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::WouldBlock => RecoveryError::InUse {
                        dir: dir.to_owned(),
                        error,
                    },
                    _ => unreadable(error),
                }
            })?;
        let mut machine = StateMachine::open(dir, finalized.clone()).map_err(unreadable)?;
        let (vote, last) = log.vote_and_last();
        let changed_at = apply_all(&mut log, &mut machine, last)
            .await
            .map_err(unreadable)?;
        let kept = log
            .kept()
            .map(|kept| codec::decode::<Kept>(&kept))
            .transpose();
        let kept =
            kept.map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let fenced = kept
            .and_then(|kept| kept.fence)
            .map(|fence| Standing::Fenced(fence).to_string());
        let generation = machine
            .state()
            .generation()
            .filter(|_| machine.state().nodes.contains(node));
        let (Some(generation), Some(last)) = (generation, last.max(machine.applied())) else {
            return Err(RecoveryError::NoMember(node));
        };
        let voters = voters(machine.membership());
        Ok(Self {
            node,
            generation,
            machine,
            finalized,
            vote,
            last,
            changed_at,
            voters,
            fenced,
            _log: log,
        })
    }

    #[must_use]
    pub fn state(&self) -> &ClusterState {
        self.machine.state()
    }

    #[must_use]
    pub fn generation(&self) -> ClusterGeneration {
        self.generation
    }

    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition {
            term: self.last.leader_id.term,
            index: self.last.index,
        }
    }

    /// When the last change was requested, by the clock of the requesting node; `None` if it is in
    /// the snapshot.
    #[must_use]
    pub fn changed_at(&self) -> Option<Timestamp> {
        self.changed_at
    }

    /// Why this node takes no part, if it was fenced.
    #[must_use]
    pub fn fenced(&self) -> Option<&str> {
        self.fenced.as_deref()
    }

    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.voters.iter().flatten().copied().collect()
    }

    /// Whether this node and `others` could decide together: then nothing is lost permanently.
    #[must_use]
    pub fn is_majority(&self, others: &BTreeSet<NodeId>) -> bool {
        let counts = |node: &&NodeId| **node == self.node || others.contains(node);
        self.voters
            .iter()
            .all(|voters| voters.iter().filter(counts).count() > voters.len() / 2)
    }

    /// Writes the beginning of the next generation to `dir`, durably; an existing folder is set
    /// aside. Returns the generation, and the removed members. `id`: random.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(
        &self,
        dir: PathBuf,
        id: Uuid,
        at: Timestamp,
    ) -> Boxed<'_, Result<(ClusterGeneration, Vec<Node>), RecoveryError>> {
        Box::pin(async move {
            let generation = self.generation.next(id, Recovered { by: self.node, at });
            let mut state = self.state().clone();
            let dropped = state
                .recover(self.node, generation, at)
                .map_err(|_| RecoveryError::NoMember(self.node))?;
            let written = self.write_state(&dir, &state, id).await;
            written.map_err(|error| RecoveryError::Unwritable { dir, error })?;
            Ok((generation, dropped))
        })
    }

    /// Writes the state as a snapshot, as if the recovery had been an entry of its own term, and a
    /// log that ends with it. Existing content is from an interrupted recovery, or should not be
    /// there: it is set aside.
    async fn write_state(&self, dir: &Path, state: &ClusterState, id: Uuid) -> io::Result<()> {
        let mut aside = dir.as_os_str().to_owned();
        aside.push(format!(".before-{}", id.simple()));
        match fs::rename(dir, aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        raft::private_dir(dir)?;
        let term = self
            .vote
            .map_or(0, |vote| vote.leader_id.term)
            .max(self.last.leader_id.term)
            + 1;
        let leader_id = LeaderId {
            term,
            node_id: self.node.0,
        };
        let last = LogId {
            leader_id,
            index: self.last.index + 1,
        };
        let image = SnapshotImage {
            meta: SnapshotMeta {
                last_log_id: Some(last),
                last_membership: self.membership(last, state)?,
            },
            state: codec::encode(state, &self.finalized).map_err(io::Error::other)?,
        };
        SnapshotFile::new(dir, self.finalized.clone()).write(&image)?;
        let log_dir = dir.join("log");
        let mut log = LogStore::open(&log_dir, FatalSignal::new(), self.finalized.clone())?;
        log.save_vote(&Vote {
            leader_id,
            committed: true,
        })
        .await?;
        log.purge(last).await?;
        drop(log);
        for dir in [Some(log_dir.as_path()), Some(dir), dir.parent()]
            .into_iter()
            .flatten()
        {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    fn membership(&self, last: LogId, state: &ClusterState) -> io::Result<StoredMembership> {
        let addr = state
            .nodes
            .get(self.node)
            .map(|node| node.spec.peer_addr.to_string())
            .unwrap_or_default();
        let (voters, nodes) = (
            vec![BTreeSet::from([self.node.0])],
            BTreeMap::from([(self.node.0, BasicNode::new(addr))]),
        );
        let membership = Membership::new(voters, nodes).map_err(io::Error::other)?;
        Ok(StoredMembership::new(Some(last), membership))
    }
}

/// Applies the log's entries after the snapshot; returns when the last change was requested.
async fn apply_all(
    log: &mut LogStore,
    machine: &mut StateMachine,
    last: Option<LogId>,
) -> io::Result<Option<Timestamp>> {
    let mut next = machine.applied().map_or(0, |id| id.index + 1);
    let end = last.map_or(0, |id| id.index + 1);
    let mut changed_at = None;
    while next < end {
        let upto = end.min(next + READ_ENTRIES);
        let entries = log.try_get_log_entries(next..upto).await?;
        if entries.first().map(|entry| entry.log_id.index) != Some(next) {
            let why =
                format!("entry {next} of the log is not there, and the snapshot ends before it");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        for entry in entries {
            next = entry.log_id.index + 1;
            if let EntryPayload::Normal(logged) = &entry.payload {
                changed_at = Some(logged.at);
            }
            // Entries that were rejected then are rejected now.
            drop(machine.apply_entry(entry));
        }
    }
    Ok(changed_at)
}

fn voters(membership: &StoredMembership) -> Vec<BTreeSet<NodeId>> {
    let configs = membership.membership().get_joint_config();
    configs
        .iter()
        .map(|voters| voters.iter().copied().map(NodeId).collect())
        .collect()
}

#[cfg(test)]
mod tests;
