//! A node that belongs to a cluster: starts its parts in order, and stops them in order.
//!
//! Volumes and recorders come up with what the node last knew; nothing waits for a leader.

use super::clock::Clock;
use super::drive::{self, Drive};
use super::identity::Identity;
use super::mux::CmafMux;
use super::pilot::Sight;
use super::reads::read_routes;
use super::view::View;
use super::volumes::Volumes;
use crate::config::{Config, Secrets};
use crate::ingest::admission::{Admission, CONNECTING_MAX};
use crate::ingest::runtime::{self, IngestRuntime};
use crate::ingest::session::Deadlines;
use crate::link::{EVENTS_MAX, Links, LinksOptions, heartbeat_routes};
use crate::recorder::chunker::Limits;
use crate::recorder::supervisor::{self, Supervisor, SupervisorHandle};
use crate::recorder::{status, task};
use holdfast_consensus::command::Command;
use holdfast_consensus::heartbeat::Heartbeat;
use holdfast_consensus::model::{Duty, NodeSpec, Role};
use holdfast_consensus::peer::PeerClient;
use holdfast_consensus::{Consensus, Timing, WriteError};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a stopping node waits for others to take its cameras over.
const HANDOVER_MAX: Duration = Duration::from_secs(20);
/// How long last chunks and TEARDOWNs may take.
const RECORDERS_STOP_MAX: Duration = Duration::from_secs(5);
/// Ticks of an ingest lane until it has surely taken in what had arrived before: the one under way, and a whole one.
const LAST_LOOK_TICKS: u32 = 2;
/// A chunk without a further frame ends this long after its longest time.
const CHUNK_IDLE_US: i64 = 100_000;
/// How often a node that could not report for duty tries again.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{0}")]
    Volume(#[from] holdfast_storage::Error),
    #[error("{0}")]
    Consensus(#[from] holdfast_consensus::OpenError),
    #[error("{0}")]
    Ingest(#[from] runtime::Error),
    #[error("the client for other nodes cannot be set up: {0}")]
    Client(io::Error),
}

/// The parts of a running member.
pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) consensus: Consensus,
    pub(crate) volumes: Volumes,
    pub(crate) view: View,
    pub(crate) sight: watch::Receiver<Arc<Sight>>,
    pub(crate) supervisor: SupervisorHandle,
    /// Everything of the peer port.
    pub(crate) peer_routes: axum::Router,
    /// Until a lane has taken in everything that had arrived before.
    last_look: Duration,
    tasks: Vec<JoinHandle<()>>,
    /// Its threads live as long as the member.
    _ingest: IngestRuntime,
}

/// What this node says of itself.
pub(crate) fn node_spec(config: &Config) -> NodeSpec {
    NodeSpec {
        name: config.name.clone(),
        peer_addr: config.advertised_peer(),
        api_addr: config.advertised_api(),
        role: config.cluster.role,
        failure_domain: config.cluster.failure_domain.clone(),
        camera_capacity: config.cluster.camera_capacity,
    }
}

impl Member {
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub(crate) async fn start(
        config: &Config,
        secrets: &Secrets,
        identity: Identity,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let volumes = Volumes::open(config, identity.node, identity.cluster)?;
        let consensus = open_consensus(&config.data_dir, secrets, identity).await?;
        let client = PeerClient::new(secrets.cluster.clone()).map_err(StartError::Client)?;
        let ingest = IngestRuntime::start(runtime::Options {
            tick: Duration::from_millis(config.ingest.tick_ms),
            ..runtime::Options::default()
        })?;

        let (desired, desired_seen) = watch::channel(BTreeMap::new());
        let services = task::Services {
            mux: Arc::new(CmafMux),
            sink: Arc::new(volumes.clone()),
            ingest: ingest.handle(),
            admission: Admission::new(CONNECTING_MAX),
            totals: Arc::new(status::Counters::default()),
        };
        let (recorders, supervisor) = Supervisor::new(supervisor_options(config, identity), services, desired_seen);

        let (link_events, events) = mpsc::channel(EVENTS_MAX);
        let first = Heartbeat {
            from: identity.node,
            boot: clock.boot(),
            sequence: 0,
            sent_at: clock.now(),
            recorders: Vec::new(),
        };
        let (heartbeat, next_heartbeat) = watch::channel(first);
        let (sight, sight_seen) = watch::channel(Arc::<Sight>::default());
        let links = Links::new(LinksOptions {
            secret: secrets.cluster.clone(),
            heartbeat: next_heartbeat,
            events: link_events.clone(),
        });
        let own_progress = {
            let (supervisor, volumes) = (supervisor.clone(), volumes.clone());
            Arc::new(move || supervisor.statuses().into_iter().map(|status| volumes.progress(status)).collect())
        };
        let drive = Drive::new(drive::Options {
            me: identity.node,
            clock,
            consensus: consensus.clone(),
            own_progress,
            link_events: events,
            links,
            heartbeat,
            desired,
            sight,
        });
        let view = View {
            me: identity.node,
            volumes: volumes.clone(),
            client,
            state: consensus.subscribe(),
            sight: sight_seen.clone(),
        };
        let own_routes = heartbeat_routes(link_events).merge(read_routes(volumes.clone()));
        let peer_routes =
            consensus.peer_routes().merge(holdfast_consensus::peer_auth(secrets.cluster.clone(), own_routes));
        let tasks = vec![
            tokio::spawn(recorders.run()),
            tokio::spawn(drive.run()),
            tokio::spawn(report_for_duty(consensus.clone(), identity, node_spec(config))),
        ];
        Ok(Self {
            identity,
            consensus,
            volumes,
            view,
            sight: sight_seen,
            supervisor,
            peer_routes,
            last_look: Duration::from_millis(config.ingest.tick_ms) * LAST_LOOK_TICKS,
            tasks,
            _ingest: ingest,
        })
    }

