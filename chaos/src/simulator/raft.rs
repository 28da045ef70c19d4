//! A minimal Raft, as far as failover depends on it: elections with pre-vote, replication, commits
//! by majority, leaders that step down when no majority answers, single changes of the voters,
//! snapshots for nodes that lag. No I/O and no clock; state becomes durable before any message
//! leaves.
//!
//! It stands in for openraft, whose own tests and `consensus/tests/cluster.rs` are about Raft
//! itself. It produces the conditions that the other code must handle: states that lag and jump,
//! leaders that are deposed and do not know it, proposals of unknown outcome.

use holdfast_consensus::Leadership;
use holdfast_consensus::codec::{self, Finalized};
use holdfast_consensus::command::{LogEntry, Rejection, Response};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::NodeId;
use holdfast_storage::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often [`Raft::tick`] is to be called.
pub(super) const TICK: Duration = Duration::from_millis(50);
const HEARTBEAT: Duration = Duration::from_millis(150);
const ELECTION_MIN: Duration = Duration::from_millis(600);
const ELECTION_MAX: Duration = Duration::from_millis(1_200);
/// Entries after which the log is cut, and how many stay behind it. Small, so that snapshots are
/// sent often.
const SNAPSHOT_AFTER: usize = 40;
const KEPT: usize = 8;
const ENTRIES_PER_APPEND_MAX: usize = 16;
const VOTERS_MAX: usize = 5;
/// A learner this close to the end of the log may vote.
const LAG_MAX: u64 = 4;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    /// A new leader's first.
    Nothing,
    Entry(Box<LogEntry>),
    Voters(BTreeSet<NodeId>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) term: u64,
    pub(super) payload: Payload,
}

/// The state up to an entry.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    index: u64,
    term: u64,
    voters: BTreeSet<NodeId>,
    /// As it would be in a file.
    state: Arc<Vec<u8>>,
}

/// What survives the process.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    term: u64,
    voted_for: Option<NodeId>,
    snapshot: Snapshot,
    /// The entries after the snapshot.
    log: Vec<Arc<Entry>>,
    committed: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Vote {
        term: u64,
        pre: bool,
        last: (u64, u64),
    },
    Voted {
        term: u64,
        pre: bool,
        granted: bool,
    },
    Append {
        term: u64,
        previous: (u64, u64),
        entries: Vec<Arc<Entry>>,
        committed: u64,
    },
    /// `matched`: the log is the leader's up to here; without, where the leader should try.
    Appended {
        term: u64,
        matched: Result<u64, u64>,
    },
    Install {
        term: u64,
        snapshot: Snapshot,
    },
}

#[derive(Clone, Copy, Debug)]
struct Follower {
    next: u64,
    matched: u64,
    answered_at: Duration,
}

#[derive(Debug)]
enum Role {
    Follows,
    Asks {
        pre: bool,
        votes: BTreeSet<NodeId>,
    },
    Leads {
        followers: BTreeMap<NodeId, Follower>,
        sent_at: Duration,
    },
}

/// One applied entry, in order.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) index: u64,
    pub(super) entry: Arc<Entry>,
    pub(super) outcome: Option<Result<Response, Rejection>>,
}

#[derive(Debug)]
pub(super) struct Raft {
    me: NodeId,
    durable: Durable,
    role: Role,
    leader: Option<NodeId>,
    heard_at: Duration,
    patience: Duration,
    applied: u64,
    state: Arc<ClusterState>,
    news: Vec<Applied>,
    random: Random,
    outbox: Vec<(NodeId, Message)>,
}

impl Durable {
    /// The state of a node that knows nothing, not even the voters.
    pub(super) fn blank() -> Self {
        let state = Arc::new(encode(&ClusterState::default()));
        let snapshot = Snapshot {
            index: 0,
            term: 0,
            voters: BTreeSet::new(),
            state,
        };
        Self {
            term: 0,
            voted_for: None,
            snapshot,
            log: Vec::new(),
            committed: 0,
        }
    }

    /// Of the node that founds the cluster.
    pub(super) fn founder(me: NodeId) -> Self {
        let blank = Self::blank();
        Self {
            snapshot: Snapshot {
                voters: BTreeSet::from([me]),
                ..blank.snapshot
            },
            ..blank
        }
    }

