//! The handle to the replicated state: read it, write commands, and find the leader.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

pub(crate) mod messages;
mod routes;
mod write;

pub(crate) use write::Proposal;
pub use write::{WRITE_DEADLINE, WriteError};

use crate::Boxed;
use crate::codec::Finalized;
use crate::command::{Command, Rejection};
use crate::generation::ClusterGeneration;
use crate::join::Issued;
use crate::model::KeyHash;
use crate::model::{Actor, InviteSpec, NodeSpec, Role};
use crate::peer::client::PeerClient;
use crate::peer::connection::Dialer;
use crate::peer::trust::Trust;
use crate::peer::trust::authority::{Authority, fingerprint};
use crate::peer::trust::keys::PublicKey;
use crate::quorum::{self, Evidence};
use crate::raft::fatal::FatalSignal;
use crate::raft::identity::introductions::{self, Introducer};
use crate::raft::identity::ledger::{Apart, Keep, Ledger};
use crate::raft::identity::{Addresses, Identity, Position, Standing};
use crate::raft::log_store::LogStore;
use crate::raft::membership;
use crate::raft::network::Network;
use crate::raft::state_machine::StateMachine;
use crate::raft::{Raft, TypeConfig};
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, Config, ServerState, SnapshotPolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

const INITIALIZE_DEADLINE: Duration = Duration::from_secs(10);
const TRANSFER_DEADLINE: Duration = Duration::from_secs(2);
/// A voter that answered a heartbeat within this time can take over leadership.
const RECENT: Duration = Duration::from_millis(600);
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// Raft's timing, in milliseconds. Failover of recording does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// openraft ticks five times as often, and waits this long for a heartbeat's answer. A shorter
    /// interval would cost a node without cameras more than all its other work.
    pub heartbeat_interval_ms: u64,
    pub election_timeout_min_ms: u64,
    pub election_timeout_max_ms: u64,
    /// A voter that does not answer for this long loses its vote to a learner, if there is one to
    /// spare.
    pub voter_absent_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 250,
            election_timeout_min_ms: 600,
            election_timeout_max_ms: 1_200,
            voter_absent_max_ms: 600_000,
        }
    }
}

/// What a node with an identity needs to open its consensus.
#[derive(Clone, Debug)]
pub struct Options {
    pub node: NodeId,
    pub cluster: Uuid,
    /// The generation in which this node became a member.
    pub generation: ClusterGeneration,
    /// Contains `log/` and the snapshot; used by this node alone.
    pub dir: PathBuf,
    pub timing: Timing,
    /// `host:port` at which others reach this node now.
    pub peer_addr: String,
    /// Addresses of members, in case all addresses that it knows have changed when it starts.
    pub peers: Vec<String>,
    /// Random: distinguishes this process from every other.
    pub boot: Uuid,
    /// Reads the wall clock, against which invitations expire.
    pub now: fn() -> Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("Raft folder {}: {error}", dir.display())]
    Storage { dir: PathBuf, error: std::io::Error },
    #[error("Raft timing does not fit together: {0}")]
    Timing(String),
    #[error("Raft did not start: {0}")]
    Raft(String),
    #[error(
        "Raft folder {} is of {found}, and identity.json says {expected}; put both back as they \
         were",
        dir.display()
    )]
    WrongGeneration {
        dir: PathBuf,
        found: ClusterGeneration,
        expected: ClusterGeneration,
    },
    #[error(
        "Raft folder {} belongs to cluster {found}, not {expected}; give this node a folder of its \
         own",
        dir.display()
    )]
    WrongCluster {
        dir: PathBuf,
        found: Uuid,
        expected: Uuid,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum InitializeFailure {
    #[error("this node is a member of a cluster already")]
    AlreadyMember,
    #[error("the first node of a cluster has id 1, not {0}")]
    WrongId(NodeId),
    #[error("{0}")]
    Raft(String),
    #[error("{0}")]
    Write(WriteError),
}

/// Raft's leader and its voters, as this node knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    /// The last known leader; it may be dead, or without a majority. Whether one can decide now is
    /// [`Consensus::leader`].
    pub leader: Option<NodeId>,
    /// This node is the leader.
    pub is_leader: bool,
    /// More than half of these must be alive. A new voter is included once its vote is committed.
    pub voters: Vec<NodeId>,
}