    /// Hands all cameras over, makes everything durable, and leaves. `hand_over` is false where consensus has failed.
    ///
    /// # Errors
    /// What could not be made durable, in words.
    pub(crate) async fn stop(&self, hand_over: bool) -> Result<(), String> {
        if hand_over {
            self.hand_over().await;
            // What cameras sent before the stop has arrived, but lanes look for it only once a tick.
            sleep(self.last_look).await;
        }
        let recorders = self.supervisor.shutdown().await.map_err(|error| error.to_string());
        let volumes = self.volumes.close().await.map_err(|error| error.to_string());
        if hand_over && !self.consensus.transfer_leadership().await {
            tracing::warn!("leadership could not be handed over; the others elect a leader by themselves");
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        self.consensus.shutdown().await;
        recorders.and(volumes)
    }

    /// Asks the others to take this node's cameras, and records on until they do.
    async fn hand_over(&self) {
        if !self.others_can_record() {
            tracing::info!("no other node can take cameras; stopping without a handover");
            return;
        }
        let stopping = Command::SetDuty { node: self.identity.node, duty: Duty::Stopping };
        if let Err(error) = self.consensus.write(stopping).await {
            tracing::warn!(%error, "cannot announce the stop; the others will notice it");
            return;
        }
        let mut state = self.consensus.subscribe();
        let me = self.identity.node;
        let mut reported = usize::MAX;
        let empty = state.wait_for(|state| {
            let owned = state.owned_by(me).count();
            if owned != reported {
                tracing::info!(cameras = owned, "waiting for others to take cameras over");
                reported = owned;
            }
            owned == 0
        });
        if timeout(HANDOVER_MAX, empty).await.is_err() {
            tracing::warn!("some cameras were not taken over within {HANDOVER_MAX:?}; their recording will have a gap");
        }
    }

    fn others_can_record(&self) -> bool {
        let sight = self.sight.borrow();
        let state = self.consensus.state();
        state.nodes.values().any(|node| {
            node.id != self.identity.node
                && node.spec.role == Role::Recorder
                && node.duty == Duty::Active
                && sight.is_alive(node.id)
        })
    }
}

async fn open_consensus(
    data_dir: &Path,
    secrets: &Secrets,
    identity: Identity,
) -> Result<Consensus, holdfast_consensus::OpenError> {
    Consensus::open(holdfast_consensus::Options {
        node: identity.node,
        cluster: identity.cluster,
        dir: data_dir.join("raft"),
        timing: Timing::default(),
        secret: secrets.cluster.clone(),
    })
    .await
}

fn supervisor_options(config: &Config, identity: Identity) -> supervisor::Options {
    let ingest = &config.ingest;
    let connect = Duration::from_millis(ingest.connect_timeout_ms);
    let deadlines =
        Deadlines { describe: connect, stall: Duration::from_millis(ingest.stall_after_ms), ..Deadlines::default() };
    let duration_us = i64::try_from(ingest.chunk_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let limits = Limits { duration_us, idle_us: duration_us.saturating_add(CHUNK_IDLE_US), ..Limits::default() };
    supervisor::Options {
        node: identity.node,
        recorder: task::Options { limits, deadlines, ..task::Options::default() },
        shutdown_deadline: RECORDERS_STOP_MAX,
    }
}

/// Tells the cluster this node's present addresses and capacity, and that it takes cameras again, once there is a leader to tell.
async fn report_for_duty(consensus: Consensus, identity: Identity, spec: NodeSpec) {
    // A founder is not a member before its first entry, and needs no report then.
    let mut state = consensus.subscribe();
    if state.wait_for(|state| state.nodes.contains(identity.node)).await.is_err() {
        return;
    }
    loop {
        let node = consensus.state().nodes.get(identity.node).cloned();
        if node.is_some_and(|node| node.spec == spec && node.duty != Duty::Stopping) {
            return;
        }
        let report = Command::ReportForDuty { node: identity.node, spec: spec.clone() };
        match consensus.write(report).await {
            Ok(_) => return,
            Err(WriteError::Rejected(rejection)) => {
                tracing::error!(%rejection, "the cluster refuses this node's report; correct its configuration");
                return;
            }
            Err(error) => tracing::warn!(%error, "cannot report for duty yet; recording goes on"),
        }
        sleep(REPORT_INTERVAL).await;
    }
}
