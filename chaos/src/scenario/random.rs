//! Faults chosen by a seed: kind, time, target and duration. Pure.

use super::{ActionName, Fault, Place, Reach, Target};
use holdfast_storage::random::Random;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Seconds without faults at the beginning and the end.
const QUIET_S: f64 = 5.0;

/// `[random]` of a scenario file. There are two schedules, one of node faults and one of packet and
/// camera faults, so two faults may hold at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomFaults {
    /// Seconds from the end of a fault to the next of the same schedule, least and most. The
    /// cluster should recover in between most of the time, but not always.
    pub pause_s: (f64, f64),
    /// Duration of a fault in seconds, least and most.
    pub lasts_s: (f64, f64),
    /// Relative frequency of each kind; kinds not named keep their default weight, 0 means never.
    pub weights: BTreeMap<ActionName, u64>,
}

impl Default for RandomFaults {
    fn default() -> Self {
        Self {
            pause_s: (2.0, 12.0),
            lasts_s: (1.0, 15.0),
            weights: BTreeMap::new(),
        }
    }
}

/// A kind of fault, its weight, and its possible targets.
type Kind = (ActionName, u64, &'static [Target]);

const NODES: &[Target] = &[Target::Leader, Target::Follower, Target::Any, Target::Same];
const ALSO_ALL: &[Target] = &[
    Target::Leader,
    Target::Follower,
    Target::Any,
    Target::Any,
    Target::Any,
    Target::All,
];
const ALL: &[Target] = &[Target::All];
const CAMERA: &[Target] = &[Target::AnyCamera];

/// Kinds of weight 0 need what some machines lack, or spoil what is judged.
const OF_NODES: [Kind; 13] = [
    (ActionName::Kill, 30, ALSO_ALL),
    (ActionName::Stop, 10, NODES),
    (ActionName::Pause, 15, NODES),
    (ActionName::Drain, 8, NODES),
    (ActionName::Isolate, 15, NODES),
    (ActionName::Split, 8, NODES),
    (ActionName::OneWay, 6, NODES),
    (ActionName::CameraPath, 8, NODES),
    (ActionName::Cut, 4, NODES),
    (ActionName::DiskEio, 0, NODES),
    (ActionName::DiskHang, 0, NODES),
    (ActionName::PowerCut, 0, NODES),
    (ActionName::ClockStep, 0, NODES),
];
const OF_OTHERS: [Kind; 5] = [
    (ActionName::Loss, 6, ALL),
    (ActionName::Delay, 6, ALL),
    (ActionName::CameraStall, 6, CAMERA),
    (ActionName::CameraReboot, 6, CAMERA),
    (ActionName::CameraParameters, 4, CAMERA),
];

impl RandomFaults {
    /// The faults of a scenario of this many seconds, in order of their beginnings.
    #[must_use]
    pub fn faults(&self, seed: u64, place: Place, seconds: f64) -> Vec<Fault> {
        let mut random = Random::new(seed);
        let mut faults = self.timetable(&mut random.fork(), &OF_NODES, place, seconds);
        faults.extend(self.timetable(&mut random, &OF_OTHERS, place, seconds));
        faults.sort_by(|one, other| one.at.total_cmp(&other.at));
        // Before the first node fault there is no node that was hit.
        let first = faults
            .iter_mut()
            .find(|fault| fault.target != Some(Target::AnyCamera));
        if let Some(fault) = first.filter(|fault| fault.target == Some(Target::Same)) {
            fault.target = Some(Target::Any);
        }
        faults
    }

    /// Its mistakes.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let known = |action: &&ActionName| {
            OF_NODES
                .iter()
                .chain(&OF_OTHERS)
                .any(|kind| kind.0 == **action)
        };
        let fits = |(least, most): (f64, f64)| least > 0.0 && least <= most && most.is_finite();
        let mut mistakes: Vec<String> = (self.weights.keys().filter(|action| !known(action)))
            .map(|action| format!("[random]: `{}` is not chosen at random", action.as_str()))
            .collect();
        for (key, span) in [("pause_s", self.pause_s), ("lasts_s", self.lasts_s)] {
            if !fits(span) {
                mistakes.push(format!(
                    "[random]: `{key}` is not [least, most] in seconds above 0"
                ));
            }
        }
        mistakes
    }

    fn timetable(
        &self,
        random: &mut Random,
        kinds: &[Kind],
        place: Place,
        seconds: f64,
    ) -> Vec<Fault> {
        let weight = |kind: &Kind| match kind.0.reach() {
            Reach::Packets if place != Place::Netns => 0,
            _ => self.weights.get(&kind.0).copied().unwrap_or(kind.1),
        };
        let total: u64 = kinds.iter().map(weight).sum();
        let mut faults = Vec::new();
        let mut at = QUIET_S;
        if total == 0 {
            return faults;
        }
        loop {
            let mut left = random.below(total);
            let chosen = kinds.iter().find(|kind| {
                let is_it = left < weight(kind);
                left = left.saturating_sub(weight(kind));
                is_it
            });
            let Some((action, _, targets)) = chosen else {
                break;
            };
            let lasts = tenths(random, self.lasts_s);
            if at + lasts > seconds - QUIET_S {
                break;
            }
            faults.push(fault(*action, random.pick(targets).clone(), at, lasts));
            at = ((at + lasts + tenths(random, self.pause_s)) * 10.0).round() / 10.0;
        }
        faults
    }
}

fn fault(action: ActionName, target: Target, at: f64, lasts: f64) -> Fault {
    let is = |of: ActionName| action == of;
    Fault {
        target: Some(target),
        lasts: Some(lasts),
        to: is(ActionName::OneWay).then_some(Target::All),
        percent: is(ActionName::Loss).then_some(3),
        delay_ms: is(ActionName::Delay).then_some(50),
        jitter_ms: is(ActionName::Delay).then_some(50),
        seconds: is(ActionName::ClockStep).then_some(30),
        optional: true,
        ..Fault::new(action, at)
    }
}

/// A value between the two, in steps of a tenth.
fn tenths(random: &mut Random, (least, most): (f64, f64)) -> f64 {
    let steps = ((most - least) * 10.0) as u64;
    ((least + random.below(steps + 1) as f64 / 10.0) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_faults_and_all_kinds_come() {
        let random = RandomFaults::default();
        let mut kinds = std::collections::BTreeSet::new();
        let mut overlaps = 0;
        for seed in 0..100 {
            let faults = random.faults(seed, Place::Netns, 120.0);
            assert_eq!(faults, random.faults(seed, Place::Netns, 120.0));
            kinds.extend(faults.iter().map(|fault| fault.action));
            overlaps += faults
                .windows(2)
                .filter(|pair| pair[0].ends_at() > Some(pair[1].at))
                .count();
        }
        let wanted = OF_NODES
            .iter()
            .chain(&OF_OTHERS)
            .filter(|kind| kind.1 > 0)
            .count();
        assert_eq!(kinds.len(), wanted, "{kinds:?}");
        assert!(overlaps > 100, "{overlaps}");
    }

    #[test]
    fn weights_decide() {
        let weights = BTreeMap::from([(ActionName::PowerCut, 1_000_000), (ActionName::Loss, 0)]);
        let faults = RandomFaults {
            weights,
            ..RandomFaults::default()
        }
        .faults(1, Place::Processes, 600.0);
        assert!(
            faults
                .iter()
                .filter(|fault| fault.action == ActionName::PowerCut)
                .count()
                > 10
        );
        assert!(faults.iter().all(|fault| fault.action != ActionName::Loss));
    }
}
