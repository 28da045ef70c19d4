//! A disk becomes ten times slower: its least important cameras leave until the rest fits, and no
//! frame is lost.

use crate::rig::{FAULTY, Rig, SOUND, cameras, two_disks};
use holdfast_chaos::oracle::{count_all, expect_whole};
use holdfast_chaos::{Result, prometheus};
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

const CAMERAS: u32 = 6;
/// Three cameras on each volume record 1.5 MB/s.
const CAMERA_BPS: u64 = 4_000_000;
/// Enough for one of them but not for two, even if the measured value is a third too low because
/// other tests had the processor.
const SLOW_BYTES_PER_SECOND: u64 = 950_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_important_cameras_leave_a_slow_volume_and_nothing_is_lost() -> Result<()> {
    let Some(mut rig) = Rig::prepare(1, cameras(CAMERAS, CAMERA_BPS), two_disks).await? else {
        return Ok(());
    };
    rig.start().await?;
    rig.spread(CAMERAS.into()).await?;
    for (camera, priority) in rig.site.cameras().iter().zip([10, 20, 30, 40, 200, 210]) {
        let path = format!("cameras/{}", camera.id);
        let answer = rig
            .site
            .send(
                0,
                Method::PATCH,
                &path,
                Some(&json!({ "priority": priority })),
            )
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let from = wall_now();
    sleep(Duration::from_secs(3)).await;
    rig.faulty.limit(Some(SLOW_BYTES_PER_SECOND))?;
    rig.wait_state(FAULTY, "slow").await?;
    rig.wait_cameras(FAULTY, 1.0).await?;
    sleep(Duration::from_secs(8)).await;
    assert_eq!(
        rig.figure("holdfast_volume_cameras", FAULTY).await?,
        1.0,
        "what fits stays"
    );
    assert_eq!(rig.figure("holdfast_volume_cameras", SOUND).await?, 5.0);
    assert!(
        rig.is_in_state(SOUND, "active").await?,
        "the other volume is unharmed"
    );
    rig.faulty.limit(None)?;
    rig.wait_state(FAULTY, "active").await?;
    expect_whole(&count_all(&mut rig.site, from, wall_now()).await?)?;
    let page = rig.site.metrics(0).await?;
    assert_eq!(
        prometheus::sum(&page, "holdfast_shed_chunks_total", None),
        Some(0.0),
        "chunks were shed"
    );
    rig.site.pass();
    Ok(())
}
