//! `cargo xtask explore`: crash exploration of the store, by seed. The exploration itself is
//! `storage/tests/explore.rs`; this starts it.

use crate::seeds::Search;

const HELP: &str = "\
Usage: cargo xtask explore [--seed N | [--first N] [--seeds N | --forever]] [--release]

Runs the store on a simulated disk, stops it anywhere, and checks after each stop that everything
that was reported durable is there, nothing damaged is served, and a second recovery changes
nothing. One seed is one run; a failure prints its seed and the line that repeats it.

  --seed N     this seed alone
  --first N    the first seed [default: 0]
  --seeds N    so many seeds [default: 2000]
  --forever    until one fails
  --release    optimised: slower to build, several times as many seeds a second

Exit codes: 0 nothing found, 1 a seed failed, 2 wrong usage";

/// `cargo xtask verify` runs its seeds, too.
pub(crate) const SEARCH: Search = Search {
    help: HELP,
    target: "explore",
    features: "",
    test: "promises_hold_wherever_the_machine_stops",
    variables: "HOLDFAST_EXPLORE",
    seeds: 2000,
};
