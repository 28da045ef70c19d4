//! A node: it joins, runs, loses its power, and starts again from what its disk kept.

#![expect(clippy::disallowed_methods, reason = "simulated time")]

use super::history::{History, LifeWitness};
use super::invariants::Seen;
use super::life::Life;
use super::wires::{Wire, Wires, addr_of};
use holdfast_consensus::command::Command;
use holdfast_consensus::generation::ClusterGeneration;
use holdfast_consensus::identity::Standing;
use holdfast_consensus::model::{Actor, INVITE_VALID, Invite, InviteSpec, KeyHash, NodeSpec, Role};
use holdfast_consensus::peer::trust::keys::PublicKey;
use holdfast_consensus::simulation::{self, Caller, Disk, Twist};
use holdfast_consensus::{Consensus, InitializeFailure, Issued, Joined, Options, Timing};
use holdfast_storage::ids::NodeId;
use holdfast_storage::random::Random;
use holdfast_storage::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// The longest that a killed process may keep running unnoticed.
const END_DEADLINE: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Processes that are copies have numbers from here: the original's number plus this.
pub(super) const COPIES_FROM: u64 = 1_000;

/// State shared by all nodes of a run.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) cluster: Uuid,
    pub(super) dir: PathBuf,
    pub(super) history: History,
    pub(super) wires: Wires,
    pub(super) twist: Twist,
    pub(super) flush_max: Duration,
    pub(super) snapshot_after: u64,
}

/// The time that members' clocks show; nothing in the simulation depends on it.
const AT: Timestamp = Timestamp(0);

/// A key that only this attempt to join has.
fn key_of(attempt: Uuid) -> PublicKey {
    let mut point = vec![4; 65];
    point[1..17].copy_from_slice(attempt.as_bytes());
    PublicKey::try_from(point).expect("it has the form of a key")
}

pub(super) fn name_of(node: u64) -> String {
    format!("node-{node}")
}

fn spec(node: u64) -> NodeSpec {
    NodeSpec::new(&name_of(node), &addr_of(node), &addr_of(node)).expect("valid")
}

/// A node for the whole run: it has power while `power` is true.
pub(super) struct Node {
    pub(super) number: u64,
    pub(super) site: Site,
    pub(super) random: Random,
    pub(super) power: watch::Receiver<bool>,
    /// The member that it is a copy of.
    pub(super) copy_of: Option<Joined>,
}

impl Node {
    pub(super) async fn run(mut self) {
        let attempt = Uuid::from_u128(u128::from(self.number));
        let cluster = self.site.cluster;
        let first = Joined {
            node: NodeId(1),
            cluster,
            generation: ClusterGeneration::first(cluster),
            issued: Issued::default(),
        };
        let mut identity = (self.number == 1).then_some(first).or(self.copy_of.clone());
        while self.power.wait_for(|is_on| *is_on).await.is_ok() {
            let mut power = self.power.clone();
            let joined = async {
                match identity.clone() {
                    Some(identity) => Some(identity),
                    None => self.join(attempt).await,
                }
            };
            tokio::select! {
                biased;
                _ = power.wait_for(|is_on| !*is_on) => {}
                joined = joined => identity = joined,
            }
            match &identity {
                Some(identity) if *self.power.borrow() => self.live(identity.clone()).await,
                _ => sleep(RETRY_INTERVAL).await,
            }
        }
    }

    async fn join(&mut self, attempt: Uuid) -> Option<Joined> {
        let peers: Vec<u64> = self.site.wires.lock().running.keys().copied().collect();
        if peers.is_empty() {
            return None;
        }
        let through = *self.random.pick(&peers);
        let invited = self.invite(through, attempt).await;
        let peer = addr_of(through);
        let (is_alive, wires) = (Arc::new(AtomicBool::new(true)), self.site.wires.clone());
        let wire = Arc::new(Wire {
            node: self.number,
            caller: Caller::Invited(invited),
            is_alive,
            wires,
        });
        simulation::join(wire, &peer, spec(self.number), key_of(attempt))
            .await
            .ok()
    }

    /// Has another node write an invitation, and returns its key. Whether it was accepted shows in
    /// the attempt to join.
    async fn invite(&self, through: u64, attempt: Uuid) -> KeyHash {
        let mut key = KeyHash::default();
        key.0[..16].copy_from_slice(attempt.as_bytes());
        let inviting = {
            let wires = self.site.wires.lock();
            let life = wires.running.get(&through);
            life.map(|life| (life.consensus.clone(), life.turn.clone()))
        };
        let Some((consensus, turn)) = inviting else {
            return key;
        };
        let is_known = |invite: &Invite| invite.spec.key == key;
        if !consensus.state().invites.values().any(is_known) {
            let spec = InviteSpec {
                name: spec(self.number).name,
                role: Role::Recorder,
                may_vote: true,
                key,
                expires: AT.plus(INVITE_VALID),
            };
            let invite = Command::CreateInvite { spec }.by(Actor::System, AT);
            let _turn = turn.lock().await;
            drop(timeout(END_DEADLINE, consensus.write(invite)).await);
        }
        key
    }

