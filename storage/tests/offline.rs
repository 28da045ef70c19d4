//! A whole volume without a running node: verified, and listed again.

#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::offline::{rebuild_catalogue, verify, verify_volume};
use holdfast_storage::{Error, Volume};
use std::path::Path;
use support::*;

/// Sealed segments of four chunks each.
async fn recorded(segments: u32) -> Dir {
    let dir = Dir::new();
    for segment in 0..segments {
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        record_chunks(&handle, 1, segment * 4..segment * 4 + 4);
        close(volume, handle).await;
    }
    dir
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_volume_is_verified_while_its_node_runs() {
    let dir = recorded(3).await;
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    record_chunks(&handle, 1, 12..14);
    within(handle.flush()).await.unwrap();
    let mut seen = Vec::new();
    let report = verify_volume(dir.path(), |progress| seen.push(progress.done_segments)).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(
        (
            report.sound_segments,
            report.unsealed_segments,
            report.sound_chunks
        ),
        (3, 1, 12)
    );
    assert_eq!(report.in_use_by, Some(std::process::id().to_string()));
    assert!(seen.is_sorted() && seen.last() == Some(&4), "{seen:?}");
    assert!(matches!(
        rebuild_catalogue(dir.path(), |_| {}),
        Err(Error::Locked { .. })
    ));
    close(volume, handle).await;
}

#[tokio::test]
async fn losses_are_summed_up_by_camera_and_the_rest_judged() {
    let dir = recorded(4).await;
    let files = dir.segments();
    for (file, sequence) in [(0, 1), (0, 2), (1, 5)] {
        let whole = payload(1, sequence, 10_000);
        change(&files[file], |bytes| {
            let at = bytes
                .windows(whole.len())
                .position(|window| window == whole)
                .unwrap();
            bytes[at] ^= 1;
        });
    }
    change(&files[2], |bytes| {
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    });
    let report = verify_volume(dir.path(), |_| {}).unwrap();
    assert_eq!(
        (
            report.in_use_by,
            report.sound_segments,
            report.damaged.len(),
            report.lost_chunks
        ),
        (None, 1, 2, 3)
    );
    assert!(
        report.failed.len() == 1 && report.failed[0].error.contains("version 9"),
        "{:?}",
        report.failed
    );
    let loss = report.losses[0];
    assert_eq!(
        (loss.camera, loss.stream, loss.chunks),
        (CameraId(1), StreamKind::Main, 3)
    );
    assert_eq!(
        (loss.first, loss.last),
        (meta(1, 1).start, meta(1, 5).end())
    );
}

#[tokio::test]
async fn a_file_that_is_cut_short_is_distinguished_from_one_that_a_crash_left() {
    let dir = recorded(1).await;
    let path = dir.segments()[0].clone();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..30_000]).unwrap();
    let report = verify(&path, |_, _| {}).unwrap();
    assert!(report.is_cut_short && !report.is_sound(), "{report:?}");
    let mut torn = whole[..30_000].to_vec();
    torn.resize(whole.len() + 65_536, 0);
    std::fs::write(&path, torn).unwrap();
    let report = verify(&path, |_, _| {}).unwrap();
    assert!(
        report.is_tail_torn && !report.is_cut_short && report.is_sound(),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_rebuilt_catalogue_is_taken_over_and_lists_the_same() {
    let dir = recorded(3).await;
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
    let report = rebuild_catalogue(dir.path(), |_| {}).unwrap();
    assert_eq!(
        (
            report.listed_segments,
            report.unsealed_segments,
            report.failed.len()
        ),
        (3, 0, 0)
    );
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    assert_eq!(
        (
            handle.stats().segments_recovered,
            handle.stats().catalogue_rebuilds
        ),
        (0, 0)
    );
    assert_eq!(stored(&handle, 1), (0..12).collect::<Vec<_>>());
    close(volume, handle).await;
    assert!(matches!(
        verify_volume(&dir.path().join("segments"), |_| {}),
        Err(Error::NoVolume { .. })
    ));
}
