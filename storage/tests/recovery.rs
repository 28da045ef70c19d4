//! What is found again after a crash, and after damage.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::format::{BLOCK, BLOCK_BYTES, Footer, SegmentHeader, encode_footer};
use holdfast_storage::ids::{CameraId, SegmentId, StreamId, StreamKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Error, Range, SegmentIndex, Volume, VolumeHandle};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::faulty::{Faults, open_with};
use support::*;
use uuid::Uuid;

const BATCHES: u32 = 4;
const CHUNKS_A_BATCH: u32 = 3;

/// Records batches of three chunks and abandons the volume as a killed process would.
async fn killed(dir: &Dir) -> Vec<u8> {
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    append(&handle, init(1));
    for batch in 0..BATCHES {
        for sequence in batch * CHUNKS_A_BATCH..(batch + 1) * CHUNKS_A_BATCH {
            append(&handle, chunk(1, sequence, 5_000));
        }
        within(handle.flush()).await.unwrap();
    }
    drop(handle);
    within(volume.run()).await.unwrap();
    let bytes = std::fs::read(&dir.segments()[0]).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[..end.next_multiple_of(BLOCK_BYTES)].to_vec()
}

/// Opens a directory whose only segment has these bytes.
async fn reopened(segment: &[u8], check: impl FnOnce(&VolumeHandle, &Dir)) {
    let dir = Dir::new();
    let class = dir.path().join("segments/default");
    std::fs::create_dir_all(&class).unwrap();
    std::fs::write(class.join("0000000001.hfs"), segment).unwrap();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    check(&handle, &dir);
    close(volume, handle).await;
}

fn batch_starts(segment: &[u8]) -> Vec<usize> {
    (0..segment.len())
        .step_by(BLOCK_BYTES)
        .filter(|at| segment[*at..].starts_with(b"HFBT"))
        .collect()
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_flushed_and_recording_continues_in_a_new_segment()
{
    let dir = Dir::new();
    killed(&dir).await;
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..12).collect::<Vec<_>>());
    let mark = handle.watermark(StreamId::main(CameraId(1))).unwrap();
    assert_eq!(mark.durable_end, Timestamp(T0 + 12 * CHUNK_US));
    record_chunks(&handle, 1, 12..14);
    within(handle.flush()).await.unwrap();
    assert_eq!(stored(&handle, 1), (0..14).collect::<Vec<_>>());
    assert_eq!(dir.segments().len(), 2);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_file_cut_anywhere_in_its_last_batch_keeps_every_whole_chunk_before() {
    let segment = killed(&Dir::new()).await;
    let last = *batch_starts(&segment).last().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (last..=segment.len()).step_by(512) {
        reopened(&segment[..cut], |handle, _| {
            let found = stored(handle, 1);
            assert!(found.len() >= 9, "cut at {cut}: {found:?}");
            assert!(
                found.iter().copied().eq(0..found.len() as u32),
                "cut at {cut}: {found:?}"
            );
            seen.insert(found.len());
        })
        .await;
    }
    assert!(seen.contains(&9) && seen.contains(&12), "{seen:?}");
}

#[tokio::test]
async fn a_flipped_bit_costs_one_chunk_and_is_counted() {
    let segment = killed(&Dir::new()).await;
    let second = batch_starts(&segment)[1];
    let mut damaged = segment.clone();
    damaged[second + 64 + 80 + 1000] ^= 8;
    reopened(&damaged, |handle, _| {
        assert_eq!(
            stored(handle, 1),
            (0..12)
                .filter(|sequence| *sequence != 3)
                .collect::<Vec<_>>()
        );
        assert_eq!(
            (handle.stats().damaged_batches, handle.stats().torn_batches),
            (0, 1),
            "it may have been the crash"
        );
    })
    .await;
}

#[tokio::test]
async fn a_batch_without_its_header_is_skipped_and_the_later_ones_are_salvaged() {
    let segment = killed(&Dir::new()).await;
    let starts = batch_starts(&segment);
    let mut damaged = segment.clone();
    damaged[starts[1]..starts[2]].fill(0xa5);
    reopened(&damaged, |handle, _| {
        assert_eq!(stored(handle, 1), (0..3).chain(6..12).collect::<Vec<_>>());
        assert_eq!(
            (handle.stats().damaged_batches, handle.stats().torn_batches),
            (0, 1),
            "it may have been the crash"
        );
    })
    .await;
}

