//! Scenarios with one node: reasons not to start, misbehaving cameras, and damage to its disk.

#[path = "../support/mod.rs"]
mod support;

mod bad_cameras;
mod clock;
mod clock_ahead;
mod connections;
mod damage;
mod deleted_cameras;
mod disk_full;
mod hiccups;
mod holds;
mod offline;
mod restart;
mod scrub;
mod start;
