//! Simulates failover: a whole site in one thread, by seed. `cargo xtask simulate --seed N` repeats
//! a run, `cargo xtask simulate --forever` continues until one fails.
//!
//! The deciding code is real: the replicated state, placement, steward, liveness, provisional
//! recording, the pilot, the reconciliation, the recorder's pipeline with its gap ledger. Its
//! environment is simulated: time, clocks, the network, Raft's messages and logs, volumes, cameras.
//! A seed draws a site and how bad its world is. Faults disturb the site for a while; then all but
//! the lasting ones are mended, and everything has to be well again within [`BUDGET`]. `invariants`
//! has one file for each property that must hold.

mod certainty;
mod clocks;
mod deadly;
mod faults;
mod held;
mod invariants;
mod machine;
mod network;
mod outcome;
mod plan;
mod put_back;
mod queue;
mod raft;
mod recorder;
mod story;
mod traffic;
mod twist;
mod volume;
mod world;

pub use outcome::Outcome;
pub use twist::Twist;
pub use world::run;

use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// How long a site may take to be well again after the last fault.
pub const BUDGET: Duration = Duration::from_secs(60);

/// The wall time at which simulations begin.
const EPOCH: Timestamp = Timestamp(1_795_341_600_000_000);
