//! The composition root of `holdfast serve`: listeners first, then the member, then the wait for a
//! reason to stop.

use crate::api::NodePorts;
use crate::clock::{Clock, wall_clock};
use crate::config::{Config, Listen, Secrets};
use crate::host::descriptors::Reserve;
use crate::host::process::{Host, Runtimes};
use crate::runtime_thread::OwnThread;
use holdfast_control_api::{ConnectionLimits, Door, ServerMetrics, ServerOptions};
use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

/// Threads that wait for a disk get this long when the node has stopped; a disk that hangs may keep
/// them forever.
const THREADS_STOP_MAX: Duration = Duration::from_secs(1);

/// Requests under way get this long when the node stops.
const SERVERS_STOP_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {addr} ({key}): {source}; is another process using it? `ss -ltnp` shows \
         which"
    )]
    Listen {
        addr: SocketAddr,
        key: &'static str,
        source: io::Error,
    },
    #[error("cannot make the data directory {}: {source}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("the process cannot be set up: {0}")]
    Setup(String),
    #[error("{0}")]
    Member(String),
    #[error("this node cannot continue and stops: {0}")]
    Fatal(String),
    #[error("the node did not stop cleanly: {0}")]
    Stop(String),
}

/// Why a node stops.
enum Reason {
    Signal,
    /// Consensus, or a part that the node cannot do without, has ended.
    Fatal(String),
}

/// Runs the node until SIGTERM, SIGINT or a failure that it must not survive. A second signal ends
/// the process at once. On SIGHUP it reads the volumes from the configuration file at `path` again.
///
/// # Errors
/// See [`ServeError`].
pub fn serve(config: Config, secrets: Secrets, path: &Path) -> Result<(), ServeError> {
    crate::host::descriptors::raise_limit(&config);
    let serving = Builder::new_multi_thread()
        .enable_all()
        .thread_name("holdfast-serve")
        .build()
        .map_err(setup)?;
    let control = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(setup)?;
    let raft = OwnThread::start("holdfast-raft").map_err(setup)?;
    let ended = control.block_on(run(
        config,
        secrets,
        path,
        serving.handle(),
        raft.handle.clone(),
    ));
    serving.shutdown_timeout(THREADS_STOP_MAX);
    control.shutdown_timeout(THREADS_STOP_MAX);
    raft.stop(THREADS_STOP_MAX);
    ended
}

async fn run(
    config: Config,
    secrets: Secrets,
    path: &Path,
    serving: &Handle,
    raft: Handle,
) -> Result<(), ServeError> {
    let clock = Clock::start();
    let mut signals = Signals::new().map_err(setup)?;
    std::fs::create_dir_all(&config.data_dir).map_err(|source| ServeError::DataDir {
        path: config.data_dir.clone(),
        source,
    })?;
    let api = listen(serving, config.listen.api, "listen.api").await?;
    let peer = listen(serving, config.listen.peer, "listen.peer").await?;
    let host = Host::new(
        config,
        secrets,
        clock,
        Runtimes {
            control: Handle::current(),
            raft,
        },
    );
    let (router, ports_metrics) = api_router(&host)?;
    let (for_peers, for_clients) = ports(&host, ports_metrics);

    let (stop, stopping) = watch::channel(false);
    let peer_router = crate::host::process::peer_router(Arc::clone(&host));
    let peers = serving.spawn(holdfast_control_api::serve(
        peer,
        peer_router,
        for_peers,
        until_stopping(stopping.clone()),
    ));
    tokio::select! {
        resumed = host.resume() => resumed.map_err(|error| ServeError::Member(error.to_string()))?,
        name = signals.ends.next() => {
            return Err(ServeError::Stop(format!("{name} while it was starting")));
        }
    }
    let clients = serving.spawn(holdfast_control_api::serve(
        api,
        router,
        for_clients,
        until_stopping(stopping),
    ));
    announce(&host);

    let reason = wait(&host, &mut signals, path).await;
    let stopped = tokio::select! {
        stopped = stop_member(&host, &reason) => stopped,
        name = signals.ends.next() => {
            Err(format!("{name} a second time; what was not durable yet is lost"))
        }
    };
    stop.send_replace(true);
    for server in [clients, peers] {
        drop(timeout(SERVERS_STOP_MAX, server).await);
    }
    match (reason, stopped) {
        (Reason::Fatal(why), _) => Err(ServeError::Fatal(why)),
        (Reason::Signal, stopped) => stopped.map_err(ServeError::Stop),
    }
}

