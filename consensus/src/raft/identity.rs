//! Which process of which node is speaking, and whether its data directory is as new as what that
//! node has confirmed.
//!
//! A data directory can be reset to an earlier state (a VM snapshot, a backup), or exist twice (a
//! copy). Its node would then vote again where it has voted, or help to decide without what it had
//! confirmed, and undo acknowledged changes. So:
//!
//! - Each start of a node is a new [`Incarnation`]: a generation, counted in the data directory,
//!   and a random boot id. It is durable before anything is sent. The directory keeps the last
//!   [`BOOTS_MAX`] of them, each with the [`Position`] that was durable when it began.
//! - Each node keeps a [`Record`] of every other node: its newest incarnation, and how far that has
//!   confirmed.
//! - A starting node introduces itself ([`introductions`]), and takes no part in Raft before that
//!   ([`gate`]). A peer with a record of it judges its history ([`judge`]): if the record is not in
//!   the history, or the next start began before it, the directory is older than what the node has
//!   confirmed. Then the node is fenced permanently.
//! - Messages of Raft carry the incarnation in both directions. A message of an incarnation that
//!   the receiver did not admit is ignored.
//!
//! Why no counted vote or acknowledgement can be forgotten unnoticed while the node that counted it
//! is reachable: it is in that node's record, durably, before it is counted
//! ([`ledger::Ledger::confirm`]). An earlier state of the directory then shows in the history:
//! either the incarnation of the record is missing (the state is from before that start), or the
//! next start began with less than the record says (the state is from within that run). Positions
//! of one node never decrease: the vote grows, and under one vote a log is never truncated. A power
//! cut does not restore an earlier state: what is recorded was durable before it was sent.
//!
//! What costs an fsync: a start, at each node; a granted vote and acknowledged entries, at the node
//! that counts them, in the log's own file and with its next flush. Heartbeats report positions
//! too, to nodes that do not count them; those are kept in memory and written at most once a second
//! if they changed. So others know what a *leader* itself had made durable one heartbeat later, and
//! durably one second later: `docs/hazards.md`.

pub(crate) mod addresses;
pub(crate) mod gate;
pub(crate) mod introductions;
pub(crate) mod judge;
pub(crate) mod ledger;
pub(crate) mod standing;

pub use addresses::Addresses;
pub use standing::Standing;

use crate::codec::{self, CodecError, Finalized, first_version};
use crate::generation::ClusterGeneration;
use crate::observe::heartbeat::Heartbeat;
use crate::peer::envelope::Envelope;
use crate::raft::{LogId, Raft, Vote};
use crate::state::CAMERA_NUMBER_MAX;
use addresses::Learnt;
use holdfast_storage::ids::{CameraId, NodeId};
use introductions::Wanted;
use judge::Admission;
use ledger::Ledger;
use serde::{Deserialize, Serialize};
use standing::Fence;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

/// How many starts a data directory remembers.
pub(crate) const BOOTS_MAX: usize = 32;

/// One process of a node. A later start of one data directory has a higher generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation {
    pub generation: u64,
    pub boot: Uuid,
}

/// What a node has made durable: its vote, and the last entry of its log under that vote. It never
/// decreases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Term and node.
    pub vote: (u64, u64),
    /// Term, leader, index.
    pub last: Option<(u64, u64, u64)>,
}

impl Position {
    pub(crate) fn new(vote: Option<&Vote>, last: Option<&LogId>) -> Self {
        let vote = vote.map_or((0, 0), |vote| (vote.leader_id.term, vote.leader_id.node_id));
        Self {
            vote,
            last: last.map(|id| (id.leader_id.term, id.leader_id.node_id, id.index)),
        }
    }
}

/// A start of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    pub incarnation: Incarnation,
    /// What was durable when it began.
    pub began_at: Position,
}

/// What one node knows of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub incarnation: Incarnation,
    pub position: Position,
}

/// The sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) position: Position,
}

/// A node's information about itself in each heartbeat and each introduction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) stamp: Stamp,
    /// The address at which others reach it, from its present configuration.
    pub(crate) peer_addr: String,
    /// The highest camera number of which it holds footage.
    pub(crate) camera_highest: CameraId,
}

first_version!(
    Stamp => "the sender of a message",
    Sender => "what a node says of itself",
);

/// How long a refused process counts as present: it asks again every few seconds.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// How many processes of other generations are logged in that time.
const BYGONE_MAX: usize = 256;

