//! Machines that start with a wrong wall clock, by hours or by years, or in 1970: one machine, or
//! all as by one bad source of time. The clock is corrected while they run. The disk of some
//! machines appears late, too, as if mounted by name.

use super::faults::Fault;
use super::world::World;
use holdfast_storage::ids::NodeId;
use std::time::Duration;

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
const YEAR_US: i64 = 365 * DAY_US;

impl World {
    pub(super) fn start_with_wrong_clocks(&mut self, node: NodeId) {
        let is_everyones = self.random.one_in(3);
        let others = self.machines.keys().copied().filter(|_| is_everyones);
        let is_right = |node: &NodeId| {
            let mut wrong = self.faults.values();
            !wrong.any(
                |fault| matches!(fault, Fault::WrongClock { nodes, .. } if nodes.contains(node)),
            )
        };
        let mut nodes: Vec<NodeId> = others.chain([node]).filter(is_right).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.is_empty() {
            return;
        }
        self.has_clock_steps = true;
        self.outcome.wrong_clocks += nodes.len() as u64;
        let off_us = self.draw_off_us();
        for node in &nodes {
            self.machine(*node).has_power = false;
            let down = Duration::from_millis(self.random.within(300..3_000));
            self.begin_for(Fault::Down(*node), false, Some(down));
            if self.random.one_in(3) {
                self.begin(Fault::VolumeFailed(*node), true);
            }
        }
        let lasts = Duration::from_millis(*self.random.pick(&[2_000, 12_000, 40_000, 70_000]));
        self.begin_for(
            Fault::WrongClock {
                nodes,
                off_us,
                is_everyones,
            },
            true,
            Some(lasts),
        );
    }

    fn draw_off_us(&mut self) -> i64 {
        let mut within = |range: std::ops::Range<u64>| self.random.within(range) as i64;
        match within(0..6) {
            0 => within(1..24) * HOUR_US,
            1 => -within(1..24) * HOUR_US,
            2 => -within(2..60) * DAY_US,
            // The clock of a machine whose battery is empty.
            3 => within(0..86_400) * 1_000_000 - super::EPOCH.micros(),
            _ => within(1..10) * YEAR_US,
        }
    }

    /// A clock is set, in one step.
    pub(super) fn set_off(&mut self, node: NodeId, by_us: i64) {
        self.machine(node).wall_off_us += by_us;
    }

    /// An added machine uses the same source of time as all others.
    pub(super) fn share_wrong_clock(&mut self, node: NodeId) {
        let mut shared = None;
        for fault in self.faults.values_mut() {
            if let Fault::WrongClock {
                nodes,
                off_us,
                is_everyones: true,
            } = fault
            {
                nodes.push(node);
                shared = Some(*off_us);
                break;
            }
        }
        if let Some(off_us) = shared {
            self.set_off(node, off_us);
        }
    }
}
