//! Files of a later release: refused by name and left unchanged, byte by byte, while the volume
//! records, seals, recovers and deletes others.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]
#![allow(
    clippy::ptr_arg,
    reason = "some ways to change a file also change its length"
)]

mod support;

use holdfast_storage::format::{BATCH_HEADER_BYTES, BLOCK_BYTES};
use holdfast_storage::{Error, Volume, offline};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::*;

/// The segment whose version is raised; others are older and newer.
const NEWER: u64 = 2;

/// Less than one segment holds: retention wants to delete all but the newest.
const CLASS_BYTES_MAX: u64 = 20_000;

fn file(dir: &Dir, id: u64) -> PathBuf {
    dir.path().join(format!("segments/default/{id:010}.hfs"))
}

/// Three sealed segments of camera 1, four chunks each.
async fn three_segments() -> Dir {
    let dir = Dir::new();
    for round in 0..3 {
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        record_chunks(&handle, 1, round * 4..round * 4 + 4);
        close(volume, handle).await;
    }
    dir
}

fn put_crc(bytes: &mut [u8], of: std::ops::Range<usize>, at: usize) {
    let crc = crc32fast::hash(&bytes[of]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

fn seal_block(segment: &mut [u8], at: usize) {
    put_crc(segment, at..at + BLOCK_BYTES - 4, at + BLOCK_BYTES - 4);
}

/// As a killed process leaves it, so that its batches are read.
fn unseal(segment: &mut Vec<u8>) {
    let footer = (0..segment.len())
        .step_by(BLOCK_BYTES)
        .find(|at| segment[*at..].starts_with(b"HFFT"))
        .unwrap();
    segment.truncate(footer);
    segment.resize(footer + 16 * BLOCK_BYTES, 0);
}

fn newer_header(segment: &mut Vec<u8>) {
    segment[8] = 2;
    seal_block(segment, 0);
}

fn newer_batch(segment: &mut Vec<u8>) {
    unseal(segment);
    segment[BLOCK_BYTES + 4] = 2;
    put_crc(segment, BLOCK_BYTES..BLOCK_BYTES + 60, BLOCK_BYTES + 60);
}

/// The second record of the first batch.
fn newer_record(segment: &mut Vec<u8>) {
    unseal(segment);
    let batch = BLOCK_BYTES;
    let number = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    let first = batch + BATCH_HEADER_BYTES;
    let head_bytes = usize::from(u16::from_le_bytes(
        segment[first + 6..first + 8].try_into().unwrap(),
    ));
    let second = first + (16 + head_bytes + number(first + 8)).next_multiple_of(8);
    let end = batch + number(batch + 24);
    segment[second + 5] = 2;
    put_crc(segment, first..end, batch + 56);
    put_crc(segment, batch..batch + 60, batch + 60);
}

fn newer_footer(segment: &mut Vec<u8>) {
    let trailer = segment.len() - BLOCK_BYTES;
    let number = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().unwrap()) as usize;
    let (footer, head_bytes) = (number(trailer + 40), number(trailer + 48));
    segment[footer + 4] = 2;
    put_crc(segment, footer..footer + head_bytes, trailer + 12);
    seal_block(segment, trailer);
}

fn newer_trailer(segment: &mut Vec<u8>) {
    let trailer = segment.len() - BLOCK_BYTES;
    segment[trailer + 8] = 2;
    seal_block(segment, trailer);
}

/// With a catalogue that lists the others, and without one.
async fn is_refused_and_left_untouched(make_newer: fn(&mut Vec<u8>), what: &str) {
    for keeps_catalogue in [true, false] {
        let dir = three_segments().await;
        let mut segment = std::fs::read(file(&dir, NEWER)).unwrap();
        make_newer(&mut segment);
        std::fs::remove_file(file(&dir, NEWER)).unwrap();
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        await_recovery(&handle);
        close(volume, handle).await;
        std::fs::write(file(&dir, NEWER), &segment).unwrap();
        if !keeps_catalogue {
            std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
        }
        is_refused_by_name(&dir, what);
        for next in [100, 200] {
            live_alongside(&dir, next, what).await;
            assert!(
                std::fs::read(file(&dir, NEWER)).unwrap() == segment,
                "{what}: the file was changed"
            );
        }
    }
}

fn is_refused_by_name(dir: &Dir, what: &str) {
    let path = file(dir, NEWER);
    for refused in [
        offline::inspect(&path).map(drop),
        offline::verify(&path, |_, _| {}).map(drop),
    ] {
        let said = refused.expect_err(what).to_string();
        assert!(said.contains(&path.display().to_string()), "{said}");
        assert!(
            said.contains(&format!("{what} is of format version 2"))
                && said.contains("newer release"),
            "{said}"
        );
    }
}

/// Records chunks from `next`, seals and deletes in a volume whose second segment is a newer
/// release's.
async fn live_alongside(dir: &Dir, next: u32, what: &str) {
    let mut options = dir.options();
    options.retention[0].bytes_max = Some(CLASS_BYTES_MAX);
    let (volume, handle) = Volume::open(options).unwrap();
    await_recovery(&handle);
    assert_eq!(handle.stats().segments_refused, 1, "{what}");
    record_chunks(&handle, 1, next..next + 4);
    within(handle.flush()).await.unwrap();
    assert!(
        stored(&handle, 1).ends_with(&[next, next + 1, next + 2, next + 3]),
        "{what}"
    );
    let started = Instant::now();
    while file(dir, 1).exists() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{what}: retention does not run"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    close(volume, handle).await;
}

#[tokio::test]
async fn a_newer_header_is_refused_and_left_untouched() {
    is_refused_and_left_untouched(newer_header, "segment header").await;
}

#[tokio::test]
async fn a_newer_batch_is_refused_and_left_untouched() {
    is_refused_and_left_untouched(newer_batch, "batch header").await;
}

#[tokio::test]
async fn a_newer_record_is_refused_and_left_untouched() {
    is_refused_and_left_untouched(newer_record, "record").await;
}

#[tokio::test]
async fn a_newer_footer_is_refused_and_left_untouched() {
    is_refused_and_left_untouched(newer_footer, "segment footer").await;
}

#[tokio::test]
async fn a_newer_trailer_is_refused_and_left_untouched() {
    is_refused_and_left_untouched(newer_trailer, "segment trailer").await;
}

/// One damaged byte, in header or trailer: the checksum distinguishes it from a newer release's
/// block.
#[tokio::test]
async fn a_version_field_that_rotted_costs_nothing() {
    for of_trailer in [false, true] {
        let dir = three_segments().await;
        let mut segment = std::fs::read(file(&dir, NEWER)).unwrap();
        let block = if of_trailer {
            segment.len() - BLOCK_BYTES
        } else {
            0
        };
        segment[block + 8] = 2;
        std::fs::write(file(&dir, NEWER), &segment).unwrap();
        std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        await_recovery(&handle);
        assert_eq!(
            (
                handle.stats().segments_refused,
                handle.stats().damaged_batches
            ),
            (0, 0)
        );
        assert_eq!(stored(&handle, 1), (0..12).collect::<Vec<_>>());
        close(volume, handle).await;
    }
}

#[tokio::test]
async fn a_newer_data_directory_is_refused_and_left_untouched() {
    let dir = three_segments().await;
    let identity = dir.path().join("volume.json");
    let newer = r#"{"version":2,"volumes":["elsewhere"]}"#;
    std::fs::write(&identity, newer).unwrap();
    let error = Volume::open(dir.options()).err().unwrap();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("volume.json")
            && said.contains("version 2")
            && said.contains("newer release"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(identity).unwrap(), newer);
}