/// Longest address that is accepted from another node.
const ADDR_BYTES_MAX: usize = 255;

/// Why a message of another member is ignored.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    #[error("the message cannot be read: {0}")]
    Unreadable(#[from] CodecError),
    #[error("this is node {me} of cluster {cluster}, {generation}; the message is for another")]
    Misdirected {
        me: NodeId,
        cluster: Uuid,
        generation: ClusterGeneration,
    },
    #[error("node {sent_by} may not speak for node {from}")]
    Forged { sent_by: NodeId, from: NodeId },
    #[error("this process of node {0} has not introduced itself here yet")]
    Unintroduced(NodeId),
}

/// This node's identity, and what it knows of the others'. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

type Progress = Box<dyn Fn() -> Position + Send + Sync>;

struct Inner {
    me: NodeId,
    cluster: Uuid,
    generation: ClusterGeneration,
    /// From the configuration.
    peer_addr: String,
    finalized: Finalized,
    ledger: Ledger,
    standing: watch::Sender<Standing>,
    /// Whether Raft's messages may be sent and received.
    is_open: AtomicBool,
    /// The durable position of vote and log.
    progress: OnceLock<Progress>,
    addresses: Addresses,
    wanted: Wanted,
    others: Mutex<Others>,
    /// The highest camera number of which this node itself holds footage.
    own_camera_highest: AtomicU32,
    camera_highest: watch::Sender<CameraId>,
}

#[derive(Default)]
struct Others {
    /// When each node's admitted process was last heard.
    heard: BTreeMap<NodeId, Instant>,
    /// Refused processes, why, and when they last asked.
    refused: BTreeMap<NodeId, (Incarnation, Fence, Instant)>,
    /// Members that do not recognise this node, or are not recognised by it.
    strange: BTreeSet<NodeId>,
    /// Processes of other generations, and when each was last logged.
    bygone: BTreeMap<Incarnation, Instant>,
}

