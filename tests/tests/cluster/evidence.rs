//! A node is alive but does not record: it loses those cameras and only those, to a node that can
//! record them; if no node can, nothing moves.

use crate::steady::steady;
use holdfast_chaos::gate::{Gate, Way, address_of};
use holdfast_chaos::oracle::{count_all, expect_covered, expect_one_gap, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteCamera, new_camera, source};
use holdfast_chaos::{Error, Result, wait};
use holdfast_control_api::wire;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::time::Timestamp;
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::sleep;

/// The most that a move may cost here, where other tests run at the same time. docs/failover.md has
/// the cost on a quiet machine.
const MOVE_MAX: Duration = Duration::from_secs(15);

/// Long enough that every camera has keyframes before and after each event.
const A_WHILE: Duration = Duration::from_secs(3);

const CAMERAS: u32 = 6;

/// The test asks the first node about everything, and hurts this one.
const VICTIM: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stands_still_loses_its_cameras_and_records_none_afterwards() -> Result<()> {
    let mut site = Site::start(steady(CAMERAS)).await?;
    site.wait_one_recorder_each().await?;
    let from = wall_now();
    sleep(A_WHILE).await;
    let moved = site.owned_by(VICTIM).await?;
    assert!(!moved.is_empty(), "the node to be stopped records nothing");

    site.cluster.signal(VICTIM, Signal::STOP)?;
    let lost = lost_by(&mut site, VICTIM, &moved).await;
    let gone_on = site
        .wait_recorded_beyond(wall_now().plus(Duration::from_secs(1)))
        .await;
    site.cluster.signal(VICTIM, Signal::CONT)?;
    lost.and(gone_on)?;
    site.wait_one_recorder_each().await?;
    sleep(A_WHILE).await;
    site.wait_one_recorder_each().await?;
    assert!(
        site.owned_by(VICTIM).await?.is_empty(),
        "cameras stay where they are"
    );
    judge(&mut site, from, &moved).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cameras_that_refuse_their_owner_only_move_and_the_others_stay() -> Result<()> {
    cut_off(Way::Refused).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cameras_that_fall_silent_to_their_owner_only_move_and_the_others_stay() -> Result<()> {
    cut_off(Way::Silent).await
}

/// Cuts one node off from all cameras, and from nothing else.
async fn cut_off(way: Way) -> Result<()> {
    let (mut site, gate) = behind_a_gate(CAMERAS).await?;
    let from = wall_now();
    sleep(A_WHILE).await;
    let moved = site.owned_by(VICTIM).await?;
    assert!(!moved.is_empty(), "the node to be cut off records nothing");
    let before = site.look().await?.cameras;

    set(&site, &gate, VICTIM, way)?;
    lost_by(&mut site, VICTIM, &moved).await?;
    site.wait_recorded_beyond(wall_now().plus(Duration::from_secs(1)))
        .await?;
    set(&site, &gate, VICTIM, Way::Open)?;
    site.wait_one_recorder_each().await?;
    sleep(A_WHILE).await;

    let after = site.look().await?.cameras;
    for (before, after) in before.iter().zip(&after) {
        let was_moved = moved.iter().any(|camera| camera.id == before.id);
        let epochs = after.assignment.epoch.0 - before.assignment.epoch.0;
        assert_eq!(
            was_moved,
            before.assignment.owner != after.assignment.owner,
            "{before:?}\n{after:?}"
        );
        assert!(
            was_moved || epochs == 0,
            "{} was moved and back: {after:?}",
            after.name
        );
    }
    judge(&mut site, from, &moved).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cameras_that_no_node_reaches_stay_where_they_are() -> Result<()> {
    let (mut site, gate) = behind_a_gate(CAMERAS).await?;
    let owners = |cameras: &[wire::Camera]| -> Vec<_> {
        cameras
            .iter()
            .map(|camera| (camera.id, camera.assignment.owner, camera.assignment.epoch))
            .collect()
    };
    for outage in [Duration::from_secs(6), Duration::from_secs(12)] {
        let before = owners(&site.look().await?.cameras);
        for index in 0..3 {
            set(&site, &gate, index, Way::Refused)?;
        }
        sleep(outage).await;
        for index in 0..3 {
            set(&site, &gate, index, Way::Open)?;
        }
        site.wait_recorded_beyond(wall_now()).await?;
        site.wait_one_recorder_each().await?;
        assert_eq!(
            owners(&site.look().await?.cameras),
            before,
            "after {outage:?} without cameras"
        );
    }
    site.pass();
    Ok(())
}

/// A site whose cameras are all behind a gate.
pub(crate) async fn behind_a_gate(cameras: u32) -> Result<(Site, Gate)> {
    let mut site = Site::prepare(steady(cameras)).await?;
    site.cluster.form().await?;
    let gate = Gate::start(address_of(&site.server().url(1))?).await?;
    for index in 0..3 {
        set(&site, &gate, index, Way::Open)?;
    }
    for number in 1..=cameras {
        let url = format!("rtsp://{}/cam/{number}", gate.address());
        site.add_served_as(number, new_camera(&format!("cam{number:02}"), source(url)))
            .await?;
    }
    site.wait_recorded_beyond(wall_now()).await?;
    site.wait_one_recorder_each().await?;
    Ok((site, gate))
}

pub(crate) fn set(site: &Site, gate: &Gate, index: usize, way: Way) -> Result<()> {
    let pid = site
        .cluster
        .pid(index)
        .ok_or_else(|| Error::Wrong(format!("node {index} does not run")))?;
    gate.set(pid, way);
    Ok(())
}

/// Waits until the node owns none of the cameras.
async fn lost_by(site: &mut Site, index: usize, cameras: &[SiteCamera]) -> Result<()> {
    wait::until("its cameras are others'", SETTLE_TIMEOUT, async || {
        let owned = site
            .owned_by(index)
            .await
            .map_err(|error| error.to_string())?;
        let left: Vec<&str> = owned
            .iter()
            .filter(|owned| cameras.iter().any(|camera| camera.id == owned.id))
            .map(|owned| owned.name.as_str())
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("it owns {left:?}"))
        }
    })
    .await
}

/// The moved cameras have at most one gap, the others none.
async fn judge(site: &mut Site, from: Timestamp, moved: &[SiteCamera]) -> Result<()> {
    let to = wall_now();
    let verdicts = count_all(site, from, to).await?;
    let was_moved = |name: &str| moved.iter().any(|camera| camera.name == name);
    for verdict in verdicts.iter().filter(|verdict| was_moved(&verdict.name)) {
        println!(
            "{} lost {} frames, {} ms",
            verdict.name,
            verdict.loss.lost,
            verdict.loss.worst_gap_ms()
        );
        expect_one_gap(verdict, MOVE_MAX)?;
    }
    expect_whole(verdicts.iter().filter(|verdict| !was_moved(&verdict.name)))?;
    for camera in site.cameras() {
        expect_covered(site, 0, camera.id, from, to).await?;
    }
    Ok(())
}
