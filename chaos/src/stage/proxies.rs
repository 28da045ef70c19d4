//! Network faults without privileges: every connection between nodes, and from nodes to cameras,
//! goes through a proxy that knows the node that dialled.
//!
//! Bytes that a fault holds back arrive when it ends, as if TCP retransmitted them; no packet is
//! lost within a connection.

use super::rules::{Party, Rule, Rules};
use crate::sockets;
use crate::{Result, io_error};
use holdfast_storage::random::Random;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const COPY_BYTES: usize = 64 << 10;

/// The longest that the node behind a proxy may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before the next attempt to bind a port that is still taken.
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// Ids of the nodes' processes, by index.
type Pids = Arc<Mutex<Vec<Option<u32>>>>;

/// All proxies of a run; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Proxies {
    rules: watch::Sender<Arc<Rules>>,
    pids: Pids,
    /// By node: whether its proxy accepts connections.
    open: Vec<watch::Sender<bool>>,
    cameras_at: Option<SocketAddr>,
    tasks: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Proxy {
    front: SocketAddr,
    back: SocketAddr,
    behind: Party,
    pids: Pids,
    rules: watch::Receiver<Arc<Rules>>,
}

impl Proxies {
    pub(super) fn new(nodes: usize) -> Self {
        let pids = Arc::new(Mutex::new(vec![None; nodes]));
        Self {
            rules: watch::Sender::default(),
            pids,
            open: Vec::new(),
            cameras_at: None,
            tasks: JoinSet::new(),
        }
    }

    /// Adds a proxy before a node, in order of index: it accepts connections at `front` while the
    /// node runs.
    pub(super) fn before_node(&mut self, front: SocketAddr, back: SocketAddr) {
        let (open, is_open) = watch::channel(false);
        let proxy = self.proxy(front, back, Party::Node(self.open.len()));
        self.open.push(open);
        self.tasks.spawn(proxy.run(is_open));
    }

    /// Adds a proxy before the cameras, on a free loopback port; returns its address.
    ///
    /// # Errors
    /// If no port is available.
    pub(super) async fn before_cameras(&mut self, back: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(io_error("listen before the cameras"))?;
        let front = listener
            .local_addr()
            .map_err(io_error("listen before the cameras"))?;
        let proxy = self.proxy(front, back, Party::Cameras);
        self.tasks
            .spawn(async move { proxy.accept(&listener).await });
        self.cameras_at = Some(front);
        Ok(front)
    }

    /// The address at which nodes reach the cameras.
    pub(super) fn cameras_at(&self) -> Option<SocketAddr> {
        self.cameras_at
    }

    fn proxy(&self, front: SocketAddr, back: SocketAddr, behind: Party) -> Proxy {
        Proxy {
            front,
            back,
            behind,
            pids: Arc::clone(&self.pids),
            rules: self.rules.subscribe(),
        }
    }

    /// Sets the node's process, or that it has ended: then its proxy refuses connections, as the
    /// node's own port would.
    pub(super) fn set_process(&self, node: usize, pid: Option<u32>) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)[node] = pid;
        self.open[node].send_replace(pid.is_some());
    }

    pub(super) fn set_rules(&self, rules: Rules) {
        self.rules.send_replace(Arc::new(rules));
    }
}

