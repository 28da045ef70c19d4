//! A disk that is too small for the incoming footage: the oldest is deleted, and recording
//! continues.

use holdfast_camera::CameraOptions;
use holdfast_chaos::disk::Mount;
use holdfast_chaos::oracle::{count_all, expect_whole};
use holdfast_chaos::site::{Site, SiteOptions};
use holdfast_chaos::{Result, prometheus, wait};
use holdfast_node::config::{ByteSize, Config, Volume};
use holdfast_node::terminal::clock::wall_now;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

const DISK_BYTES: u64 = 96 << 20;

const FREE_BYTES_MIN: u64 = 24 << 20;

/// 5 MB/s in total: the disk is full after twenty seconds.
const CAMERA_BPS: u64 = 20_000_000;

fn disk(config: &Config) -> PathBuf {
    config.data_dir.with_file_name("disk")
}

fn options() -> SiteOptions {
    let camera = |id| CameraOptions {
        bitrate_bps: CAMERA_BPS,
        ..CameraOptions::new(id)
    };
    let tune = |_, config: &mut Config| {
        config.storage.volumes = vec![Volume::new(disk(config))];
        config.storage.segment_seconds = 2;
        config.storage.segment_bytes_max = ByteSize(20 << 20);
        config.storage.buffer_bytes_max = ByteSize(20 << 20);
        config.storage.free_bytes_min = ByteSize(FREE_BYTES_MIN);
    };
    SiteOptions {
        nodes: 1,
        cameras: (1..=2).map(camera).collect(),
        tune,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_the_oldest_goes_and_recording_goes_on() -> Result<()> {
    let mut site = Site::prepare(options()).await?;
    let Some(_mount) = Mount::tmpfs(&disk(site.cluster.config(0)), DISK_BYTES)? else {
        eprintln!("LEFT OUT: a full disk, because this process may not mount");
        site.pass();
        return Ok(());
    };
    site.cluster.form().await?;
    site.add_all().await?;
    site.wait_recorded_beyond(wall_now()).await?;
    wait::until(
        "the oldest was deleted twice over",
        Duration::from_secs(90),
        async || {
            let page = site.metrics(0).await.map_err(|error| error.to_string())?;
            let deleted =
                prometheus::sum(&page, "holdfast_volume_deleted_bytes_total", None).unwrap_or(0.0);
            let free = prometheus::sum(&page, "holdfast_volume_free_bytes", None);
            if deleted > DISK_BYTES as f64 {
                Ok(())
            } else {
                Err(format!("{deleted} bytes deleted, {free:?} bytes free"))
            }
        },
    )
    .await?;
    let from = wall_now();
    sleep(Duration::from_secs(3)).await;
    // The footage that retention leaves is whole: the newest seconds, which include the time of the
    // deletions.
    expect_whole(&count_all(&mut site, from, wall_now()).await?)?;
    let page = site.metrics(0).await?;
    assert_eq!(
        prometheus::sum(&page, "holdfast_shed_chunks_total", None),
        Some(0.0),
        "chunks were shed"
    );
    assert_eq!(
        prometheus::sum(&page, "holdfast_volume_failed_info", None),
        Some(0.0),
        "the volume failed"
    );
    site.pass();
    Ok(())
}
