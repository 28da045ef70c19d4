//! A chunk rots on one node, and another node that serves it finds the damage.

use crate::support::export_plays;
use crate::support::rot::turn_a_bit;
use holdfast_chaos::oracle::count_one;
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, prometheus};
use holdfast_control_api::wire;
use holdfast_node::config::ByteSize;
use holdfast_node::terminal::clock::wall_now;
use std::fs;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_nodes_damaged_chunk_is_left_out_and_the_rest_is_served() -> Result<()> {
    let tune = |_: usize, config: &mut holdfast_node::config::Config| {
        config.storage.segment_seconds = 2;
        config.storage.hang_after_ms = 60_000;
        config.storage.lag_max_ms = 60_000;
        // So that a reader finds it first.
        config.storage.scrub_bytes_per_second_max = ByteSize(0);
    };
    let mut site = Site::start(SiteOptions {
        tune,
        ..SiteOptions::new(3, 3)
    })
    .await?;
    let from = wall_now();
    sleep(Duration::from_secs(7)).await;
    let to = wall_now();
    let look = site.look().await?;
    // The client asks the first node that runs; another one is to serve.
    let is_elsewhere = |camera: &&wire::Camera| {
        camera
            .assignment
            .owner
            .is_some_and(|owner| site.index_of(&look, owner).is_ok_and(|index| index != 0))
    };
    let elsewhere = look
        .cameras
        .iter()
        .find(is_elsewhere)
        .expect("a camera that the first node does not own");
    let holder = site.index_of(&look, elsewhere.assignment.owner.expect("an owner"))?;
    let camera = site
        .cameras()
        .iter()
        .find(|camera| camera.id == elsewhere.id)
        .expect("a camera of the site")
        .clone();
    site.cluster.stop(holder, STOP_TIMEOUT).await?;
    let class = site.cluster.config(holder).volume_paths()[0].join("segments/default");
    let mut segments: Vec<_> = fs::read_dir(class)
        .expect("segments")
        .map(|entry| entry.expect("one").path())
        .collect();
    segments.sort();
    turn_a_bit(&segments, camera.id, (from, to))?;
    site.cluster.start(holder)?;
    site.cluster.wait_ready(holder).await?;
    site.wait_recorded_beyond(wall_now()).await?;

    export_plays(&mut site, camera.id, from, to).await?;
    let verdict = count_one(&mut site, &camera, from, to).await?;
    assert!(
        (1..=30).contains(&verdict.loss.lost) && verdict.loss.gaps.len() == 1,
        "{verdict:?}"
    );
    let damaged = prometheus::sum(
        &site.metrics(holder).await?,
        "holdfast_volume_damaged_chunks",
        None,
    );
    assert_eq!(
        damaged,
        Some(1.0),
        "the node that holds it does not report it"
    );
    site.pass();
    Ok(())
}
