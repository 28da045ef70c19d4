//! Which nodes are alive, from heartbeats, refused connections and elapsed time. Pure: time is an
//! argument, a monotonic `Duration` since the process started.

use crate::observe::heartbeat::{HEARTBEAT_INTERVAL, SUSPECT_AFTER, SUSPECT_AFTER_MAX};
use holdfast_storage::ids::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// A tick this late means that this process itself was not running (stopped, starved, suspended):
/// silence during that time proves nothing about others.
pub const TICK_LATE_MAX: Duration = Duration::from_millis(500);

/// Pauses between heartbeats are remembered for one to two of these windows.
const PAUSES_WINDOW: Duration = Duration::from_secs(60);

/// No machine reboots within this time. If an address refuses connections, or another process
/// replaces one, this soon after a process was heard, that process ended while its machine kept
/// running.
pub const NO_REBOOT_WITHIN: Duration = Duration::from_secs(5);

/// A closed address is tried ten times a second; after a longer time without a refusal, the next
/// one starts a new sequence.
pub const REFUSALS_APART_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Alive,
    /// `since` on the monotonic clock of this process.
    Suspect {
        since: Duration,
        why: Why,
    },
    /// Not heard of yet, but not long enough to suspect it.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Silent for [`SUSPECT_AFTER`], or for twice its longest recent pause, if that is more.
    Silence,
    /// Its machine refused the connection: the process is gone.
    Refused,
}

impl Verdict {
    #[must_use]
    pub fn is_alive(self) -> bool {
        self == Self::Alive
    }

    #[must_use]
    pub fn is_suspect(self) -> bool {
        matches!(self, Self::Suspect { .. })
    }
}

/// What a heartbeat showed beyond "alive".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    First,
    Usual,
    /// It was suspect until now.
    Returned,
    /// Another process than before: whatever the old one recorded, it has stopped.
    Restarted,
    /// Sent by a process that a newer one has replaced, or before a heartbeat that was already
    /// received; ignored.
    Stale,
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    heard: Option<Heard>,
    /// Stays until the node is heard again: a grace period never turns a suspect into a live node.
    suspect: Option<(Duration, Why)>,
    refusals: Option<Refusals>,
    pauses: Pauses,
    /// The newest process of it that is known to have ended, identified by its start.
    ended: Option<u64>,
}

/// The longest pauses between heartbeats of one process: in the current window and in the previous
/// one.
#[derive(Clone, Copy, Debug, Default)]
struct Pauses {
    from: Duration,
    longest: Duration,
    longest_before: Duration,
}

impl Pauses {
    fn note(self, now: Duration, pause: Duration) -> Self {
        // An outage says nothing about how regularly heartbeats arrive.
        let pause = if pause <= SUSPECT_AFTER_MAX {
            pause
        } else {
            Duration::ZERO
        };
        if now.saturating_sub(self.from) >= PAUSES_WINDOW {
            return Self {
                from: now,
                longest: pause,
                longest_before: self.longest,
            };
        }
        Self {
            longest: self.longest.max(pause),
            ..self
        }
    }

    /// The longest silence that is normal, given the previous pauses.
    fn silence_max(&self) -> Duration {
        (self.longest.max(self.longest_before) * 2).clamp(SUSPECT_AFTER, SUSPECT_AFTER_MAX)
    }
}

/// Consecutive refused connections of one process. The process is alive all the same (its
/// advertised address is wrong, for instance) if it is heard later than any message that was in
/// transit at the first refusal.
#[derive(Clone, Copy, Debug)]
struct Refusals {
    first: Duration,
    last: Duration,
    disproved: bool,
}

impl Refusals {
    fn refused(before: Option<Self>, now: Duration) -> Self {
        match before.filter(|before| before.continues(now)) {
            Some(before) => Self {
                last: now,
                ..before
            },
            None => Self {
                first: now,
                last: now,
                disproved: false,
            },
        }
    }

    /// The refused process was heard.
    fn heard(self, now: Duration) -> Option<Self> {
        let later = now.saturating_sub(self.first) >= HEARTBEAT_INTERVAL;
        self.continues(now).then_some(Self {
            disproved: self.disproved || later,
            ..self
        })
    }

    fn continues(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) <= REFUSALS_APART_MAX
    }
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    boot: u64,
    sequence: u64,
    at: Duration,
}

impl Heard {
    fn is_recent(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < NO_REBOOT_WITHIN
    }
}

/// One node's view of the others.
#[derive(Clone, Debug)]
pub struct Liveness {
    me: NodeId,
    peers: BTreeMap<NodeId, Peer>,
    /// Silence before this does not count.
    grace_from: Duration,
    looked_at: Duration,
}

impl Liveness {
    /// `now`: every node gets a full interval from here.
    #[must_use]
    pub fn new(me: NodeId, now: Duration) -> Self {
        Self {
            me,
            peers: BTreeMap::new(),
            grace_from: now,
            looked_at: now,
        }
    }

