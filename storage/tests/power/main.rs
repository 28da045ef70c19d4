//! Power cuts under full recording load on ext4 and xfs: what was reported durable is there, byte
//! by byte, whatever the kernel or the disk lost.
//!
//! These tests mount loop devices, so they need root and are marked `#[ignore]`: `cargo xtask
//! verify` runs a few cuts of each kind, `cargo xtask power` hundreds. If they cannot run they
//! print a message.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod cuts;
mod filesystem;
mod footage;
mod judge;
mod load;
mod log_disk;
mod plan;
mod recorder;
mod replay;
mod scratch;
#[path = "../support/mod.rs"]
mod support;
mod testimony;

use filesystem::Kind;
use holdfast_storage::disk::IoChoice;

/// The recorder whose power is cut: this same program, started again. Does nothing without orders.
#[tokio::test]
async fn recorder() {
    if let Some(orders) = load::Orders::from_environment() {
        load::record(&orders).await;
    }
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn ext4_under_io_uring_keeps_its_word() {
    cuts::run(Kind::Ext4, IoChoice::Uring);
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn ext4_under_plain_io_keeps_its_word() {
    cuts::run(Kind::Ext4, IoChoice::Plain);
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn xfs_under_io_uring_keeps_its_word() {
    cuts::run(Kind::Xfs, IoChoice::Uring);
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn xfs_under_plain_io_keeps_its_word() {
    cuts::run(Kind::Xfs, IoChoice::Plain);
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn ext4_under_io_uring_survives_a_disk_that_loses_writes() {
    replay::run(Kind::Ext4, IoChoice::Uring);
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn ext4_under_plain_io_survives_a_disk_that_loses_writes() {
    replay::run(Kind::Ext4, IoChoice::Plain);
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn xfs_under_io_uring_survives_a_disk_that_loses_writes() {
    replay::run(Kind::Xfs, IoChoice::Uring);
}

#[test]
#[ignore = "needs root: cargo xtask power"]
fn xfs_under_plain_io_survives_a_disk_that_loses_writes() {
    replay::run(Kind::Xfs, IoChoice::Plain);
}