    /// The state as if votes and log had never been synced: everything after the last snapshot is
    /// gone.
    pub(super) fn forget(&mut self) {
        self.log.clear();
        self.voted_for = None;
        self.committed = self.snapshot.index;
    }

    /// Whether the entry of this index is still the one of this term, or is decided.
    pub(super) fn holds(&self, index: u64, term: u64) -> bool {
        index <= self.snapshot.index || self.term_at(index) == Some(term)
    }

    /// Whether it holds less than `other`: a vote, or an entry.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        let votes = |durable: &Self| (durable.term, durable.voted_for);
        self.term < other.term || self.last() < other.last() || votes(self) != votes(other)
    }

    fn last(&self) -> (u64, u64) {
        let term = self
            .log
            .last()
            .map_or(self.snapshot.term, |entry| entry.term);
        (term, self.last_index())
    }

    fn last_index(&self) -> u64 {
        self.snapshot.index + self.log.len() as u64
    }

    fn entry(&self, index: u64) -> Option<&Arc<Entry>> {
        self.log
            .get(usize::try_from(index.checked_sub(self.snapshot.index + 1)?).ok()?)
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.snapshot.index {
            Some(self.snapshot.term)
        } else {
            self.entry(index).map(|entry| entry.term)
        }
    }

    /// The voters by the log up to `index`.
    fn voters(&self, index: u64) -> &BTreeSet<NodeId> {
        let count =
            usize::try_from(index.saturating_sub(self.snapshot.index)).unwrap_or(usize::MAX);
        let voters = |entry: &'_ Arc<Entry>| matches!(entry.payload, Payload::Voters(_));
        match self
            .log
            .iter()
            .take(count)
            .rfind(|entry| voters(entry))
            .map(|entry| &entry.payload)
        {
            Some(Payload::Voters(voters)) => voters,
            _ => &self.snapshot.voters,
        }
    }

    fn truncate(&mut self, from: u64) {
        let keep =
            usize::try_from(from.saturating_sub(self.snapshot.index + 1)).unwrap_or(usize::MAX);
        self.log.truncate(keep);
    }
}

fn encode(state: &ClusterState) -> Vec<u8> {
    codec::encode(state, &Finalized::at(state.version))
        .unwrap_or_else(|error| panic!("a state cannot be encoded: {error}"))
}

fn decode(bytes: &[u8]) -> ClusterState {
    codec::decode(bytes)
        .unwrap_or_else(|error| panic!("a state that was encoded cannot be read: {error}"))
}

impl Raft {
    pub(super) fn open(me: NodeId, durable: Durable, now: Duration, mut random: Random) -> Self {
        let state = Arc::new(decode(&durable.snapshot.state));
        let (patience, applied) = (patience(&mut random), durable.snapshot.index);
        let mut raft = Self {
            me,
            durable,
            role: Role::Follows,
            leader: None,
            heard_at: now,
            patience,
            applied,
            state,
            news: Vec::new(),
            random,
            outbox: Vec::new(),
        };
        raft.apply();
        // These were news to the process before.
        raft.news.clear();
        raft
    }

    pub(super) fn close(self) -> Durable {
        self.durable
    }

    pub(super) fn durable(&self) -> &Durable {
        &self.durable
    }

    pub(super) fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub(super) fn leads(&self) -> bool {
        matches!(self.role, Role::Leads { .. })
    }

    pub(super) fn leadership(&self) -> Leadership {
        let voters = self
            .durable
            .voters(self.durable.committed)
            .iter()
            .copied()
            .collect();
        Leadership {
            term: self.durable.term,
            leader: self.leader,
            is_leader: self.leads(),
            voters,
        }
    }

    /// The entries applied since the last call.
    pub(super) fn take_news(&mut self) -> Vec<Applied> {
        std::mem::take(&mut self.news)
    }