/// How a node reaches others, and what it may grant them.
pub(crate) struct Way {
    pub(crate) client: PeerClient,
    pub(crate) trust: Option<Trust>,
    pub(crate) authority: Option<Arc<Authority>>,
}

/// Cheap to clone. Ends with [`Consensus::shutdown`].
#[derive(Clone)]
pub struct Consensus(Arc<Inner>);

struct Inner {
    introducer: Introducer,
    /// `None` in simulations.
    trust: Option<Trust>,
    /// If this node may sign certificates.
    authority: Option<Arc<Authority>>,
    now: fn() -> Timestamp,
    raft: Raft,
    state: watch::Receiver<Arc<ClusterState>>,
    leadership: watch::Receiver<Leadership>,
    /// How long a leader counts without an answer, and a follower's leader without a message.
    lease: Duration,
    /// The leader that this node last followed, and when.
    followed: Mutex<Option<(NodeId, Instant)>>,
    fatal: FatalSignal,
    client: PeerClient,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    #[cfg(test)]
    fault: crate::raft::log_store::Fault,
}

impl Consensus {
    /// Opens log and snapshot and takes part from then on. The state known at the last stop is
    /// available immediately, with or without a leader.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        options: Options,
        trust: Trust,
        authority: Option<Arc<Authority>>,
    ) -> Boxed<'static, Result<Self, OpenError>> {
        Box::pin(Self::open_here(options, trust, authority))
    }

    async fn open_here(
        options: Options,
        trust: Trust,
        authority: Option<Arc<Authority>>,
    ) -> Result<Self, OpenError> {
        let finalized = Finalized::default();
        let way = Way {
            client: PeerClient::new(Dialer::new(trust.clone()), finalized.clone()),
            trust: Some(trust),
            authority,
        };
        Self::open_over(options, way, finalized, Pace::REAL, |log, _| log).await
    }

    /// `finalized`: of no state yet, shared with `client`. `fit` may wrap the log and the state
    /// machine.
    pub(crate) async fn open_over<L: RaftLogStorage<TypeConfig> + Keep + Clone>(
        options: Options,
        way: Way,
        finalized: Finalized,
        pace: Pace,
        fit: impl FnOnce(LogStore, &mut StateMachine) -> L,
    ) -> Result<Self, OpenError> {
        let Way {
            client,
            trust,
            authority,
        } = way;
        let fatal = FatalSignal::new();
        let folder = RaftFolder::open(&options, &finalized, pace, fatal.clone(), fit).await?;
        let state = folder.state;
        let identity = Identity::new(
            (options.node, options.cluster, options.generation),
            options.peer_addr.clone(),
            finalized,
            folder.ledger,
            Addresses::new(state.clone()),
        );
        let introducer = Introducer {
            identity: identity.clone(),
            client: client.clone(),
            state: state.clone(),
        };
        let timing = options.timing;
        let config = config(options.cluster, timing, pace)?;
        let network = Network {
            identity: identity.clone(),
            client: client.clone(),
        };
        let raft = Raft::new(options.node.0, config, network, folder.log, folder.machine)
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        check_origin(&state.borrow(), &options)?;
        identity.follow_log(&raft);
        let (leading, leadership) = watch::channel(Leadership::default());
        let mut tasks = vec![
            tokio::spawn(follow_metrics(raft.clone(), leading, fatal.clone())),
            tokio::spawn(membership::run(
                raft.clone(),
                state.clone(),
                Duration::from_millis(timing.voter_absent_max_ms),
            )),
            tokio::spawn(introductions::run(
                introducer.clone(),
                raft.clone(),
                options.peers,
            )),
        ];
        if let Some(trust) = trust.clone() {
            trust.follow(&state.borrow(), &[]);
            tasks.push(tokio::spawn(follow_members(
                trust,
                state.clone(),
                leadership.clone(),
            )));
        }
        Ok(Self(Arc::new(Inner {
            introducer,
            trust,
            authority,
            now: options.now,
            raft,
            state,
            leadership,
            lease: Duration::from_millis(timing.election_timeout_max_ms),
            followed: Mutex::default(),
            fatal,
            client,
            tasks: Mutex::new(tasks),
            #[cfg(test)]
            fault: folder.fault,
        })))
    }

    /// Creates a new cluster with this node, which has this key, as its only member. `at`: the wall
    /// clock.
    ///
    /// # Errors
    /// See [`InitializeFailure`].
    pub fn initialize(
        &self,
        spec: NodeSpec,
        key: KeyHash,
        at: Timestamp,
    ) -> Boxed<'_, Result<(), InitializeFailure>> {
        Box::pin(self.initialize_here(spec, key, at))
    }

    async fn initialize_here(
        &self,
        spec: NodeSpec,
        key: KeyHash,
        at: Timestamp,
    ) -> Result<(), InitializeFailure> {
        if self.node() != NodeId(1) {
            return Err(InitializeFailure::WrongId(self.node()));
        }
        let member = BTreeMap::from([(self.node().0, BasicNode::new(spec.peer_addr.as_str()))]);
        match self.raft().initialize(member).await {
            Ok(()) => {}
            // An earlier attempt may have stopped here.
            Err(RaftError::APIError(InitializeError::NotAllowed(_)))
                if self.state().cluster.is_none() => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                return Err(InitializeFailure::AlreadyMember);
            }
            Err(error) => return Err(InitializeFailure::Raft(error.to_string())),
        }
        let entry = Command::Initialize {
            cluster: self.cluster(),
            node: spec,
            key,
        }
        .by(Actor::System, at);
        match self
            .write_by(entry, Instant::now() + INITIALIZE_DEADLINE)
            .await
        {
            Ok(_) => Ok(()),
            Err(WriteError::Rejected(Rejection::AlreadyInitialized)) => {
                Err(InitializeFailure::AlreadyMember)
            }
            Err(error) => Err(InitializeFailure::Write(error)),
        }
    }

    #[must_use]
    pub fn node(&self) -> NodeId {
        self.identity().node()
    }

    #[must_use]
    pub fn cluster(&self) -> Uuid {
        self.identity().cluster()
    }

    /// Which process of this node this is, the addresses of the others, and whether it takes part.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.introducer.identity
    }

    pub(crate) fn introducer(&self) -> &Introducer {
        &self.0.introducer
    }

    /// The state as this node knows it; may be older than the leader's.
    #[must_use]
    pub fn state(&self) -> Arc<ClusterState> {
        self.0.state.borrow().clone()
    }

    /// Changes of the state, one for each batch of applied entries.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.0.state.clone()
    }

    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// The leader that has a majority of the voters behind it, as far as this node knows: the only
    /// measure of whether changes can be made now ([`crate::quorum`]).
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let is_open = self.identity().is_open();
        quorum::leader(&self.evidence(), self.0.lease).filter(|_| is_open)
    }

    fn evidence(&self) -> Evidence {
        use openraft::async_runtime::Instant as _;
        let metrics = self.raft().metrics().borrow_watched().clone();
        let followed = *self
            .0
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Evidence {
            me: self.node(),
            named: leadership_of(&metrics).leader,
            is_only_voter: metrics.membership_config.voter_ids().eq([self.node().0]),
            majority: metrics.last_quorum_acked.map(|sent| sent.elapsed()),
            followed: followed.map(|(leader, at)| (leader, at.elapsed())),
        }
    }

    /// This node accepted a message from `leader` as its leader's.
    pub(crate) fn follow(&self, leader: NodeId) {
        *self
            .0
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((leader, Instant::now()));
    }

    /// Becomes `Some(why)` when vote or log could not be made durable, or Raft ended by itself (a
    /// panic): the process must stop.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.0.fatal.subscribe()
    }

    /// For an orderly stop: transfers leadership to the voter with the most complete log. Returns
    /// whether another node leads (or this one never did).
    pub fn transfer_leadership(&self) -> Boxed<'_, bool> {
        Box::pin(self.transfer_to_furthest())
    }

    async fn transfer_to_furthest(&self) -> bool {
        let mut leadership = self.leadership();
        if !leadership.borrow().is_leader {
            return true;
        }
        let Some(heir) = self.furthest_voter() else {
            return false;
        };
        if self.raft().trigger().transfer_leader(heir).await.is_err() {
            return false;
        }
        let moved = leadership.wait_for(|now| {
            !now.is_leader && now.leader.is_some_and(|leader| leader != self.node())
        });
        timeout(TRANSFER_DEADLINE, moved)
            .await
            .is_ok_and(|moved| moved.is_ok())
    }

    /// The voter with the most complete log among those that answered recently; a dead voter's log
    /// can be as complete as a live one's.
    fn furthest_voter(&self) -> Option<u64> {
        use openraft::async_runtime::Instant as _;
        let metrics = self.raft().metrics().borrow_watched().clone();
        let heard = metrics.heartbeat.unwrap_or_default();
        let is_recent = |node: &u64| {
            heard
                .get(node)
                .copied()
                .flatten()
                .is_some_and(|at| at.elapsed() < RECENT)
        };
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let others = metrics
            .replication?
            .into_iter()
            .filter(|(node, _)| *node != self.node().0 && voters.contains(node));
        others
            .filter(|(node, _)| is_recent(node))
            .max_by_key(|(_, matched)| matched.map(|id| id.index))
            .map(|(node, _)| node)
    }

    /// `/raft/*`, `/write`, `/hello` and `/join`, for those who may ask each; for the peer
    /// listener's root.
    pub fn peer_routes(&self) -> axum::Router {
        routes::router(self.clone())
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.now)()
    }

    /// For the peer port; `None` in simulations.
    #[must_use]
    pub fn trust(&self) -> Option<Trust> {
        self.0.trust.clone()
    }

    /// The fingerprint of the root that newcomers have to trust; `None` if this node cannot admit
    /// any, because it does not hold the authority's key.
    #[must_use]
    pub fn root(&self) -> Option<KeyHash> {
        let authority = self.0.authority.as_ref();
        authority.map(|authority| fingerprint(authority.root()))
    }

    /// What a member with `node` as its id needs to speak, for the public key that it joined with.
    /// In simulations nothing is needed.
    pub(crate) fn issue(
        &self,
        node: NodeId,
        key: &PublicKey,
        at: Timestamp,
    ) -> Result<Issued, String> {
        if self.0.trust.is_none() {
            return Ok(Issued::default());
        }
        let authority = self.0.authority.as_ref().ok_or_else(|| {
            "this node does not hold the key of the cluster's authority; ask another".to_owned()
        })?;
        let chain = authority
            .issue(node, key, at)
            .map_err(|error| error.to_string())?;
        let state = self.state();
        let holds_authority = state.invites.values().any(|invite| {
            let InviteSpec { role, may_vote, .. } = &invite.spec;
            invite.used_by == Some(node) && *may_vote && *role == Role::Recorder
        });
        Ok(Issued {
            chain: chain.iter().map(|der| der.to_vec()).collect(),
            authority: holds_authority.then(|| authority.key().to_pkcs8()),
        })
    }

    /// Stops taking part. Everything acknowledged is already durable.
    pub fn shutdown(&self) -> Boxed<'_, ()> {
        Box::pin(self.end())
    }

    async fn end(&self) {
        let tasks =
            std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        // The tasks have to end first: those that watch Raft treat its end as fatal.
        for task in tasks {
            task.abort();
            drop(task.await);
        }
        match timeout(SHUTDOWN_DEADLINE, self.raft().shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "Raft ended badly"),
            Err(_) => tracing::warn!("Raft did not end within {SHUTDOWN_DEADLINE:?}"),
        }
    }

    /// Why this node no longer takes part in Raft.
    pub(crate) fn stopped(&self) -> Option<String> {
        let standing = *self.identity().standing().borrow();
        if matches!(standing, Standing::Fenced(_)) {
            return Some(standing.to_string());
        }
        self.ended()
    }

    /// Why Raft is no longer running.
    pub(crate) fn ended(&self) -> Option<String> {
        let running = self.raft().metrics().borrow_watched().running_state.clone();
        self.0
            .fatal
            .raised()
            .or_else(|| running.err().map(|error| error.to_string()))
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.0.raft
    }

    #[cfg(test)]
    pub(crate) fn fault(&self) -> &crate::raft::log_store::Fault {
        &self.0.fault
    }
}

