//! The scrub finds damage at rest, reports whose it is, and continues where it stopped.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::chunk::{Access, GapCause, Record};
use holdfast_storage::ids::{CameraId, SegmentId, StreamKind};
use holdfast_storage::timeline::Span;
use holdfast_storage::{Error, Range, ScrubOptions, Volume, VolumeHandle, VolumeOptions, timeline};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::*;

const FAST: ScrubOptions = ScrubOptions {
    bytes_per_second_max: 1 << 30,
    pass_interval: Duration::from_secs(3600),
};

fn options(dir: &Dir, scrub: ScrubOptions) -> VolumeOptions {
    VolumeOptions {
        scrub,
        ..dir.options()
    }
}

/// Segments of four chunks each, one after the other, of a camera with an init segment in each.
async fn recorded(segments: u32) -> Dir {
    let dir = Dir::new();
    for segment in 0..segments {
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        record_chunks(&handle, 1, segment * 4..segment * 4 + 4);
        close(volume, handle).await;
    }
    dir
}

/// Flips a bit within the payload of a chunk.
fn flip(path: &Path, sequence: u32) {
    let mut bytes = std::fs::read(path).unwrap();
    let whole = payload(1, sequence, 10_000);
    let at = bytes
        .windows(whole.len())
        .position(|window| window == whole)
        .unwrap();
    bytes[at + 5000] ^= 16;
    std::fs::write(path, bytes).unwrap();
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the first pass, of a volume that has no earlier one.
fn await_pass(handle: &VolumeHandle) {
    await_that("no pass ends", || {
        handle.stats().scrub.last_ended_at.is_some()
    });
}

fn another_pass(handle: &VolumeHandle) {
    let before = handle.stats().scrub.last_ended_at;
    handle.start_scrub();
    await_that("no pass ends", || {
        handle.stats().scrub.last_ended_at > before
    });
}

fn gaps(handle: &VolumeHandle) -> Vec<(i64, i64, GapCause)> {
    let gaps = handle
        .gaps(Range::all(CameraId(1), StreamKind::Main))
        .unwrap();
    gaps.iter()
        .map(|gap| (gap.start.0 - T0, gap.end.0 - T0, gap.cause))
        .collect()
}

fn holes(handle: &VolumeHandle) -> Vec<(i64, i64)> {
    let spans = handle
        .spans(Range::all(CameraId(1), StreamKind::Main))
        .unwrap();
    let seams = spans.windows(2).filter(|pair| pair[0].end < pair[1].start);
    seams
        .map(|pair| (pair[0].end.0 - T0, pair[1].start.0 - T0))
        .collect()
}

const AT_5: (i64, i64) = (5 * CHUNK_US, 6 * CHUNK_US);

#[tokio::test]
async fn a_flipped_bit_is_found_and_reported_and_the_rest_served() {
    let dir = recorded(3).await;
    flip(&dir.segments()[1], 5);
    let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
    await_pass(&handle);
    let stats = handle.stats();
    assert_eq!(
        (stats.damaged_chunks, stats.known_damaged.get(&CameraId(1))),
        (1, Some(&1))
    );
    let (damaged, left_out) = handle.damaged();
    assert_eq!(
        (damaged.len(), damaged[0].meta, damaged[0].segment, left_out),
        (1, meta(1, 5), SegmentId(2), 0)
    );
    let served: Vec<u32> = (0..12).filter(|sequence| *sequence != 5).collect();
    let entries = handle
        .entries(Range::all(CameraId(1), StreamKind::Main))
        .unwrap();
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.meta.sequence)
            .collect::<Vec<_>>(),
        served
    );
    assert!(
        entries
            .iter()
            .all(|entry| handle.read(&entry.location).is_ok())
    );
    assert_eq!(gaps(&handle), [(AT_5.0, AT_5.1, GapCause::Damaged)]);
    assert_eq!(holes(&handle), [AT_5]);
    close(volume, handle).await;
}

