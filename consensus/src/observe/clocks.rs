//! The offsets of other nodes' wall clocks, measured from heartbeats and their answers. Pure.
//!
//! As in NTP (RFC 5905, clause 8): a heartbeat leaves at `sent` and its answer is back at
//! `returned`, both by this node's clock; in between, the peer's clock showed `received` and
//! `answered`. If both directions took equally long, the peer's clock is ahead by the mean of the
//! two differences; in any case the error is at most half of the round-trip time. So the sample
//! with the shortest round trip of the last few counts.

use crate::observe::heartbeat::HEARTBEAT_INTERVAL;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How many samples are considered: the last two seconds at [`HEARTBEAT_INTERVAL`]. A clock step is
/// seen soon after.
pub const SAMPLES_MAX: usize = 8;
const _: () = assert!(SAMPLES_MAX as u128 * HEARTBEAT_INTERVAL.as_millis() == 2_000);

/// Clocks that are further apart than this raise an alarm: footage of two nodes no longer fits
/// together to the frame.
pub const OFFSET_MAX: Duration = Duration::from_millis(250);
/// An alarm ends below this, so that it does not flap.
const OFFSET_CALM: Duration = Duration::from_millis(200);

/// A peer's answer to a heartbeat, by its wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    pub received: Timestamp,
    pub answered: Timestamp,
}

/// One heartbeat and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// By this node's wall clock.
    pub sent: Timestamp,
    pub heard: Heard,
    /// By this node's wall clock.
    pub returned: Timestamp,
}

/// How far a peer's clock is ahead of this node's (behind, where it is negative).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    pub micros: i64,
    /// The true offset is within this distance.
    pub error_us: i64,
}

impl Sample {
    /// `None` if the round trip took no time or less: a clock was stepped in between.
    fn offset(self) -> Option<Offset> {
        let Self {
            sent,
            heard: Heard { received, answered },
            returned,
        } = self;
        let ways_us = returned
            .micros_since(sent)
            .checked_sub(answered.micros_since(received))?;
        let (out, back) = (received.micros_since(sent), answered.micros_since(returned));
        let micros = out.checked_add(back)? / 2;
        (ways_us >= 0 && answered >= received).then_some(Offset {
            micros,
            error_us: ways_us / 2 + 1,
        })
    }
}

impl Offset {
    /// Whether the clock is certainly off by more than `limit`.
    fn is_beyond(self, limit: Duration) -> bool {
        u128::from(
            self.micros
                .unsigned_abs()
                .saturating_sub(self.error_us.unsigned_abs()),
        ) > limit.as_micros()
    }
}

/// A change of a peer's clock that an operator should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Its clock is off by more than [`OFFSET_MAX`].
    Raised(Offset),
    Ended(Offset),
}

/// The clocks of all peers, as one node sees them.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    samples: VecDeque<Offset>,
    alarmed: bool,
}

impl Clocks {
    /// Adds a sample of `node`'s clock.
    pub fn take_in(&mut self, node: NodeId, sample: Sample) -> Option<Alarm> {
        let offset = sample.offset()?;
        let peer = self.peers.entry(node).or_default();
        peer.samples.push_back(offset);
        if peer.samples.len() > SAMPLES_MAX {
            peer.samples.pop_front();
        }
        // A single sample may have been taken during a step.
        let best = peer
            .best()
            .filter(|_| peer.samples.len() >= SAMPLES_MAX / 2)?;
        if !peer.alarmed && best.is_beyond(OFFSET_MAX) {
            peer.alarmed = true;
            return Some(Alarm::Raised(best));
        }
        if peer.alarmed && !best.is_beyond(OFFSET_CALM) {
            peer.alarmed = false;
            return Some(Alarm::Ended(best));
        }
        None
    }

    /// Another process, or another machine, may answer from now on.
    pub fn forget(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.samples.clear();
        }
    }

    /// Forgets nodes that are no longer members.
    pub fn keep(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.peers.retain(|node, _| is_member(*node));
    }

    /// Each peer's clock offset, if it is known.
    #[must_use]
    pub fn offsets(&self) -> BTreeMap<NodeId, Offset> {
        self.peers
            .iter()
            .filter_map(|(node, peer)| Some((*node, peer.best()?)))
            .collect()
    }
}

