//! Large deletions that the limits require are announced, and the announcements survive the
//! process.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::retention::{Caution, RetentionAction, RetentionOrder, State};
use holdfast_storage::{RetentionClass, Stats, Volume, VolumeHandle, VolumeOptions};
use std::time::{Duration, Instant};
use support::*;

/// A typing error: a tenth of what is stored.
const MISTYPED_BYTES: u64 = 2 << 20;

const CAUTION: Caution = Caution {
    wait: Duration::from_secs(24 * 3600),
    ..Caution::NONE
};

fn options(dir: &Dir, bytes_max: Option<u64>) -> VolumeOptions {
    let class = RetentionClass {
        name: "default".to_owned(),
        age_max: None,
        bytes_max,
    };
    VolumeOptions {
        segment_bytes_max: 2 << 20,
        retention: vec![class],
        caution: CAUTION,
        ..dir.options()
    }
}

/// Some twenty segments, all sealed.
async fn record(dir: &Dir) {
    let (volume, handle) = Volume::open(options(dir, None)).unwrap();
    append(&handle, init(1));
    for sequence in 0..1_000 {
        append(&handle, chunk(1, sequence, 40_000));
        if sequence % 20 == 0 {
            within(handle.flush()).await.unwrap();
        }
    }
    close(volume, handle).await;
}

fn open(dir: &Dir, bytes_max: u64) -> (Volume, VolumeHandle) {
    let opened = Volume::open(options(dir, Some(bytes_max))).unwrap();
    await_recovery(&opened.1);
    opened
}

fn wait_until(handle: &VolumeHandle, what: &str, is_so: impl Fn(&Stats) -> bool) {
    let started = Instant::now();
    while !is_so(&handle.stats()) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{what}: {:?}",
            handle.stats()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn state(stats: &Stats) -> Option<State> {
    stats
        .retention
        .announced
        .first()
        .map(|announced| announced.state)
}

fn order(handle: &VolumeHandle, action: RetentionAction) {
    handle.order_retention(RetentionOrder {
        action,
        subject: None,
    });
}

#[tokio::test]
async fn a_mistyped_limit_deletes_nothing_and_its_announcement_survives_restarts_as_a_cancel_does()
{
    let dir = Dir::new();
    record(&dir).await;
    let before = dir.segments();
    assert!(before.len() >= 15, "{before:?}");

    let (volume, handle) = open(&dir, MISTYPED_BYTES);
    wait_until(&handle, "it is announced", |stats| {
        state(stats) == Some(State::Waiting)
    });
    let announced = handle.stats().retention.announced[0].clone();
    assert!(
        announced.bytes > announced.stored_bytes / 2,
        "{announced:?}"
    );
    order(&handle, RetentionAction::Cancel);
    wait_until(&handle, "it is cancelled", |stats| {
        state(stats) == Some(State::Cancelled)
    });
    close(volume, handle).await;
    assert_eq!(dir.segments(), before);

    let (volume, handle) = open(&dir, MISTYPED_BYTES);
    wait_until(&handle, "a restart does not forget a cancel", |stats| {
        state(stats) == Some(State::Cancelled)
    });
    close(volume, handle).await;
    let (volume, handle) = open(&dir, 2 * MISTYPED_BYTES);
    wait_until(&handle, "another limit is another reason", |stats| {
        state(stats) == Some(State::Waiting)
    });
    assert_eq!(dir.segments(), before);
    order(&handle, RetentionAction::Release);
    wait_until(&handle, "the oldest goes", |_| {
        !dir.segments().contains(&before[0])
    });
    assert!(
        dir.segments().len() >= before.len() - 2,
        "at a bounded rate: {:?}",
        dir.segments()
    );
    close(volume, handle).await;
}

#[tokio::test]
async fn a_limit_that_is_corrected_in_time_costs_nothing() {
    let dir = Dir::new();
    record(&dir).await;
    let before = dir.segments();
    let (volume, handle) = open(&dir, MISTYPED_BYTES);
    wait_until(&handle, "it is announced", |stats| {
        state(stats) == Some(State::Waiting)
    });
    close(volume, handle).await;
    let (volume, handle) = open(&dir, 1 << 30);
    wait_until(&handle, "its reason has gone", |stats| {
        stats.retention.is_time_trusted && state(stats).is_none()
    });
    assert_eq!(dir.segments(), before);
    close(volume, handle).await;
}
