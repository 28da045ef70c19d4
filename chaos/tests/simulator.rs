//! Failover by seed: `holdfast_chaos::simulator` documents what is simulated and which invariants
//! hold.

#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

use holdfast_chaos::simulator::{Outcome, Twist, run};
use holdfast_storage::search::{Found, search};

/// Number of seeds in each run of the tests; `cargo xtask verify` runs more.
const SEEDS: u64 = 60;

/// The first of them: every fault happens within these.
const FIRST: u64 = 200;

/// `HOLDFAST_SIMULATE_SEEDS` is the number of seeds (0: endless), `HOLDFAST_SIMULATE_FIRST` the
/// first seed.
#[test]
fn promises_hold_whatever_fails() {
    let seeds = number("HOLDFAST_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let found = simulate(
        (number("HOLDFAST_SIMULATE_FIRST").unwrap_or(FIRST), seeds),
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
    for seed in 0..6 {
        assert_eq!(
            run(seed, Twist::None),
            run(seed, Twist::None),
            "seed {seed}"
        );
    }
}

/// Known bugs reintroduced into how nodes are wired: the simulation has to find each of them, or it
/// proves nothing.
#[test]
fn what_is_not_durable_and_reported_is_found() {
    assert_found(
        Twist::ReceivedCountsAsDurable,
        &["watermarks tell what is durable"],
    );
}

#[test]
fn votes_and_entries_that_are_not_synced_are_found() {
    // After a lost entry the cluster decides again, differently, and gives its epoch a second time:
    // either may be noticed first.
    assert_found(Twist::VotesAreNotSynced, &["one log", "never go back"]);
}

#[test]
fn a_clock_that_is_believed_at_a_start_is_found() {
    assert_found(
        Twist::ClocksAreBelieved,
        &["nothing is deleted before its time"],
    );
}

#[test]
fn recorded_time_that_stays_ahead_is_found() {
    assert_found(Twist::NothingIsRenewed, &["comes back to true time"]);
}

#[test]
fn a_deadly_camera_that_is_not_held_back_is_found() {
    assert_found(Twist::SuspectsAreNotHeldBack, &["held back"]);
}

/// Expects the bug within [`SEEDS`] seeds, in a failure that names it.
fn assert_found(twist: Twist, said: &[&str]) {
    let found = simulate((FIRST, SEEDS), twist);
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
    search("cargo xtask simulate", seeds, |seed| run(seed, twist))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}
