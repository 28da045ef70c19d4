//! Evidence on a real ext4: a hold outlives retention, and a disk that foreign files fill.

use crate::support::export_plays;
use holdfast_camera::CameraOptions;
use holdfast_chaos::disk::Mount;
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions, new_camera, source};
use holdfast_chaos::{Error, Result, prometheus, wait};
use holdfast_control_api::wire::{Camera, Hold, NewCamera, NewHold};
use holdfast_node::config::{ByteSize, Config, DEFAULT_RETENTION_CLASS, RetentionClass, Volume};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DISK_BYTES: u64 = 384 << 20;

const CLASS_BYTES_MAX: u64 = 32 << 20;

/// Number of polls until a camera reports that it is not recorded.
const ERROR_LOOKS: u32 = 50;
const ERROR_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// 2.5 MB/s each.
const CAMERA_BPS: u64 = 20_000_000;

fn disk(config: &Config) -> PathBuf {
    config.data_dir.with_file_name("disk")
}

fn tune(_: usize, config: &mut Config) {
    config.storage.volumes = vec![Volume::new(disk(config).join("volume"))];
    config.storage.segment_seconds = 2;
    config.storage.segment_bytes_max = ByteSize(20 << 20);
    config.storage.buffer_bytes_max = ByteSize(20 << 20);
    config.storage.free_bytes_min = ByteSize(16 << 20);
    let class = |name: &str, bytes_max| RetentionClass {
        class: name.to_owned(),
        age_days: None,
        bytes_max,
    };
    config.retention = vec![
        class(DEFAULT_RETENTION_CLASS, None),
        class("short", Some(ByteSize(CLASS_BYTES_MAX))),
    ];
}

/// A node on a disk of its own, with a camera of each class; `None` if there can be no such disk.
async fn site(classes: &[&str]) -> Result<Option<(Site, Mount, Vec<CameraId>)>> {
    let numbers = 1..=u32::try_from(classes.len()).unwrap_or(u32::MAX);
    let cameras = numbers.clone().map(|id| CameraOptions {
        bitrate_bps: CAMERA_BPS,
        ..CameraOptions::new(id)
    });
    let mut site = Site::prepare(SiteOptions {
        nodes: 1,
        cameras: cameras.collect(),
        tune,
    })
    .await?;
    let Some(mount) = Mount::ext4(&disk(site.cluster.config(0)), DISK_BYTES)? else {
        eprintln!("LEFT OUT: holds on a real ext4, because this process may not mount one");
        site.pass();
        return Ok(None);
    };
    site.cluster.form().await?;
    let mut ids = Vec::new();
    for (number, class) in numbers.zip(classes) {
        let url = site.server().url(number);
        let new = NewCamera {
            retention_class: (*class).to_owned(),
            ..new_camera(&format!("cam{number}"), source(url))
        };
        let camera: Camera = read(
            site.api()?
                .call(Method::POST, &["cameras"], Some(&new))
                .await?,
        )?;
        ids.push(camera.id);
    }
    site.wait_these_recorded_beyond(&ids, wall_now()).await?;
    Ok(Some((site, mount, ids)))
}

fn read<T: serde::de::DeserializeOwned>(answer: serde_json::Value) -> Result<T> {
    serde_json::from_value(answer).map_err(|error| Error::Wrong(error.to_string()))
}

async fn hold(
    site: &mut Site,
    camera: CameraId,
    from: Timestamp,
    to: Option<Timestamp>,
) -> Result<Hold> {
    let new = NewHold {
        reason: "case 7".to_owned(),
        camera,
        from,
        to,
    };
    read(
        site.api()?
            .call(Method::POST, &["holds"], Some(&new))
            .await?,
    )
}

async fn metric(site: &Site, name: &str) -> std::result::Result<f64, String> {
    let page = site.metrics(0).await.map_err(|error| error.to_string())?;
    prometheus::sum(&page, name, None).ok_or_else(|| format!("there is no {name}"))
}

async fn wait_metric(site: &Site, name: &str, is_so: impl Fn(f64) -> bool) -> Result<()> {
    wait::until(name, SETTLE_TIMEOUT * 2, async || {
        let value = metric(site, name).await?;
        if is_so(value) {
            Ok(())
        } else {
            Err(format!("{name} is {value}"))
        }
    })
    .await
}

