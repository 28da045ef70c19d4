//! Serves a router on a listener, with a limit on connections in all and per address, a deadline
//! for every head and every write, and an orderly stop. Used for both ports of a node.
//!
//! `table` decides which connections are accepted and which are closed; `connection` speaks HTTP;
//! `stats` counts.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

mod connection;
mod read_deadline;
mod stats;
mod table;
mod write_deadline;

pub use stats::{PortMetrics, ServerMetrics};
pub use table::ConnectionLimits;

use crate::limits::{CLOSING_MAX, SHUTDOWN_GRACE};
use axum::Router;
use connection::{Ends, Standing};
use holdfast_consensus::peer::trust::Trust;
use stats::{Event, Throttle};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use table::ConnectionTable;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

/// Pause after a connection could not be accepted: the cause does not disappear immediately.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often overdue connections are closed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How a port is served.
#[derive(Clone)]
pub struct ServerOptions {
    pub limits: ConnectionLimits,
    /// Whether the process should open no more files and sockets than necessary. Called for each
    /// newcomer.
    pub files_short: Arc<dyn Fn() -> bool + Send + Sync>,
    pub metrics: PortMetrics,
    /// For the members' port; without it a port speaks plain HTTP.
    pub door: Option<Door>,
}

/// The keys that a handshake is made with; while there are none, connections are closed.
pub type Door = Arc<dyn Fn() -> Option<Trust> + Send + Sync>;

/// The state that a port's connections share. Dropping one of the table's handles closes its
/// connection.
struct Port {
    table: Mutex<ConnectionTable<oneshot::Sender<Infallible>>>,
    metrics: PortMetrics,
    began: Instant,
}

impl Port {
    /// Reads or changes the table, and updates the metrics.
    fn table<T>(
        &self,
        act: impl FnOnce(&mut ConnectionTable<oneshot::Sender<Infallible>>, Duration) -> T,
    ) -> T {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut table, self.began.elapsed());
        self.metrics.open(table.len(), table.authorised());
        result
    }
}

/// Serves until `shutdown` completes; then accepts no more connections, lets answers in progress
/// end for [`SHUTDOWN_GRACE`], and returns. A failing connection or accept is logged and never ends
/// it.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (stop, stopping) = watch::channel(());
    let mut server = Server::new(router, options, stopping);
    let mut shutdown = pin!(shutdown);
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let has_room = server.connections.len() < server.sockets_max;
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = server.connections.join_next() => log_panic(ended),
            _ = look.tick(), if !server.connections.is_empty() => server.look(),
            accepted = accept(&listener, server.rests_until), if has_room => {
                server.take(accepted);
                // A head that has already arrived is read before more connections are accepted: its
                // connection counts as useful then.
                yield_now().await;
            }
        }
    }
    drop((listener, stop));
    server.drain().await;
}

async fn accept(
    listener: &TcpListener,
    not_before: Option<Instant>,
) -> io::Result<(TcpStream, IpAddr)> {
    if let Some(not_before) = not_before {
        sleep_until(not_before.into()).await;
    }
    listener
        .accept()
        .await
        .map(|(stream, address)| (stream, address.ip()))
}

struct Server {
    router: Router,
    port: Arc<Port>,
    files_short: Arc<dyn Fn() -> bool + Send + Sync>,
    door: Option<Door>,
    /// Those in the table, and some closed ones whose tasks have not ended yet.
    connections: JoinSet<()>,
    sockets_max: usize,
    stopping: watch::Receiver<()>,
    rests_until: Option<Instant>,
    throttle: Throttle,
}

impl Server {
    fn new(router: Router, options: ServerOptions, stopping: watch::Receiver<()>) -> Self {
        let ServerOptions {
            limits,
            files_short,
            metrics,
            door,
        } = options;
        let table = Mutex::new(ConnectionTable::new(limits));
        Self {
            router,
            port: Arc::new(Port {
                table,
                metrics,
                began: Instant::now(),
            }),
            files_short,
            door,
            connections: JoinSet::new(),
            sockets_max: limits.max + CLOSING_MAX,
            stopping,
            rests_until: None,
            throttle: Throttle::default(),
        }
    }

    /// Accepts a newcomer, or closes it.
    fn take(&mut self, accepted: io::Result<(TcpStream, IpAddr)>) {
        self.rests_until = None;
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return self.not_accepted(&error),
        };
        self.port.metrics.accepted.inc();
        let files_short = (self.files_short)();
        let (held, evicted) = oneshot::channel();
        match self
            .port
            .table(|table, now| table.admit(from, now, files_short, held))
        {
            Ok(admitted) => {
                if let Some(reason) = admitted.evicted_for {
                    self.port.metrics.evicted(reason);
                    self.log(Event::Evicted(reason), &from);
                }
                let standing = Arc::new(Standing::new(Arc::clone(&self.port), admitted.id));
                let ends = Ends {
                    evicted,
                    stopping: self.stopping.clone(),
                };
                let (router, door) = (self.router.clone(), self.door.clone());
                self.connections
                    .spawn(connection::serve(stream, standing, router, door, ends));
            }
            Err(reason) => {
                drop(stream);
                self.port.metrics.refused(reason);
                self.log(Event::Refused(reason), &from);
                // If one address has too many, others must not wait for it.
                self.rests_until =
                    (reason != table::Shortage::Address).then(|| Instant::now() + ACCEPT_PAUSE);
            }
        }
    }

    fn not_accepted(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset
        ) {
            return tracing::debug!("a client left before it was let in: {error}");
        }
        self.log(Event::NotAccepted, error);
        self.rests_until = Some(Instant::now() + ACCEPT_PAUSE);
        self.look();
    }

    fn look(&mut self) {
        let files_short = (self.files_short)();
        let (overdue, useless) = self.port.table(|table, now| {
            (
                table.close_overdue(now),
                table.close_useless(now, files_short),
            )
        });
        overdue
            .into_iter()
            .for_each(|reason| self.port.metrics.timed_out(reason));
        for reason in useless {
            self.port.metrics.evicted(reason);
            self.log(Event::Evicted(reason), &"a look at all connections");
        }
    }

    fn log(&mut self, event: Event, last: &dyn std::fmt::Display) {
        if let Some(count) = self.throttle.note(event, self.port.began.elapsed()) {
            tracing::warn!(port = self.port.metrics.port, count, %last, "{}", event.text());
        }
    }

    async fn drain(mut self) {
        let drained = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, drained).await.is_err() {
            tracing::info!(
                port = self.port.metrics.port,
                "connections were still open {} s after the port closed; they are cut off",
                SHUTDOWN_GRACE.as_secs()
            );
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended in a bug: {error}");
    }
}
