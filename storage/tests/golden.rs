//! The golden files define format v1 byte by byte. `HOLDFAST_BLESS=1 cargo test -p holdfast-storage
//! --test golden` writes them again: do that only with a new format version.
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::chunk::{
    Access, AccessPoint, Chunk, ChunkMeta, Gap, GapCause, InitId, Record,
};
use holdfast_storage::clock::Clock;
use holdfast_storage::disk::{IoChoice, RealDisk};
use holdfast_storage::format::BLOCK_BYTES;
use holdfast_storage::ids::{CameraId, Epoch, Rank, StreamKind, TrackKind};
use holdfast_storage::offline;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Range, Volume, VolumeHandle};
use std::path::Path;
use std::sync::Arc;
use support::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-v1.hfs");

/// From a killed process: no footer, a batch with a flipped bit, a batch without its header, a torn
/// one at the end. Its contents were taken from the writer once; only readers are tested with it.
const GOLDEN_DAMAGED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/segment-v1-damaged.hfs"
);

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(T0)
    }
}

/// The writer's output for these records at a fixed time and with a fixed volume id. A flush ends
/// each batch, so that timing does not show in the file.
async fn written_now(records: Vec<Record>) -> Vec<u8> {
    let dir = Dir::new();
    let identity = format!(
        "{{\"version\":1,\"volume\":\"{}\",\"cluster\":\"{}\"}}\n",
        uuid::Uuid::from_u128(2),
        uuid::Uuid::from_u128(1)
    );
    std::fs::write(dir.path().join("volume.json"), identity).unwrap();
    let disk = Arc::new(RealDisk::new(IoChoice::Plain, dir.path()).unwrap());
    let (volume, handle) = Volume::open_on(dir.options(), disk, Arc::new(FixedClock)).unwrap();
    for record in records {
        append(&handle, record);
        within(handle.flush()).await.unwrap();
    }
    close(volume, handle).await;
    std::fs::read(&dir.segments()[0]).unwrap()
}

/// Two cameras and a gap.
fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for sequence in 0..2 {
        for camera in 1..=2 {
            records.extend((sequence == 0).then(|| init(camera)));
            records.push(chunk(camera, sequence, 700 * camera as usize + 3));
        }
    }
    records.push(Record::Gap(gap(2, T0 + 2 * CHUNK_US, T0 + 9 * CHUNK_US)));
    records
}

/// Every kind of record, stream, track, rank and flag.
fn all_kinds() -> Vec<Record> {
    let mut records = vec![
        init(1),
        init(2),
        chunk(1, 0, 900),
        chunk(2, 0, 900),
        chunk(1, 1, 5000),
    ];
    records.push(Record::Gap(Gap {
        stream: StreamKind::Sub,
        cause: GapCause::Overload,
        ..gap(1, T0, T0 + 7)
    }));
    let variants = [
        (StreamKind::Main, TrackKind::Audio, Rank::Mirror),
        (StreamKind::Sub, TrackKind::Video, Rank::Successor),
        (StreamKind::Sub, TrackKind::Metadata, Rank::Owner),
    ];
    records.extend(
        (2..)
            .zip(variants)
            .map(|(sequence, variant)| variant_of(3, sequence, variant)),
    );
    records.extend([chunk(2, 1, 900), chunk(1, 2, 900), chunk(2, 2, 9000)]);
    records
}

fn variant_of(
    camera: u32,
    sequence: u32,
    (stream, track, rank): (StreamKind, TrackKind, Rank),
) -> Record {
    let point = match sequence {
        2 => AccessPoint::Recovery { frames: 300 },
        3 => AccessPoint::Open,
        _ => AccessPoint::Sync,
    };
    let (access, since_access_ms) = (
        Some(Access {
            point,
            slices_crc: 0x1234_5678,
        }),
        Some(70_000 * sequence),
    );
    let meta = ChunkMeta {
        access,
        since_access_ms,
        ..meta(camera, sequence)
    };
    let meta = ChunkMeta {
        stream,
        track,
        rank,
        after_loss: true,
        damaged: true,
        epoch: Epoch(7),
        ..meta
    };
    Record::Chunk(Chunk {
        meta,
        parts: vec![payload(camera, sequence, 300)],
    })
}

/// Damages the writer's output as in the file's description.
fn damage(mut segment: Vec<u8>) -> Vec<u8> {
    let starts: Vec<usize> = (0..segment.len())
        .step_by(BLOCK_BYTES)
        .filter(|at| segment[*at..].starts_with(b"HFBT"))
        .collect();
    let footer = (0..segment.len())
        .step_by(BLOCK_BYTES)
        .find(|at| segment[*at..].starts_with(b"HFFT"))
        .unwrap();
    // The batches of chunk 1 of camera 1, chunk 1 of camera 2, and the last.
    let [flipped, headless, torn] = [starts[4], starts[9], starts[11]];
    segment[flipped + 3000] ^= 4;
    segment[headless..headless + 64].fill(0xa5);
    segment[torn + BLOCK_BYTES..footer].fill(0);
    segment.truncate(footer);
    segment.resize(footer + 4 * BLOCK_BYTES, 0);
    segment
}

