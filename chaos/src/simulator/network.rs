//! The network: which nodes reach each other, in which direction, and with what delay.
//!
//! Nodes talk over TCP, so a lost packet is a late one. If only one direction is cut, a connection
//! stays open for [`HALF_OPEN`]: then its sender has missed an answer and cannot connect again.
//! Each node either reaches a camera or does not.

use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::random::Random;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a connection outlives the way back.
const HALF_OPEN: Duration = Duration::from_secs(1);
/// A lost packet is sent again after this time, which doubles each time that it is lost again.
const RETRANSMIT: Duration = Duration::from_millis(200);
const RETRANSMITS_MAX: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Network {
    /// Directions that carry nothing, each with how many faults cut it and since when.
    cuts: BTreeMap<(NodeId, NodeId), (u32, Duration)>,
    /// Cameras that a node does not reach, and by how many faults.
    blind: BTreeMap<(NodeId, CameraId), u32>,
    /// One packet in so many is lost; 0: none.
    pub(super) loss_one_in: u32,
    pub(super) delay_max: Duration,
}

impl Network {
    pub(super) fn new(delay_max: Duration) -> Self {
        Self {
            delay_max,
            ..Self::default()
        }
    }

    pub(super) fn cut(&mut self, from: NodeId, to: NodeId, now: Duration) {
        let (count, _) = self.cuts.entry((from, to)).or_insert((0, now));
        *count += 1;
    }

    pub(super) fn mend(&mut self, from: NodeId, to: NodeId) {
        if let Some((count, _)) = self.cuts.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }

    /// Whether what `from` sends arrives at `to`.
    pub(super) fn carries(&self, from: NodeId, to: NodeId, now: Duration) -> bool {
        let back = self
            .cuts
            .get(&(to, from))
            .is_none_or(|(_, since)| now.saturating_sub(*since) < HALF_OPEN);
        !self.cuts.contains_key(&(from, to)) && back
    }

    /// Whether `from` can open a connection to `to`, or be refused one.
    pub(super) fn connects(&self, from: NodeId, to: NodeId) -> bool {
        !self.cuts.contains_key(&(from, to)) && !self.cuts.contains_key(&(to, from))
    }

    pub(super) fn blind(&mut self, node: NodeId, camera: CameraId) {
        *self.blind.entry((node, camera)).or_default() += 1;
    }

    pub(super) fn see(&mut self, node: NodeId, camera: CameraId) {
        if let Some(count) = self.blind.get_mut(&(node, camera)) {
            *count -= 1;
            if *count == 0 {
                self.blind.remove(&(node, camera));
            }
        }
    }

    pub(super) fn reaches(&self, node: NodeId, camera: CameraId) -> bool {
        !self.blind.contains_key(&(node, camera))
    }

    /// How long a message is under way.
    pub(super) fn delay(&self, random: &mut Random) -> Duration {
        let micros = u64::try_from(self.delay_max.as_micros()).unwrap_or(u64::MAX);
        let mut delay = Duration::from_micros(100 + random.below(micros));
        for lost in 0..RETRANSMITS_MAX {
            if !random.one_in(self.loss_one_in) {
                break;
            }
            delay += RETRANSMIT * 2_u32.pow(lost);
        }
        delay
    }
}
