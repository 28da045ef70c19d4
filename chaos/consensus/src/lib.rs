//! Simulates the real consensus code of several nodes on a simulated network, by seed. `cargo xtask
//! simulate-consensus --seed N` repeats a run.
//!
//! Real: all of `consensus` and its foundations: openraft, the adaptor, log and snapshot in real
//! files, messages in postcard, routes with their authorisation, deadlines, forwarded writes,
//! joins, the choice of voters. Simulated: time, the network, randomness, and what a power cut
//! leaves of the log (`holdfast_consensus::simulation`).
//!
//! A seed determines a run: one thread, a paused clock, one source of randomness; time stands still
//! while the log's own thread works. Not simulated: TCP connections and HTTP bytes, file systems
//! that lie about an fsync, and a snapshot torn by a power cut (it is renamed into place once it is
//! durable).

#![cfg(feature = "simulation")]

mod history;
mod invariants;
mod life;
mod load;
#[expect(dead_code, reason = "it carries more than consensus sends")]
#[path = "../../src/simulator/network.rs"]
mod network;
mod node;
mod numbered;
mod old_directories;
#[path = "../../src/simulator/story.rs"]
mod story;
mod wires;
mod world;

pub use holdfast_consensus::simulation::Twist;

use holdfast_storage::random::Random;
use holdfast_storage::search;
use std::fmt;
use std::time::Duration;

/// How long after the last fault a cluster may take until every member accepts writes and all have
/// the same state.
pub const BUDGET: Duration = Duration::from_secs(60);

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Digest of everything that nodes did, in order.
    pub digest: u64,
    /// Simulated seconds.
    pub seconds: u64,
    pub faults: u64,
    /// Entries of the log.
    pub entries: u64,
    pub acknowledged: u64,
    /// Snapshots that a node started from, or took from another.
    pub snapshots: u64,
    /// Processes that were started.
    pub starts: u64,
    /// Processes that were fenced, because their directory was put back or is a copy.
    pub fenced: u64,
}

impl Outcome {
    /// Whether the seeds tried everything: otherwise they must not pass.
    #[must_use]
    pub fn has_seen_everything(&self, seeds: u64) -> bool {
        let Self {
            faults,
            acknowledged,
            snapshots,
            starts,
            fenced,
            ..
        } = *self;
        faults > seeds
            && acknowledged > 10 * seeds
            && snapshots > seeds
            && starts > 3 * seeds
            && fenced > 0
    }
}

impl search::Outcome for Outcome {
    fn add(&mut self, other: &Self) {
        self.digest ^= other.digest;
        self.seconds += other.seconds;
        self.faults += other.faults;
        self.entries += other.entries;
        self.acknowledged += other.acknowledged;
        self.snapshots += other.snapshots;
        self.starts += other.starts;
        self.fenced += other.fenced;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seconds,
            faults,
            entries,
            acknowledged,
            snapshots,
            starts,
            fenced,
            ..
        } = self;
        let minutes = seconds / 60;
        write!(
            f,
            "{minutes} min simulated, {faults} faults, {starts} starts, {fenced} fenced, {entries} \
             entries, {acknowledged} changes acknowledged, {snapshots} snapshots"
        )
    }
}

/// Runs one seed.
///
/// # Errors
/// The violation, with the events before it.
pub fn run(seed: u64, twist: Twist) -> Result<Outcome, String> {
    let mut random = Random::new(seed);
    let _seeded = holdfast_consensus::simulation::enter(random.fork());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime
        .block_on(world::live(random, twist))
        .map_err(|problem| format!("seed {seed}: {problem}"))
}