#[tokio::test]
async fn the_writer_makes_the_golden_file_byte_by_byte() {
    let now = written_now(records()).await;
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(GOLDEN, &now).unwrap();
        std::fs::write(GOLDEN_DAMAGED, damage(written_now(all_kinds()).await)).unwrap();
    }
    let golden = std::fs::read(GOLDEN).unwrap();
    let differs = golden
        .iter()
        .zip(&now)
        .position(|(golden, now)| golden != now);
    assert_eq!(
        (differs, now.len()),
        (None, golden.len()),
        "format v1 has changed"
    );
}

#[test]
fn the_reader_reads_the_golden_file() {
    let path = Path::new(GOLDEN);
    let summary = offline::inspect(path).unwrap();
    assert_eq!(
        (summary.segment.0, summary.class.as_str(), summary.node),
        (1, "default", Some(NODE))
    );
    assert_eq!(
        (summary.chunks, summary.batches, summary.is_sealed),
        (4, 7, true)
    );
    assert_eq!(
        (summary.opened_at, summary.closed_at),
        (Some(Timestamp(T0)), Timestamp(T0))
    );
    assert!(offline::verify(path, |_, _| {}).unwrap().is_sound());
    let footage = offline::footage(path, CameraId(2), MAIN, |_, _| {}).unwrap();
    assert_eq!(
        footage.inits().unwrap(),
        [(InitId::of(&init_bytes(2)), init_bytes(2))]
    );
    for entry in footage.entries() {
        assert_eq!(entry.meta, meta(2, entry.meta.sequence));
        assert_eq!(
            footage.read(entry).unwrap(),
            payload(2, entry.meta.sequence, 1403)
        );
    }
    let sequences: Vec<u32> = footage
        .entries()
        .iter()
        .map(|entry| entry.meta.sequence)
        .collect();
    assert_eq!(sequences, [0, 1]);
}

/// Recovers a volume into which a file was copied.
async fn recovered(file: &str, check: impl FnOnce(&VolumeHandle)) {
    let dir = Dir::new();
    let class = dir.path().join("segments/default");
    std::fs::create_dir_all(&class).unwrap();
    std::fs::copy(file, class.join("0000000001.hfs")).unwrap();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    check(&handle);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_volume_serves_all_of_the_golden_file() {
    recovered(GOLDEN, |handle| {
        for camera in [1, 2] {
            assert_eq!(stored(handle, camera), [0, 1]);
            let init = InitId::of(&init_bytes(camera));
            assert_eq!(
                handle.init(CameraId(camera), init).unwrap(),
                init_bytes(camera)
            );
            let spans = handle.spans(Range::all(CameraId(camera), MAIN)).unwrap();
            assert_eq!(
                spans
                    .iter()
                    .map(|span| (span.start.0, span.end.0))
                    .collect::<Vec<_>>(),
                [(T0, T0 + 2 * CHUNK_US)]
            );
        }
        let gaps = handle.gaps(Range::all(CameraId(2), MAIN)).unwrap();
        assert_eq!(gaps, [gap(2, T0 + 2 * CHUNK_US, T0 + 9 * CHUNK_US)]);
        assert_eq!(
            (
                handle.stats().segments_recovered,
                handle.stats().damaged_batches
            ),
            (1, 0)
        );
    })
    .await;
}

#[tokio::test]
async fn a_volume_serves_what_is_sound_of_the_damaged_golden_file() {
    let report = offline::verify(Path::new(GOLDEN_DAMAGED), |_, _| {}).unwrap();
    assert_eq!(
        (report.is_header_sound, report.is_footer_sound),
        (true, None)
    );
    assert_eq!(
        (report.batches, report.damaged_batches, report.chunks_sound),
        (11, 3, 6)
    );
    recovered(GOLDEN_DAMAGED, |handle| {
        assert_eq!(
            (stored(handle, 1), stored(handle, 2)),
            (vec![0, 2], vec![0])
        );
        // All of it was written at one time, just before the crash.
        assert_eq!(
            (handle.stats().damaged_batches, handle.stats().torn_batches),
            (0, 3)
        );
        let gaps = handle
            .gaps(Range::all(CameraId(1), StreamKind::Sub))
            .unwrap();
        assert_eq!(
            gaps,
            [Gap {
                stream: StreamKind::Sub,
                cause: GapCause::Overload,
                ..gap(1, T0, T0 + 7)
            }]
        );
        let streams = [(MAIN, 1), (StreamKind::Sub, 2)];
        let found =
            streams.map(|(stream, _)| handle.entries(Range::all(CameraId(3), stream)).unwrap());
        assert_eq!(
            found.each_ref().map(Vec::len),
            streams.map(|(_, chunks)| chunks)
        );
        for entry in found.iter().flatten() {
            let ChunkMeta {
                stream,
                track,
                rank,
                sequence,
                ..
            } = entry.meta;
            let Record::Chunk(expected) = variant_of(3, sequence, (stream, track, rank)) else {
                unreachable!()
            };
            assert_eq!(
                (entry.meta, handle.read(&entry.location).unwrap()),
                (expected.meta, expected.parts.concat().into())
            );
        }
        let ranks: Vec<Rank> = found
            .iter()
            .flatten()
            .map(|entry| entry.meta.rank)
            .collect();
        assert_eq!(ranks, [Rank::Mirror, Rank::Successor, Rank::Owner]);
    })
    .await;
}