/// A keyframe every fourth chunk, so that the two chunks after a damaged one refer to it, and the
/// third does not.
#[tokio::test]
async fn the_gap_is_the_chunk_and_what_refers_to_it_is_damaged_as_playback_has_it() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    append(&handle, init(1));
    for sequence in 0..12 {
        let Record::Chunk(mut of_gop) = chunk(1, sequence, 10_000) else {
            unreachable!()
        };
        of_gop.meta.access = sequence.is_multiple_of(4).then_some(Access::sync(sequence));
        of_gop.meta.since_access_ms = Some(500 * (sequence % 4));
        append(&handle, Record::Chunk(of_gop));
    }
    close(volume, handle).await;
    flip(&dir.segments()[0], 5);
    let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
    await_pass(&handle);
    let lost = (5 * CHUNK_US, 6 * CHUNK_US);
    assert_eq!(gaps(&handle), [(lost.0, lost.1, GapCause::Damaged)]);
    assert_eq!(holes(&handle), [lost]);
    let played = timeline::spans_of(
        &handle
            .entries(Range::all(CameraId(1), StreamKind::Main))
            .unwrap(),
    );
    assert_eq!(
        played,
        handle
            .spans(Range::all(CameraId(1), StreamKind::Main))
            .unwrap()
    );
    let at = |span: &Span| {
        (
            (span.start.0 - T0) / CHUNK_US,
            (span.end.0 - T0) / CHUNK_US,
            span.damaged,
        )
    };
    assert_eq!(
        played.iter().map(at).collect::<Vec<_>>(),
        [(0, 5, false), (6, 8, true), (8, 12, false)]
    );
    close(volume, handle).await;
}

#[tokio::test]
async fn damage_that_a_reader_finds_first_is_reported_alike_and_remembered_over_a_restart() {
    let dir = recorded(2).await;
    flip(&dir.segments()[1], 5);
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    let entries = handle
        .entries(Range::all(CameraId(1), StreamKind::Main))
        .unwrap();
    for _ in 0..2 {
        assert!(matches!(
            handle.read(&entries[5].location),
            Err(Error::Damaged { .. })
        ));
    }
    let stats = handle.stats();
    assert_eq!(
        (
            stats.damaged_chunks,
            stats.damaged_reads,
            stats.known_damaged.len()
        ),
        (1, 2, 1)
    );
    assert_eq!((gaps(&handle).len(), holes(&handle)), (1, vec![AT_5]));
    close(volume, handle).await;
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    assert_eq!((gaps(&handle).len(), holes(&handle)), (1, vec![AT_5]));
    close(volume, handle).await;
}

#[tokio::test]
async fn a_register_that_was_lost_is_found_again_and_what_healed_is_served_again() {
    let dir = recorded(2).await;
    let sound = std::fs::read(&dir.segments()[1]).unwrap();
    flip(&dir.segments()[1], 5);
    for _ in 0..2 {
        let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
        await_pass(&handle);
        assert_eq!(holes(&handle), [AT_5]);
        close(volume, handle).await;
        std::fs::remove_file(dir.path().join("scrub.json")).unwrap();
    }
    let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
    await_pass(&handle);
    std::fs::write(&dir.segments()[1], sound).unwrap();
    another_pass(&handle);
    assert_eq!(stored(&handle, 1), (0..8).collect::<Vec<_>>());
    assert!(gaps(&handle).is_empty() && holes(&handle).is_empty());
    close(volume, handle).await;
}

#[tokio::test]
async fn a_pass_keeps_to_its_rate_and_continues_after_a_restart() {
    let dir = recorded(6).await;
    let bytes: u64 = dir
        .segments()
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    // The first read of a segment reads all of it: six times a sixth of a second, plus footers.
    let slow = ScrubOptions {
        bytes_per_second_max: bytes,
        ..FAST
    };
    let started = Instant::now();
    let (volume, handle) = Volume::open(options(&dir, slow)).unwrap();
    await_that("nothing is read", || {
        handle
            .stats()
            .scrub
            .pass
            .is_some_and(|pass| pass.done_segments >= 2)
    });
    close(volume, handle).await;
    let (volume, handle) = Volume::open(options(&dir, slow)).unwrap();
    let pass = || handle.stats().scrub.pass;
    await_that("the pass does not continue", || pass().is_some());
    let again = pass().unwrap();
    assert!(
        (2..6).contains(&again.done_segments) && again.total_segments == 6,
        "{again:?}"
    );
    await_pass(&handle);
    let read = handle.stats().scrub.read_bytes;
    assert!(
        started.elapsed() >= Duration::from_millis(700),
        "faster than its rate: {:?}",
        started.elapsed()
    );
    assert!(
        read < bytes * 9 / 10,
        "it read {read} of {bytes} bytes, as if it had begun again"
    );
    close(volume, handle).await;
}