/// The routes of the API, and the metrics that the ports count.
fn api_router(host: &Arc<Host>) -> Result<(axum::Router, ServerMetrics), ServeError> {
    let registry = prometheus::Registry::new();
    crate::metrics::register(&registry, Arc::clone(host)).map_err(setup)?;
    let ports_metrics = ServerMetrics::register(&registry).map_err(setup)?;
    let backend = NodePorts {
        host: Arc::clone(host),
        metrics: registry,
    };
    let options = holdfast_control_api::Options {
        admin_token: host.secrets.admin_token.clone(),
        now: wall_clock,
    };
    let router = holdfast_control_api::router(backend, options).map_err(setup)?;
    Ok((router, ports_metrics))
}

fn setup(error: impl Display) -> ServeError {
    ServeError::Setup(error.to_string())
}

fn announce(host: &Host) {
    let Config { name, listen, .. } = &host.config;
    tracing::info!(%name, api = %listen.api, peer = %listen.peer, "serving");
    if host.member().is_none() {
        tracing::info!(
            "this node belongs to no cluster; run `holdfast cluster init` or `holdfast cluster \
             join`"
        );
    }
}

async fn wait(host: &Host, signals: &mut Signals, path: &Path) -> Reason {
    let fatal = async {
        let member = host.wait_for_member().await;
        tokio::select! {
            why = first(member.consensus.fatal()) => {
                format!("consensus has ended on this node: {why}")
            }
            why = first(member.broken.clone()) => why,
        }
    };
    let Signals { hangup, ends } = signals;
    tokio::select! {
        never = follow_file(host, hangup, path) => match never {},
        name = ends.next() => {
            tracing::info!(signal = name, "stopping");
            Reason::Signal
        }
        why = fatal => {
            tracing::error!(%why, "this node cannot continue");
            Reason::Fatal(why)
        }
    }
}

/// Reads the configuration file again at each SIGHUP. A wrong file changes nothing.
async fn follow_file(host: &Host, hangup: &mut Signal, path: &Path) -> Infallible {
    loop {
        if hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        match Config::load(path) {
            Ok(config) => host.reconfigure(&config),
            Err(error) => {
                tracing::error!(
                    %error,
                    "SIGHUP: the configuration file is wrong; everything stays as it is"
                )
            }
        }
    }
}

/// The first reported reason, or that the last sender is gone.
async fn first(mut reasons: watch::Receiver<Option<String>>) -> String {
    let reason = reasons
        .wait_for(Option::is_some)
        .await
        .map(|why| why.clone());
    reason
        .ok()
        .flatten()
        .unwrap_or_else(|| "a part of the node is gone".to_owned())
}

async fn stop_member(host: &Host, reason: &Reason) -> Result<(), String> {
    match host.member() {
        Some(member) => member.stop(matches!(reason, Reason::Signal)).await,
        None => Ok(()),
    }
}

async fn listen(
    serving: &Handle,
    addr: SocketAddr,
    key: &'static str,
) -> Result<TcpListener, ServeError> {
    let bound = serving
        .spawn(TcpListener::bind(addr))
        .await
        .map_err(io::Error::other)
        .flatten();
    bound.map_err(|source| ServeError::Listen { addr, key, source })
}

/// How the ports for members and for clients are served. Both leave the reserve of descriptors
/// alone.
fn ports(host: &Arc<Host>, metrics: ServerMetrics) -> (ServerOptions, ServerOptions) {
    let (config, members) = (&host.config, Arc::clone(host));
    let door: Door = Arc::new(move || members.trust());
    let reserve = Arc::new(Reserve::of(config));
    let files_short: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(move || reserve.is_short());
    let port = |port, max, per_address_max, door| ServerOptions {
        limits: ConnectionLimits {
            max,
            per_address_max,
        },
        files_short: Arc::clone(&files_short),
        metrics: metrics.of_port(port),
        door,
    };
    let Listen {
        api_connections_max,
        peer_connections_max,
        ..
    } = config.listen;
    let Listen {
        api_connections_per_address_max,
        peer_connections_per_address_max,
        ..
    } = config.listen;
    (
        port(
            "peer",
            peer_connections_max,
            peer_connections_per_address_max,
            Some(door),
        ),
        port(
            "api",
            api_connections_max,
            api_connections_per_address_max,
            None,
        ),
    )
}

async fn until_stopping(mut stopping: watch::Receiver<bool>) {
    // A dropped sender means the same.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

struct Signals {
    hangup: Signal,
    ends: Ends,
}

/// The signals that end the node.
struct Ends {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let ends = Ends {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        };
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            ends,
        })
    }
}

impl Ends {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