impl Identity {
    pub(crate) fn new(
        (me, cluster, generation): (NodeId, Uuid, ClusterGeneration),
        peer_addr: String,
        finalized: Finalized,
        ledger: Ledger,
        addresses: Addresses,
    ) -> Self {
        let standing = match ledger.fence() {
            Some(fence) => Standing::Fenced(fence),
            None => Standing::Asking,
        };
        Self(Arc::new(Inner {
            me,
            cluster,
            generation,
            peer_addr,
            finalized,
            ledger,
            standing: watch::Sender::new(standing),
            is_open: AtomicBool::new(false),
            progress: OnceLock::new(),
            addresses,
            wanted: Wanted::default(),
            others: Mutex::default(),
            own_camera_highest: AtomicU32::new(0),
            camera_highest: watch::Sender::new(CameraId(0)),
        }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn wanted(&self) -> &Wanted {
        &self.0.wanted
    }

    /// The addresses of the members.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.0.addresses.clone()
    }

    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.me
    }

    pub(crate) fn cluster(&self) -> Uuid {
        self.0.cluster
    }

    #[must_use]
    pub fn generation(&self) -> ClusterGeneration {
        self.0.generation
    }

    /// The version of the cluster that this node has seen finalised, for all that it sends.
    #[must_use]
    pub fn finalized(&self) -> &Finalized {
        &self.0.finalized
    }

    /// The header of a message to another member.
    pub(crate) fn envelope(&self, to: NodeId) -> Envelope {
        Envelope {
            cluster: self.0.cluster,
            to,
            generation: self.0.generation.id,
        }
    }

    /// Whether this node is the intended receiver.
    pub(crate) fn is_addressed(&self, envelope: &Envelope) -> bool {
        *envelope == self.envelope(self.0.me)
    }

    /// Whether this node takes part, and if not, why.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    pub(crate) fn follow_log(&self, raft: &Raft) {
        let flushed = raft.watch_log_progress();
        let position = move || {
            let point = flushed.get();
            point.map_or_else(Position::default, |it| {
                Position::new(Some(&it.vote), it.last_log_id.as_ref())
            })
        };
        // Only set once, at the start.
        drop(self.0.progress.set(Box::new(position)));
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Acquire)
    }

    /// From now on this node takes part, unless it is fenced. Returns whether it does.
    pub(crate) fn open(&self) -> bool {
        self.0.standing.send_if_modified(|standing| {
            let opens = *standing == Standing::Asking;
            if opens {
                *standing = Standing::Member;
            }
            opens
        });
        let takes_part = !matches!(*self.0.standing.borrow(), Standing::Fenced(_));
        self.0.is_open.store(takes_part, Ordering::Release);
        takes_part
    }

    /// Ends this node's participation permanently, also for later starts.
    pub(crate) async fn fence(&self, fence: Fence) {
        self.0.is_open.store(false, Ordering::Release);
        let is_new = self.stand(Standing::Fenced(fence));
        if is_new {
            tracing::error!(
                by = %fence.by,
                "this node takes no part any more: {}",
                Standing::Fenced(fence)
            );
        }
        if let Err(error) = self.0.ledger.fence_off(fence).await {
            tracing::error!(
                %error,
                "that this node is fenced could not be made durable; its next start asks its peers \
                 again"
            );
        }
    }

    pub(crate) fn removed(&self, by: NodeId) {
        if self.stand(Standing::Removed { by }) {
            tracing::error!(%by, "{}", Standing::Removed { by });
        }
    }

    /// Changes the standing, except a final one. Returns whether it changed.
    fn stand(&self, now: Standing) -> bool {
        self.0.standing.send_if_modified(|standing| {
            let is_news = !standing.is_final();
            if is_news {
                *standing = now;
            }
            is_news
        })
    }

    pub(crate) fn stamp(&self) -> Stamp {
        let position = self
            .0
            .progress
            .get()
            .map_or_else(Position::default, |progress| progress());
        Stamp {
            node: self.0.me,
            incarnation: self.0.ledger.incarnation(),
            position,
        }
    }

    pub(crate) fn sender(&self) -> Sender {
        let camera_highest = CameraId(self.0.own_camera_highest.load(Ordering::Relaxed));
        Sender {
            stamp: self.stamp(),
            peer_addr: self.0.peer_addr.clone(),
            camera_highest,
        }
    }

    /// The highest camera number of which this node holds footage.
    pub fn holds_footage_up_to(&self, camera: CameraId) {
        self.0
            .own_camera_highest
            .fetch_max(camera.0, Ordering::Relaxed);
        self.note_cameras(camera);
    }

    /// The highest camera number of which any node that was heard holds footage.
    #[must_use]
    pub fn camera_highest(&self) -> CameraId {
        *self.0.camera_highest.borrow()
    }

    fn note_cameras(&self, camera: CameraId) {
        if camera > CAMERA_NUMBER_MAX {
            return;
        }
        self.0.camera_highest.send_if_modified(|highest| {
            let is_news = camera > *highest;
            *highest = (*highest).max(camera);
            is_news
        });
    }

    /// The encoded `heartbeat` for `to`.
    ///
    /// # Errors
    /// See [`codec::encode`].
    pub fn seal(&self, to: NodeId, heartbeat: &Heartbeat) -> Result<Vec<u8>, CodecError> {
        let finalized = self.finalized();
        Ok([
            codec::encode(&self.envelope(to), finalized)?,
            codec::encode(&self.sender(), finalized)?,
            codec::encode(heartbeat, finalized)?,
        ]
        .concat())
    }

    /// Decodes a heartbeat that node `sent_by` sent, and checks that its process counts.
    ///
    /// # Errors
    /// See [`Unheard`].
    pub fn hear(&self, sent_by: NodeId, body: &[u8]) -> Result<Heartbeat, Unheard> {
        let (envelope, rest) = codec::decode_first::<Envelope>(body)?;
        if !self.is_addressed(&envelope) {
            let Inner {
                me,
                cluster,
                generation,
                ..
            } = *self.0;
            return Err(Unheard::Misdirected {
                me,
                cluster,
                generation,
            });
        }
        let (sender, rest) = codec::decode_first::<Sender>(rest)?;
        let heartbeat: Heartbeat = codec::decode(rest)?;
        let Stamp {
            node,
            incarnation,
            position,
        } = sender.stamp;
        for from in [node, heartbeat.from] {
            if from != sent_by {
                return Err(Unheard::Forged { sent_by, from });
            }
        }
        match self.admission(&sender.stamp) {
            Admission::Admitted => {
                self.0.ledger.note(node, incarnation, position);
                self.learn(&sender);
            }
            // Its directory is too old, but it is the only process of its node: it counts as seen,
            // and its recordings count.
            _ if self.is_refused_alone(node, incarnation) => {}
            // Of a node that was never heard, two processes may be running.
            Admission::First | Admission::Unknown => {
                self.0.wanted.introduce(node);
                return Err(Unheard::Unintroduced(node));
            }
        }
        Ok(heartbeat)
    }

    /// Notes an admitted process's information about itself.
    pub(crate) fn learn(&self, sender: &Sender) {
        self.heard(sender.stamp.node);
        self.note_cameras(sender.camera_highest);
        if sender.peer_addr.len() <= ADDR_BYTES_MAX {
            self.0
                .addresses
                .learn(sender.stamp.node, Learnt::new(sender.peer_addr.clone()));
        }
    }

    pub(crate) fn admission(&self, stamp: &Stamp) -> Admission {
        judge::admission(self.0.ledger.record(stamp.node).as_ref(), stamp.incarnation)
    }

    /// Whether a Raft message from this sender counts; if so, its position is noted.
    pub(crate) fn counts(&self, stamp: &Stamp) -> bool {
        let counts = self.admission(stamp) != Admission::Unknown;
        if counts {
            self.heard(stamp.node);
            self.0
                .ledger
                .note(stamp.node, stamp.incarnation, stamp.position);
        } else {
            self.0.wanted.introduce(stamp.node);
        }
        counts
    }

    /// Records durably that the sender has confirmed `position`, and returns whether that may be
    /// counted.
    ///
    /// # Errors
    /// The record could not be made durable.
    pub(crate) async fn confirm(&self, stamp: &Stamp, position: Position) -> io::Result<bool> {
        if !self.counts(stamp) {
            return Ok(false);
        }
        self.0
            .ledger
            .confirm(stamp.node, stamp.incarnation, position)
            .await
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an edge: when something was heard"
    )]
    fn heard(&self, node: NodeId) {
        self.others().heard.insert(node, Instant::now());
    }

    pub(crate) fn last_heard(&self, node: NodeId) -> Option<Instant> {
        self.others().heard.get(&node).copied()
    }

    /// Notes a refused process. Returns whether this is to be logged.
    #[expect(clippy::disallowed_methods, reason = "an edge: when it asked")]
    pub(crate) fn refuse(&self, node: NodeId, incarnation: Incarnation, fence: Fence) -> bool {
        let before = self
            .others()
            .refused
            .insert(node, (incarnation, fence, Instant::now()));
        before.is_none_or(|(process, why, at)| {
            (process, why) != (incarnation, fence) || at.elapsed() >= REFUSED_FOR
        })
    }

    /// Whether a process of another generation has not been logged recently.
    #[expect(clippy::disallowed_methods, reason = "an edge: when it asked")]
    pub(crate) fn is_bygone_news(&self, process: Incarnation) -> bool {
        let mut others = self.others();
        others.bygone.retain(|_, at| at.elapsed() < REFUSED_FOR);
        let has_room = others.bygone.len() < BYGONE_MAX;
        if others.bygone.contains_key(&process) || !has_room {
            return false;
        }
        others.bygone.insert(process, Instant::now());
        true
    }

    fn is_refused_alone(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let refused = self.others().refused.get(&node).copied();
        refused.is_some_and(|(process, fence, _)| process == incarnation && !fence.is_twin())
    }

    /// Nodes of which this one refuses a process, and why, as text.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<NodeId, String> {
        let others = self.others();
        let now = others
            .refused
            .iter()
            .filter(|(_, (_, _, at))| at.elapsed() < REFUSED_FOR);
        now.map(|(node, (_, fence, _))| (*node, fence.of_another()))
            .collect()
    }

    pub(crate) fn is_stranger(&self, to: NodeId) {
        self.others().strange.insert(to);
    }

    pub(crate) fn is_no_stranger(&self, to: NodeId) {
        self.others().strange.remove(&to);
    }

    /// Members that do not recognise this node, or are not recognised by it.
    #[must_use]
    pub fn strangers(&self) -> BTreeSet<NodeId> {
        self.others().strange.clone()
    }

    /// `node` rejected a message: it may not know this process, or not count this node as a member,
    /// or be of another generation.
    pub fn not_taken_by(&self, node: NodeId) {
        self.0.wanted.introduce(node);
    }

    /// Forgets nodes that left.
    pub(crate) fn keep(&self, is_kept: impl Fn(NodeId) -> bool) {
        let mut others = self.others();
        others.heard.retain(|node, _| is_kept(*node));
        others.refused.retain(|node, _| is_kept(*node));
        others.strange.retain(|node| is_kept(*node));
        drop(others);
        self.0.addresses.keep(&is_kept);
        self.0.ledger.keep(&is_kept);
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the identity of node {}", self.0.me)
    }
}