    /// Notes a heartbeat of a process that started at `boot`. A process that started earlier than
    /// the known one is stale only while the known one is heard: a wall clock that was stepped back
    /// must not silence a restarted node. A heartbeat older than the last one (`sequence`) was
    /// delayed on a connection that was cut: it is stale too, and proves nothing.
    pub fn heartbeat(&mut self, now: Duration, from: NodeId, boot: u64, sequence: u64) -> Seen {
        self.look(now);
        let was_suspect = self.verdict(now, from).is_suspect();
        let peer = self.peers.entry(from).or_default();
        let seen = match peer.heard {
            None => Seen::First,
            Some(heard) if boot < heard.boot && !was_suspect => return Seen::Stale,
            Some(heard) if boot != heard.boot => Seen::Restarted,
            Some(heard) if sequence < heard.sequence => return Seen::Stale,
            Some(_) if was_suspect => Seen::Returned,
            Some(_) => Seen::Usual,
        };
        let pauses = match (seen, peer.heard) {
            (Seen::Usual | Seen::Returned, Some(heard)) => peer
                .pauses
                .note(now, now.saturating_sub(heard.at.max(self.grace_from))),
            _ => Pauses {
                from: now,
                ..Pauses::default()
            },
        };
        let refusals = peer
            .refusals
            .filter(|_| matches!(seen, Seen::Usual | Seen::Returned));
        let refusals = refusals.and_then(|refusals| refusals.heard(now));
        let replaced = peer
            .heard
            .filter(|heard| seen == Seen::Restarted && heard.is_recent(now))
            .map(|heard| heard.boot);
        // A process that is heard had not ended: something else refused in its place.
        let ended = replaced.or(peer.ended.filter(|ended| *ended != boot));
        *peer = Peer {
            heard: Some(Heard {
                boot,
                sequence,
                at: now,
            }),
            suspect: None,
            refusals,
            pauses,
            ended,
        };
        seen
    }

    /// Notes that a new connection to `node` was refused: this is proof at once, also in a grace
    /// period, unless the process was heard in spite of refusals.
    pub fn refused(&mut self, now: Duration, node: NodeId) {
        self.look(now);
        let peer = self.peers.entry(node).or_default();
        let refusals = Refusals::refused(peer.refusals, now);
        peer.refusals = Some(refusals);
        if !refusals.disproved {
            peer.suspect.get_or_insert((now, Why::Refused));
            peer.ended = peer
                .heard
                .filter(|heard| heard.is_recent(now))
                .map(|heard| heard.boot)
                .or(peer.ended);
        }
    }

    /// Must be called at least every [`TICK_LATE_MAX`] / 2, before verdicts are requested.
    pub fn tick(&mut self, now: Duration) {
        self.look(now);
        self.mark_silent(now);
    }

    /// A new leader judges the nodes that it does not already suspect by what it hears from now on.
    pub fn leader_changed(&mut self, now: Duration) {
        self.look(now);
        self.mark_silent(now);
        self.grace_from = now;
    }

    /// Forgets nodes that are no longer members.
    pub fn keep(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.peers.retain(|node, _| is_member(*node));
    }

    #[must_use]
    pub fn verdict(&self, now: Duration, node: NodeId) -> Verdict {
        if node == self.me {
            return Verdict::Alive;
        }
        let peer = self.peers.get(&node).copied().unwrap_or_default();
        match peer.suspect.or_else(|| self.silence(now, &peer)) {
            Some((since, why)) => Verdict::Suspect { since, why },
            None if peer.heard.is_some() => Verdict::Alive,
            None => Verdict::Unknown,
        }
    }

    /// The newest process of each node that ended while its machine kept running, identified by its
    /// start. Excludes power losses and silence.
    #[must_use]
    pub fn ended(&self) -> Vec<(NodeId, u64)> {
        self.peers
            .iter()
            .filter_map(|(node, peer)| Some((*node, peer.ended?)))
            .collect()
    }

    /// The verdict on each of `nodes`.
    #[must_use]
    pub fn verdicts(
        &self,
        now: Duration,
        nodes: impl Iterator<Item = NodeId>,
    ) -> BTreeMap<NodeId, Verdict> {
        nodes.map(|node| (node, self.verdict(now, node))).collect()
    }

    /// Starts a full interval for every node if this is the first event after a stall.
    fn look(&mut self, now: Duration) {
        if self.was_away(now) {
            self.grace_from = now;
        }
        self.looked_at = now;
    }

    /// The last event was so long ago that this process was not running.
    fn was_away(&self, now: Duration) -> bool {
        now.saturating_sub(self.looked_at) > TICK_LATE_MAX
    }

    fn mark_silent(&mut self, now: Duration) {
        let silent: Vec<(NodeId, (Duration, Why))> = self
            .peers
            .iter()
            .filter_map(|(node, peer)| Some((*node, self.silence(now, peer)?)))
            .collect();
        for (node, silence) in silent {
            self.peers
                .entry(node)
                .or_default()
                .suspect
                .get_or_insert(silence);
        }
    }

    fn silence(&self, now: Duration, peer: &Peer) -> Option<(Duration, Why)> {
        let quiet_from = peer
            .heard
            .map_or(self.grace_from, |heard| heard.at.max(self.grace_from));
        let since = quiet_from + peer.pauses.silence_max();
        (now >= since && !self.was_away(now)).then_some((since, Why::Silence))
    }
}
