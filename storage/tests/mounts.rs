//! A volume whose path leads elsewhere: a disk that is mounted late or over it, unmounted, or
//! swapped. Here another directory takes the place of the volume's own, which is the same to a
//! program; `tests/tests/volumes/mounts.rs` mounts real disks.

#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::disk::Root;
use holdfast_storage::{Error, Volume, VolumeHandle, VolumeOptions, volume_in};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::time::sleep;

/// Every file below, with its contents; except catalogues, which are derived.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name == "catalogue") {
            } else if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn options_at(dir: &Dir, path: &Path) -> VolumeOptions {
    VolumeOptions {
        path: path.to_owned(),
        ..dir.options()
    }
}

/// A volume with some sealed segments.
async fn filled(options: &VolumeOptions, camera: u32, segments: u32) {
    for segment in 0..segments {
        let (volume, handle) = Volume::open(options.clone()).unwrap();
        await_recovery(&handle);
        record_chunks(&handle, camera, segment * 20..segment * 20 + 20);
        within(handle.flush()).await.unwrap();
        close(volume, handle).await;
    }
}

async fn failed(handle: &VolumeHandle) -> Arc<str> {
    let mut failed = handle.failed();
    let failed = within(failed.wait_for(Option::is_some)).await.unwrap();
    failed.clone().unwrap()
}

#[tokio::test]
async fn a_disk_that_is_mounted_late_is_not_written_and_what_lies_below_is_sealed() {
    let dir = Dir::new();
    let (path, below, disk) = (
        dir.path().join("v"),
        dir.path().join("below"),
        dir.path().join("disk"),
    );
    // The disk's own volume has segments of every number that is assigned below the mount point.
    filled(&options_at(&dir, &disk), 1, 6).await;
    filled(&options_at(&dir, &path), 2, 1).await;
    let before = files(&disk);
    let (volume, handle) = Volume::open(options_at(&dir, &path)).unwrap();
    await_recovery(&handle);
    record_chunks(&handle, 2, 20..40);
    within(handle.flush()).await.unwrap();
    fs::rename(&path, &below).unwrap();
    fs::rename(&disk, &path).unwrap();
    // If the volume is given up first, its orderly end is refused.
    within(handle.close()).await.ok();
    within(volume.run()).await.ok();
    let renamed = |files: BTreeMap<PathBuf, Vec<u8>>, root: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        files
            .into_iter()
            .map(|(at, bytes)| (at.strip_prefix(root).unwrap().to_owned(), bytes))
            .collect()
    };
    assert!(
        renamed(files(&path), &path) == renamed(before, &disk),
        "the disk's files are as they were"
    );

    let (volume, handle) = Volume::open(options_at(&dir, &below)).unwrap();
    await_recovery(&handle);
    assert_eq!(
        handle.stats().segments_to_recover,
        0,
        "everything is sealed and listed"
    );
    assert_eq!(stored(&handle, 2), (0..40).collect::<Vec<_>>());
    close(volume, handle).await;
}

#[tokio::test]
async fn a_volume_whose_path_leads_elsewhere_is_left_within_seconds() {
    for with_other in [false, true] {
        let dir = Dir::new();
        let (path, aside) = (dir.path().join("v"), dir.path().join("aside"));
        let (volume, handle) = Volume::open(options_at(&dir, &path)).unwrap();
        await_recovery(&handle);
        record_chunks(&handle, 1, 0..10);
        within(handle.flush()).await.unwrap();
        fs::rename(&path, &aside).unwrap();
        if with_other {
            fs::create_dir(&path).unwrap();
        }
        let reason = failed(&handle).await;
        assert!(reason.contains("is left") && handle.is_left(), "{reason}");
        within(volume.run()).await.unwrap_err();
        drop(handle);
        assert_eq!(path.exists(), with_other, "nothing was made there");
        assert!(!with_other || files(&path).is_empty());
        let (volume, handle) = Volume::open(options_at(&dir, &aside)).unwrap();
        await_recovery(&handle);
        assert_eq!(stored(&handle, 1), (0..10).collect::<Vec<_>>());
        close(volume, handle).await;
    }
}

#[tokio::test]
async fn a_file_that_took_a_segments_place_is_not_sealed() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    record_chunks(&handle, 1, 0..10);
    within(handle.flush()).await.unwrap();
    let segment = dir
        .segments()
        .into_iter()
        .find(|path| fs::read(path).unwrap().len() > 100_000)
        .unwrap();
    fs::rename(&segment, dir.path().join("aside")).unwrap();
    fs::write(&segment, b"another program's").unwrap();
    within(handle.close()).await.unwrap();
    within(volume.run()).await.unwrap();
    assert!(
        fs::read(&segment).unwrap() == b"another program's",
        "it was written to"
    );
}

#[tokio::test]
async fn a_volume_that_is_only_read_shows_everything_and_changes_nothing() {
    let dir = Dir::new();
    filled(&dir.options(), 1, 2).await;
    // A process that was killed leaves a segment without a footer.
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    record_chunks(&handle, 1, 40..50);
    within(handle.flush()).await.unwrap();
    let killed = Dir::new();
    copy(dir.path(), killed.path());
    close(volume, handle).await;

    let root = Arc::new(Root::open(killed.path()).unwrap());
    assert!(volume_in(&root).unwrap().is_some());
    let before = files(killed.path());
    let why = Arc::from("the filesystem is read-only");
    let spare_dir = Some(dir.path().join("spare"));
    let options = VolumeOptions {
        spare_dir,
        ..killed.options()
    };
    let (volume, handle) = Volume::open_reading(options, root, &why).unwrap();
    let error = within(volume.run()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Failed { reason, .. } if *reason == why),
        "{error}"
    );
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..50).collect::<Vec<_>>());
    assert!(handle.is_reading() && handle.stats().failed.is_some());
    let class = handle.class("default").unwrap();
    assert!(handle.append(class, chunk(1, 50, 10)).is_err());
    // The keeper, which is ending, may still have the catalogue.
    while !handle.release() {
        sleep(Duration::from_millis(5)).await;
    }
    drop(handle);
    for _ in 0..500 {
        if fs::read_dir(dir.path().join("spare"))
            .unwrap()
            .next()
            .is_none()
        {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        fs::read_dir(dir.path().join("spare")).unwrap().count(),
        0,
        "the catalogue goes with it"
    );
    assert!(files(killed.path()) == before);
}

#[tokio::test]
async fn a_folder_without_a_volume_is_not_read_and_one_in_use_neither() {
    let dir = Dir::new();
    let root = |path: &Path| Arc::new(Root::open(path).unwrap());
    let why = Arc::from("why");
    let read = |path: &Path| Volume::open_reading(options_at(&dir, path), root(path), &why).err();
    assert!(matches!(read(dir.path()), Some(Error::NoVolume { .. })));
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    assert!(matches!(read(dir.path()), Some(Error::Locked { .. })));
    close(volume, handle).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}
