//! Random scenarios: which faults, when, to whom and for how long follows from the seed. Pure.

use crate::scenario::Place;
use holdfast_storage::random::Random;
use std::fmt::Write;

/// Seconds between one fault and the next: the cluster is to become whole in between most of the time, and not always.
const PAUSE_S: (f64, f64) = (2.0, 12.0);
const LASTS_S: (f64, f64) = (1.0, 15.0);

/// What is left quiet at the beginning and the end.
const QUIET_S: f64 = 5.0;

/// A fault as `do`, its weight, the targets to choose from, more lines, and whether it needs namespaces.
type Kind = (&'static str, u64, &'static [&'static str], &'static str, bool);

const NODES: &[&str] = &["leader", "follower", "any", "same"];
const ALSO_ALL: &[&str] = &["leader", "follower", "any", "any", "any", "all"];
const CAMERAS: &[&str] = &["any-camera"];

const KINDS: [Kind; 13] = [
    ("kill", 30, ALSO_ALL, "", false),
    ("stop", 10, NODES, "", false),
    ("pause", 15, NODES, "", false),
    ("drain", 8, NODES, "", false),
    ("isolate", 15, NODES, "", false),
    ("split", 8, NODES, "", false),
    ("one-way", 6, NODES, "to = \"all\"\n", false),
    ("camera-path", 8, NODES, "", false),
    ("cut", 4, NODES, "", false),
    ("loss", 6, &["all"], "percent = 3\n", true),
    ("camera-stall", 6, CAMERAS, "", false),
    ("camera-reboot", 6, CAMERAS, "", false),
    ("camera-parameters", 4, CAMERAS, "", false),
];

/// The TOML text of a scenario of so many seconds.
#[must_use]
pub fn scenario(seed: u64, place: Place, nodes: usize, cameras: u32, seconds: u32) -> String {
    let mut random = Random::new(seed);
    let place = if place == Place::Netns { "netns" } else { "processes" };
    let gapless = random.below(u64::from(cameras) / 2 + 1);
    let standard = u64::from(cameras) - gapless;
    let mut text = format!(
        "about = \"Made by holdfast-chaos soak from seed {seed}.\"\nseconds = {seconds}\non = \"{place}\"\n\n[cluster]\nnodes = {nodes}\n"
    );
    // Writing to a String cannot fail.
    let _ = write!(text, "\n[[cameras]]\ncount = {standard}\nbitrate_kbps = 500\n");
    if gapless > 0 {
        let _ = write!(text, "\n[[cameras]]\ncount = {gapless}\nbitrate_kbps = 500\nprotection = \"gapless\"\n");
    }
    let _ = write!(text, "\n[load]\nplayers = {}\napi_per_second = 2\n", random.below(3));
    let mut at = QUIET_S;
    let mut has_hit_a_node = false;
    loop {
        let (kind, weighs, targets, more, needs_namespaces) = pick(&mut random);
        debug_assert!(weighs > 0);
        let target = *random.pick(targets);
        let lasts = tenths(&mut random, LASTS_S);
        let next = at + lasts + tenths(&mut random, PAUSE_S);
        if at + lasts > f64::from(seconds) - QUIET_S {
            return text;
        }
        if (needs_namespaces && place != "netns") || (target == "same" && !has_hit_a_node) {
            continue;
        }
        has_hit_a_node |= !target.ends_with("camera");
        let _ =
            write!(text, "\n[[fault]]\nat = {at:.1}\ndo = \"{kind}\"\ntarget = \"{target}\"\n{more}for = {lasts:.1}\n");
        at = next;
    }
}

fn pick(random: &mut Random) -> Kind {
    let mut left = random.below(KINDS.iter().map(|kind| kind.1).sum());
    for kind in KINDS {
        if left < kind.1 {
            return kind;
        }
        left -= kind.1;
    }
    KINDS[0]
}

/// From the first to the second, in steps of a tenth.
fn tenths(random: &mut Random, (least, most): (f64, f64)) -> f64 {
    let steps = ((most - least) * 10.0) as u64;
    least + random.below(steps + 1) as f64 / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use std::path::Path;

    #[test]
    fn every_seed_makes_a_scenario_that_is_right_and_always_the_same() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let place = if seed % 2 == 0 { Place::Netns } else { Place::Processes };
            let text = scenario(seed, place, 3, 8, 120);
            assert_eq!(text, scenario(seed, place, 3, 8, 120));
            let read = Scenario::parse(Path::new("soak.toml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(!read.faults.is_empty() && read.cameras_total() == 8, "{text}");
            kinds.extend(read.faults.iter().map(|fault| fault.action));
        }
        assert_eq!(kinds.len(), KINDS.len(), "{kinds:?}");
    }
}
