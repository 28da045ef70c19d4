//! What a run came to.

use holdfast_storage::search;
use std::fmt;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A digest of all events, in order.
    pub digest: u64,
    /// Simulated seconds.
    pub seconds: u64,
    pub faults: u64,
    pub decided: u64,
    pub acknowledged: u64,
    /// Changes of owner.
    pub moves: u64,
    /// Frames that cameras sent, and those of them that became durable on some node.
    pub frames: u64,
    pub stored: u64,
    /// Starts with a clock that was wrong, and cameras that got a new epoch to come back to true
    /// time.
    pub wrong_clocks: u64,
    pub renewals: u64,
    /// Data directories that were put back and are older.
    pub put_back: u64,
    /// Processes that a camera ended.
    pub killed: u64,
}

impl Outcome {
    /// Whether the runs tried everything: seeds that try nothing must not pass.
    #[must_use]
    pub fn has_seen_everything(&self, seeds: u64) -> bool {
        let Self {
            faults,
            acknowledged,
            moves,
            frames,
            stored,
            wrong_clocks,
            renewals,
            put_back,
            killed,
            ..
        } = *self;
        let is_busy = faults > seeds && acknowledged > seeds && moves > seeds;
        let has_tried_all = [wrong_clocks, renewals, put_back, killed]
            .iter()
            .all(|count| *count > 0);
        is_busy && has_tried_all && stored < frames && stored > frames / 2
    }
}

impl search::Outcome for Outcome {
    fn add(&mut self, other: &Self) {
        self.digest ^= other.digest;
        self.seconds += other.seconds;
        self.faults += other.faults;
        self.decided += other.decided;
        self.acknowledged += other.acknowledged;
        self.moves += other.moves;
        self.frames += other.frames;
        self.stored += other.stored;
        self.wrong_clocks += other.wrong_clocks;
        self.renewals += other.renewals;
        self.put_back += other.put_back;
        self.killed += other.killed;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seconds,
            faults,
            decided,
            acknowledged,
            moves,
            frames,
            stored,
            ..
        } = self;
        let Self {
            wrong_clocks,
            renewals,
            put_back,
            killed,
            ..
        } = self;
        write!(
            f,
            "{} h simulated, {faults} faults, {decided} entries decided, {acknowledged} changes \
             acknowledged, {moves} moves, {stored} of {frames} frames stored, {wrong_clocks} \
             starts with a wrong clock, {renewals} epochs renewed, {put_back} directories put \
             back, {killed} processes ended by cameras",
            seconds / 3600
        )
    }
}