    /// Runs one process of it, until its power is cut.
    async fn live(&mut self, identity: Joined) {
        let is_alive = Arc::new(AtomicBool::new(true));
        let (node, history) = (self.number, self.site.history.clone());
        history.see(&Seen::Started { node });
        let witness = Arc::new(LifeWitness {
            node,
            is_alive: is_alive.clone(),
            history: history.clone(),
        });
        let dir = self.site.dir.join(name_of(node));
        let disk = Disk::new(
            &dir,
            self.site.flush_max,
            self.random.fork(),
            self.site.twist,
            witness,
        );
        let wire = Arc::new(Wire {
            node,
            caller: Caller::Member(identity.node),
            is_alive: is_alive.clone(),
            wires: self.site.wires.clone(),
        });
        let timing = Timing {
            voter_absent_max_ms: 4_000,
            ..Timing::default()
        };
        let Joined {
            node: id,
            cluster,
            generation,
            ..
        } = identity;
        let (peer_addr, peers, boot) = (
            addr_of(node),
            Vec::new(),
            Uuid::from_u128(u128::from(self.random.next())),
        );
        let options = Options {
            node: id,
            cluster,
            generation,
            dir,
            timing,
            now: || AT,
            peer_addr,
            peers,
            boot,
        };
        let consensus =
            match simulation::open(options, wire, disk.clone(), self.site.snapshot_after).await {
                Ok(consensus) => consensus,
                Err(error) => return history.fail("nodes start", &format!("node {node}: {error}")),
            };
        let (routes, handlers) = (consensus.peer_routes(), Vec::new());
        let turn = Arc::new(Mutex::new(()));
        let life = Life {
            consensus: consensus.clone(),
            is_alive: is_alive.clone(),
            turn: turn.clone(),
            routes,
            handlers,
        };
        self.site.wires.lock().running.insert(node, life);
        let mut fatal = consensus.fatal();
        let fenced = see_fence(&consensus, node, &history);
        tokio::select! {
            biased;
            _ = self.power.wait_for(|is_on| !*is_on) => {}
            _ = fatal.wait_for(Option::is_some) => {
                let why = consensus.fatal().borrow().clone().unwrap_or_default();
                history.fail("nodes stay up", &format!("node {node}: {why}"));
            }
            () = serve(&consensus, node, &turn) => {}
            () = fenced => {}
        }
        drop(fatal);
        is_alive.store(false, Ordering::Relaxed);
        disk.cut();
        self.end(consensus, &disk).await;
    }

    /// The remains of an ended process are dropped unseen, and the disk forgets unflushed data.
    async fn end(&self, consensus: Consensus, disk: &Disk) {
        let life = self.site.wires.lock().running.remove(&self.number);
        life.iter()
            .flat_map(|life| &life.handlers)
            .for_each(AbortHandle::abort);
        drop(life);
        consensus.shutdown().await;
        drop(consensus);
        let since = Instant::now();
        while !disk.is_released() && since.elapsed() < END_DEADLINE {
            sleep(RETRY_INTERVAL / 10).await;
        }
        let lost = if disk.is_released() {
            disk.lose_unflushed().map_err(|e| e.to_string())
        } else {
            Err("its log is still held".into())
        };
        if let Err(why) = lost {
            self.site.history.fail(
                "what is shut down ends",
                &format!("node {}: {why}", self.number),
            );
        }
    }
}

/// Reports when the node is fenced. Never returns.
async fn see_fence(consensus: &Consensus, node: u64, history: &History) {
    let mut standing = consensus.identity().standing();
    if standing
        .wait_for(|standing| matches!(standing, Standing::Fenced(_)))
        .await
        .is_ok()
    {
        history.see(&Seen::Fenced { node });
    }
    std::future::pending().await
}

/// Reports the node's membership as a node does at its start; then just runs.
async fn serve(consensus: &Consensus, node: u64, turn: &Mutex<()>) {
    if node > COPIES_FROM {
        // It has the configuration of the node that it is a copy of, and nothing to report.
        return std::future::pending().await;
    }
    let begun = turn.lock().await;
    if node == 1 {
        while let Err(failure) = consensus
            .initialize(spec(node), KeyHash::default(), AT)
            .await
        {
            if matches!(failure, InitializeFailure::AlreadyMember) {
                break;
            }
            sleep(RETRY_INTERVAL).await;
        }
    }
    let report = Command::ReportForDuty {
        node: consensus.node(),
        spec: spec(node),
    };
    let report = report.by(Actor::Node(consensus.node()), AT);
    // Like a node at its start; a removed node's report is refused.
    drop(timeout(END_DEADLINE, consensus.write(report)).await);
    drop(begun);
    std::future::pending().await
}
