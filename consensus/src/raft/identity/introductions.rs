//! Introductions: a process sends its identity and the history of its data directory, and receives
//! what the other node has seen of it.
//!
//! Each node introduces itself to every other when it starts, and again to any node that does not
//! know its process, because that node was away at the time. An answer introduces the peer as well.
//! No message that counts waits for this.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use super::gate::{self, Asked};
use super::judge::Judgement;
use super::standing::{Fence, Replaced, Standing, Why};
use super::{ADDR_BYTES_MAX, BOOTS_MAX, Boot, Identity, Incarnation, Sender, Stamp};
use crate::codec::first_version;
use crate::generation::ClusterGeneration;
use crate::peer::client::{Member, PeerClient, PeerError};
use crate::raft::Raft;
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

pub(crate) const HELLO: &str = "/hello";
pub(crate) const WHO: &str = "/who";

/// Long enough for the other to ask a third node, and for a flush on each side.
const HELLO_DEADLINE: Duration = Duration::from_millis(1_500);
/// A running process answers within this time, or was heard within [`HEARD_WITHIN`].
const WHO_DEADLINE: Duration = Duration::from_millis(500);
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// After this a process that has to wait, or could not ask, asks again; and no node is asked more
/// often.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How often a refused process asks, so that peers which start later know of it.
const REFUSED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often information that is only in memory is written.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: Uuid,
    pub(crate) sender: Sender,
    pub(crate) history: Vec<Boot>,
    /// Addresses that other nodes have reported and the replicated state does not have yet.
    pub(crate) moved: Vec<(NodeId, String)>,
    pub(crate) generation: ClusterGeneration,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HelloAnswer {
    pub(crate) sender: Sender,
    pub(crate) history: Vec<Boot>,
    pub(crate) moved: Vec<(NodeId, String)>,
    pub(crate) verdict: Verdict,
    pub(crate) generation: ClusterGeneration,
}

/// A node's answer to a process of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Admitted,
    /// Ask again: it is not known yet whether the previous process still runs.
    Wait,
    No(Why),
    /// Admitted, but the node was removed from the cluster.
    Removed,
    /// The two belong to different generations of the cluster and ignore each other.
    OtherGeneration,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WhoRequest;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WhoAnswer(pub(crate) Incarnation);

first_version!(
    Hello => "an introduction",
    HelloAnswer => "the answer to an introduction",
    WhoRequest => "the question for a process",
    WhoAnswer => "which process it is",
);

/// Nodes to which a process has to introduce itself again, or that have to introduce themselves.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    nodes: Mutex<BTreeSet<NodeId>>,
    /// Reported addresses of nodes: the node is asked there, and the address counts once the node
    /// itself has answered.
    rumours: Mutex<BTreeMap<NodeId, String>>,
    news: Notify,
}

/// The most nodes in one introduction, and the most that are still to be asked.
const RUMOURS_MAX: usize = 256;

