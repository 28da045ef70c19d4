//! A volume that is full of held footage: its cameras continue on the node's other volume, or on
//! other nodes, and the accepted footage is there once the volume has space.

use crate::rig::{cameras, disk, small};
use holdfast_chaos::disk::Mount;
use holdfast_chaos::oracle::{count_all, expect_covered, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Error, Result, prometheus, wait};
use holdfast_control_api::wire::NewHold;
use holdfast_node::config::{ByteSize, Config, Volume};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

/// Twice the free space that a volume keeps, and some segments.
const DISK_BYTES: u64 = 160 << 20;

const FULL: u16 = 0;

/// The space reserved for segments is used up within seconds, even by half of the cameras, and the
/// buffer holds some seconds of all.
const CAMERA_BPS: u64 = 6_000_000;

fn one_disk(index: usize, config: &mut Config) {
    small(config);
    (
        config.storage.segment_bytes_max,
        config.storage.buffer_bytes_max,
    ) = (ByteSize(24 << 20), ByteSize(24 << 20));
    if index == 0 {
        config.storage.volumes = vec![Volume::new(disk(config, "disk").join("volume"))];
    }
}

fn two_disks(index: usize, config: &mut Config) {
    one_disk(index, config);
    config
        .storage
        .volumes
        .push(Volume::new(disk(config, "other")));
}

/// A site whose first node has its first volume on a disk of its own, with all footage held; `None`
/// if there can be no such disk.
async fn held(nodes: usize, tune: fn(usize, &mut Config)) -> Result<Option<(Site, Mount)>> {
    let mut site = Site::prepare(SiteOptions {
        nodes,
        cameras: cameras(4, CAMERA_BPS),
        tune,
    })
    .await?;
    let Some(mount) = Mount::ext4(&disk(site.cluster.config(0), "disk"), DISK_BYTES)? else {
        eprintln!("LEFT OUT: a full volume, because this process may not mount an ext4");
        site.pass();
        return Ok(None);
    };
    site.cluster.form().await?;
    site.add_all().await?;
    let from = wall_now();
    for camera in site.cameras().to_vec() {
        let hold = NewHold {
            reason: "case 7".to_owned(),
            camera: camera.id,
            from,
            to: None,
        };
        site.api()?
            .call(Method::POST, &["holds"], Some(&hold))
            .await?;
    }
    site.wait_recorded_beyond(from).await?;
    Ok(Some((site, mount)))
}

/// Fills all free space with a foreign file.
fn fill(site: &Site) -> Result<PathBuf> {
    let path = disk(site.cluster.config(0), "disk").join("others");
    let mut file = std::fs::File::create(&path).map_err(io("fill the disk"))?;
    for block in [1 << 20, 1 << 12] {
        let block = vec![1; block];
        while file.write_all(&block).is_ok() {}
    }
    file.sync_all().map_err(io("fill the disk"))?;
    Ok(path)
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        what: what.to_owned(),
        source,
    }
}

async fn wait_figure(site: &Site, family: &str, label: &str, wanted: f64) -> Result<()> {
    wait::until(
        &format!("{family}{{{label}}} is {wanted}"),
        SETTLE_TIMEOUT,
        async || {
            let page = site.metrics(0).await.map_err(|error| error.to_string())?;
            let volume = format!("volume=\"{FULL}\"");
            let lines = page
                .lines()
                .filter(|line| line.contains(&volume))
                .collect::<Vec<_>>()
                .join("\n");
            let found = prometheus::sum(&lines, family, Some(label));
            if found == Some(wanted) {
                Ok(())
            } else {
                Err(format!("it is {found:?}"))
            }
        },
    )
    .await
}

async fn is_well_and_whole(site: &mut Site, from: Timestamp) -> Result<()> {
    wait_figure(site, "holdfast_volume_state_info", "state=\"active\"", 1.0).await?;
    sleep(Duration::from_secs(2)).await;
    let to = wall_now();
    expect_whole(&count_all(site, from, to).await?)?;
    for camera in site.cameras().to_vec() {
        expect_covered(site, 0, camera.id, from, to).await?;
    }
    let page = site.metrics(0).await?;
    assert_eq!(
        prometheus::sum(&page, "holdfast_volume_deleted_bytes_total", None),
        Some(0.0),
        "held footage is gone"
    );
    assert_eq!(
        prometheus::sum(&page, "holdfast_shed_chunks_total", None),
        Some(0.0),
        "chunks were shed"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cameras_of_a_full_volume_go_to_the_other_one_without_loss() -> Result<()> {
    let Some((mut site, _mount)) = held(1, two_disks).await? else {
        return Ok(());
    };
    // All cameras have to be on this volume, so that all have to leave.
    crate::rig::rewrite(&site, 0, |config| config.storage.volumes[1].retire = true)?;
    wait_figure(&site, "holdfast_volume_cameras", "", 4.0).await?;
    crate::rig::rewrite(&site, 0, |config| config.storage.volumes[1].retire = false)?;
    let from = wall_now();
    sleep(Duration::from_secs(2)).await;
    let others = fill(&site)?;
    wait_figure(&site, "holdfast_volume_state_info", "state=\"full\"", 1.0).await?;
    wait_figure(&site, "holdfast_volume_cameras", "", 0.0).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    std::fs::remove_file(&others).map_err(io("make room"))?;
    is_well_and_whole(&mut site, from).await?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_node_has_no_other_volume_the_cluster_moves_the_cameras_without_loss()
-> Result<()> {
    let Some((mut site, _mount)) = held(2, one_disk).await? else {
        return Ok(());
    };
    let from = wall_now();
    sleep(Duration::from_secs(2)).await;
    assert!(
        !site.owned_by(0).await?.is_empty(),
        "the node with the small disk records nothing"
    );
    let others = fill(&site)?;
    site.wait_owns_nothing(0).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    std::fs::remove_file(&others).map_err(io("make room"))?;
    is_well_and_whole(&mut site, from).await?;
    site.pass();
    Ok(())
}
