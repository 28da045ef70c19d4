//! A successor that holds sessions prepared takes cameras over without asking them anything, and where a camera does not bear that, as ever.

use holdfast_chaos::oracle::{count_all, expect_one_gap, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteCamera, SiteOptions, new_camera, source};
use holdfast_chaos::{Result, prometheus, wait};
use holdfast_consensus::model::{Protection, Role};
use holdfast_control_api::wire::NewCamera;
use holdfast_node::cli::wall_now;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

/// As in `failover`: the figure itself is measured elsewhere.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

const A_WHILE: Duration = Duration::from_secs(3);

const CAMERAS: u32 = 4;
const WITNESS: usize = 2;

/// Cameras whose successors may prepare, on two recorders: whoever takes over is nobody's owner's successor then, and nobody prepares anew. Each bears `sessions_max` sessions.
async fn prepared_site(sessions_max: Option<usize>) -> Result<Site> {
    let mut options = SiteOptions::new(3, CAMERAS);
    options.tune = |index, config| {
        config.storage.hang_after_ms = 60_000;
        config.storage.lag_max_ms = 60_000;
        if index == WITNESS {
            config.cluster.role = Role::Witness;
        }
    };
    let mut site = Site::prepare(options).await?;
    site.cluster.form().await?;
    for number in 1..=CAMERAS {
        let plain = new_camera(&format!("cam{number:02}"), source(site.server().url(number)));
        let added = NewCamera { protection: Protection::Prepared, ..plain };
        site.add_served_as(number, added).await?.handle.limit_sessions(sessions_max);
    }
    site.wait_recorded_beyond(wall_now()).await?;
    Ok(site)
}

/// Over all running nodes.
async fn sum(site: &mut Site, metric: &str) -> Result<f64> {
    let mut sum = 0.0;
    for index in (0..3).filter(|index| site.cluster.is_running(*index)).collect::<Vec<_>>() {
        sum += prometheus::sum(&site.metrics(index).await?, metric, None).unwrap_or(0.0);
    }
    Ok(sum)
}

async fn wait_for(site: &mut Site, metric: &str, count: f64) -> Result<()> {
    wait::until("the nodes tell of it", SETTLE_TIMEOUT, async || {
        let told = sum(site, metric).await.map_err(|error| error.to_string())?;
        if told == count { Ok(()) } else { Err(format!("{metric} is {told}, not {count}")) }
    })
    .await
}

/// Kills the first recorder, waits until all is recorded, and gives the cameras that moved.
async fn kill_first(site: &mut Site) -> Result<Vec<SiteCamera>> {
    let moved = site.owned_by(0).await?;
    assert!(!moved.is_empty(), "the node to be killed records nothing");
    site.cluster.kill(0).await?;
    site.wait_recorded_beyond(wall_now().plus(Duration::from_secs(1))).await?;
    Ok(moved)
}

fn describes(cameras: &[SiteCamera]) -> Vec<u64> {
    cameras.iter().map(|camera| camera.handle.describes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cameras_are_taken_over_with_the_sessions_that_were_prepared() -> Result<()> {
    let mut site = prepared_site(None).await?;
    wait_for(&mut site, "holdfast_prepared_sessions", f64::from(CAMERAS)).await?;
    assert!(site.cameras().iter().all(|camera| camera.handle.sessions() == 2), "owner and successor");
    let (first, from) = (site.owned_by(0).await?, wall_now());
    // So that a session which is set up anew meanwhile cannot pass for a fresh one: the first of them is due 20 s after it was prepared.
    let before = describes(&first);
    let moved = kill_first(&mut site).await?;
    assert_eq!(describes(&first), before, "no camera was asked anything");
    assert_eq!(sum(&mut site, "holdfast_prepared_sessions_played_total").await?, moved.len() as f64);
    assert_eq!(sum(&mut site, "holdfast_prepared_sessions_dead_total").await?, 0.0);
    wait_for(&mut site, "holdfast_prepared_sessions", 0.0).await?;
    assert!(site.cameras().iter().all(|camera| camera.handle.sessions() == 1), "nobody is left to prepare");
    judge(&mut site, from, &moved).await?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_refuses_a_second_session_is_left_alone_and_taken_over_afresh() -> Result<()> {
    let mut site = prepared_site(Some(1)).await?;
    let from = wall_now();
    wait_for(&mut site, "holdfast_prepared_sessions_refused_total", f64::from(CAMERAS)).await?;
    let (first, cameras) = (site.owned_by(0).await?, site.cameras().to_vec());
    let before = (describes(&cameras), describes(&first));
    sleep(A_WHILE).await;
    assert_eq!(describes(&cameras), before.0, "asked once, and not again");
    assert_eq!(sum(&mut site, "holdfast_prepared_sessions").await?, 0.0);
    let moved = kill_first(&mut site).await?;
    assert!(describes(&first).iter().zip(&before.1).all(|(after, before)| after > before), "by fresh sessions");
    assert_eq!(sum(&mut site, "holdfast_prepared_sessions_played_total").await?, 0.0);
    judge(&mut site, from, &moved).await?;
    site.pass();
    Ok(())
}

/// The moved cameras have one gap, the others none: no owner was disturbed.
async fn judge(site: &mut Site, from: Timestamp, moved: &[SiteCamera]) -> Result<()> {
    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    let to = wall_now();
    site.wait_recorded_beyond(to).await?;
    let verdicts = count_all(site, from, to).await?;
    let was_moved = |name: &str| moved.iter().any(|camera| camera.name == name);
    for verdict in verdicts.iter().filter(|verdict| was_moved(&verdict.name)) {
        println!("{} lost {} frames, {} ms", verdict.name, verdict.loss.lost, verdict.loss.worst_gap_ms());
        expect_one_gap(verdict, TAKEOVER_MAX)?;
    }
    expect_whole(verdicts.iter().filter(|verdict| !was_moved(&verdict.name)))?;
    Ok(())
}