/// How many entries lie between snapshots, and how many are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) snapshot_after: u64,
    /// Entries before a snapshot that stay in the log for lagging followers.
    pub(crate) kept: u64,
    pub(crate) purged_at_once: u64,
    /// A follower that lags by more receives the snapshot.
    pub(crate) lag_max: u64,
    /// A restarted leader continues to lead without an election.
    pub(crate) restores_leaders: bool,
    /// Detects data directories that are older than what their node has confirmed.
    pub(crate) checks_directories: bool,
}

impl Pace {
    const REAL: Self = Self {
        snapshot_after: 1_000,
        kept: 200,
        purged_at_once: 64,
        lag_max: 2_000,
        restores_leaders: false,
        checks_directories: true,
    };
}

/// What a node's Raft folder holds, opened.
struct RaftFolder<L> {
    log: L,
    machine: StateMachine,
    state: watch::Receiver<Arc<ClusterState>>,
    ledger: Ledger,
    #[cfg(test)]
    fault: crate::raft::log_store::Fault,
}

impl<L: RaftLogStorage<TypeConfig> + Keep + Clone> RaftFolder<L> {
    /// Opens log and snapshot, and begins the process's generation in the ledger.
    async fn open(
        options: &Options,
        finalized: &Finalized,
        pace: Pace,
        fatal: FatalSignal,
        fit: impl FnOnce(LogStore, &mut StateMachine) -> L,
    ) -> Result<Self, OpenError> {
        let dir = &options.dir;
        let storage_failed = |error| OpenError::Storage {
            dir: dir.clone(),
            error,
        };
        // First: with the snapshot's state it knows what is finalised, before anything is written.
        let mut machine = StateMachine::open(dir, finalized.clone()).map_err(storage_failed)?;
        let log =
            LogStore::open(&dir.join("log"), fatal, finalized.clone()).map_err(storage_failed)?;
        let state = machine.subscribe();
        let (kept, began_at) = (log.kept(), began_at(&log, &machine));
        #[cfg(test)]
        let fault = log.fault.clone();
        let log = fit(log, &mut machine);
        let ledger = Ledger::begin(
            Box::new(Apart::new(log.clone())),
            kept.as_deref(),
            began_at,
            options.boot,
            finalized.clone(),
        )
        .await
        .map_err(storage_failed)?;
        let ledger = if pace.checks_directories {
            ledger
        } else {
            ledger.trusting()
        };
        Ok(Self {
            log,
            machine,
            state,
            ledger,
            #[cfg(test)]
            fault,
        })
    }
}

