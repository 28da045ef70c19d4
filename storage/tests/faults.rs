//! A disk that fails: the volume reports it, and nothing that was reported durable is lost.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::ids::StreamId;
use holdfast_storage::{AppendError, Error, Volume, VolumeHandle, VolumeOptions};
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::faulty::{Faults, open};
use support::*;

async fn fails_for_good(set: impl FnOnce(&Faults), said: &str) {
    let dir = Dir::new();
    let (volume, handle, faults) = open(&dir, dir.options());
    record_chunks(&handle, 1, 0..4);
    within(handle.flush()).await.unwrap();
    await_recovery(&handle);
    set(&faults);
    record_chunks(&handle, 1, 4..8);
    let error = within(handle.flush()).await.err().unwrap();
    assert!(
        matches!(&error, Error::Failed { reason, .. } if reason.contains(said)),
        "{error}"
    );
    assert!(
        handle
            .failed()
            .borrow()
            .as_deref()
            .is_some_and(|reason| reason.contains(said))
    );
    let refused = handle.append(handle.class("default").unwrap(), chunk(1, 8, 10));
    assert!(
        matches!(refused, Err(AppendError::Failed(_))),
        "{refused:?}"
    );
    let before = handle
        .watermark(StreamId::main(support::camera(1)))
        .unwrap()
        .durable_end
        .0;
    assert_eq!(
        before,
        T0 + 4 * CHUNK_US,
        "nothing is durable that the disk did not confirm"
    );
    assert!(matches!(
        within(volume.run()).await,
        Err(Error::Failed { .. })
    ));
    assert_eq!(
        stored(&handle, 1),
        [0, 1, 2, 3],
        "what is durable can still be read"
    );

    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    assert!(stored(&handle, 1).len() >= 4);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_failed_flush_stops_the_volume_and_publishes_nothing() {
    fails_for_good(
        |faults| faults.sync_fails.store(true, Ordering::SeqCst),
        "flush: injected",
    )
    .await;
}

#[tokio::test]
async fn a_failed_write_stops_the_volume_and_publishes_nothing() {
    fails_for_good(
        |faults| faults.write_fails.store(true, Ordering::SeqCst),
        "write segment 1: injected",
    )
    .await;
}

/// On one thread: if `run` blocked it, nothing here would end.
#[tokio::test(flavor = "current_thread")]
async fn a_writer_that_panics_is_a_failed_volume() {
    let dir = Dir::new();
    let (volume, handle, faults) = open(&dir, dir.options());
    record_chunks(&handle, 1, 0..4);
    within(handle.flush()).await.unwrap();
    await_recovery(&handle);
    faults.sync_panics.store(true, Ordering::SeqCst);
    record_chunks(&handle, 1, 4..8);
    fails_by_a_bug(volume, &handle, "the writer panicked").await;
    assert_eq!(
        stored(&handle, 1),
        [0, 1, 2, 3],
        "what is durable can still be read"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_keeper_that_panics_is_a_failed_volume_and_nothing_accepted_is_lost() {
    let dir = Dir::new();
    let (volume, handle, faults) = open(
        &dir,
        VolumeOptions {
            flush_interval: Duration::from_secs(60),
            ..dir.options()
        },
    );
    await_recovery(&handle);
    record_chunks(&handle, 1, 0..4);
    faults.space_panics.store(true, Ordering::SeqCst);
    fails_by_a_bug(volume, &handle, "the keeper panicked").await;
    assert_eq!(stored(&handle, 1), [0, 1, 2, 3], "the writer ends in order");
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    close(volume, handle).await;
}

async fn fails_by_a_bug(volume: Volume, handle: &VolumeHandle, said: &str) {
    let error = within(volume.run()).await.err().unwrap();
    assert!(
        matches!(&error, Error::Failed { reason, .. } if reason.contains(said)),
        "{error}"
    );
    assert!(
        handle
            .failed()
            .borrow()
            .as_deref()
            .is_some_and(|reason| reason.contains(said))
    );
    let refused = handle.append(handle.class("default").unwrap(), chunk(1, 8, 10));
    assert!(
        matches!(&refused, Err(AppendError::Failed(reason)) if reason.contains(said)),
        "{refused:?}"
    );
    assert!(matches!(
        within(handle.close()).await,
        Err(Error::Failed { .. })
    ));
}

#[tokio::test]
async fn a_full_disk_is_waited_out_and_nothing_accepted_is_lost() {
    let dir = Dir::new();
    let options = VolumeOptions {
        buffer_bytes_max: 20 << 20,
        ..dir.options()
    };
    let (volume, handle, faults) = open(&dir, options);
    faults.is_full.store(true, Ordering::SeqCst);
    append(&handle, init(1));
    let class = handle.class("default").unwrap();
    let mut accepted = 0;
    let refused = loop {
        match handle.append(class, chunk(1, accepted, 1 << 19)) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1000, "the buffer has no bound");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(refused, AppendError::NoSpace);
    assert!(handle.stats().has_no_space);
    faults.is_full.store(false, Ordering::SeqCst);
    within(handle.flush()).await.unwrap();
    assert!(!handle.stats().has_no_space);
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..accepted).collect::<Vec<_>>());
    close(volume, handle).await;
}

#[tokio::test]
async fn a_full_disk_costs_the_oldest_segment() {
    let dir = Dir::new();
    for round in 0..3 {
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        record_chunks(&handle, 1, round * 4..round * 4 + 4);
        close(volume, handle).await;
    }
    let (volume, handle, faults) = open(&dir, dir.options());
    await_recovery(&handle);
    faults.is_full.store(true, Ordering::SeqCst);
    record_chunks(&handle, 1, 12..16);
    within(handle.flush()).await.unwrap();
    let stats = handle.stats();
    assert!(
        stats.segments_deleted >= 1 && stored(&handle, 1).ends_with(&[12, 13, 14, 15]),
        "{stats:?}"
    );
    assert!(!stored(&handle, 1).contains(&0));
    assert!(!dir.segments()[0].ends_with("0000000001.hfs"));
    close(volume, handle).await;
}

#[tokio::test]
async fn retention_deletes_by_size_and_what_is_gone_is_not_listed() {
    let dir = Dir::new();
    for round in 0..3 {
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        record_chunks(&handle, 1, round * 4..round * 4 + 4);
        close(volume, handle).await;
    }
    let mut options = dir.options();
    options.retention[0].bytes_max = Some(120_000);
    let (volume, handle) = Volume::open(options).unwrap();
    await_recovery(&handle);
    let started = std::time::Instant::now();
    while handle.stats().segments_deleted == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "retention does not run"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stored(&handle, 1).first(), Some(&4));
    close(volume, handle).await;
}
