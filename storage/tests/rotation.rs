//! A rotation delays nothing: the next segment is opened ahead, and one that was not needed leaves
//! nothing behind.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::offline::verify_volume;
use holdfast_storage::{Volume, VolumeHandle, VolumeOptions};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::faulty::open;
use support::*;

const SEGMENT_BYTES_MAX: u64 = 2 << 20;
const CHUNK_BYTES: usize = 100_000;

fn options(dir: &Dir) -> VolumeOptions {
    VolumeOptions {
        segment_bytes_max: SEGMENT_BYTES_MAX,
        ..dir.options()
    }
}

/// One durable batch per chunk.
async fn record_one_by_one(handle: &VolumeHandle, sequences: Range<u32>) {
    for sequence in sequences {
        append(handle, chunk(1, sequence, CHUNK_BYTES));
        within(handle.flush()).await.unwrap();
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Records until the next segment is opened ahead.
async fn record_until_next_is_open(dir: &Dir, handle: &VolumeHandle) -> u32 {
    append(handle, init(1));
    let chunks = (SEGMENT_BYTES_MAX / 2) as u32 / CHUNK_BYTES as u32;
    record_one_by_one(handle, 0..chunks).await;
    until("the next segment is open", || {
        dir.segments().len() == 2 && handle.stats().segments_open == 2
    })
    .await;
    chunks
}

fn names(dir: &Dir) -> Vec<String> {
    let name = |path: &std::path::PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    dir.segments().iter().map(name).collect()
}

#[tokio::test]
async fn while_the_next_file_is_being_made_batches_become_durable_in_the_old_segment() {
    let dir = Dir::new();
    let (volume, handle, faults) = open(&dir, options(&dir));
    append(&handle, init(1));
    record_one_by_one(&handle, 0..1).await;
    faults.create_hangs.store(true, Ordering::SeqCst);
    // A batch may take 1 MiB: the limit of 2 MiB was exceeded at the twelfth, but not by more than
    // the old segment may grow.
    record_one_by_one(&handle, 1..20).await;
    assert_eq!(handle.stats().segments_open, 1);
    faults.create_hangs.store(false, Ordering::SeqCst);
    until("the next segment is there", || dir.segments().len() == 2).await;
    record_one_by_one(&handle, 20..30).await;
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..30).collect::<Vec<_>>());
    close(volume, handle).await;
    assert_eq!(
        dir.segments().len(),
        2,
        "the rotation happened once the file was there"
    );
}

#[tokio::test]
async fn a_segment_that_was_not_needed_is_gone_after_an_orderly_stop() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(options(&dir)).unwrap();
    let chunks = record_until_next_is_open(&dir, &handle).await;
    close(volume, handle).await;
    assert_eq!(names(&dir), ["0000000001"]);
    let (volume, handle) = Volume::open(options(&dir)).unwrap();
    record_one_by_one(&handle, chunks..chunks + 1).await;
    await_recovery(&handle);
    assert_eq!(handle.stats().segments_recovered, 0);
    assert_eq!(stored(&handle, 1), (0..=chunks).collect::<Vec<_>>());
    close(volume, handle).await;
}

#[tokio::test]
async fn a_segment_that_was_not_needed_is_removed_after_a_crash_and_its_id_is_not_reused() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(options(&dir)).unwrap();
    let chunks = record_until_next_is_open(&dir, &handle).await;
    // Without a close, the writer leaves its files like a killed process.
    drop(handle);
    within(volume.run()).await.unwrap();
    assert_eq!(names(&dir), ["0000000001", "0000000002"]);

    let (volume, handle) = Volume::open(options(&dir)).unwrap();
    append(&handle, init(1));
    record_one_by_one(&handle, chunks..chunks + 1).await;
    await_recovery(&handle);
    let stats = handle.stats();
    assert_eq!(
        (
            stats.segments_recovered,
            stats.segments_sealed,
            stats.segments_refused
        ),
        (2, 1, 0)
    );
    assert_eq!(stored(&handle, 1), (0..=chunks).collect::<Vec<_>>());
    assert_eq!(names(&dir), ["0000000001", "0000000003"]);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_full_disk_does_not_hold_up_what_has_room_already() {
    let dir = Dir::new();
    let (volume, handle, faults) = open(&dir, options(&dir));
    append(&handle, init(1));
    record_one_by_one(&handle, 0..1).await;
    faults.refuses_room.store(true, Ordering::SeqCst);
    let mut refusals = Vec::new();
    for sequence in 1..18 {
        record_one_by_one(&handle, sequence..sequence + 1).await;
        refusals.push(faults.refusals.load(Ordering::SeqCst));
    }
    assert!(
        handle.stats().has_no_space,
        "the next segment found no room"
    );
    let last_ten = &refusals[refusals.len() - 11..];
    assert!(
        last_ten.windows(2).any(|tries| tries[0] == tries[1]),
        "each of the last ten batches waited for another try: {refusals:?}"
    );
    faults.refuses_room.store(false, Ordering::SeqCst);
    until("the next segment is there", || dir.segments().len() == 2).await;
    record_one_by_one(&handle, 18..30).await;
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..30).collect::<Vec<_>>());
    close(volume, handle).await;
}

#[tokio::test]
async fn a_volume_whose_path_leads_elsewhere_keeps_what_it_accepted_where_it_is() {
    let dir = Dir::new();
    let at = dir.options().path;
    let (volume, handle, faults) = open(&dir, options(&dir));
    append(&handle, init(1));
    record_one_by_one(&handle, 0..1).await;
    faults.create_hangs.store(true, Ordering::SeqCst);
    record_one_by_one(&handle, 1..18).await;
    // Another directory is there before the next segment's file is.
    let moved = at.with_extension("moved");
    std::fs::rename(&at, &moved).unwrap();
    std::fs::create_dir(&at).unwrap();
    for sequence in 18..60 {
        append(&handle, chunk(1, sequence, CHUNK_BYTES));
    }
    faults.create_hangs.store(false, Ordering::SeqCst);
    within(volume.run()).await.unwrap_err();
    assert!(handle.is_left() && handle.failed().borrow().is_some());
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0, "it is touched");
    drop(handle);
    let report = verify_volume(&moved, |_| {}).unwrap();
    assert!(
        report.sound_segments > 1 && report.unsealed_segments == 0,
        "{report:?}"
    );

    std::fs::remove_dir(&at).unwrap();
    std::fs::rename(&moved, &at).unwrap();
    let (volume, handle) = Volume::open(options(&dir)).unwrap();
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..60).collect::<Vec<_>>());
    close(volume, handle).await;
}
