//! Crash exploration: random runs of a volume on the simulated disk, stopped anywhere, and checks
//! after each stop. One seed is one run: `cargo xtask explore --seed N` repeats it, `cargo xtask
//! explore --forever` continues until one fails.
//!
//! A run consists of a few lives of a process on one disk. In each, cameras record, readers read,
//! retention deletes; it ends in order, by a kill or by a power cut between any two operations of
//! the disk. Then, on a copy of the disk and with the catalogue kept, deleted, damaged or an older
//! one:
//!
//! - everything that was below a reported watermark, flushed, or listed is there byte by byte,
//!   unless retention deleted its segment;
//! - nothing is listed that was not recorded, and nothing is read with other bytes than were
//!   recorded;
//! - the watermark is not behind the reported one;
//! - the files are those that the statistics count, and there are no others;
//! - a second recovery finds nothing to do, a rebuilt catalogue shows the same, and neither changes
//!   a file.
//!
//! Some seeds have holds, which are set and lifted while retention deletes: held footage is durably
//! listed in another segment before its segment is deleted. Some are scrubbed while they record,
//! have a wall clock that jumps, or lose `volume.json` in a crash. Some start with a wall clock
//! that is wrong by years and is corrected later, or in 1970: nothing is deleted for its age then.
//! In some another disk, with files of the same names, is mounted over the volume's path while it
//! records: the volume is given up within seconds, and no file of that disk changes. In some the
//! directory is restored to its state before an earlier life, with or without its catalogue. In
//! some a limit is mistyped between two lives: no more is deleted than usual.
//!
//! Every fourth seed also has faults: errors, `ENOSPC`, hangs, and bits that flip at rest. There a
//! volume may fail and a damaged chunk may be missing; everything else holds as above. The scrub
//! then finds every listed chunk that cannot be read, and reports no other as damaged.

#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

#[path = "explore/audit.rs"]
mod audit;
#[path = "explore/cameras.rs"]
mod cameras;
#[path = "explore/catalogues.rs"]
mod catalogues;
#[path = "explore/damage.rs"]
mod damage;
#[path = "explore/known_bugs.rs"]
mod known_bugs;
#[path = "explore/life.rs"]
mod life;
#[path = "explore/mistyped.rs"]
mod mistyped;
#[path = "explore/mounts.rs"]
mod mounts;
#[path = "explore/oracle.rs"]
mod oracle;
#[path = "explore/plan.rs"]
mod plan;
#[path = "explore/put_back.rs"]
mod put_back;
#[path = "explore/removed.rs"]
mod removed;
#[path = "explore/run.rs"]
mod run;

use holdfast_storage::ids::{NodeId, StreamKind};
use holdfast_storage::search::{Found, search};
use run::{Outcome, Twist, run};
use uuid::Uuid;

const NODE: NodeId = NodeId(3);
const MAIN: StreamKind = StreamKind::Main;
const VOLUME: Uuid = Uuid::from_u128(7);
/// The seeds of each run of the tests; `cargo xtask verify` takes ten times as many.
const SEEDS: u64 = 200;
const T0: i64 = 1_795_000_000_000_000;

/// `HOLDFAST_EXPLORE_SEEDS` is the number of seeds (0: endless), `HOLDFAST_EXPLORE_FIRST` the first
/// one.
#[test]
fn promises_hold_wherever_the_machine_stops() {
    let seeds = number("HOLDFAST_EXPLORE_SEEDS").unwrap_or(SEEDS);
    let found = explore(
        (number("HOLDFAST_EXPLORE_FIRST").unwrap_or(0), seeds),
        Twist::default(),
    );
    println!("{found}");
    assert!(found.failure.is_none(), "{found}");
    if seeds >= SEEDS {
        assert!(
            found.sum.has_seen_everything(),
            "these seeds do not try everything: {found}"
        );
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..16 {
        assert_eq!(
            run(seed, Twist::default()).unwrap(),
            run(seed, Twist::default()).unwrap(),
            "seed {seed}"
        );
    }
}

fn explore(seeds: (u64, u64), twist: Twist) -> Found<Outcome> {
    search("cargo xtask explore", seeds, |seed| run(seed, twist))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}