    pub(super) fn take_messages(&mut self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut self.outbox)
    }

    /// Appends as the leader. Returns the index and term that identify the entry.
    pub(super) fn propose(&mut self, now: Duration, payload: Payload) -> Option<(u64, u64)> {
        if !self.leads() {
            return None;
        }
        let term = self.durable.term;
        self.durable.log.push(Arc::new(Entry { term, payload }));
        self.replicate(now);
        self.commit();
        Some((self.durable.last_index(), term))
    }

    pub(super) fn tick(&mut self, now: Duration) {
        match &self.role {
            Role::Leads { sent_at, .. } => {
                if now.saturating_sub(*sent_at) >= HEARTBEAT {
                    self.replicate(now);
                }
                self.look_after_voters(now);
            }
            Role::Follows | Role::Asks { .. } => {
                if now.saturating_sub(self.heard_at) >= self.patience
                    && self.votes().contains(&self.me)
                {
                    self.ask(now, true);
                }
            }
        }
    }

    pub(super) fn receive(&mut self, now: Duration, from: NodeId, message: Message) {
        match message {
            Message::Vote { term, pre, last } => self.vote(now, from, term, pre, last),
            Message::Voted { term, pre, granted } => self.voted(now, from, term, pre, granted),
            Message::Append {
                term,
                previous,
                entries,
                committed,
            } => {
                if self.follow(now, from, term) {
                    let matched = self.append(previous, entries);
                    if let Ok(matched) = matched {
                        self.durable.committed = self.durable.committed.max(committed.min(matched));
                        self.apply();
                    }
                    self.send(from, Message::Appended { term, matched });
                }
            }
            Message::Install { term, snapshot } => {
                if self.follow(now, from, term) {
                    let matched = self.install(snapshot);
                    self.send(
                        from,
                        Message::Appended {
                            term,
                            matched: Ok(matched),
                        },
                    );
                }
            }
            Message::Appended { term, matched } => self.appended(now, from, term, matched),
        }
    }

    fn votes(&self) -> &BTreeSet<NodeId> {
        self.durable.voters(self.durable.last_index())
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.push((to, message));
    }

    fn ask(&mut self, now: Duration, pre: bool) {
        self.heard_at = now;
        self.patience = patience(&mut self.random);
        self.leader = None;
        if !pre {
            self.durable.term += 1;
            self.durable.voted_for = Some(self.me);
        }
        self.role = Role::Asks {
            pre,
            votes: BTreeSet::from([self.me]),
        };
        let term = if pre {
            self.durable.term + 1
        } else {
            self.durable.term
        };
        let last = self.durable.last();
        let others: Vec<NodeId> = self
            .votes()
            .iter()
            .copied()
            .filter(|node| *node != self.me)
            .collect();
        others
            .into_iter()
            .for_each(|node| self.send(node, Message::Vote { term, pre, last }));
        self.count_votes(now);
    }

    fn vote(&mut self, now: Duration, from: NodeId, term: u64, pre: bool, last: (u64, u64)) {
        let is_led = self.leads()
            || (self.leader.is_some() && now.saturating_sub(self.heard_at) < ELECTION_MIN);
        let is_complete = last >= self.durable.last();
        if pre {
            let granted = !is_led && is_complete && term > self.durable.term;
            return self.send(from, Message::Voted { term, pre, granted });
        }
        if is_led && term > self.durable.term {
            return;
        }
        self.step_down(term);
        let free = self.durable.voted_for.is_none_or(|voted| voted == from);
        let granted = term == self.durable.term && free && is_complete;
        if granted {
            self.durable.voted_for = Some(from);
            self.heard_at = now;
        }
        self.send(
            from,
            Message::Voted {
                term: self.durable.term,
                pre,
                granted,
            },
        );
    }

    fn voted(&mut self, now: Duration, from: NodeId, term: u64, was_pre: bool, granted: bool) {
        if !was_pre && term > self.durable.term {
            return self.step_down(term);
        }
        let current = if was_pre {
            self.durable.term + 1
        } else {
            self.durable.term
        };
        if let Role::Asks { pre, votes } = &mut self.role
            && *pre == was_pre
            && granted
            && term == current
        {
            votes.insert(from);
            self.count_votes(now);
        }
    }

    fn count_votes(&mut self, now: Duration) {
        let Role::Asks { pre, votes } = &self.role else {
            return;
        };
        let voters = self.votes();
        if voters.intersection(votes).count() * 2 <= voters.len() {
            return;
        }
        if *pre {
            self.ask(now, false)
        } else {
            self.lead(now)
        }
    }

    fn lead(&mut self, now: Duration) {
        self.leader = Some(self.me);
        self.role = Role::Leads {
            followers: BTreeMap::new(),
            sent_at: now,
        };
        self.propose(now, Payload::Nothing);
    }

    fn step_down(&mut self, term: u64) {
        if term > self.durable.term {
            self.durable.term = term;
            self.durable.voted_for = None;
            self.role = Role::Follows;
            self.leader = None;
        }
    }

    /// Whether `from` leads in `term`, as far as this node knows.
    fn follow(&mut self, now: Duration, from: NodeId, term: u64) -> bool {
        if term < self.durable.term {
            let (term, next) = (self.durable.term, self.durable.last_index());
            self.send(
                from,
                Message::Appended {
                    term,
                    matched: Err(next),
                },
            );
            return false;
        }
        self.step_down(term);
        assert!(
            !self.leads(),
            "two leaders, {} and {from}, in term {term}",
            self.me
        );
        self.role = Role::Follows;
        self.leader = Some(from);
        self.heard_at = now;
        true
    }

    fn append(&mut self, (term, index): (u64, u64), entries: Vec<Arc<Entry>>) -> Result<u64, u64> {
        if index > self.durable.snapshot.index && self.durable.term_at(index) != Some(term) {
            return Err(self.durable.last_index().min(index.saturating_sub(1)));
        }
        let mut at = index;
        for entry in entries {
            at += 1;
            if at <= self.durable.snapshot.index {
                continue;
            }
            if self.durable.term_at(at) != Some(entry.term) {
                assert!(
                    at > self.durable.committed,
                    "a committed entry is overwritten at {at}"
                );
                self.durable.truncate(at);
                self.durable.log.push(entry);
            }
        }
        Ok(at)
    }

    fn install(&mut self, snapshot: Snapshot) -> u64 {
        let index = snapshot.index;
        if index > self.durable.committed {
            self.state = Arc::new(decode(&snapshot.state));
            (self.applied, self.durable.committed) = (index, index);
            self.durable.snapshot = snapshot;
            self.durable.log.clear();
        }
        index
    }

    fn appended(&mut self, now: Duration, from: NodeId, term: u64, matched: Result<u64, u64>) {
        if term > self.durable.term {
            return self.step_down(term);
        }
        let Role::Leads { followers, .. } = &mut self.role else {
            return;
        };
        let Some(follower) = followers.get_mut(&from) else {
            return;
        };
        follower.answered_at = now;
        match matched {
            Ok(matched) => {
                follower.matched = follower.matched.max(matched);
                follower.next = follower.matched + 1;
            }
            Err(last) => follower.next = last + 1,
        }
        let next = follower.next;
        self.commit();
        if self.leads() && next <= self.durable.last_index() {
            self.send_entries(from, next);
        }
    }

    /// Sends every node the entries that it lacks, and asserts leadership.
    fn replicate(&mut self, now: Duration) {
        let members: Vec<NodeId> = self
            .state
            .nodes
            .keys()
            .chain(self.votes().iter().copied())
            .collect();
        let last = self.durable.last_index();
        let Role::Leads { followers, sent_at } = &mut self.role else {
            return;
        };
        *sent_at = now;
        let fresh = Follower {
            next: last,
            matched: 0,
            answered_at: now,
        };
        followers.retain(|node, _| members.contains(node));
        let others = members.into_iter().filter(|node| *node != self.me);
        others.for_each(|node| _ = followers.entry(node).or_insert(fresh));
        let due: Vec<(NodeId, u64)> = followers
            .iter()
            .map(|(node, follower)| (*node, follower.next))
            .collect();
        due.into_iter()
            .for_each(|(node, next)| self.send_entries(node, next));
    }

    fn send_entries(&mut self, to: NodeId, next: u64) {
        let (term, previous) = (self.durable.term, next.saturating_sub(1));
        let Some(previous_term) = self.durable.term_at(previous) else {
            let snapshot = self.durable.snapshot.clone();
            return self.send(to, Message::Install { term, snapshot });
        };
        let skip = usize::try_from(previous - self.durable.snapshot.index).unwrap_or(usize::MAX);
        let entries = self
            .durable
            .log
            .iter()
            .skip(skip)
            .take(ENTRIES_PER_APPEND_MAX)
            .cloned()
            .collect();
        let committed = self.durable.committed;
        self.send(
            to,
            Message::Append {
                term,
                previous: (previous_term, previous),
                entries,
                committed,
            },
        );
    }

    fn commit(&mut self) {
        let voters = self.votes().clone();
        let Role::Leads { followers, .. } = &self.role else {
            return;
        };
        let last = self.durable.last_index();
        let matched = |node: &NodeId| {
            if *node == self.me {
                last
            } else {
                followers.get(node).map_or(0, |f| f.matched)
            }
        };
        let mut marks: Vec<u64> = voters.iter().map(matched).collect();
        marks.sort_unstable();
        let Some(majority) = marks.get((marks.len().max(1) - 1) / 2).copied() else {
            return;
        };
        if majority > self.durable.committed
            && self.durable.term_at(majority) == Some(self.durable.term)
        {
            self.durable.committed = majority;
            self.apply();
            if !self.durable.voters(majority).contains(&self.me) {
                self.role = Role::Follows;
                self.leader = None;
            }
        }
    }

    fn apply(&mut self) {
        while self.applied < self.durable.committed {
            let index = self.applied + 1;
            let Some(entry) = self.durable.entry(index).cloned() else {
                return;
            };
            let outcome = match &entry.payload {
                Payload::Entry(entry) => {
                    Some(Arc::make_mut(&mut self.state).apply((**entry).clone()))
                }
                Payload::Nothing | Payload::Voters(_) => None,
            };
            self.applied = index;
            self.news.push(Applied {
                index,
                entry,
                outcome,
            });
        }
        if self.durable.log.len() > SNAPSHOT_AFTER + KEPT {
            self.cut_log();
        }
    }

    fn cut_log(&mut self) {
        let index = self.applied.saturating_sub(KEPT as u64);
        let Some(term) = self
            .durable
            .term_at(index)
            .filter(|_| index > self.durable.snapshot.index)
        else {
            return;
        };
        let voters = self.durable.voters(index).clone();
        let mut state = decode(&self.durable.snapshot.state);
        let count = usize::try_from(index - self.durable.snapshot.index).unwrap_or(usize::MAX);
        for entry in self.durable.log.drain(..count) {
            if let Payload::Entry(logged) = &entry.payload {
                drop(state.apply((**logged).clone()));
            }
        }
        self.durable.snapshot = Snapshot {
            index,
            term,
            voters,
            state: Arc::new(encode(&state)),
        };
    }

    /// A leader's work four times a second: it steps down if no majority answers, and changes the
    /// voters one at a time.
    fn look_after_voters(&mut self, now: Duration) {
        let voters = self.votes().clone();
        let Role::Leads { followers, .. } = &self.role else {
            return;
        };
        let answers = |node: &NodeId| {
            *node == self.me
                || followers
                    .get(node)
                    .is_some_and(|follower| now.saturating_sub(follower.answered_at) < ELECTION_MAX)
        };
        if voters.iter().filter(|node| answers(node)).count() * 2 <= voters.len() {
            self.role = Role::Follows;
            self.leader = None;
            self.heard_at = now;
            return;
        }
        let committed = self.durable.committed;
        let is_settled = committed == self.durable.last_index()
            && self.durable.term_at(committed) == Some(self.durable.term);
        let last = self.durable.last_index();
        let is_close = |node: &NodeId| {
            followers
                .get(node)
                .is_some_and(|follower| last - follower.matched.min(last) <= LAG_MAX)
        };
        let leaver = voters
            .iter()
            .find(|node| !self.state.nodes.contains(**node))
            .copied();
        let newcomer = self
            .state
            .nodes
            .keys()
            .find(|node| !voters.contains(node) && is_close(node) && answers(node));
        let next = match (leaver, newcomer.filter(|_| voters.len() < VOTERS_MAX)) {
            (Some(leaver), _) => voters
                .iter()
                .copied()
                .filter(|node| *node != leaver)
                .collect(),
            (None, Some(newcomer)) => voters.iter().copied().chain([newcomer]).collect(),
            (None, None) => return,
        };
        if is_settled && self.state.cluster.is_some() {
            self.propose(now, Payload::Voters(next));
        }
    }
}

fn patience(random: &mut Random) -> Duration {
    let (min, max) = (
        ELECTION_MIN.as_micros() as u64,
        ELECTION_MAX.as_micros() as u64,
    );
    Duration::from_micros(random.within(min..max))
}