/// Writes until there is no space.
fn fill(path: &Path) -> Result<()> {
    let failed = |source| Error::Io {
        what: "fill the disk".into(),
        source,
    };
    let mut file = std::fs::File::create(path).map_err(failed)?;
    let block = vec![1; 1 << 20];
    while file.write_all(&block).is_ok() {}
    file.sync_all().map_err(failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_others_fill_where_all_is_held_says_so_and_recording_comes_back_by_itself()
-> Result<()> {
    let Some((mut site, _mount, cameras)) =
        site(&[DEFAULT_RETENTION_CLASS, DEFAULT_RETENTION_CLASS]).await?
    else {
        return Ok(());
    };
    let from = wall_now();
    for camera in &cameras {
        hold(&mut site, *camera, from.plus_micros(-3_600_000_000), None).await?;
    }
    wait_metric(&site, "holdfast_volume_held_bytes", |bytes| bytes > 0.0).await?;
    let others = disk(site.cluster.config(0)).join("others");
    fill(&others)?;
    wait_metric(&site, "holdfast_volume_full_info", |full| full == 1.0).await?;
    wait_metric(&site, "holdfast_volume_retention_short_bytes", |bytes| {
        bytes > 0.0
    })
    .await?;
    wait_metric(&site, "holdfast_shed_chunks_total", |chunks| chunks > 0.0).await?;
    let why = site
        .cluster
        .api(0)?
        .probe("/readyz")
        .await
        .map_err(|error| error.message);
    assert!(
        why.as_ref()
            .is_err_and(|why| why.contains("nothing on it may be deleted")),
        "{why:?}"
    );
    site.cluster.api(0)?.probe("/healthz").await?;
    // A poll sees one moment: as one chunk leaves the queue, the next is accepted.
    let mut is_reported = false;
    for _ in 0..ERROR_LOOKS {
        is_reported = site
            .look()
            .await?
            .cameras
            .iter()
            .any(|camera| camera.recording.error.is_some());
        if is_reported {
            break;
        }
        tokio::time::sleep(ERROR_LOOK_INTERVAL).await;
    }
    assert!(is_reported, "no camera says that it is not recorded");
    std::fs::remove_file(&others).map_err(|source| Error::Io {
        what: "make room".into(),
        source,
    })?;
    let room_at = wall_now();
    site.wait_these_recorded_beyond(&cameras, room_at.plus_micros(1_000_000))
        .await?;
    wait_metric(&site, "holdfast_volume_full_info", |full| full == 0.0).await?;
    site.cluster.api(0)?.probe("/readyz").await?;
    assert_eq!(
        metric(&site, "holdfast_volume_deleted_bytes_total")
            .await
            .ok(),
        Some(0.0),
        "held footage was deleted"
    );
    assert_eq!(
        metric(&site, "holdfast_volume_failed_info").await.ok(),
        Some(0.0),
        "the volume failed"
    );
    wait::until("the gaps are in the ledger", SETTLE_TIMEOUT, async || {
        let mut causes = Vec::new();
        for camera in &cameras {
            let timeline = site
                .timeline(0, *camera, from, room_at)
                .await
                .map_err(|error| error.to_string())?;
            causes.extend(timeline.gaps.iter().map(|gap| gap.cause));
        }
        // While the queue is finally written out, a chunk or two may come too early.
        let known = causes
            .iter()
            .all(|cause| matches!(cause, GapCause::VolumeFailed | GapCause::Overload));
        if known && causes.contains(&GapCause::VolumeFailed) {
            Ok(())
        } else {
            Err(format!("{causes:?}"))
        }
    })
    .await?;
    site.pass();
    Ok(())
}

async fn recorded_from(
    site: &Site,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Timestamp>> {
    let timeline = site.timeline(0, camera, from, to).await?;
    Ok(timeline.spans.first().map(|span| span.start))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_class_loses_its_oldest_only_and_what_is_held_of_it_still_plays() -> Result<()> {
    let Some((mut site, _mount, cameras)) =
        site(&[DEFAULT_RETENTION_CLASS, "short", "short"]).await?
    else {
        return Ok(());
    };
    let [kept, held, short] = cameras[..] else {
        return Err(Error::Wrong("three cameras were added".to_owned()));
    };
    let from = wall_now();
    let to = from.plus_micros(3_000_000);
    hold(&mut site, held, from, Some(to)).await?;
    site.wait_these_recorded_beyond(&[held, kept], to).await?;
    let before = site.timeline(0, held, from, to).await?;
    let kept_start = recorded_from(&site, kept, from, to).await?;
    let later = to.plus_micros(4_000_000);
    wait::until(
        "the oldest of the class is gone",
        SETTLE_TIMEOUT * 2,
        async || {
            let start = recorded_from(&site, short, from, wall_now())
                .await
                .map_err(|error| error.to_string())?;
            if start.is_some_and(|start| start > later) {
                Ok(())
            } else {
                Err(format!("{start:?} is before {later}"))
            }
        },
    )
    .await?;
    wait_metric(&site, "holdfast_volume_copied_bytes_total", |bytes| {
        bytes > 0.0
    })
    .await?;
    wait_metric(&site, "holdfast_volume_full_in_seconds", |seconds| {
        seconds < 3_600.0
    })
    .await?;
    assert!(!before.spans.is_empty() && kept_start.is_some());
    assert_eq!(
        recorded_from(&site, kept, from, wall_now()).await?,
        kept_start,
        "another class lost footage"
    );
    assert_eq!(
        site.timeline(0, held, from, to).await?,
        before,
        "the move is visible to no reader"
    );
    export_plays(&mut site, held, from, to).await?;
    wait::until("what is not held is gone", SETTLE_TIMEOUT, async || {
        let after = recorded_from(&site, held, to.plus_micros(1_000_000), wall_now()).await;
        let after = after.map_err(|error| error.to_string())?;
        if after.is_some_and(|start| start > later) {
            Ok(())
        } else {
            Err(format!("{after:?} is before {later}"))
        }
    })
    .await?;
    site.pass();
    Ok(())
}
