//! Format v1 is what the golden file says, byte by byte. `HOLDFAST_BLESS=1 cargo test -p holdfast-storage --test golden` writes it anew:
//! do that only with a new format version.
#![allow(clippy::unwrap_used, reason = "test code; clippy exempts only functions marked as tests")]

mod support;

use holdfast_storage::Volume;
use holdfast_storage::chunk::{InitId, Record};
use holdfast_storage::clock::Clock;
use holdfast_storage::disk::{IoChoice, RealDisk};
use holdfast_storage::ids::CameraId;
use holdfast_storage::offline;
use holdfast_storage::time::Timestamp;
use std::path::Path;
use std::sync::Arc;
use support::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/segment-v1.hfs");

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(T0)
    }
}

/// What the writer makes of two cameras, a gap and two flushes, at a fixed time and with a fixed volume id.
async fn written_now() -> Vec<u8> {
    let dir = Dir::new();
    let identity = format!(
        "{{\"version\":1,\"volume\":\"{}\",\"cluster\":\"{}\"}}\n",
        uuid::Uuid::from_u128(2),
        uuid::Uuid::from_u128(1)
    );
    std::fs::write(dir.path().join("volume.json"), identity).unwrap();
    let disk = Arc::new(RealDisk::new(IoChoice::Plain, dir.path()).unwrap());
    let (volume, handle) = Volume::open_on(dir.options(), disk, Arc::new(FixedClock)).unwrap();
    record_all(&handle).await;
    close(volume, handle).await;
    std::fs::read(&dir.segments()[0]).unwrap()
}

/// A flush ends each batch, so that timing does not show in the file.
async fn record_all(handle: &holdfast_storage::VolumeHandle) {
    for sequence in 0..2 {
        for camera in 1..=2 {
            if sequence == 0 {
                append(handle, init(camera));
                within(handle.flush()).await.unwrap();
            }
            append(handle, chunk(camera, sequence, 700 * camera as usize + 3));
            within(handle.flush()).await.unwrap();
        }
    }
    append(handle, Record::Gap(gap(2, T0 + 2 * CHUNK_US, T0 + 9 * CHUNK_US)));
    within(handle.flush()).await.unwrap();
}

#[tokio::test]
async fn the_writer_makes_the_golden_file_byte_by_byte() {
    let now = written_now().await;
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(GOLDEN, &now).unwrap();
    }
    let golden = std::fs::read(GOLDEN).unwrap();
    let differs = golden.iter().zip(&now).position(|(golden, now)| golden != now);
    assert_eq!((differs, now.len()), (None, golden.len()), "format v1 has changed");
}

#[test]
fn the_reader_reads_the_golden_file() {
    let path = Path::new(GOLDEN);
    let summary = offline::inspect(path).unwrap();
    assert_eq!((summary.segment.0, summary.class.as_str(), summary.node), (1, "default", Some(NODE)));
    assert_eq!((summary.chunks, summary.batches, summary.is_sealed), (4, 7, true));
    assert_eq!((summary.opened_at, summary.closed_at), (Some(Timestamp(T0)), Timestamp(T0)));
    assert!(offline::verify(path, |_, _| {}).unwrap().is_sound());
    let footage = offline::footage(path, CameraId(2), MAIN, |_, _| {}).unwrap();
    assert_eq!(footage.inits().unwrap(), [(InitId::of(&init_bytes(2)), init_bytes(2))]);
    for entry in footage.entries() {
        assert_eq!(entry.meta, meta(2, entry.meta.sequence));
        assert_eq!(footage.read(entry).unwrap(), payload(2, entry.meta.sequence, 1403));
    }
    let sequences: Vec<u32> = footage.entries().iter().map(|entry| entry.meta.sequence).collect();
    assert_eq!(sequences, [0, 1]);
}