impl Peer {
    /// The sample with the least possible error, the newest among equals.
    fn best(&self) -> Option<Offset> {
        self.samples
            .iter()
            .rev()
            .min_by_key(|offset| offset.error_us)
            .copied()
    }
}

crate::codec::first_version!(Heard => "the answer to a heartbeat");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: NodeId = NodeId(2);

    /// A heartbeat at `at_us` whose directions take `out_us` and `back_us`, with a peer whose clock
    /// is `ahead_us` ahead.
    fn sample(at_us: i64, out_us: i64, back_us: i64, ahead_us: i64) -> Sample {
        let received = at_us + out_us + ahead_us;
        let heard = Heard {
            received: Timestamp(received),
            answered: Timestamp(received + 30),
        };
        Sample {
            sent: Timestamp(at_us),
            heard,
            returned: Timestamp(at_us + out_us + 30 + back_us),
        }
    }

    fn fed(samples: impl IntoIterator<Item = Sample>) -> (Clocks, Vec<Alarm>) {
        let mut clocks = Clocks::default();
        let alarms = samples
            .into_iter()
            .filter_map(|sample| clocks.take_in(PEER, sample))
            .collect();
        (clocks, alarms)
    }

    proptest! {
        #[test]
        fn the_truth_is_within_the_error(
            ahead in -10_000_000_i64..10_000_000,
            ways in prop::collection::vec((0_i64..500_000, 0_i64..500_000), 1..30),
        ) {
            let samples = ways
                .iter()
                .enumerate()
                .map(|(n, (out, back))| sample(n as i64 * 250_000, *out, *back, ahead));
            let (clocks, _) = fed(samples);
            let offset = clocks.offsets()[&PEER];
            prop_assert!((offset.micros - ahead).abs() <= offset.error_us, "{offset:?} of {ahead}");
            let looked_at = &ways[ways.len().saturating_sub(SAMPLES_MAX)..];
            let best = looked_at.iter().map(|(out, back)| out + back).min().unwrap();
            prop_assert_eq!(offset.error_us, best / 2 + 1);
        }
    }

    #[test]
    fn the_shortest_way_counts_and_old_samples_go() {
        let (clocks, _) = fed([
            sample(0, 100, 100, 5_000),
            sample(250_000, 90_000, 10, 5_000),
        ]);
        assert_eq!(
            clocks.offsets()[&PEER],
            Offset {
                micros: 5_000,
                error_us: 101
            }
        );
        let stepped = (1..=SAMPLES_MAX as i64).map(|n| sample(n * 250_000, 400, 400, -70_000));
        let (clocks, _) = fed([sample(0, 1, 1, 5_000)].into_iter().chain(stepped));
        assert_eq!(clocks.offsets()[&PEER].micros, -70_000);
    }

    #[test]
    fn an_alarm_is_raised_once_and_ends_well_below_it() {
        let quick = |n: i64, ahead_us| sample(n * 250_000, 200, 200, ahead_us);
        let (_, alarms) = fed((0..40).map(|n| quick(n, 251_000)));
        assert_eq!(
            alarms,
            [Alarm::Raised(Offset {
                micros: 251_000,
                error_us: 201
            })]
        );
        let wavering = (0..40).map(|n| quick(n, if n < 10 { 300_000 } else { 230_000 }));
        assert_eq!(fed(wavering).1.len(), 1, "between the two limits it stays");
        let back = (0..40).map(|n| quick(n, if n < 10 { -300_000 } else { 0 }));
        assert!(matches!(
            fed(back).1[..],
            [Alarm::Raised(_), Alarm::Ended(_)]
        ));
    }

    #[test]
    fn an_error_as_large_as_the_offset_raises_no_alarm() {
        assert!(
            fed((0..40).map(|n| sample(n * 250_000, 200_000, 0, 240_000)))
                .1
                .is_empty()
        );
    }

    #[test]
    fn a_step_within_a_sample_is_left_out() {
        let backwards = Sample {
            returned: Timestamp(-1),
            ..sample(0, 10, 10, 0)
        };
        assert!(fed([backwards]).0.offsets().is_empty());
    }
}