/// What of vote and log is durable when a node starts; the contents of a snapshot were confirmed
/// too.
fn began_at(log: &LogStore, machine: &StateMachine) -> Position {
    let (vote, last) = log.vote_and_last();
    Position::new(vote.as_ref(), last.max(machine.applied()).as_ref())
}

fn config(cluster: Uuid, timing: Timing, pace: Pace) -> Result<Arc<Config>, OpenError> {
    let config = Config {
        cluster_name: cluster.to_string(),
        heartbeat_interval: timing.heartbeat_interval_ms,
        election_timeout_min: timing.election_timeout_min_ms,
        election_timeout_max: timing.election_timeout_max_ms,
        install_snapshot_timeout: 10_000,
        max_payload_entries: 64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(pace.snapshot_after),
        max_in_snapshot_log_to_keep: pace.kept,
        purge_batch_size: pace.purged_at_once,
        replication_lag_threshold: pace.lag_max,
        enable_pre_vote: Some(true),
        // Disabled until its peers have reported what they have seen of it.
        enable_elect: false,
        // A leader that died before its own flush may have lost entries that followers hold and
        // have committed: leading the same term again, it would write different entries in their
        // place.
        enable_leader_restore: Some(pace.restores_leaders),
        backoff: "100ms 200ms ..1s".to_owned(),
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|error| OpenError::Timing(error.to_string()))
}