/// Opens a directory whose only segment has these bytes, on a disk that cannot read these blocks.
async fn reopened_unreadable(segment: &[u8], blocks: Vec<u64>, check: impl FnOnce(&VolumeHandle)) {
    let dir = Dir::new();
    let class = dir.path().join("segments/default");
    std::fs::create_dir_all(&class).unwrap();
    std::fs::write(class.join("0000000001.hfs"), segment).unwrap();
    let faults = Faults {
        unreadable: Mutex::new(blocks),
        ..Faults::default()
    };
    let (volume, handle, _faults) = open_with(&dir, dir.options(), faults);
    await_recovery(&handle);
    check(&handle);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_costs_what_stands_in_it() {
    let segment = killed(&Dir::new()).await;
    let second = batch_starts(&segment)[1] as u64;
    // The end of the second chunk of three, and the head of the third.
    reopened_unreadable(&segment, vec![second + 2 * BLOCK], |handle| {
        assert_eq!(stored(handle, 1), (0..4).chain(6..12).collect::<Vec<_>>());
        let stats = handle.stats();
        assert_eq!(
            (
                stats.segments_refused,
                stats.damaged_batches,
                stats.torn_batches
            ),
            (0, 1, 0)
        );
    })
    .await;
    reopened_unreadable(&segment, vec![0], |handle| {
        assert_eq!(stored(handle, 1).len(), 12)
    })
    .await;
}

/// A volume with one sealed segment of twelve chunks, on a disk whose sectors can go bad.
async fn on_a_disk_that_ages(check: impl FnOnce(&VolumeHandle, &Faults, &[u8])) {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    record_chunks(&handle, 1, 0..12);
    close(volume, handle).await;
    let segment = std::fs::read(&dir.segments()[0]).unwrap();
    let (volume, handle, faults) = open_with(&dir, dir.options(), Faults::default());
    await_recovery(&handle);
    check(&handle, &faults, &segment);
    close(volume, handle).await;
}

fn all_of(camera: u32) -> Range {
    Range::all(CameraId(camera), StreamKind::Main)
}

#[tokio::test]
async fn a_bad_sector_below_a_footer_hides_no_chunk_from_readers() {
    on_a_disk_that_ages(|handle, faults, segment| {
        let last = *batch_starts(segment).last().unwrap() as u64;
        let footer = (0..segment.len() as u64)
            .step_by(BLOCK_BYTES)
            .filter(|at| *at > last && segment[*at as usize..].starts_with(b"HFFT"));
        let footer = footer.min().expect("it is sealed");
        let blocks = (footer..segment.len() as u64).step_by(BLOCK_BYTES);
        *faults.unreadable.lock().unwrap() = blocks.collect();
        assert_eq!(stored(handle, 1), (0..12).collect::<Vec<_>>());
    })
    .await;
    on_a_disk_that_ages(|handle, faults, segment| {
        let all = (0..segment.len() as u64).step_by(BLOCK_BYTES);
        *faults.unreadable.lock().unwrap() = all.collect();
        let gone = handle.entries(all_of(1));
        assert!(matches!(gone, Err(Error::Io { .. })), "{gone:?}");
        faults.unreadable.lock().unwrap().clear();
        assert_eq!(stored(handle, 1), (0..12).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_bad_sector_costs_its_chunk_and_a_disk_that_is_gone_costs_none() {
    on_a_disk_that_ages(|handle, faults, segment| {
        let entries = handle.entries(all_of(1)).unwrap();
        let places: Vec<_> = entries.iter().map(|entry| entry.location).collect();
        let is_read = || -> Vec<bool> {
            let read = handle.read_all(&places);
            read.iter().map(Result::is_ok).collect()
        };
        // Everything cannot be read: the disk was pulled.
        let all = (0..segment.len() as u64).step_by(BLOCK_BYTES);
        *faults.unreadable.lock().unwrap() = all.collect();
        for read in handle.read_all(&places) {
            assert!(matches!(read, Err(Error::Io { .. })), "{read:?}");
        }
        faults.unreadable.lock().unwrap().clear();
        assert!(is_read().iter().all(|is_read| *is_read), "it is back");
        assert_eq!(handle.entries(all_of(1)).unwrap(), entries);
        // One sector, in the middle of the sixth chunk.
        let at = places[5].offset + u64::from(places[5].payload_bytes) / 2;
        *faults.unreadable.lock().unwrap() = vec![at / BLOCK * BLOCK];
        let read = handle.read_all(&places[5..6]);
        assert!(matches!(read[0], Err(Error::Damaged { .. })), "{read:?}");
        let lost = is_read().iter().filter(|is_read| !**is_read).count();
        assert!((1..=2).contains(&lost), "{lost} chunks");
        assert!(handle.entries(all_of(1)).unwrap().len() < entries.len());
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_gives_nothing_back_does_not_have_its_segments_closed() {
    let mut segment = killed(&Dir::new()).await;
    segment.resize(100 * BLOCK_BYTES, 0);
    let blocks = (1..100).map(|block| block * BLOCK).collect();
    reopened_unreadable(&segment, blocks, |handle| {
        assert_eq!(handle.stats().segments_refused, 1)
    })
    .await;
}

#[tokio::test]
async fn a_damaged_header_block_costs_nothing() {
    let mut segment = killed(&Dir::new()).await;
    segment[100] ^= 1;
    segment[0] = 0;
    reopened(&segment, |handle, _| {
        assert_eq!(stored(handle, 1).len(), 12)
    })
    .await;
}

#[tokio::test]
async fn a_newer_version_is_refused_and_left_untouched() {
    for at in [8, BLOCK_BYTES + 4] {
        let mut segment = killed(&Dir::new()).await;
        segment[at] = 2;
        let summed = if at < BLOCK_BYTES {
            0..BLOCK_BYTES - 4
        } else {
            BLOCK_BYTES..BLOCK_BYTES + 60
        };
        let crc = crc32fast::hash(&segment[summed.clone()]);
        segment[summed.end..summed.end + 4].copy_from_slice(&crc.to_le_bytes());
        reopened(&segment, |handle, dir| {
            assert!(stored(handle, 1).is_empty());
            assert_eq!(handle.stats().segments_refused, 1);
            assert_eq!(std::fs::read(&dir.segments()[0]).unwrap(), segment);
            let error = holdfast_storage::offline::inspect(&dir.segments()[0])
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains("version 2"), "{error}");
        })
        .await;
    }
}

/// A closed volume with twelve chunks.
async fn sealed() -> Dir {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    record_chunks(&handle, 1, 0..12);
    // On a busy machine the catalogue may be opened after all of this, or not at all.
    await_recovery(&handle);
    close(volume, handle).await;
    dir
}

async fn check_reopened(dir: &Dir, check: impl FnOnce(&VolumeHandle)) {
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    check(&handle);
    close(volume, handle).await;
}

fn flip(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_chunk_is_never_served_and_the_others_are() {
    let dir = sealed().await;
    flip(&dir.segments()[0], |_| BLOCK_BYTES + 2_000);
    let report = holdfast_storage::offline::verify(&dir.segments()[0], |_, _| {}).unwrap();
    assert_eq!(
        (report.is_sound(), report.chunks_lost, report.lost[0].start),
        (false, 1, Timestamp(T0))
    );
    check_reopened(&dir, |handle| {
        let entries = handle
            .entries(Range::all(CameraId(1), StreamKind::Main))
            .unwrap();
        assert_eq!(entries.len(), 12);
        assert!(matches!(
            handle.read(&entries[0].location),
            Err(Error::Damaged { .. })
        ));
        assert!(
            entries[1..]
                .iter()
                .all(|entry| handle.read(&entry.location).is_ok())
        );
        assert_eq!(handle.stats().damaged_reads, 1);
    })
    .await;
}

#[tokio::test]
async fn a_damaged_trailer_head_or_chunk_table_is_rebuilt_from_the_batches() {
    for from_end in [
        BLOCK_BYTES - 20,
        2 * BLOCK_BYTES - 10,
        2 * BLOCK_BYTES - 162,
        2 * BLOCK_BYTES - 400,
    ] {
        for keep_catalogue in [true, false] {
            let dir = sealed().await;
            flip(&dir.segments()[0], |bytes| bytes - from_end);
            if !keep_catalogue {
                std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
            }
            check_reopened(&dir, |handle| {
                assert_eq!(stored(handle, 1), (0..12).collect::<Vec<_>>());
                let spans = handle
                    .spans(Range::all(CameraId(1), StreamKind::Main))
                    .unwrap();
                assert_eq!(
                    spans.iter().map(|span| span.epoch.0).collect::<Vec<_>>(),
                    [1]
                );
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_catalogue_that_is_gone_noise_or_a_file_is_rebuilt() {
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for kind in ["gone", "noise", "file"] {
        let dir = sealed().await;
        let catalogue = dir.path().join("catalogue");
        match kind {
            "noise" => fill_with(&catalogue, &noise),
            _ => std::fs::remove_dir_all(&catalogue).unwrap(),
        }
        if kind == "file" {
            std::fs::write(&catalogue, &noise).unwrap();
        }
        check_reopened(&dir, |handle| {
            assert_eq!(stored(handle, 1), (0..12).collect::<Vec<_>>(), "{kind}");
            assert_eq!(handle.stats().segments_recovered, 1, "{kind}");
        })
        .await;
    }
}

fn fill_with(dir: &Path, noise: &[u8]) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fill_with(&path, noise)
        } else {
            std::fs::write(path, noise).unwrap()
        }
    }
}

/// Opens the volume and records; returns how long it took until that was durable.
async fn begin(dir: &Dir) -> (Duration, Volume, VolumeHandle) {
    let started = Instant::now();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    record_chunks(&handle, 1, 0..4);
    within(handle.flush()).await.unwrap();
    (started.elapsed(), volume, handle)
}

#[tokio::test]
async fn recording_begins_at_once_with_ten_thousand_segments_and_no_catalogue() {
    let dir = Dir::new();
    let class = dir.path().join("segments/default");
    std::fs::create_dir_all(&class).unwrap();
    (1..=10_000).for_each(|id| write_empty_segment(&class, id));
    // What the disk takes to have them is not the volume's time.
    rustix::fs::syncfs(std::fs::File::open(dir.path()).unwrap()).unwrap();
    let empty = Dir::new();
    let (alone, volume, handle) = begin(&empty).await;
    close(volume, handle).await;
    let (took, volume, handle) = begin(&dir).await;
    assert!(
        took < Duration::from_secs(2) + 4 * alone,
        "recording began after {took:?}; with nothing stored after {alone:?}"
    );
    assert_eq!(
        dir.segments().last().unwrap().file_name().unwrap(),
        "0000010001.hfs"
    );
    close(volume, handle).await;
}

fn write_empty_segment(class: &Path, id: u64) {
    let (segment, volume) = (SegmentId(id), Uuid::from_u128(7));
    let header = SegmentHeader {
        cluster: Uuid::from_u128(1),
        volume,
        node: NODE,
        segment,
        opened_at: Timestamp(T0),
        class: "default".to_owned(),
    };
    let footer = Footer {
        segment,
        volume,
        offset: BLOCK,
        closed_at: Timestamp(T0),
        batches: 0,
        damaged_batches: 0,
    };
    let mut bytes = header.encode().unwrap().to_vec();
    bytes.extend(encode_footer(&footer, &SegmentIndex::default()).0);
    std::fs::write(class.join(format!("{id:010}.hfs")), bytes).unwrap();
}

#[tokio::test]
async fn a_catalogue_that_somebody_has_open_is_waited_for_and_not_rebuilt() {
    let dir = sealed().await;
    let held = std::fs::File::open(dir.path().join("catalogue/db")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!handle.stats().is_catalogue_open);
    drop(held);
    await_recovery(&handle);
    let stats = handle.stats();
    assert_eq!(
        (stats.catalogue_rebuilds, stats.segments_recovered),
        (0, 0),
        "{stats:?}"
    );
    assert_eq!(stored(&handle, 1).len(), 12);
    close(volume, handle).await;
}
