//! A node that belongs to a cluster: starts its parts in order, and stops them in order.
//!
//! Volumes and recorders start from the node's last known state; nothing waits for a leader.

use crate::capture::hub::Hub;
use crate::capture::ingest::admission::{Admission, CONNECTING_MAX};
use crate::capture::ingest::runtime::{self, IngestHandle, IngestRuntime};
use crate::capture::ingest::session::Deadlines;
use crate::capture::ingest::wall::WallTrust;
use crate::capture::mux::CmafMux;
use crate::capture::recorder::accounts::{Accounts, Signs};
use crate::capture::recorder::chunker::Limits;
use crate::capture::recorder::status::Status;
use crate::capture::recorder::supervisor::{self, Desired, Supervisor, SupervisorHandle};
use crate::capture::recorder::{status, task};
use crate::clock::{Clock, wall_clock};
use crate::config::Config;
use crate::footage::cluster_footage::View;
use crate::footage::former;
use crate::footage::peer_reads::{read_routes, sight_route};
use crate::footage::retention;
use crate::host::identity::Identity;
use crate::host::keys::{Keys, KeysError};
use crate::host::part::Parts;
use crate::member::alive;
use crate::member::drive::{self, Drive, LookAtSelf};
use crate::member::link::{EVENTS_MAX, LinkEvent, Links, LinksOptions, Outgoing, heartbeat_routes};
use crate::member::pilot::{Own, TICK};
use crate::member::probes::Probes;
use crate::parts::certainty;
use crate::parts::drills;
use crate::parts::headroom;
use crate::parts::holds::publish_holds;
use crate::parts::names::keep_names;
use crate::volumes::Volumes;
use crate::volumes::sink::{GapTotals, VolumeSink};
use holdfast_consensus::command::Command;
use holdfast_consensus::decide::headroom::Headroom;
use holdfast_consensus::model::{Actor, Duty, Invalid, KeyHash, Node, NodeSpec, Role};
use holdfast_consensus::observe::heartbeat::{
    Audience, Exposure, HEARTBEAT_INTERVAL, Heartbeat, RecorderState,
};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::peer::client::PeerClient;
use holdfast_consensus::peer::connection::Dialer;
use holdfast_consensus::peer::trust::Trust;
use holdfast_consensus::peer::trust::authority::Authority;
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::{Consensus, Timing, WriteError};
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// How long recording waits for the catalogue to open, which shows how far the last process
/// recorded; a damaged one is rebuilt while recording runs.
const CATALOGUE_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a stopping node waits for others to take its cameras over.
const HANDOVER_MAX: Duration = Duration::from_secs(20);
/// How long last chunks and TEARDOWNs may take.
const RECORDERS_STOP_MAX: Duration = Duration::from_secs(5);
/// Ticks after which an ingest lane has read everything that had arrived before: the one under way,
/// and a whole one.
const LAST_LOOK_TICKS: u32 = 2;
/// A chunk without a further frame ends this long after its longest time.
const CHUNK_IDLE_US: i64 = 100_000;
/// How often a node that could not report for duty tries again.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often one whose report is refused tries again.
const REFUSED_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// If there is a leader, cameras that a stopping node does not record are given to others within
/// this time of its announcement.
const REASSIGNED_WITHIN: Duration = Duration::from_secs(1);
/// How often a node checks of which cameras it holds footage.
const CAMERAS_LOOK: Duration = Duration::from_secs(5);
/// How often a stopping node checks whether it still owns cameras.
const HANDOVER_LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the configuration: {0}")]
    Config(#[from] Invalid),
    #[error("{0}")]
    Volume(#[from] holdfast_storage::Error),
    #[error("{0}")]
    Consensus(#[from] holdfast_consensus::OpenError),
    #[error("{0}")]
    Keys(#[from] KeysError),
    #[error("{0}")]
    Ingest(#[from] runtime::Error),
    #[error("a bug ended the start: {0}")]
    Bug(#[from] tokio::task::JoinError),
}

/// The parts of a running member.
pub(crate) struct Member {
    pub(crate) identity: Identity,
    /// Of the key that its connections are made with.
    pub(crate) key: KeyHash,
    clock: Clock,
    pub(crate) consensus: Consensus,
    pub(crate) volumes: Volumes,
    pub(crate) view: View,
    pub(crate) sight: watch::Receiver<Arc<Sight>>,
    /// The cost of the next failure; `None` until it is known.
    pub(crate) headroom: watch::Receiver<Option<Arc<Headroom>>>,
    pub(crate) supervisor: SupervisorHandle,
    /// The frames that the recorders publish.
    pub(crate) hub: Hub,
    pub(crate) gaps: Arc<GapTotals>,
    /// All routes of the peer port.
    pub(crate) peer_routes: axum::Router,
    /// Names the first part that ended by itself.
    pub(crate) broken: watch::Receiver<Option<String>>,
    stopping: watch::Sender<bool>,
    /// How long until a lane has read everything that had arrived before.
    last_look: Duration,
    pub(crate) parts: Parts,
    /// Its threads live as long as the member.
    _ingest: IngestRuntime,
}

impl Member {
    /// # Errors
    /// See [`StartError`]; nothing runs then.
    pub(crate) async fn start(
        config: &Config,
        keys: Keys,
        identity: Identity,
        clock: Clock,
        raft: &Handle,
    ) -> Result<Self, StartError> {
        let spec = config.node_spec()?;
        let volumes = Volumes::open(config, identity.node, identity.cluster, clock).await?;
        let (trust, key) = (keys.trust()?, keys.credentials.key.hash());
        let consensus = raft
            .spawn(open_consensus(
                config.clone(),
                (trust.clone(), keys.authority),
                identity,
            ))
            .await??;
        let dialer = Dialer::new(trust);
        let client = PeerClient::new(dialer.clone(), consensus.identity().finalized().clone());
        let tick = Duration::from_millis(config.ingest.tick_ms);
        let ingest = IngestRuntime::start(runtime::Options {
            tick,
            ..runtime::Options::default()
        })?;
        let (stopping, stops) = watch::channel(false);
        let base = Base {
            config,
            dialer,
            spec,
            identity,
            clock,
            consensus,
            volumes,
            stops,
        };

        let hub = Hub::default();
        let services = (ingest.handle(), hub.clone());
        let (recorders, desired) = base.set_up_recorders(services).await;
        let (supervisor, gaps) = (recorders.handle.clone(), Arc::clone(&recorders.gaps));
        let pilot = base.set_up_pilot(supervisor.clone(), desired);
        let view = base.view(client, pilot.sight.clone());
        let peer_routes = peer_routes(
            &base.consensus,
            pilot.link_events.clone(),
            &base.volumes,
            &pilot.sight,
        );
        let (headroom, headroom_seen) = watch::channel(None);
        let (parts, broken) = base.run_parts(recorders, pilot, &view, headroom);
        Ok(Self {
            identity,
            key,
            clock,
            consensus: base.consensus,
            volumes: base.volumes,
            sight: view.sight.clone(),
            view,
            headroom: headroom_seen,
            supervisor,
            hub,
            gaps,
            peer_routes,
            broken,
            stopping,
            last_look: tick * LAST_LOOK_TICKS,
            parts,
            _ingest: ingest,
        })
    }

    /// Hands over all cameras, makes everything durable, and stops. `hand_over` is false if
    /// consensus has failed.
    ///
    /// # Errors
    /// What could not be made durable, in words.
    pub(crate) async fn stop(&self, hand_over: bool) -> Result<(), String> {
        self.stopping.send_replace(true);
        if hand_over {
            self.hand_over().await;
            self.announce().await;
            // The cameras' last data has arrived, but lanes read it only once a tick.
            sleep(self.last_look).await;
        }
        let recorders = self
            .supervisor
            .shutdown()
            .await
            .map_err(|error| error.to_string());
        // Before anything that waits for a disk.
        let has_heirs = self.consensus.leadership().borrow().voters.len() > 1;
        if hand_over && has_heirs && !self.consensus.transfer_leadership().await {
            tracing::warn!(
                "leadership could not be handed over; the others elect a leader by themselves"
            );
        }
        let volumes = self
            .volumes
            .close()
            .await
            .map_err(|error| error.to_string());
        self.parts.stop();
        self.consensus.shutdown().await;
        recorders.and(volumes)
    }

    /// Asks the other nodes to take this node's cameras, and records until they do.
    async fn hand_over(&self) {
        match timeout(HANDOVER_MAX, self.hand_all_over()).await {
            Ok(true) => tracing::info!("all cameras are handed over"),
            Ok(false) => {
                tracing::info!("no other node can take cameras; stopping without a handover")
            }
            Err(_) => tracing::warn!(
                "some cameras were not taken over within {HANDOVER_MAX:?}; their recording will \
                 have a gap"
            ),
        }
    }

    /// If the cluster's state does not announce the stop, waits until heartbeats have: other nodes
    /// would take it for a crash.
    async fn announce(&self) {
        let state = self.consensus.state();
        let is_known = state
            .nodes
            .get(self.identity.node)
            .is_some_and(|node| node.duty != Duty::Active);
        if state.nodes.len() > 1 && !is_known {
            sleep(HEARTBEAT_INTERVAL + TICK).await;
        }
    }

    /// Whether other nodes took over all cameras that this node records; false as soon as no node
    /// is left that could. Cameras that it does not record have nothing to lose.
    async fn hand_all_over(&self) -> bool {
        let me = self.identity.node;
        let mut reported = usize::MAX;
        let mut announced = None;
        loop {
            let state = self.consensus.state();
            let owned: BTreeSet<CameraId> = state.owned_by(me).collect();
            let recorded = self.recorded().intersection(&owned).count();
            let is_known = announced
                .is_some_and(|at| self.clock.elapsed().saturating_sub(at) >= REASSIGNED_WITHIN);
            if owned.is_empty() || (recorded == 0 && is_known) {
                return true;
            }
            if !self.others_can_record() {
                return false;
            }
            if std::mem::replace(&mut reported, recorded) != recorded {
                tracing::info!(
                    cameras = recorded,
                    "waiting for others to take cameras over"
                );
            }
            if state
                .nodes
                .get(me)
                .is_some_and(|node| node.duty == Duty::Active)
            {
                let stopping = Command::SetDuty {
                    node: me,
                    duty: Duty::Stopping,
                };
                let stopping = stopping.by(Actor::Node(me), self.clock.now());
                if let Err(error) = self.consensus.write(stopping).await {
                    tracing::warn!(%error, "cannot announce the stop yet");
                }
            }
            announced = announced.or(Some(self.clock.elapsed()));
            sleep(HANDOVER_LOOK).await;
        }
    }

    /// Cameras whose main stream is not known to fail on this node.
    fn recorded(&self) -> BTreeSet<CameraId> {
        let recorders = self
            .supervisor
            .statuses()
            .into_iter()
            .map(|status| self.volumes.progress(status));
        recorders
            .filter(|progress| progress.stream.is_main())
            .filter(|progress| progress.state != RecorderState::Failing)
            .map(|progress| progress.stream.camera)
            .collect()
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

/// What the parts of a member are made of.
struct Base<'a> {
    config: &'a Config,
    dialer: Dialer,
    /// This node, as its configuration describes it.
    spec: NodeSpec,
    identity: Identity,
    clock: Clock,
    consensus: Consensus,
    volumes: Volumes,
    /// Becomes true when the member begins to stop.
    stops: watch::Receiver<bool>,
}

/// The recorders, before they run.
struct RecorderSetup {
    supervisor: Supervisor,
    handle: SupervisorHandle,
    gaps: Arc<GapTotals>,
    wall: WallTrust,
    /// Of earlier processes.
    signs: Signs,
}

/// The pilot and what it goes by, before they run.
struct PilotSetup {
    drive: Drive,
    probes: Probes,
    link_events: mpsc::Sender<LinkEvent>,
    sight: watch::Receiver<Arc<Sight>>,
}

impl Base<'_> {
    /// The recorders go by what earlier processes left behind of their cameras. The sender is for
    /// the pilot, which directs them.
    async fn set_up_recorders(
        &self,
        (ingest, hub): (IngestHandle, Hub),
    ) -> (RecorderSetup, watch::Sender<Desired>) {
        let (desired, desired_seen) = watch::channel(BTreeMap::new());
        let gaps = Arc::<GapTotals>::default();
        let sink = VolumeSink {
            volumes: self.volumes.clone(),
            gaps: Arc::clone(&gaps),
            state: self.consensus.subscribe(),
        };
        let wall = WallTrust::default();
        let services = recorder_services(sink, (ingest, hub), wall.clone());
        let options = supervisor_options(self.config, self.identity);
        let (mut supervisor, handle) = Supervisor::new(options, services, desired_seen);
        self.volumes.wait_for_catalogue(CATALOGUE_WAIT_MAX).await;
        let state = self.consensus.state();
        let signs = alive::last_signs(&self.config.data_dir);
        let (until, is_all_read) = (
            |stream| self.volumes.recorded_until(stream),
            self.volumes.are_all_read(),
        );
        supervisor.go_by(Accounts::of(
            &state,
            self.identity.node,
            signs,
            (until, is_all_read),
        ));
        let recorders = RecorderSetup {
            supervisor,
            handle,
            gaps,
            wall,
            signs,
        };
        (recorders, desired)
    }

    fn set_up_pilot(
        &self,
        supervisor: SupervisorHandle,
        desired: watch::Sender<Desired>,
    ) -> PilotSetup {
        let me = self.identity.node;
        let (link_events, events) = mpsc::channel(EVENTS_MAX);
        let (heartbeat, next_heartbeat) = watch::channel(Arc::new(first_heartbeat(me, self.clock)));
        let (sight, sight_seen) = watch::channel(Arc::<Sight>::default());
        let links = Links::new(LinksOptions {
            identity: self.consensus.identity().clone(),
            dialer: self.dialer.clone(),
            heartbeat: next_heartbeat,
            now: wall_clock,
            events: link_events.clone(),
        });
        let probes = Probes::default();
        let (volumes, stops) = (self.volumes.clone(), self.stops.clone());
        let drive = Drive::new(drive::Options {
            me,
            clock: self.clock,
            consensus: self.consensus.clone(),
            own: look_at_self(supervisor, volumes, probes.clone(), stops),
            link_events: events,
            links,
            heartbeat,
            desired,
            sight,
        });
        PilotSetup {
            drive,
            probes,
            link_events,
            sight: sight_seen,
        }
    }

    fn view(&self, client: PeerClient, sight: watch::Receiver<Arc<Sight>>) -> View {
        View {
            me: self.identity.node,
            volumes: self.volumes.clone(),
            client,
            state: self.consensus.subscribe(),
            sight,
            leadership: self.consensus.leadership(),
            addresses: self.consensus.identity().addresses(),
        }
    }

    /// The running parts, and what names the first one that ends by itself.
    ///
    /// # Errors
    /// No client for other nodes can be set up; nothing runs then.
    fn run_parts(
        &self,
        recorders: RecorderSetup,
        pilot: PilotSetup,
        view: &View,
        headroom: watch::Sender<Option<Arc<Headroom>>>,
    ) -> (Parts, watch::Receiver<Option<String>>) {
        let (me, clock) = (self.identity.node, self.clock);
        let (consensus, volumes) = (&self.consensus, &self.volumes);
        let signs = alive::keep(
            (self.config.data_dir.clone(), recorders.signs),
            (clock, recorders.wall.clone()),
            recorders.handle.clone(),
        );
        let probing = pilot
            .probes
            .run(me, clock, consensus.subscribe(), pilot.sight);
        let holds = publish_holds(
            consensus.clone(),
            volumes.clone(),
            (me, clock),
            self.spec.clone(),
        );
        let duty = report_for_duty(
            consensus.clone(),
            (me, clock),
            self.spec.clone(),
            self.stops.clone(),
        );
        let certainty = certainty::keep(
            consensus.clone(),
            view.clone(),
            recorders.handle,
            (clock, recorders.wall),
        );
        let headroom_seen = headroom.subscribe();
        let headroom = headroom::watch(consensus.clone(), self.apart(view), headroom);
        let schedule = drills::keep_schedule(consensus.clone(), view.clone(), headroom_seen, clock);
        let forgetting = former::forget(consensus.clone(), view.clone(), clock);
        let (mut parts, broken) = Parts::new();
        parts.run("volumes", volumes.clone().watch());
        parts.run("recorders", recorders.supervisor.run());
        parts.run("pilot", pilot.drive.run());
        parts.run("holds", holds);
        parts.run("probes", probing);
        parts.run("certainty", certainty);
        parts.run("headroom", headroom);
        parts.run("drills", schedule);
        parts.run("sign_of_life", signs);
        let numbers = publish_cameras(consensus.clone(), volumes.clone());
        parts.run("numbers", numbers);
        let names = keep_names(consensus.clone(), volumes.clone(), clock);
        parts.run("names", names);
        parts.run("former", forgetting);
        parts.run("duty", duty);
        (parts, broken)
    }
}

impl Base<'_> {
    /// A view with separate connections to other nodes, not shared with clients' footage.
    fn apart(&self, view: &View) -> View {
        let finalized = self.consensus.identity().finalized().clone();
        let client = PeerClient::new(self.dialer.clone(), finalized);
        View {
            client,
            ..view.clone()
        }
    }
}

async fn open_consensus(
    config: Config,
    (trust, authority): (Trust, Option<Arc<Authority>>),
    identity: Identity,
) -> Result<Consensus, holdfast_consensus::OpenError> {
    let options = holdfast_consensus::Options {
        node: identity.node,
        cluster: identity.cluster,
        generation: identity.generation(),
        dir: identity.raft_dir(&config.data_dir),
        timing: Timing::default(),
        peer_addr: config.advertised_peer(),
        peers: config.cluster.peers,
        boot: Uuid::new_v4(),
        now: wall_clock,
    };
    Consensus::open(options, trust, authority).await
}

/// The heartbeat until the pilot has more to report.
fn first_heartbeat(from: NodeId, clock: Clock) -> Outgoing {
    let heartbeat = Heartbeat {
        from,
        boot: clock.boot(),
        sequence: 0,
        sent_at: clock.now(),
        writable: true,
        recorders: Vec::new(),
        probes: Vec::new(),
        vouches: false,
    };
    Outgoing {
        heartbeat,
        audience: Audience::default(),
    }
}

fn look_at_self(
    supervisor: SupervisorHandle,
    volumes: Volumes,
    probes: Probes,
    stopping: watch::Receiver<bool>,
) -> LookAtSelf {
    Arc::new(move || Own {
        recorders: supervisor
            .statuses()
            .into_iter()
            // A regular stop neither blames a camera nor proves it harmless.
            .map(|status| match status.exposure {
                Some(_) if *stopping.borrow() => Status {
                    exposure: Some(Exposure::Proven),
                    ..status
                },
                _ => status,
            })
            .map(|status| volumes.progress(status))
            .collect(),
        writable: volumes.writable().is_ok(),
        probes: probes.known(),
        vouches: volumes.time().may_vouch,
    })
}

fn recorder_services(
    sink: VolumeSink,
    (ingest, hub): (IngestHandle, Hub),
    wall: WallTrust,
) -> task::Services {
    task::Services {
        mux: Arc::new(CmafMux),
        sink: Arc::new(sink),
        hub,
        ingest,
        admission: Admission::new(CONNECTING_MAX),
        totals: Arc::new(status::Counters::default()),
        wall,
    }
}

fn supervisor_options(config: &Config, identity: Identity) -> supervisor::Options {
    let ingest = &config.ingest;
    let connect = Duration::from_millis(ingest.connect_timeout_ms);
    let deadlines = Deadlines {
        describe: connect,
        stall: Duration::from_millis(ingest.stall_after_ms),
        ..Deadlines::default()
    };
    let duration_us = i64::try_from(ingest.chunk_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let limits = Limits {
        duration_us,
        idle_us: duration_us.saturating_add(CHUNK_IDLE_US),
        ..Limits::default()
    };
    supervisor::Options {
        node: identity.node,
        recorder: task::Options {
            limits,
            deadlines,
            ..task::Options::default()
        },
        shutdown_deadline: RECORDERS_STOP_MAX,
    }
}

/// Everything of the peer port: Raft's messages, heartbeats, what other nodes read.
fn peer_routes(
    consensus: &Consensus,
    link_events: mpsc::Sender<LinkEvent>,
    volumes: &Volumes,
    sight: &watch::Receiver<Arc<Sight>>,
) -> axum::Router {
    let finalized = consensus.identity().finalized().clone();
    let own_routes = heartbeat_routes(consensus.identity().clone(), link_events, wall_clock)
        .merge(read_routes(volumes.clone(), finalized.clone()))
        .merge(sight_route(sight.clone(), finalized.clone()))
        .merge(retention::routes(volumes.clone(), finalized));
    let own_routes = holdfast_consensus::members_only(consensus.trust(), own_routes);
    consensus.peer_routes().merge(own_routes)
}

/// Publishes of which cameras this node holds footage: their numbers must not be assigned again,
/// even if the cluster does not know them.
async fn publish_cameras(consensus: Consensus, volumes: Volumes) {
    loop {
        let looked = volumes.clone();
        // It may read a catalogue.
        match tokio::task::spawn_blocking(move || looked.camera_highest()).await {
            Ok(Some(camera)) => consensus.identity().holds_footage_up_to(camera),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "of which cameras there is footage here is not known")
            }
        }
        sleep(CAMERAS_LOOK).await;
    }
}

/// Keeps the cluster's knowledge of this node up to date until it stops: its addresses, its
/// capacity, and that it takes cameras, even if an earlier process's stop is decided only now.
async fn report_for_duty(
    consensus: Consensus,
    (me, clock): (NodeId, Clock),
    spec: NodeSpec,
    mut stopping: watch::Receiver<bool>,
) {
    let is_outdated = |state: &ClusterState| {
        let has_others = |node: &Node| node.spec != spec || node.duty == Duty::Stopping;
        state.nodes.get(me).is_some_and(has_others)
    };
    let report = async {
        let mut state = consensus.subscribe();
        while state.wait_for(|state| is_outdated(state)).await.is_ok() {
            let report = Command::ReportForDuty {
                node: me,
                spec: spec.clone(),
            }
            .by(Actor::Node(me), clock.now());
            match consensus.write(report).await {
                Ok(_) => {}
                Err(WriteError::Rejected(rejection)) => {
                    tracing::error!(
                        %rejection,
                        "the cluster refuses this node's report; correct its configuration"
                    );
                    sleep(REFUSED_REPORT_INTERVAL).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot report for duty yet; recording continues")
                }
            }
            sleep(REPORT_INTERVAL).await;
        }
    };
    let stop = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    tokio::select! {
        () = report => {}
        () = stop => std::future::pending().await,
    }
}
