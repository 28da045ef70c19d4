//! The network between nodes: requests and answers are late, lost, duplicated or held up.
//!
//! A request, once sent, arrives even after its sender has given up or died. Only Raft's own
//! messages are duplicated: TCP duplicates nothing, but Raft has to tolerate it.

#![expect(clippy::disallowed_methods, reason = "simulated time")]

use super::life::Life;
use super::network::Network;
use futures::future::BoxFuture;
use holdfast_consensus::peer::client::PeerError;
use holdfast_consensus::simulation::{Caller, Transport, deliver};
use holdfast_storage::ids::NodeId;
use holdfast_storage::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// The time after which the product's client gives up on a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How often a held message checks whether it may continue.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Clones share the same wires.
#[derive(Clone)]
pub(super) struct Wires(Arc<Mutex<Inner>>);

pub(super) struct Inner {
    began: Instant,
    random: Random,
    pub(super) network: Network,
    /// Nodes whose network is held up; messages under way are late.
    pub(super) held: BTreeSet<u64>,
    /// One in this many of Raft's messages arrives twice; 0: none.
    pub(super) double_one_in: u32,
    pub(super) running: BTreeMap<u64, Life>,
}

type Answer = Result<(u16, Vec<u8>), PeerError>;

struct Request {
    from: u64,
    to: u64,
    path: String,
    caller: Caller,
    body: Vec<u8>,
}

pub(super) fn addr_of(node: u64) -> String {
    format!("node-{node}.example:8481")
}

fn node_at(addr: &str) -> Option<u64> {
    addr.strip_prefix("node-")?
        .strip_suffix(".example:8481")?
        .parse()
        .ok()
}

impl Wires {
    pub(super) fn new(random: Random, delay_max: Duration) -> Self {
        let network = Network::new(delay_max);
        let (held, running) = (BTreeSet::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            random,
            network,
            held,
            double_one_in: 0,
            running,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts these directions, or mends them.
    pub(super) fn cut(&self, cuts: &[(u64, u64)], is_cut: bool) {
        let mut inner = self.lock();
        let now = inner.began.elapsed();
        for (from, to) in cuts {
            let (from, to) = (NodeId(*from), NodeId(*to));
            if is_cut {
                inner.network.cut(from, to, now)
            } else {
                inner.network.mend(from, to)
            }
        }
    }

    /// Ends all faults.
    pub(super) fn heal(&self, delay_max: Duration) {
        let mut inner = self.lock();
        inner.network = Network::new(delay_max);
        inner.held.clear();
        inner.double_one_in = 0;
    }

    /// Waits for the transit time of a message from `from` to `to`; returns whether it arrives.
    async fn pass(&self, from: u64, to: u64) -> bool {
        let delay = {
            let mut inner = self.lock();
            let Inner {
                network, random, ..
            } = &mut *inner;
            network.delay(random)
        };
        sleep(delay).await;
        while self.is_held(from, to) {
            sleep(LOOK_INTERVAL).await;
        }
        let inner = self.lock();
        inner
            .network
            .carries(NodeId(from), NodeId(to), inner.began.elapsed())
    }

    fn is_held(&self, from: u64, to: u64) -> bool {
        let inner = self.lock();
        inner.held.contains(&from) || inner.held.contains(&to)
    }

    fn one_in(&self, count: u32) -> bool {
        self.lock().random.one_in(count)
    }

    fn connects(&self, from: u64, to: u64) -> bool {
        self.lock().network.connects(NodeId(from), NodeId(to))
    }

    fn is_doubled(&self, path: &str) -> bool {
        let mut inner = self.lock();
        let double_one_in = inner.double_one_in;
        path.starts_with("/raft/") && inner.random.one_in(double_one_in)
    }

    /// Carries one request to its destination and the answer back; `None` if no answer returns.
    async fn carry(self, request: Arc<Request>) -> Option<Answer> {
        let (from, to) = (request.from, request.to);
        if !self.connects(from, to) && self.one_in(2) {
            sleep(CONNECT_DEADLINE).await;
            return Some(Err(PeerError::Unreachable {
                addr: addr_of(to),
                why: "simulated".to_owned(),
            }));
        }
        if !self.pass(from, to).await {
            return None;
        }
        if self.is_doubled(&request.path) {
            let (again, request) = (self.clone(), request.clone());
            tokio::spawn(async move {
                again.pass(from, to).await && again.handle(&request).await.is_some()
            });
        }
        let answer = self.handle(&request).await?;
        self.pass(to, from).await.then_some(answer)
    }

    /// The answer of the addressed process; a machine without power gives none.
    async fn handle(&self, request: &Request) -> Option<Answer> {
        let addr = addr_of(request.to);
        let handler = self.lock().running.get_mut(&request.to).map(|life| {
            let (path, caller) = (request.path.clone(), request.caller);
            let (turn, handled) = (
                life.turn.clone(),
                deliver(life.routes(), path, caller, request.body.clone()),
            );
            let is_write_of_its_own = request.path == "/join";
            life.handle(async move {
                let _turn = if is_write_of_its_own {
                    Some(turn.lock().await)
                } else {
                    None
                };
                handled.await
            })
        });
        let Some(handler) = handler else {
            return self.one_in(2).then_some(Err(PeerError::Refused { addr }));
        };
        match handler.await {
            Ok(Ok(answer)) => Some(Ok(answer)),
            Ok(Err(error)) => Some(Err(PeerError::Closed {
                addr,
                why: error.to_string(),
            })),
            Err(_) => self.one_in(2).then(|| {
                Err(PeerError::Closed {
                    addr,
                    why: "its process died".to_owned(),
                })
            }),
        }
    }
}

/// The outgoing side of one process of a node.
pub(super) struct Wire {
    pub(super) node: u64,
    /// As whom a handshake would show it.
    pub(super) caller: Caller,
    pub(super) is_alive: Arc<AtomicBool>,
    pub(super) wires: Wires,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the wire of node {}", self.node)
    }
}

impl Transport for Wire {
    fn post(&self, addr: &str, path: &str, body: Vec<u8>) -> BoxFuture<'static, Answer> {
        let (answer, answered) = oneshot::channel();
        if let Some(to) = node_at(addr).filter(|_| self.is_alive.load(Ordering::Relaxed)) {
            let (path, caller) = (path.to_owned(), self.caller);
            let request = Request {
                from: self.node,
                to,
                path,
                caller,
                body,
            };
            let carried = self.wires.clone().carry(Arc::new(request));
            tokio::spawn(async move {
                if let Some(back) = carried.await {
                    // The caller may have given up.
                    drop(answer.send(back));
                }
            });
        }
        Box::pin(async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => pending().await,
            }
        })
    }
}
