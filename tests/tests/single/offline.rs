//! The offline tools on the volume of a node: while it runs, and after it has stopped.

use crate::support::rot::turn_a_bit;
use holdfast_chaos::oracle::{count_all, count_one, expect_whole};
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, ffmpeg, prometheus};
use holdfast_node::config::ByteSize;
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::format::BLOCK_BYTES;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::sleep;

const RECORDED: Duration = Duration::from_secs(7);

fn options() -> SiteOptions {
    let tune = |_: usize, config: &mut holdfast_node::config::Config| {
        config.storage.segment_seconds = 2;
        config.storage.scrub_bytes_per_second_max = ByteSize(0);
    };
    SiteOptions {
        tune,
        ..SiteOptions::new(1, 2)
    }
}

/// Exit code, JSON output (if there was any), and standard error.
fn holdfast(arguments: &[&str]) -> (i32, Value, String) {
    let binary = holdfast_next_to_this().expect("the binary");
    let output = Command::new(binary)
        .arg("--json")
        .args(arguments)
        .output()
        .expect("it runs");
    let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (
        output.status.code().expect("an exit code"),
        printed,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// The segment with a header of a later release: the checksum stays in the same place in every
/// version.
fn of_version_9(segment: &[u8]) -> Vec<u8> {
    let mut changed = segment.to_vec();
    changed[8] = 9;
    let crc = crc32fast::hash(&changed[..BLOCK_BYTES - 4]);
    changed[BLOCK_BYTES - 4..BLOCK_BYTES].copy_from_slice(&crc.to_le_bytes());
    changed
}

fn segments(volume: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(volume.join("segments/default")).expect("segments");
    let mut paths: Vec<_> = files.map(|entry| entry.expect("one").path()).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_verified_while_its_node_runs_and_listed_again_after_it() -> Result<()> {
    let mut site = Site::start(options()).await?;
    let from = wall_now();
    sleep(RECORDED).await;
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    let volume = site.cluster.config(0).volume_paths()[0].clone();
    let dir = volume.to_str().expect("a path").to_owned();

    let (code, report, said) = holdfast(&["volume", "verify", &dir]);
    assert_eq!(
        (code, &report["is_sound"]),
        (0, &true.into()),
        "{report} {said}"
    );
    assert_eq!(
        report["in_use_by"],
        site.cluster.pid(0).expect("it runs").to_string(),
        "{report}"
    );
    assert!(report["sound_segments"].as_u64() >= Some(2), "{report}");
    let (code, _, said) = holdfast(&["volume", "rebuild-catalogue", &dir]);
    assert!(code == 1 && said.contains("in use by process"), "{said}");
    expect_whole(&count_all(&mut site, from, to).await?)?;

    assert_eq!(
        site.cluster.stop(0, STOP_TIMEOUT).await?.code(),
        Some(0),
        "{}",
        site.cluster.log_tail(0)
    );
    let camera = site.cameras()[0].clone();
    let files = segments(&volume);
    let (newer, older) = files.split_last().expect("segments");
    let (segment, rotten) = turn_a_bit(older, camera.id, (from, to))?;
    extracts(&site, &segment).await?;
    let sound = fs::read(newer).expect("a segment");
    let changed = of_version_9(&sound);
    fs::write(newer, &changed).expect("a segment");

    let (code, report, said) = holdfast(&["volume", "verify", &dir]);
    assert_eq!(
        (code, &report["lost_chunks"]),
        (1, &1.into()),
        "{report} {said}"
    );
    assert_eq!(report["losses"][0]["camera"], camera.id.0, "{report}");
    assert_eq!(
        report["losses"][0]["first"],
        rotten.meta.start.to_string(),
        "{report}"
    );
    let failed = report["failed"][0]["error"].as_str().unwrap_or_default();
    assert!(failed.contains("version 9"), "{report}");
    assert_eq!(
        fs::read(newer).expect("a segment"),
        changed,
        "what is newer is left untouched"
    );
    fs::write(newer, &sound).expect("a segment");

    fs::remove_dir_all(volume.join("catalogue")).expect("the catalogue");
    let (code, report, said) = holdfast(&["volume", "rebuild-catalogue", &dir]);
    // A segment begun right before the stop may have no footer yet: the next start reads its
    // contents.
    let found = report["listed_segments"]
        .as_u64()
        .zip(report["unsealed_segments"].as_u64());
    let is_all =
        |(listed, unsealed): (u64, u64)| listed + unsealed == files.len() as u64 && unsealed <= 1;
    assert!(code == 0 && found.is_some_and(is_all), "{report} {said}");
    for (path, expected) in [
        (volume.join("no"), 3),
        (volume.join("segments"), 3),
        (volume.join("volume.json"), 3),
    ] {
        assert_eq!(
            holdfast(&["volume", "verify", path.to_str().expect("a path")]).0,
            expected,
            "{}",
            path.display()
        );
    }

    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    let rebuilds = prometheus::sum(
        &site.metrics(0).await?,
        "holdfast_volume_catalogue_rebuilds_total",
        None,
    );
    assert_eq!(
        rebuilds,
        Some(0.0),
        "the node does not take the catalogue that the tool made"
    );
    let other = site.cameras()[1].clone();
    expect_whole(&[count_one(&mut site, &other, from, to).await?])?;
    let verdict = count_one(&mut site, &camera, from, to).await?;
    assert!((1..=30).contains(&verdict.loss.lost), "{verdict:?}");
    site.pass();
    Ok(())
}

/// Each camera's part is an MP4 that plays; without a camera the tool lists the cameras.
async fn extracts(site: &Site, segment: &Path) -> Result<()> {
    let segment = segment.to_str().expect("a path");
    let file = site.dir().join("extracted.mp4");
    let output = file.to_str().expect("a path");
    let (code, _, said) = holdfast(&["segment", "extract", segment, "-o", output]);
    assert!(code == 2 && said.contains("holds cameras 1, 2"), "{said}");
    for (camera, expected) in [("1", 1), ("2", 1)] {
        let (code, extracted, said) = holdfast(&[
            "segment", "extract", segment, "--camera", camera, "-o", output, "--force",
        ]);
        // The segment is damaged, and the sound part is written.
        assert_eq!(code, expected, "{extracted} {said}");
        if ffmpeg::is_installed().await {
            assert_eq!(ffmpeg::complaints(&file).await?, "", "of camera {camera}");
        } else {
            eprintln!("LEFT OUT: decoding the extract, for want of ffmpeg");
        }
    }
    Ok(())
}
