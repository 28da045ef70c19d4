//! A hostile camera's server: a thread that accepts, and one for each connection.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use super::Hostile;
use super::answers;
use super::established::Namespace;
use super::pipe::{Meter, Pipe};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the accepting thread checks for connections, and for a stop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How often its connections are counted.
const COUNT_INTERVAL: Duration = Duration::from_millis(100);
/// A loopback host that no test uses.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// How a hostile camera is served.
#[derive(Clone, Debug)]
pub struct HostileOptions {
    pub hostile: Hostile,
    /// Port 0 chooses any free port.
    pub bind: SocketAddr,
    /// Limit for all connections together; `None` for unlimited.
    pub rate_bps_max: Option<u64>,
    /// The most connections at the same time; further ones are closed at once.
    pub connections_max: usize,
}

impl HostileOptions {
    /// On a free loopback port, with at most 200 Mbit/s and 16 connections.
    #[must_use]
    pub fn new(hostile: Hostile) -> Self {
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            hostile,
            bind,
            rate_bps_max: Some(200_000_000),
            connections_max: 16,
        }
    }
}

/// A running hostile camera. Dropping it ends its threads.
#[derive(Debug)]
pub struct HostileCamera {
    hostile: Hostile,
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// State that the threads of a camera share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) hostile: Hostile,
    pub(super) address: SocketAddr,
    /// The other host that the camera names: requests would go there if a client followed.
    pub(super) elsewhere: SocketAddr,
    pub(super) meter: Meter,
    threads: AtomicUsize,
    established: AtomicUsize,
    accepted: AtomicU64,
    strayed: AtomicU64,
}

impl HostileCamera {
    /// Starts the camera in the network namespace of the calling thread.
    ///
    /// # Errors
    /// If the address is taken, or no thread can be started.
    pub fn start(options: &HostileOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.bind)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let elsewhere = elsewhere(address.ip())?;
        let shared = Arc::new(Shared {
            hostile: options.hostile,
            address,
            elsewhere: match &elsewhere {
                Some(listener) => listener.local_addr()?,
                // TEST-NET-1 (RFC 5737): not reachable.
                None => SocketAddr::from((Ipv4Addr::new(192, 0, 2, 9), 554)),
            },
            meter: Meter::new(options.rate_bps_max),
            threads: AtomicUsize::new(0),
            established: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            strayed: AtomicU64::new(0),
        });
        let (of_thread, connections_max) = (Arc::clone(&shared), options.connections_max);
        let accepting = std::thread::Builder::new()
            .name("hostile".to_owned())
            .spawn(move || accept(&listener, elsewhere.as_ref(), &of_thread, connections_max))?;
        Ok(Self {
            hostile: options.hostile,
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    #[must_use]
    pub fn hostile(&self) -> Hostile {
        self.hostile
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `rtsp://host:port/hostile`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("rtsp://{}/hostile", self.address)
    }

    /// Number of connections that no client has closed, according to the kernel; up to 200 ms old.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.established.load(Ordering::Relaxed)
    }

    /// Number of connections so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Bytes passed to sockets so far.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.shared.meter.sent_bytes()
    }

    /// Number of connections to the other host that the camera names: there should be none.
    #[must_use]
    pub fn strayed(&self) -> u64 {
        self.shared.strayed.load(Ordering::Relaxed)
    }
}

impl Drop for HostileCamera {
    fn drop(&mut self) {
        self.shared.meter.is_stopped.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            // It first ends the connections' threads; the panic hook has printed any panic.
            let _ = accepting.join();
        }
    }
}

/// A listener on another loopback host; `None` for cameras that are not on loopback.
fn elsewhere(own: IpAddr) -> io::Result<Option<TcpListener>> {
    if own != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return Ok(None);
    }
    let listener = TcpListener::bind((ELSEWHERE, 0))?;
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

fn accept(
    listener: &TcpListener,
    elsewhere: Option<&TcpListener>,
    shared: &Arc<Shared>,
    connections_max: usize,
) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let (namespace, mut counted_at) = (Namespace::of_this_thread(), Instant::now());
    while shared.meter.check().is_ok() {
        if let Some(elsewhere) = elsewhere
            && elsewhere.accept().is_ok()
        {
            shared.strayed.fetch_add(1, Ordering::Relaxed);
        }
        match listener.accept() {
            // If no thread can be started, its connection is closed, which a hostile camera may do.
            Ok((stream, _)) => threads.extend(admit(stream, shared, connections_max)),
            Err(_) => std::thread::sleep(ACCEPT_PAUSE),
        }
        threads.retain(|thread| !thread.is_finished());
        if counted_at.elapsed() >= COUNT_INTERVAL {
            counted_at = Instant::now();
            shared.established.store(
                namespace.established(shared.address.port()),
                Ordering::Relaxed,
            );
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn admit(
    stream: TcpStream,
    shared: &Arc<Shared>,
    connections_max: usize,
) -> Option<JoinHandle<()>> {
    let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
    if shared.threads.load(Ordering::Relaxed) >= connections_max
        || stream.set_nonblocking(false).is_err()
    {
        return None;
    }
    shared.threads.fetch_add(1, Ordering::Relaxed);
    let of_thread = Arc::clone(shared);
    let thread = std::thread::Builder::new()
        .name("hostile".to_owned())
        .spawn(move || {
            let served = Pipe::new(stream, &of_thread.meter)
                .and_then(|pipe| answers::serve(pipe, &of_thread, number));
            if let Err(error) = served {
                tracing::trace!(hostile = %of_thread.hostile, %error, "a connection ended");
            }
            of_thread.threads.fetch_sub(1, Ordering::Relaxed);
        });
    if thread.is_err() {
        shared.threads.fetch_sub(1, Ordering::Relaxed);
    }
    thread.ok()
}
