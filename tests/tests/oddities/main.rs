//! Odd cameras, one row each: the export, its times, and the errors of cameras that cannot be
//! recorded.
//!
//! `table` has the rows; `record` lets a dozen cameras of a group play to one node and judges the
//! footage that the node serves. If ffmpeg is installed, it decodes each export, and must not print
//! more about it than about its own copy of the same camera.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests of the whole read the real clock"
)]

mod judge;
mod peer;
mod record;
mod refused;
mod table;

use holdfast_camera::Codec;
use record::record_group;
use std::time::Duration;

/// Long enough for two GOPs, a burst, and events with a period of 4 s.
const A_WHILE: Duration = Duration::from_secs(14);
/// Longer than two session timeouts of 10 s: keepalives are due.
const KEEPALIVES: Duration = Duration::from_secs(25);
/// Three frames of the slowest camera.
const SLOW: Duration = Duration::from_secs(36);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn answers_that_are_not_by_the_letter() {
    record_group("control", Codec::H264, KEEPALIVES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn descriptions_that_are_not_by_the_letter() {
    record_group("description", Codec::H264, A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn odd_rtp_packets() {
    record_group("rtp", Codec::H264, A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn odd_rtp_packets_of_h265() {
    record_group("rtp", Codec::H265, A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn odd_payloads() {
    record_group("payload", Codec::H264, A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn odd_payloads_of_h265() {
    record_group("payload", Codec::H265, A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn clocks_that_are_wrong() {
    record_group("clock", Codec::H264, SLOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn odd_rhythms() {
    record_group("rhythm", Codec::H264, SLOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn packets_that_the_camera_loses() {
    record_group("loss", Codec::H264, A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn packets_that_the_camera_loses_of_h265() {
    record_group("loss", Codec::H265, A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a dozen cameras at a time: cargo test -p holdfast-tests --test oddities -- --ignored \
            --test-threads 1"]
async fn odd_sound() {
    record_group("audio", Codec::H264, A_WHILE).await;
}
