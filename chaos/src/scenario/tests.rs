//! Valid scenarios are read, and mistakes are rejected with their place.

use super::*;

const GOOD: &str = "about = \"x\"\nseconds = 30\n[[cameras]]\ncount = 12\n\n[[fault]]\nat = 5\n\
                    do = \"kill\"\ntarget = \"leader\"\nfor = 10\n";

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse(Path::new("some/dark.toml"), text).map_err(|error| error.to_string())
}

fn refused(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replace(from, to)).unwrap_err()
}

#[test]
fn a_scenario_is_read() {
    let scenario = parse(GOOD).unwrap();
    assert_eq!(
        (
            &*scenario.name,
            scenario.cluster.nodes,
            scenario.cameras[0].gop_ms
        ),
        ("dark", 3, 1000)
    );
    assert_eq!(scenario.faults[0].action(), Action::Kill);
    assert_eq!(
        (
            scenario.faults[0].target.clone(),
            scenario.faults[0].ends_at()
        ),
        (Some(Target::Leader), Some(15.0))
    );
}

#[test]
fn what_is_not_known_is_refused_with_its_line() {
    assert!(
        refused("count = 12", "count = 12\ncolour = 1")
            .starts_with("some/dark.toml:5: unknown field `colour`")
    );
    assert!(refused("for = 10", "fro = 10").contains("dark.toml:10: unknown field `fro`"));
    assert!(refused("\"kill\"", "\"murder\"").contains("dark.toml:8: unknown variant `murder`"));
    assert!(refused("\"leader\"", "\"chief\"").contains("dark.toml:9: `chief` is no target"));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_table() {
    let fault = "some/dark.toml:6: `kill`: ";
    assert!(refused("at = 5", "at = 31").starts_with(&format!("{fault}`at = 31`")));
    assert!(refused("for = 10", "for = 40").starts_with(&format!("{fault}`for` does not end")));
    assert!(
        refused("for = 10", "percent = 10").starts_with(&format!("{fault}does not take `percent`"))
    );
    assert!(
        refused("\"leader\"", "\"cam01\"")
            .starts_with(&format!("{fault}`target = \"cam01\"` is no node"))
    );
    assert!(refused("\"leader\"", "\"owner-of:cam13\"").contains("is not among"));
    assert!(refused("\"kill\"", "\"loss\"").contains("needs `percent`"));
    assert!(refused("\"kill\"", "\"rolling-restart\"").contains("does not take `target`"));
    assert!(refused("seconds = 30", "seconds = 0.5").contains("`seconds` is not within"));
    assert!(refused("count = 12", "count = 12\ngop_ms = 50").contains("multiple of 40"));
}

#[test]
fn groups_keep_their_shares() {
    let mut scenario = parse(&GOOD.replace(
        "[[fault]]",
        "[[cameras]]\ncount = 4\nprotection = \"gapless\"\n[[fault]]",
    ))
    .unwrap();
    scenario.resize(60);
    assert_eq!(
        scenario
            .cameras
            .iter()
            .map(|group| group.count)
            .collect::<Vec<_>>(),
        [45, 15]
    );
    scenario.resize(1);
    assert_eq!(scenario.cameras_total(), 2);
}

#[test]
fn every_shipped_scenario_is_right_and_says_what_it_is_about() {
    for (name, _) in SHIPPED {
        let scenario = Scenario::load(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.name, *name);
        assert!(
            scenario.about.ends_with('.') && scenario.about.len() > 20,
            "{name}"
        );
    }
}

#[test]
fn a_part_of_the_cameras_has_sound_by_the_seed_unless_a_group_says() {
    let group = |text: &str| {
        let text = format!("about = \"x\"\nseconds = 10\n[[cameras]]\ncount = 6\n{text}");
        Scenario::parse(Path::new("x.toml"), &text).unwrap().cameras[0].clone()
    };
    let by_seed = group("");
    let of = |seed: u64| {
        (1..=6)
            .map(|id| by_seed.sound_of(id, seed))
            .collect::<Vec<_>>()
    };
    for seed in [0, 1, u64::MAX] {
        let count = |sound: Sound| {
            of(seed)
                .iter()
                .filter(|found| **found == Some(sound))
                .count()
        };
        assert_eq!((count(Sound::Aac), count(Sound::MuLaw)), (2, 1));
        assert_eq!(of(seed), of(seed));
    }
    assert_ne!(of(1), of(2));
    let said = |name: &str| group(&format!("sound = \"{name}\"\n")).sound_of(5, 1);
    assert_eq!(
        [said("none"), said("aac"), said("g711")],
        [None, Some(Sound::Aac), Some(Sound::MuLaw)]
    );
}
