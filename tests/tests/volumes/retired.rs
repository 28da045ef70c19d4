//! Volumes are added and retired while the node records: through its configuration file, and
//! without losing a frame. These tests need no faulty disk.

use crate::rig::{disk, rewrite};
use holdfast_chaos::oracle::{count_all, expect_covered, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, prometheus, wait};
use holdfast_node::config::{Config, Volume};
use holdfast_node::terminal::clock::wall_now;
use std::time::Duration;
use tokio::time::sleep;

fn two_folders(_: usize, config: &mut Config) {
    config.storage.volumes = ["first", "second"]
        .map(|name| Volume::new(disk(config, name)))
        .into();
}

async fn wait_cameras(site: &Site, volume: u16, wanted: f64) -> Result<()> {
    wait::until(
        &format!("volume {volume} has {wanted} cameras"),
        SETTLE_TIMEOUT,
        async || {
            let page = site.metrics(0).await.map_err(|error| error.to_string())?;
            let found = prometheus::sum(
                &page,
                "holdfast_volume_cameras",
                Some(&format!("volume=\"{volume}\"")),
            );
            if found == Some(wanted) {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_are_retired_detached_and_added_while_the_node_records() -> Result<()> {
    let mut site = Site::start(SiteOptions {
        tune: two_folders,
        ..SiteOptions::new(1, 4)
    })
    .await?;
    let from = wall_now();
    sleep(Duration::from_secs(2)).await;

    rewrite(&site, 0, |config| config.storage.volumes[0].retire = true)?;
    wait_cameras(&site, 1, 4.0).await?;
    sleep(Duration::from_secs(2)).await;
    let retired_at = wall_now();
    expect_whole(&count_all(&mut site, from, retired_at).await?)?;

    // It and its footage survive a restart, whatever the order of the volumes in the file.
    rewrite(&site, 0, |config| config.storage.volumes.reverse())?;
    assert!(site.cluster.stop(0, STOP_TIMEOUT).await?.success());
    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    wait_cameras(&site, 1, 4.0).await?;
    expect_whole(&count_all(&mut site, from, retired_at).await?)?;

    // A third is added, and the first is detached; nothing is recorded there, so nothing moves.
    let restarted_at = wall_now();
    rewrite(&site, 0, |config| {
        config.storage.volumes.retain(|volume| !volume.retire);
        config
            .storage
            .volumes
            .push(Volume::new(disk(config, "third")));
    })?;
    wait_cameras(&site, 2, 0.0).await?;
    rewrite(&site, 0, |config| {
        config
            .storage
            .volumes
            .retain(|volume| volume.path.ends_with("third"))
    })?;
    wait_cameras(&site, 2, 4.0).await?;
    sleep(Duration::from_secs(2)).await;
    let page = site.metrics(0).await?;
    assert_eq!(
        prometheus::sum(&page, "holdfast_volume_cameras", Some("volume=\"0\"")),
        None,
        "it is detached"
    );
    rewrite(&site, 0, |config| {
        config
            .storage
            .volumes
            .push(Volume::new(disk(config, "second")))
    })?;
    wait_cameras(&site, 1, 0.0).await?;
    let to = wall_now();
    expect_whole(&count_all(&mut site, restarted_at, to).await?)?;
    for camera in site.cameras().to_vec() {
        expect_covered(&site, 0, camera.id, restarted_at, to).await?;
    }
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_file_changes_nothing() -> Result<()> {
    let mut site = Site::start(SiteOptions {
        tune: two_folders,
        ..SiteOptions::new(1, 1)
    })
    .await?;
    let path = site.cluster.config_path(0).to_owned();
    let broken = std::fs::write(&path, "name = 7\n");
    broken.map_err(|source| holdfast_chaos::Error::Io {
        what: "break the configuration".into(),
        source,
    })?;
    site.cluster.signal(0, rustix::process::Signal::HUP)?;
    wait::until("the node says what is wrong", SETTLE_TIMEOUT, async || {
        let tail = site.cluster.log_tail(0);
        if tail.contains("the configuration file is wrong") {
            Ok(())
        } else {
            Err(tail)
        }
    })
    .await?;
    site.wait_recorded_beyond(wall_now()).await?;
    let page = site.metrics(0).await?;
    assert_eq!(
        prometheus::sum(
            &page,
            "holdfast_volume_state_info",
            Some("state=\"active\"")
        ),
        Some(2.0)
    );
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_differs_in_more_than_its_volumes_changes_the_volumes_and_says_what_waits()
-> Result<()> {
    let mut site = Site::start(SiteOptions {
        tune: two_folders,
        ..SiteOptions::new(1, 1)
    })
    .await?;
    let from = wall_now();
    rewrite(&site, 0, |config| {
        config
            .storage
            .volumes
            .push(Volume::new(disk(config, "third")));
        config.name = "renamed".to_owned();
    })?;
    wait_cameras(&site, 2, 0.0).await?;
    wait::until("the node says what waits", SETTLE_TIMEOUT, async || {
        let tail = site.cluster.log_tail(0);
        if tail.contains("differs in more than its volumes") {
            Ok(())
        } else {
            Err(tail)
        }
    })
    .await?;
    assert_eq!(
        site.look().await?.cluster.nodes[0].name,
        site.cluster.name(0),
        "the name waits for the next start"
    );
    sleep(Duration::from_secs(2)).await;
    expect_whole(&count_all(&mut site, from, wall_now()).await?)?;
    site.pass();
    Ok(())
}
