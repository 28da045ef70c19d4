//! Drills failover in production: a camera's successor really takes it over and hands it back; if
//! its owner is well, not one frame is lost.

use crate::evidence::{behind_a_gate, set};
use crate::steady::steady;
use holdfast_chaos::gate::Way;
use holdfast_chaos::oracle::{count_all, expect_one_gap, expect_whole};
use holdfast_chaos::process::{Ended, run};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site};
use holdfast_chaos::{Result, prometheus, wait};
use holdfast_consensus::model::Outcome;
use holdfast_control_api::wire::{self, Drill, DrillPhase, NewDrill};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::NodeId;
use reqwest::Method;
use std::time::Duration;
use tokio::time::sleep;

/// Longer than any drill takes.
const DRILL_MAX: Duration = Duration::from_secs(90);

/// The most that a drill may measure, and a failover cost, here, where other tests run at the same
/// time.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);

/// Long enough that every camera has keyframes before and after each event.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drilled_camera_is_taken_over_and_handed_back_and_no_frame_is_lost() -> Result<()> {
    let mut site = Site::start(steady(6)).await?;
    site.wait_one_recorder_each().await?;
    let from = wall_now();
    sleep(A_WHILE).await;
    let (leader, before) = (site.leader().await?, site.look().await?.cameras);
    let camera = &before[0];

    let ended = drill(&site, leader, &["camera", &camera.name, "--wait"]).await?;
    let reported: Drill = serde_json::from_str(&ended.stdout).expect("JSON on standard output");
    assert_eq!(
        (ended.code, reported.passed, reported.running),
        (Some(0), 1, false),
        "{reported:?} {}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("drill 1: 1 "),
        "it does not say how far it is: {}",
        ended.stderr
    );
    let result = &reported.cameras[0];
    assert_eq!(
        (result.owner, result.successor),
        (camera.assignment.owner, camera.assignment.successor),
        "{result:?}"
    );
    assert!(result.handed_back && plausible(result), "{result:?}");
    site.wait_one_recorder_each().await?;
    is_visible(&mut site, camera, result).await?;

    // All of a node's cameras at once. That node is the one asked; by then it has heard that all is
    // well again.
    sleep(A_WHILE).await;
    let node = node_of(&mut site, camera.assignment.owner).await?;
    let owned = site.owned_by(node).await?.len();
    let name = site.cluster.name(node).to_owned();
    let ended = drill(&site, node, &["node", &name, "--wait"]).await?;
    let reported: Drill = serde_json::from_str(&ended.stdout).expect("JSON on standard output");
    assert_eq!(
        (ended.code, reported.passed, reported.cameras.len()),
        (Some(0), owned, owned),
        "{reported:?} {}",
        ended.stderr
    );
    assert!(
        reported.cameras.iter().all(plausible) && reported.median_gap_us <= reported.worst_gap_us,
        "{reported:?}"
    );
    site.wait_one_recorder_each().await?;

    let after = site.look().await?.cameras;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            before.assignment.owner, after.assignment.owner,
            "{}",
            after.name
        );
    }
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_whose_successor_does_not_reach_the_camera_fails_without_a_loss() -> Result<()> {
    let (mut site, gate) = behind_a_gate(1).await?;
    let from = wall_now();
    // Any node has heard of the recording by then.
    sleep(A_WHILE).await;
    let before = site.look().await?.cameras[0].clone();
    let successor = node_of(&mut site, before.assignment.successor).await?;
    set(&site, &gate, successor, Way::Refused)?;

    let ended = drill(&site, 0, &["camera", &before.name, "--wait"]).await?;
    let reported: Drill = serde_json::from_str(&ended.stdout).expect("JSON on standard output");
    assert_eq!(
        (ended.code, reported.failed),
        (Some(1), 1),
        "{reported:?} {}",
        ended.stderr
    );
    let result = &reported.cameras[0];
    let reason = result.reason.as_deref().expect("a failure has a reason");
    let beginning = format!(
        "{} recorded nothing within 30 s: ",
        site.cluster.name(successor)
    );
    assert!(
        reason
            .strip_prefix(&beginning)
            .is_some_and(|error| !error.is_empty()),
        "{reason}"
    );
    assert_eq!((result.gap_us, result.handed_back), (None, false));

    site.wait_one_recorder_each().await?;
    let after = site.look().await?.cameras[0].clone();
    assert_eq!(
        before.assignment, after.assignment,
        "nothing was taken over"
    );
    assert_eq!(after.last_drill.as_ref(), Some(result));
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_killed_in_a_drill_fails_over_as_ever() -> Result<()> {
    let (mut site, gate) = behind_a_gate(1).await?;
    let from = wall_now();
    // Any node has heard of the recording by then.
    sleep(A_WHILE).await;
    let before = site.look().await?.cameras[0].clone();
    let owner = node_of(&mut site, before.assignment.owner).await?;
    let successor = node_of(&mut site, before.assignment.successor).await?;
    // It is still taking over when its owner dies.
    set(&site, &gate, successor, Way::Refused)?;
    let begun = begin(&site, successor, &before).await?;
    sleep(A_WHILE).await;
    assert_eq!(
        look(&site, successor, &begun).await?.cameras[0].phase,
        DrillPhase::TakingOver
    );

    site.cluster.kill(owner).await?;
    set(&site, &gate, successor, Way::Open)?;
    site.wait_recorded_beyond(wall_now().plus(Duration::from_secs(1)))
        .await?;
    let ended = wait::until("the drill is over", SETTLE_TIMEOUT, async || {
        let now = look(&site, successor, &begun)
            .await
            .map_err(|error| error.to_string())?;
        if now.running {
            Err(format!("{now:?}"))
        } else {
            Ok(now)
        }
    });
    let ended = ended.await?;
    assert_eq!(
        ended.cameras[0].outcome,
        Some(Outcome::Aborted),
        "{ended:?}"
    );
    assert_eq!(
        site.ask(successor).await?.cameras[0].assignment.owner,
        before.assignment.successor
    );

    site.cluster.start(owner)?;
    site.cluster.wait_ready(owner).await?;
    site.wait_one_recorder_each().await?;
    let to = wall_now();
    for verdict in &count_all(&mut site, from, to).await? {
        println!(
            "{} lost {} frames, {} ms",
            verdict.name,
            verdict.loss.lost,
            verdict.loss.worst_gap_ms()
        );
        expect_one_gap(verdict, TAKEOVER_MAX)?;
    }
    site.pass();
    Ok(())
}

/// Uses the command line, as an operator would.
async fn drill(site: &Site, asked: usize, arguments: &[&str]) -> Result<Ended> {
    let (api, token) = (site.cluster.api_url(asked), site.dir().join("admin.token"));
    let token = token.to_string_lossy().into_owned();
    let always = ["--api", &api, "--token-file", &token, "--json", "drill"];
    run(&[&always, arguments].concat(), DRILL_MAX).await
}

async fn begin(site: &Site, asked: usize, camera: &wire::Camera) -> Result<Drill> {
    let new = NewDrill {
        camera: Some(camera.id),
        node: None,
    };
    let answer = site.send(asked, Method::POST, "drills", Some(&new)).await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let again = site.send(asked, Method::POST, "drills", Some(&new)).await?;
    assert_eq!(again.status, 409, "one at a time: {}", again.text());
    assert!(again.text().contains("cannot-drill"), "{}", again.text());
    Ok(serde_json::from_str(&answer.text()).expect("a drill"))
}

async fn look(site: &Site, asked: usize, drill: &Drill) -> Result<Drill> {
    Ok(site
        .cluster
        .api(asked)?
        .get(&["drills", &drill.id.to_string()], &[])
        .await?)
}

async fn node_of(site: &mut Site, node: Option<NodeId>) -> Result<usize> {
    let look = site.look().await?;
    site.index_of(&look, node.expect("there is one"))
}

/// A session has to be opened, and a keyframe awaited.
fn plausible(reported: &wire::CameraDrill) -> bool {
    reported
        .gap_us
        .is_some_and(|gap_us| gap_us > 0 && u128::from(gap_us) < TAKEOVER_MAX.as_micros())
}

/// The result is in the camera's answer, in the list of drills, and in the metrics of its owner;
/// cameras that were not drilled have none.
async fn is_visible(
    site: &mut Site,
    camera: &wire::Camera,
    result: &wire::CameraDrill,
) -> Result<()> {
    let asked = site.running()?;
    let cameras = site.ask(asked).await?.cameras;
    assert_eq!(cameras[0].last_drill.as_ref(), Some(result));
    assert!(cameras[1..].iter().all(|other| other.last_drill.is_none()));
    let of = async |camera: &wire::Camera| -> Result<Vec<Drill>> {
        Ok(site
            .cluster
            .api(asked)?
            .get(&["drills"], &[("camera", &camera.id.to_string())])
            .await?)
    };
    assert_eq!(of(camera).await?.len(), 1);
    assert_eq!(of(&cameras[1]).await?, []);

    let label = format!("camera=\"{}\"", camera.id);
    let owner = node_of(site, camera.assignment.owner).await?;
    for index in 0..site.cluster.len() {
        let page = site.metrics(index).await?;
        let metric = |family| prometheus::sum(&page, family, Some(&label));
        let gap = metric("holdfast_drill_last_gap_seconds");
        let passed = metric("holdfast_drill_last_passed_info");
        let age = metric("holdfast_drill_last_age_seconds");
        if index == owner {
            assert_eq!(
                (gap, passed),
                (result.gap_us.map(|gap_us| gap_us as f64 / 1e6), Some(1.0))
            );
            assert!(
                age.is_some_and(|age| (0.0..DRILL_MAX.as_secs_f64()).contains(&age)),
                "{age:?}"
            );
        }
        let series = page
            .lines()
            .filter(|line| line.starts_with("holdfast_drill_last_gap_seconds{"))
            .count();
        assert_eq!(series, usize::from(index == owner), "of node {index}");
    }
    Ok(())
}