impl Proxy {
    async fn run(self, mut is_open: watch::Receiver<bool>) {
        // Both waits end with the run: it drops the sender, or aborts this task.
        while is_open.wait_for(|open| *open).await.is_ok() {
            match TcpListener::bind(self.front).await {
                Ok(listener) => {
                    tokio::select! {
                        () = self.accept(&listener) => {}
                        closed = is_open.wait_for(|open| !*open) => drop(closed),
                    }
                }
                Err(error) => {
                    tracing::debug!(front = %self.front, %error, "the port is taken");
                    tokio::time::sleep(BIND_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self, listener: &TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => drop(connections.spawn(self.clone().carry(stream, peer))),
                    Err(_) => tokio::time::sleep(BIND_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn carry(self, dialled: TcpStream, peer: SocketAddr) {
        let pids = self
            .pids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let known: Vec<u32> = pids.iter().flatten().copied().collect();
        // A process that is not found belongs to no node: no rule applies to it.
        let holder = sockets::holder(peer, self.front, &known).ok().flatten();
        let dialler = pids
            .iter()
            .position(|pid| pid.is_some() && *pid == holder)
            .map(Party::Node);
        let Ok(Ok(accepted)) =
            tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.back)).await
        else {
            return reset(&dialled);
        };
        drop(dialled.set_nodelay(true));
        drop(accepted.set_nodelay(true));
        let ((from_dialler, to_dialler), (from_back, to_back)) =
            (dialled.into_split(), accepted.into_split());
        let there = dialler.map(|dialler| (dialler, self.behind));
        let back = dialler.map(|dialler| (self.behind, dialler));
        // If one direction breaks, so does the other; if one ends in order, the other continues.
        let _ = tokio::try_join!(
            pump(from_dialler, to_back, there, self.rules.clone()),
            pump(from_back, to_dialler, back, self.rules.clone()),
        );
    }
}

/// The connection has to be broken off.
#[derive(Debug)]
struct Broken;

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Option<(Party, Party)>,
    mut rules: watch::Receiver<Arc<Rules>>,
) -> std::result::Result<(), Broken> {
    let mut bytes = vec![0; COPY_BYTES];
    let mut random = Random::new(0);
    loop {
        // A connection may be silent for any time; a rule that breaks it off does not wait for its
        // next byte.
        let count = tokio::select! {
            read = from.read(&mut bytes) => read.map_err(|_| Broken)?,
            _ = rules.wait_for(|rules| rule_of(rules, direction) == Some(Rule::Refuse)) => {
                return Err(broken(&from, &to));
            }
        };
        // Held until a rule changes or the run ends.
        let passing = rules
            .wait_for(|rules| rule_of(rules, direction) != Some(Rule::Drop))
            .await;
        let rule = passing
            .map(|rules| rule_of(&rules, direction))
            .map_err(|_| Broken)?;
        match rule {
            Some(Rule::Refuse) => return Err(broken(&from, &to)),
            Some(Rule::Impair(impairment)) => {
                let (least, most) = impairment.delays();
                let ms = random.within(least..most + 1);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            _ => {}
        }
        if count == 0 {
            return to.shutdown().await.map_err(|_| Broken);
        }
        to.write_all(&bytes[..count]).await.map_err(|_| Broken)?;
    }
}

fn broken(from: &OwnedReadHalf, to: &OwnedWriteHalf) -> Broken {
    reset(from.as_ref());
    reset(to.as_ref());
    Broken
}

/// Has the connection end with a reset, as if no process listened; if that cannot be set, it ends
/// in order.
fn reset(stream: &TcpStream) {
    drop(stream.set_zero_linger());
}

fn rule_of(rules: &Rules, direction: Option<(Party, Party)>) -> Option<Rule> {
    rules.get(&direction?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(10);
    const A_MOMENT: Duration = Duration::from_millis(200);

    /// A connection of this process, as node 0, through the proxy before the cameras: dialled end,
    /// accepted end.
    async fn connection(proxies: &mut Proxies) -> (TcpStream, TcpStream) {
        proxies.pids.lock().unwrap()[0] = Some(std::process::id());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let front = proxies
            .before_cameras(listener.local_addr().unwrap())
            .await
            .unwrap();
        let dialled = TcpStream::connect(front).await.unwrap();
        let accepted = timeout(SOON, listener.accept()).await.unwrap().unwrap().0;
        (dialled, accepted)
    }

    async fn byte(stream: &mut TcpStream) -> Option<u8> {
        timeout(SOON, stream.read_u8()).await.unwrap().ok()
    }

    #[tokio::test]
    async fn one_direction_is_held_back_and_comes_after_all() {
        let mut proxies = Proxies::new(1);
        let (mut dialled, mut accepted) = connection(&mut proxies).await;
        proxies.set_rules(Rules::from([(
            (Party::Cameras, Party::Node(0)),
            Rule::Drop,
        )]));
        dialled.write_u8(1).await.unwrap();
        assert_eq!(byte(&mut accepted).await, Some(1));
        accepted.write_u8(2).await.unwrap();
        assert!(
            timeout(A_MOMENT, dialled.read_u8()).await.is_err(),
            "it is held back"
        );
        proxies.set_rules(Rules::new());
        assert_eq!(byte(&mut dialled).await, Some(2));
    }

    #[tokio::test]
    async fn a_refused_connection_breaks_at_once() {
        let mut proxies = Proxies::new(1);
        let (mut dialled, mut accepted) = connection(&mut proxies).await;
        proxies.set_rules(Rules::from([(
            (Party::Node(0), Party::Cameras),
            Rule::Refuse,
        )]));
        assert_eq!(
            (byte(&mut dialled).await, byte(&mut accepted).await),
            (None, None)
        );
    }
}