impl Wanted {
    /// Only called for members: a cluster has few.
    pub(crate) fn introduce(&self, node: NodeId) {
        if self
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node)
        {
            self.news.notify_one();
        }
    }

    fn hear_of(&self, moved: &[(NodeId, String)]) {
        let mut rumours = self.rumours.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, addr) in moved
            .iter()
            .take(RUMOURS_MAX)
            .filter(|(_, addr)| addr.len() <= ADDR_BYTES_MAX)
        {
            if rumours.len() < RUMOURS_MAX || rumours.contains_key(node) {
                rumours.insert(*node, addr.clone());
            }
        }
        drop(rumours);
        if !moved.is_empty() {
            self.news.notify_one();
        }
    }

    fn take_rumours(&self) -> BTreeMap<NodeId, String> {
        std::mem::take(&mut *self.rumours.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The parts of a node that introductions need.
#[derive(Clone)]
pub(crate) struct Introducer {
    pub(crate) identity: Identity,
    pub(crate) client: PeerClient,
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
}

impl Introducer {
    pub(crate) fn hello(&self) -> Hello {
        let Identity(inner) = &self.identity;
        let moved = inner.addresses.moved();
        let (sender, history) = (self.identity.sender(), inner.ledger.history());
        Hello {
            cluster: inner.cluster,
            sender,
            history,
            moved,
            generation: inner.generation,
        }
    }

    /// Answers an introduction.
    ///
    /// # Errors
    /// Something that has to be durable first could not be made durable.
    pub(crate) async fn receive(&self, hello: &Hello, is_member: bool) -> io::Result<HelloAnswer> {
        let verdict = if !is_member {
            // What it says of itself counts for nothing: it cannot replace this generation.
            let mine = self.identity.generation();
            if hello.generation.is(&mine) {
                Verdict::Removed
            } else {
                if hello.generation.number <= mine.number {
                    self.meet(&hello.sender, hello.generation).await;
                }
                Verdict::OtherGeneration
            }
        } else if self.meet(&hello.sender, hello.generation).await {
            self.identity.wanted().hear_of(&hello.moved);
            self.consider(&hello.sender, &hello.history).await?
        } else {
            Verdict::OtherGeneration
        };
        let Hello {
            sender,
            history,
            moved,
            generation,
            ..
        } = self.hello();
        // A node that is no member learns that, and nothing else.
        let is_member =
            is_member && matches!(verdict, Verdict::Admitted | Verdict::Wait | Verdict::No(_));
        Ok(HelloAnswer {
            sender,
            history: if is_member { history } else { Vec::new() },
            moved: if is_member { moved } else { Vec::new() },
            verdict,
            generation,
        })
    }

    /// Whether the sender is of this node's generation. If the sender's is a later one, this node's
    /// generation has been replaced.
    async fn meet(&self, sender: &Sender, theirs: ClusterGeneration) -> bool {
        let (identity, mine) = (&self.identity, self.identity.generation());
        if theirs.is(&mine) {
            return true;
        }
        let replaced = |was: &ClusterGeneration, now| Replaced {
            cluster: identity.cluster(),
            was: was.number,
            now,
        };
        let Stamp {
            node, incarnation, ..
        } = sender.stamp;
        if theirs.number > mine.number {
            identity
                .fence(Fence {
                    by: node,
                    why: Why::Replaced(replaced(&mine, theirs)),
                })
                .await;
        } else if identity.is_bygone_news(incarnation) {
            let fence = Fence {
                by: identity.node(),
                why: Why::Replaced(replaced(&theirs, mine)),
            };
            let addr = &sender.peer_addr;
            tracing::error!(
                %node, addr,
                "a node of another generation counts for nothing: {}",
                fence.of_another()
            );
        }
        false
    }

    /// Whether the process that introduces itself is the one of its node that counts.
    async fn consider(&self, sender: &Sender, history: &[Boot]) -> io::Result<Verdict> {
        let (node, identity) = (sender.stamp.node, &self.identity);
        if node == identity.node() {
            let is_me = sender.stamp.incarnation == identity.ledger().incarnation();
            return Ok(if is_me {
                Verdict::Admitted
            } else {
                Verdict::No(Why::Twin)
            });
        }
        let is_honest = history.len() <= BOOTS_MAX
            && history
                .last()
                .is_some_and(|newest| newest.incarnation == sender.stamp.incarnation);
        if !is_honest {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its history does not end with its process",
            ));
        }
        let newcomer = sender.stamp.incarnation;
        let before = identity
            .ledger()
            .record(node)
            .map(|record| record.incarnation);
        let why = match identity.ledger().judge(node, history) {
            Judgement::Same => None,
            Judgement::Later => match self.runs(node, before, newcomer).await {
                Runs::Yes => Some(Why::Twin),
                Runs::Unclear => return Ok(Verdict::Wait),
                Runs::No => None,
            },
            Judgement::Older if self.runs(node, before, newcomer).await == Runs::Yes => {
                Some(Why::Twin)
            }
            Judgement::Older => Some(Why::Older),
        };
        let Some(why) = why else {
            let is_admitted = identity.ledger().admit(node, history).await?;
            if is_admitted {
                identity.learn(sender);
            }
            // A removed node may have to confirm exactly that: its vote is gone only once Raft's
            // members are changed.
            let has_left = self.state.borrow().has_left(node);
            return Ok(match (is_admitted, has_left) {
                (false, _) => Verdict::Wait,
                (true, true) => Verdict::Removed,
                (true, false) => Verdict::Admitted,
            });
        };
        let fence = Fence {
            by: identity.node(),
            why,
        };
        if identity.refuse(node, sender.stamp.incarnation, fence) {
            let addr = &sender.peer_addr;
            tracing::error!(
                %node, name = self.name(node), addr,
                "a process of a node counts for nothing: {}",
                fence.of_another()
            );
        }
        Ok(Verdict::No(why))
    }

    /// Whether `process` of `node` still runs, by its own answer; for a node that was never heard,
    /// any process except the newcomer.
    async fn runs(
        &self,
        node: NodeId,
        process: Option<Incarnation>,
        newcomer: Incarnation,
    ) -> Runs {
        let Some(addr) = self.identity.addresses().of(node) else {
            return Runs::No;
        };
        let (envelope, finalized) = (self.identity.envelope(node), self.identity.finalized());
        let Ok(question) = envelope.seal(&WhoRequest, finalized) else {
            return Runs::No;
        };
        let member = Member {
            node: Some(node),
            addr: &addr,
        };
        match self
            .client
            .call_encoded(member, WHO, question, WHO_DEADLINE)
            .await
        {
            Ok(WhoAnswer(there))
                if there != newcomer && process.is_none_or(|process| process == there) =>
            {
                Runs::Yes
            }
            // Silence is no proof: the connection may be cut in one direction.
            Err(
                PeerError::Timeout { .. }
                | PeerError::Closed { .. }
                | PeerError::Unreachable { .. },
            ) if self
                .identity
                .last_heard(node)
                .is_some_and(|at| at.elapsed() < HEARD_WITHIN) =>
            {
                Runs::Unclear
            }
            Ok(_) | Err(_) => Runs::No,
        }
    }

    fn name(&self, node: NodeId) -> String {
        let state = self.state.borrow();
        state
            .nodes
            .get(node)
            .map_or_else(|| format!("node {node}"), |node| node.spec.name.to_string())
    }

    /// Introduces this process to `member`, and processes the introduction in the answer.
    async fn ask(&self, member: Member<'_>) -> Result<(NodeId, Verdict), PeerError> {
        let addr = member.addr;
        let answer: HelloAnswer = self
            .client
            .call(member, HELLO, &self.hello(), HELLO_DEADLINE)
            .await?;
        let HelloAnswer {
            sender,
            history,
            moved,
            verdict,
            generation,
        } = answer;
        if member.node.is_some_and(|node| node != sender.stamp.node) {
            return Err(PeerError::Untrusted {
                addr: addr.to_owned(),
                why: format!("it speaks for node {}", sender.stamp.node),
            });
        }
        if !self.meet(&sender, generation).await {
            return Ok((sender.stamp.node, Verdict::OtherGeneration));
        }
        self.identity.wanted().hear_of(&moved);
        if let Err(error) = self.consider(&sender, &history).await {
            tracing::warn!(
                node = %sender.stamp.node, addr, %error,
                "a node's introduction is not taken"
            );
        }
        Ok((sender.stamp.node, verdict))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Yes,
    No,
    Unclear,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Node(NodeId),
    /// An address from the configuration, of a member or not.
    Hint(String),
    /// An address that another node reported for this node; asked once.
    Rumour(NodeId, String),
}

struct Target {
    addr: String,
    is_asking: bool,
    /// `None`: it knows this process.
    due: Option<Instant>,
    asked: Asked,
    /// The two do not recognise each other, and that was logged.
    is_strange: bool,
}

type Answered = (Key, Instant, Result<(NodeId, Verdict), PeerError>);

/// Runs on every node until Raft ends.
pub(crate) async fn run(introducer: Introducer, raft: Raft, hints: Vec<String>) {
    let mut round = Round {
        moves: introducer.identity.addresses().changes(),
        introducer,
        raft,
        hints,
        targets: BTreeMap::new(),
        asking: JoinSet::new(),
        first_admitted: None,
    };
    let mut write_at = Instant::now() + WRITE_INTERVAL;
    loop {
        round.look();
        let wake_at = round.next_due().map_or(write_at, |due| due.min(write_at));
        let identity = round.introducer.identity.clone();
        let mut moves = round.moves.clone();
        tokio::select! {
            Some(asked) = round.asking.join_next() => match asked {
                Ok((key, begun, answer)) => round.take(key, begun, answer).await,
                Err(error) => tracing::error!(%error, "an introduction failed by a bug"),
            },
            () = identity.wanted().news.notified() => {}
            Ok(()) = moves.changed() => {}
            () = sleep_until(wake_at) => {}
        }
        if Instant::now() >= write_at {
            write_at = Instant::now() + WRITE_INTERVAL;
            let state = round.introducer.state.borrow().clone();
            identity.keep(|node| !state.has_left(node));
            // A failed flush raises the fatal signal by itself.
            if let Err(error) = identity.ledger().write().await {
                tracing::warn!(%error, "what is known of other nodes is not durable");
            }
        }
    }
}

struct Round {
    /// Changes with each address that is learnt: every member is informed.
    moves: watch::Receiver<u64>,
    introducer: Introducer,
    raft: Raft,
    hints: Vec<String>,
    targets: BTreeMap<Key, Target>,
    /// Separate tasks: they may hold the ledger, which the round waits for.
    asking: JoinSet<Answered>,
    first_admitted: Option<Instant>,
}

impl Round {
    /// Determines which peers have to be asked, asks those that are due, and opens the gate.
    fn look(&mut self) {
        let now = Instant::now();
        self.find(now);
        if self.moves.has_changed().unwrap_or(false) {
            self.moves.mark_unchanged();
            self.targets
                .values_mut()
                .for_each(|target| target.due = target.due.or(Some(now)));
        }
        for node in self.introducer.identity.wanted().take() {
            if let Some(target) = self.targets.get_mut(&Key::Node(node)) {
                target.due = target.due.or(Some(now + AGAIN_AFTER));
            }
        }
        let due: Vec<(Key, String)> = self
            .targets
            .iter()
            .filter(|(_, target)| !target.is_asking && target.due.is_some_and(|due| due <= now))
            .map(|(key, target)| (key.clone(), target.addr.clone()))
            .collect();
        for (key, addr) in due {
            if let Some(target) = self.targets.get_mut(&key) {
                target.is_asking = true;
            }
            let introducer = self.introducer.clone();
            self.asking.spawn(async move {
                let node = match &key {
                    Key::Node(node) | Key::Rumour(node, _) => Some(*node),
                    Key::Hint(_) => None,
                };
                let answer = introducer.ask(Member { node, addr: &addr }).await;
                (key, now, answer)
            });
        }
        self.open();
    }

    /// Members with a reported new address that this node does not know.
    fn rumours(&self) -> Vec<(Key, String)> {
        let identity = &self.introducer.identity;
        let rumours = identity.wanted().take_rumours().into_iter();
        let news = rumours.filter(|(node, addr)| {
            *node != identity.node() && identity.addresses().of(*node).as_ref() != Some(addr)
        });
        news.map(|(node, addr)| (Key::Rumour(node, addr.clone()), addr))
            .collect()
    }

    fn find(&mut self, now: Instant) {
        let me = self.introducer.identity.node();
        let mut known = self.introducer.identity.addresses().all();
        let membership = self
            .raft
            .metrics()
            .borrow_watched()
            .membership_config
            .clone();
        for (node, at_join) in membership.nodes() {
            known
                .entry(NodeId(*node))
                .or_insert_with(|| at_join.addr.clone());
        }
        let state = self.introducer.state.borrow().clone();
        known.retain(|node, _| *node != me && !state.has_left(*node));
        let hints = self
            .hints
            .iter()
            .map(|addr| (Key::Hint(addr.clone()), addr.clone()));
        let wanted: BTreeMap<Key, String> = known
            .into_iter()
            .map(|(node, addr)| (Key::Node(node), addr))
            .chain(hints)
            .chain(self.rumours())
            .collect();
        self.targets.retain(|key, target| {
            wanted.contains_key(key) || (target.is_asking && matches!(key, Key::Rumour(..)))
        });
        for (key, addr) in wanted {
            let target = self.targets.entry(key).or_insert_with(|| Target {
                addr: addr.clone(),
                is_asking: false,
                due: Some(now),
                asked: Asked::default(),
                is_strange: false,
            });
            if target.addr != addr {
                target.addr = addr;
                target.due = target.due.map(|_| now);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.targets
            .values()
            .filter(|target| !target.is_asking)
            .filter_map(|target| target.due)
            .min()
    }

    fn open(&self) {
        let identity = &self.introducer.identity;
        let is_fenced = matches!(*identity.standing().borrow(), Standing::Fenced(_));
        if is_fenced {
            self.raft.runtime_config().elect(false);
        }
        if identity.is_open() || is_fenced {
            return;
        }
        let members = self
            .targets
            .iter()
            .filter(|(key, _)| matches!(key, Key::Node(_)));
        let asked: Vec<Asked> = members.map(|(_, target)| target.asked).collect();
        let is_only_voter = self
            .raft
            .metrics()
            .borrow_watched()
            .membership_config
            .voter_ids()
            .eq([identity.node().0]);
        if gate::opens(&asked, is_only_voter) && identity.open() {
            self.raft.runtime_config().elect(true);
        }
    }

    async fn take(
        &mut self,
        key: Key,
        begun: Instant,
        answer: Result<(NodeId, Verdict), PeerError>,
    ) {
        let now = Instant::now();
        let first_admitted = self.first_admitted;
        let Some(target) = self.targets.get_mut(&key) else {
            return;
        };
        target.is_asking = false;
        let (node, verdict) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                target.asked.failed = true;
                target.asked.failed_after_first |=
                    first_admitted.is_some_and(|first| begun >= first);
                target.due = Some(now + AGAIN_AFTER).filter(|_| !matches!(key, Key::Rumour(..)));
                return self.complain(&key, &error);
            }
        };
        if std::mem::take(&mut target.is_strange) {
            self.introducer.identity.is_no_stranger(node);
        }
        let again = match verdict {
            Verdict::Admitted | Verdict::Removed => None,
            Verdict::Wait => Some(now + AGAIN_AFTER),
            Verdict::No(_) | Verdict::OtherGeneration => Some(now + REFUSED_AGAIN_AFTER),
        };
        target.due = again;
        if verdict == Verdict::OtherGeneration {
            target.asked.failed = true;
            target.asked.failed_after_first |= first_admitted.is_some_and(|first| begun >= first);
            // Its node numbers have no meaning here.
            return;
        }
        // A hint led to a member: that member has been asked with it.
        if let Some(target) = self.targets.get_mut(&Key::Node(node)) {
            target.due = again;
            target.asked.has_admitted |= matches!(verdict, Verdict::Admitted | Verdict::Removed);
        }
        let identity = self.introducer.identity.clone();
        if verdict == Verdict::Removed {
            identity.removed(node);
        }
        match verdict {
            Verdict::Admitted | Verdict::Removed
                if node != identity.node() && self.first_admitted.is_none() =>
            {
                self.first_admitted = Some(now);
                // Earlier failures say nothing.
                self.targets
                    .values_mut()
                    .for_each(|target| target.due = target.due.map(|_| now));
            }
            Verdict::Admitted | Verdict::Removed | Verdict::Wait | Verdict::OtherGeneration => {}
            Verdict::No(why) => {
                self.raft.runtime_config().elect(false);
                identity.fence(Fence { by: node, why }).await;
            }
        }
    }

    fn complain(&mut self, key: &Key, error: &PeerError) {
        let (PeerError::Untrusted { addr, why } | PeerError::Refuses { addr, why }) = error else {
            tracing::debug!(%error, "a node could not be asked what it has seen of this one");
            return;
        };
        let (node, name) = match key {
            Key::Node(node) => (Some(*node), self.introducer.name(*node)),
            Key::Hint(addr) | Key::Rumour(_, addr) => (None, addr.clone()),
        };
        let Some(target) = self.targets.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut target.is_strange, true) {
            tracing::error!(
                peer = name,
                addr,
                why,
                "a member and this node do not recognise each other; check whether another node \
                 has its address, or one of the two was installed again without joining again"
            );
        }
        if let Some(node) = node {
            self.introducer.identity.is_stranger(node);
        }
    }
}