/// Whether the state that the folder holds is of this cluster and generation.
fn check_origin(state: &ClusterState, options: &Options) -> Result<(), OpenError> {
    if let Some(found) = state.cluster.filter(|found| *found != options.cluster) {
        return Err(OpenError::WrongCluster {
            dir: options.dir.clone(),
            found,
            expected: options.cluster,
        });
    }
    if let Some(found) = state
        .generation()
        .filter(|found| !found.is(&options.generation))
    {
        return Err(OpenError::WrongGeneration {
            dir: options.dir.clone(),
            found,
            expected: options.generation,
        });
    }
    Ok(())
}

/// Makes handshakes follow who is a member of the state, or still of Raft: a voter that was removed
/// may be needed until its vote has been taken away. Ends with the state.
async fn follow_members(
    trust: Trust,
    mut state: watch::Receiver<Arc<ClusterState>>,
    mut leadership: watch::Receiver<Leadership>,
) {
    loop {
        tokio::select! {
            changed = state.changed() => if changed.is_err() {
                return;
            },
            changed = leadership.changed() => if changed.is_err() {
                return;
            },
        }
        let voters = leadership.borrow_and_update().voters.clone();
        let state = state.borrow_and_update().clone();
        trust.follow(&state, &voters);
    }
}

/// Turns openraft's metrics into [`Leadership`] and the fatal signal. An orderly shutdown ends this
/// task first, so any end of Raft that it sees is fatal.
async fn follow_metrics(raft: Raft, leadership: watch::Sender<Leadership>, fatal: FatalSignal) {
    let mut metrics = raft.metrics();
    loop {
        let now = metrics.borrow_watched().clone();
        match &now.running_state {
            Ok(()) => {}
            Err(openraft::errors::Fatal::StorageError(error)) => {
                fatal.raise(storage_failed(&error.to_string()))
            }
            Err(error) => fatal.raise(format!("Raft ended: {error}")),
        }
        // Raft's ticks are for heartbeats and elections, and twenty a second are most of the cost
        // of an idle node. Adding a member changes the metrics first.
        raft.runtime_config().tick(!leads_alone(&now));
        let next = leadership_of(&now);
        leadership.send_if_modified(|before| {
            let changed = *before != next;
            *before = next;
            changed
        });
        if metrics.changed().await.is_err() {
            return fatal.raise("Raft ended without saying why".to_owned());
        }
    }
}

