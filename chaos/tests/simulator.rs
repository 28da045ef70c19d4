//! Failover by seed: `holdfast_chaos::simulator` says what is simulated and what must hold.

#![allow(clippy::unwrap_used, reason = "test code; clippy exempts only functions marked as tests")]

use holdfast_chaos::simulator::{Twist, run, search};

/// Of each run of the tests; `cargo xtask verify` takes more.
const SEEDS: u64 = 60;

/// `HOLDFAST_SIMULATE_SEEDS` says how many seeds are run (0: without end), `HOLDFAST_SIMULATE_FIRST` which is the first.
#[test]
fn promises_hold_whatever_fails() {
    let seeds = number("HOLDFAST_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let found = search(number("HOLDFAST_SIMULATE_FIRST").unwrap_or(0), seeds, Twist::None);
    println!("{found}");
    assert!(found.failure.is_none(), "{found}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..6 {
        assert_eq!(run(seed, Twist::None), run(seed, Twist::None), "seed {seed}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
