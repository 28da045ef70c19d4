//! Crash exploration: random runs of a volume on the simulated disk, stopped anywhere, and what has to hold after each stop. One seed is one run:
//! `cargo xtask explore --seed N` repeats it. `HOLDFAST_EXPLORE_SEEDS` says how many are run, `HOLDFAST_EXPLORE_FIRST` which is the first.
//!
//! A run is a few lives of a process on one disk. In each, cameras record, readers read, retention deletes; it ends in order, by a kill or by a power cut
//! between any two operations of the disk. Then, on a copy of the disk and with the catalogue kept, deleted, damaged or an older one:
//!
//! - everything that was below a reported watermark, flushed, or listed, is there byte by byte, unless retention deleted its segment;
//! - nothing is listed that was not recorded, and nothing is read with other bytes than were recorded;
//! - the watermark is not behind what was reported;
//! - the files are what the statistics count, and nothing else is there;
//! - a second recovery finds nothing to do, a rebuilt catalogue shows the same, and neither changes a file.
//!
//! Every fourth seed has faults besides: errors, `ENOSPC`, hangs, and bits that flip at rest. There a volume may fail and a damaged chunk may be gone;
//! everything else holds as above.

#![allow(clippy::unwrap_used, reason = "test code; clippy exempts only functions marked as tests")]

#[path = "explore/audit.rs"]
mod audit;
#[path = "explore/cameras.rs"]
mod cameras;
#[path = "explore/catalogues.rs"]
mod catalogues;
#[path = "explore/damage.rs"]
mod damage;
#[path = "explore/life.rs"]
mod life;
#[path = "explore/oracle.rs"]
mod oracle;
#[path = "explore/plan.rs"]
mod plan;
#[path = "explore/run.rs"]
mod run;

use holdfast_storage::ids::{NodeId, StreamKind};
use run::{Twist, run};
use uuid::Uuid;

const NODE: NodeId = NodeId(3);
const MAIN: StreamKind = StreamKind::Main;
const VOLUME: Uuid = Uuid::from_u128(7);
const T0: i64 = 1_795_000_000_000_000;

#[test]
fn one() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first = number("HOLDFAST_EXPLORE_FIRST", 0);
    let mut failed = 0;
    for seed in first..first + number("HOLDFAST_EXPLORE_SEEDS", 20) {
        match run(seed, Twist::default()) {
            Ok(outcome) => eprintln!("{seed}: {outcome:?}"),
            Err(problem) => {
                failed += 1;
                eprintln!("{problem}\n");
            }
        }
    }
    assert_eq!(failed, 0);
}