/// The meaning of a refused write to the log.
fn storage_failed(error: &str) -> String {
    // raft-log's message; a leader that has the committed entries never requests this.
    if error.contains("remove committed logs") {
        return format!(
            "the other members decided without what this node had confirmed together with one of \
             them: the data_dir of that one was put back to an earlier state. Keep this data_dir: \
             it has what was undone ({error})"
        );
    }
    format!("Raft's storage failed: {error}")
}

fn leadership_of(metrics: &RaftMetrics<TypeConfig>) -> Leadership {
    // While voters change, the old ones decide until the new set is committed.
    let voters = metrics
        .committed_membership_config
        .membership()
        .get_joint_config()
        .first();
    let is_leader = metrics.state == ServerState::Leader;
    // A restarted leader finds its own vote in the log but is not leading: openraft names it as
    // leader all the same.
    let leader = metrics
        .current_leader
        .filter(|leader| is_leader || *leader != metrics.id);
    Leadership {
        term: metrics.current_term,
        leader: leader.map(NodeId),
        is_leader,
        voters: voters.into_iter().flatten().copied().map(NodeId).collect(),
    }
}

/// Whether this node leads and there is no other member, not even a learner.
fn leads_alone(metrics: &RaftMetrics<TypeConfig>) -> bool {
    let membership = metrics.membership_config.membership();
    metrics.state == ServerState::Leader && membership.nodes().all(|(node, _)| *node == metrics.id)
}

#[cfg(test)]
mod tests;