#[tokio::test]
async fn the_scrub_holds_back_while_recording_is_behind() {
    let dir = recorded(6).await;
    let bytes: u64 = dir
        .segments()
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    // One segment in half a second.
    let slow = ScrubOptions {
        bytes_per_second_max: bytes / 3,
        ..FAST
    };
    let options = VolumeOptions {
        flush_interval: Duration::from_millis(200),
        ..options(&dir, slow)
    };
    let (volume, handle, faults) = faulty::open(&dir, options);
    let scrub = || handle.stats().scrub;
    await_that("nothing is read", || {
        scrub().pass.is_some_and(|pass| pass.done_segments >= 1)
    });
    faults.sync_hangs.store(true, Ordering::SeqCst);
    record_chunks(&handle, 1, 24..28);
    await_that("it does not hold back", || scrub().is_held_back);
    let before = scrub().read_bytes;
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        (scrub().read_bytes, scrub().is_held_back),
        (before, true),
        "of {bytes} bytes"
    );
    faults.sync_hangs.store(false, Ordering::SeqCst);
    await_pass(&handle);
    assert!(!scrub().is_held_back && scrub().read_bytes > before);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_damaged_init_segment_is_served_from_another_copy() {
    let dir = recorded(2).await;
    let newest = dir.segments()[1].clone();
    let mut bytes = std::fs::read(&newest).unwrap();
    let init = init_bytes(1);
    let at = bytes
        .windows(init.len())
        .position(|window| window == init)
        .unwrap();
    bytes[at] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
    await_pass(&handle);
    assert_eq!(handle.init(CameraId(1), meta(1, 0).init).unwrap(), init);
    let stats = handle.stats();
    assert_eq!((stats.scrub.damaged_segments, stats.damaged_chunks), (1, 0));
    close(volume, handle).await;
}

#[tokio::test]
async fn a_damaged_footer_is_reported_and_costs_no_chunk() {
    let dir = recorded(1).await;
    let path = dir.segments()[0].clone();
    let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
    await_pass(&handle);
    assert_eq!(handle.stats().scrub.damaged_segments, 0);
    let mut bytes = std::fs::read(&path).unwrap();
    // Within the chunk table, which ends before the trailer's block.
    let at = bytes.len() - 4096 - 4096 + 400;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    another_pass(&handle);
    assert_eq!(handle.stats().scrub.damaged_segments, 1);
    assert_eq!(stored(&handle, 1), [0, 1, 2, 3]);
    close(volume, handle).await;
}

/// Flips bits of a sealed segment's footer: of its directory, or of its trailer's checksum.
fn rot_the_footer(path: &Path, is_trailer: bool) {
    let mut bytes = std::fs::read(path).unwrap();
    let footer = bytes
        .chunks(4096)
        .rposition(|block| block.starts_with(b"HFFT"))
        .unwrap()
        * 4096;
    let at = if is_trailer {
        bytes.len() - 1
    } else {
        footer + 70
    };
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_chunk_is_identified_although_the_footer_is_damaged_too() {
    for (is_trailer, is_table_kept) in [(false, false), (true, false), (true, true)] {
        let dir = recorded(2).await;
        let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
        await_pass(&handle);
        if is_table_kept {
            assert_eq!(stored(&handle, 1).len(), 8);
        }
        flip(&dir.segments()[1], 5);
        rot_the_footer(&dir.segments()[1], is_trailer);
        another_pass(&handle);
        let (damaged, _) = handle.damaged();
        assert_eq!(
            (damaged.len(), damaged[0].meta, damaged[0].segment),
            (1, meta(1, 5), SegmentId(2))
        );
        assert_eq!(
            handle.stats().scrub.damaged_segments,
            1,
            "the footer is reported too"
        );
        let entries = handle
            .entries(Range::all(CameraId(1), StreamKind::Main))
            .unwrap();
        assert_eq!(
            entries
                .iter()
                .map(|entry| entry.meta.sequence)
                .collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 6, 7]
        );
        assert_eq!(gaps(&handle), [(AT_5.0, AT_5.1, GapCause::Damaged)]);
        close(volume, handle).await;
    }
}

#[tokio::test]
async fn a_deleted_segment_takes_its_damage_with_it() {
    let dir = recorded(3).await;
    flip(&dir.segments()[0], 1);
    let (volume, handle) = Volume::open(options(&dir, FAST)).unwrap();
    await_pass(&handle);
    assert_eq!(handle.damaged().0.len(), 1);
    close(volume, handle).await;
    let mut tight = options(&dir, ScrubOptions::OFF);
    tight.retention[0].bytes_max = Some(120_000);
    let (volume, handle) = Volume::open(tight).unwrap();
    await_that("retention does not run", || {
        handle.stats().segments_deleted > 0
    });
    await_that("the register keeps what is gone", || {
        handle.damaged().0.is_empty()
    });
    close(volume, handle).await;
}
