//! Consensus by seed: `holdfast_consensus_simulator` documents what is simulated and which
//! invariants hold.

#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

use holdfast_consensus_simulator::{Outcome, Twist, run};
use holdfast_storage::search::{Found, search};

/// Number of seeds in each run of the tests.
const SEEDS: u64 = 12;
/// Number of seeds that are run twice.
const DOUBLED: u64 = 2;
/// Number of seeds within which every reintroduced bug must be found.
const TWISTED: u64 = 60;

/// `HOLDFAST_CONSENSUS_SEEDS` is the number of seeds (0: endless), `HOLDFAST_CONSENSUS_FIRST` the
/// first seed.
#[test]
fn consensus_holds_whatever_fails() {
    let seeds = number("HOLDFAST_CONSENSUS_SEEDS").unwrap_or(SEEDS);
    let found = simulate(
        (number("HOLDFAST_CONSENSUS_FIRST").unwrap_or(0), seeds),
        Twist::None,
    );
    println!("{found}");
    assert!(found.failure.is_none(), "{found}");
    if seeds >= SEEDS {
        assert!(
            found.sum.has_seen_everything(found.seeds),
            "these seeds do not try everything: {found}"
        );
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..DOUBLED {
        assert_eq!(
            run(seed, Twist::None),
            run(seed, Twist::None),
            "seed {seed}"
        );
    }
}

/// Known bugs reintroduced below Raft: the simulation has to find each of them, or it proves
/// nothing.
#[test]
fn entries_that_are_acknowledged_before_they_are_flushed_are_found() {
    assert_found(
        Twist::AcknowledgesEarly,
        &[
            "one log",
            "nodes stay up",
            "answers are true",
            "no whole directory",
        ],
    );
}

#[test]
fn votes_that_are_not_written_are_found() {
    assert_found(
        Twist::ForgetsVotes,
        &["votes never go back", "no whole directory"],
    );
}

#[test]
fn a_leader_that_leads_on_after_its_log_lost_something_is_found() {
    assert_found(Twist::RestoresLeaders, &["one log", "nodes stay up"]);
}

#[test]
fn a_directory_that_was_put_back_and_is_taken_for_whole_is_found() {
    let said = [
        "one log",
        "nodes stay up",
        "answers are true",
        "settles",
        "copy is found",
    ];
    assert_found(Twist::TrustsDirectories, &said);
}

/// Expects the bug within [`TWISTED`] seeds, in a failure that names it.
fn assert_found(twist: Twist, said: &[&str]) {
    let found = simulate((0, TWISTED), twist);
    let Some((seed, problem)) = &found.failure else {
        panic!("not found: {found}")
    };
    let first = problem.lines().next().unwrap_or_default();
    println!("{twist:?}: seed {seed} finds it: {first}");
    assert!(
        said.iter().any(|said| first.contains(said)),
        "found something else: {problem}"
    );
}

fn simulate(seeds: (u64, u64), twist: Twist) -> Found<Outcome> {
    search("cargo xtask simulate-consensus", seeds, |seed| {
        run(seed, twist)
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}
