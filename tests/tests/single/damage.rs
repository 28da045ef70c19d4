//! Stored data is damaged while the node is down: sound footage is served, damaged footage never.

use crate::support::export_plays;
use holdfast_chaos::oracle::{MARGIN, count_all, count_one, expect_whole};
use holdfast_chaos::prometheus;
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::wait;
use holdfast_chaos::{Error, Result};
use holdfast_node::demo::footage;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::offline;
use holdfast_storage::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// At least as many are there after [`recorded`].
const SEGMENTS_MIN: usize = 5;

const SEGMENT_SECONDS: u64 = 2;

/// A slow disk takes its time for a new segment.
const RECORDED_MAX: Duration = Duration::from_secs(60);

/// The bytes that damage consists of; they occur nowhere else in a segment.
const NOISE: &[u8; 32] = b"NOISE-that-no-camera-ever-sent-\xff";

fn options() -> SiteOptions {
    SiteOptions {
        tune: |_, config| config.storage.segment_seconds = SEGMENT_SECONDS,
        ..SiteOptions::new(1, 2)
    }
}

/// A stopped node with footage, and the interval in which it is whole.
async fn recorded() -> Result<(Site, Timestamp, Timestamp)> {
    let mut site = Site::start(options()).await?;
    let from = wall_now();
    wait::until("several segments", RECORDED_MAX, async || {
        match segments(&site).len() {
            SEGMENTS_MIN.. => Ok(()),
            count => Err(format!("{count} of {SEGMENTS_MIN}")),
        }
    })
    .await?;
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    stop(&mut site).await?;
    Ok((site, from, to))
}

async fn stop(site: &mut Site) -> Result<()> {
    assert_eq!(
        site.cluster.stop(0, STOP_TIMEOUT).await?.code(),
        Some(0),
        "{}",
        site.cluster.log_tail(0)
    );
    Ok(())
}

async fn start(site: &mut Site) -> Result<()> {
    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    site.wait_recorded_beyond(wall_now()).await
}

fn volume(site: &Site) -> PathBuf {
    site.cluster.config(0).volume_paths()[0].clone()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
    {
        if entry.is_dir() {
            found.extend(files_below(&entry))
        } else {
            found.push(entry)
        }
    }
    found.sort();
    found
}

fn segments(site: &Site) -> Vec<PathBuf> {
    files_below(&volume(site).join("segments"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_that_is_deleted_or_noise_is_rebuilt_and_all_is_served() -> Result<()> {
    let (mut site, from, to) = recorded().await?;
    let catalogue = volume(&site).join("catalogue");
    fs::remove_dir_all(&catalogue).expect("the catalogue");
    start(&mut site).await?;
    expect_whole(&count_all(&mut site, from, to).await?)?;
    stop(&mut site).await?;

    let files = files_below(&catalogue);
    assert!(!files.is_empty(), "the catalogue has no files to damage");
    for file in files {
        let length = fs::metadata(&file).expect("a file").len() as usize;
        fs::write(&file, NOISE.repeat(length / NOISE.len() + 1)).expect("noise");
    }
    start(&mut site).await?;
    expect_whole(&count_all(&mut site, from, to).await?)?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_chunks_are_never_served_and_all_others_are() -> Result<()> {
    let (mut site, from, to) = recorded().await?;
    let files = segments(&site);
    assert!(files.len() >= 4, "too few segments: {files:?}");
    overwrite_middle(&files[1], site.cameras()[0].id);
    cut_off_a_third(&files[2]);
    start(&mut site).await?;

    for camera in site.cameras().to_vec() {
        let verdict = count_one(&mut site, &camera, from, to).await?;
        println!(
            "{}: {} of {} frames lost",
            verdict.name, verdict.loss.lost, verdict.loss.sent
        );
        assert_eq!(
            (verdict.loss.foreign, verdict.loss.reordered),
            (0, 0),
            "{verdict:?}"
        );
        let file = export_plays(&mut site, camera.id, from, to).await?;
        assert!(
            !file.windows(NOISE.len()).any(|window| window == NOISE),
            "noise was served"
        );
        // A GOP around the overwritten bytes, and the end of one segment with the GOP that it
        // begins in.
        assert!(
            verdict.loss.lost <= 25 * (2 + SEGMENT_SECONDS + 1),
            "{verdict:?}"
        );
        assert!(verdict.loss.gaps.len() <= 2, "{verdict:?}");
    }
    let lost: u64 = lost_frames(&mut site, from, to).await?;
    assert!(lost > 0, "nothing was damaged: this proves nothing");
    // By a reader, or by the scrub if it was faster.
    let damaged = prometheus::sum(
        &site.metrics(0).await?,
        "holdfast_volume_found_damaged_chunks_total",
        None,
    );
    assert!(
        damaged > Some(0.0),
        "the damage is not counted: {damaged:?}"
    );
    site.pass();
    Ok(())
}

async fn lost_frames(site: &mut Site, from: Timestamp, to: Timestamp) -> Result<u64> {
    let mut lost = 0;
    for camera in site.cameras().to_vec() {
        lost += count_one(site, &camera, from, to).await?.loss.lost;
    }
    Ok(lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_is_nothing_but_noise_costs_its_own_footage_only() -> Result<()> {
    let (mut site, from, to) = recorded().await?;
    let files = segments(&site);
    let length = fs::metadata(&files[1]).expect("a segment").len() as usize;
    fs::write(&files[1], NOISE.repeat(length / NOISE.len())).expect("noise");
    fs::remove_dir_all(volume(&site).join("catalogue")).expect("the catalogue");
    start(&mut site).await?;
    for camera in site.cameras().to_vec() {
        let verdict = count_one(&mut site, &camera, from, to).await?;
        assert!(
            (1..=25 * (SEGMENT_SECONDS + 3)).contains(&verdict.loss.lost),
            "{verdict:?}"
        );
        assert_eq!(verdict.loss.gaps.len(), 1, "{verdict:?}");
        let file = footage::export(&site.api()?, camera.id, from, to.plus(MARGIN)).await?;
        footage::stamps_of(&file).map_err(|error| Error::Wrong(error.to_string()))?;
    }
    assert!(
        files[1].exists(),
        "an unreadable file is kept for a version that can read it"
    );
    site.pass();
    Ok(())
}

/// Overwrites the middle of a chunk in the middle of the file: damage to the padding between
/// batches would have no effect.
fn overwrite_middle(path: &Path, camera: CameraId) {
    let footage = offline::footage(path, camera, StreamKind::Main, |_, _| {}).expect("footage");
    let chunk = footage.entries()[footage.entries().len() / 2].location;
    let mut bytes = fs::read(path).expect("a segment");
    let middle = chunk.offset as usize + chunk.payload_bytes as usize / 2;
    bytes[middle..middle + NOISE.len()].copy_from_slice(NOISE);
    fs::write(path, bytes).expect("a segment");
}

fn cut_off_a_third(path: &Path) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a segment");
    let length = file.metadata().expect("a segment").len();
    file.set_len(length / 3 * 2).expect("a segment");
}
