//! A node stops in order, or is drained: its cameras move before it stops, and not one frame is
//! lost.

use crate::steady::steady;
use holdfast_chaos::oracle::{count_all, expect_covered, expect_whole};
use holdfast_chaos::process::run;
use holdfast_chaos::site::{STOP_TIMEOUT, Site, source};
use holdfast_chaos::{Result, prometheus};
use holdfast_consensus::model::Duty;
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;
use std::time::Duration;
use tokio::time::sleep;

/// Longer than the command itself waits.
const DRAIN_MAX: Duration = Duration::from_secs(90);

/// Long enough that a node which still wanted cameras would have taken them.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_nodes_loses_no_frame() -> Result<()> {
    let mut site = Site::start(steady(6)).await?;
    site.wait_one_recorder_each().await?;
    let from = wall_now();
    // Followers first, as an operator would; the leader changes in the meantime.
    let leader = site.leader().await?;
    for index in [(leader + 1) % 3, (leader + 2) % 3, leader] {
        stop_and_start(&mut site, index).await?;
    }

    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    for camera in site.cameras() {
        expect_covered(&site, leader, camera.id, from, to).await?;
    }
    site.pass();
    Ok(())
}

async fn stop_and_start(site: &mut Site, index: usize) -> Result<()> {
    if site.owned_by(index).await?.is_empty() {
        println!(
            "node {index} has nothing to hand over: the others have its cameras since they were \
             restarted"
        );
    }
    let ended = site.cluster.stop(index, STOP_TIMEOUT).await?;
    assert_eq!(ended.code(), Some(0), "{}", site.cluster.log_tail(index));
    assert!(
        site.owned_by(index).await?.is_empty(),
        "node {index} is gone and still owns cameras"
    );
    sleep(A_WHILE).await;
    site.cluster.start(index)?;
    site.cluster.wait_ready(index).await?;
    site.wait_duty(index, Duty::Active).await?;
    site.wait_one_recorder_each().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_owns_nothing_until_there_are_new_cameras_without_a_loss() -> Result<()> {
    let mut site = Site::start(steady(6)).await?;
    site.wait_one_recorder_each().await?;
    let from = wall_now();
    let leader = site.leader().await?;
    let (drained, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    assert!(!site.owned_by(drained).await?.is_empty());

    drain_and_wait(&site, asked, drained).await?;
    assert!(
        site.owned_by(drained).await?.is_empty(),
        "the command ended before the drain"
    );
    site.wait_one_recorder_each().await?;
    site.wait_duty(drained, Duty::Draining).await?;
    add(&mut site, "while-drained", 3).await?;
    sleep(A_WHILE).await;
    assert!(site.owned_by(drained).await?.is_empty());
    let metrics = site.metrics(drained).await?;
    assert_eq!(
        prometheus::sum(&metrics, "holdfast_recorders", None),
        Some(0.0),
        "it records nothing"
    );
    assert_eq!(owned(&metrics), Some(0.0), "nor is it given new cameras");

    set_drain(&site, asked, drained, Method::DELETE).await?;
    site.wait_duty(drained, Duty::Active).await?;
    sleep(A_WHILE).await;
    assert!(
        site.owned_by(drained).await?.is_empty(),
        "cameras stay where they are"
    );
    add(&mut site, "after-drain", 2).await?;
    assert_eq!(
        owned(&site.metrics(drained).await?),
        Some(2.0),
        "the idle node gets the new cameras"
    );

    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    site.pass();
    Ok(())
}

/// Uses the command line, as an operator would.
async fn drain_and_wait(site: &Site, asked: usize, drained: usize) -> Result<()> {
    let (api, token) = (site.cluster.api_url(asked), site.dir().join("admin.token"));
    let name = site.cluster.name(drained);
    let token = token.to_string_lossy().into_owned();
    let run = async |node: &str| {
        let arguments = [
            "--api",
            &api,
            "--token-file",
            &token,
            "--json",
            "cluster",
            "drain",
            node,
            "--wait",
            "--timeout",
            "60",
        ];
        run(&arguments, DRAIN_MAX).await
    };
    let unknown = run("no-such-node").await?;
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    let ended = run(name).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let reported: serde_json::Value =
        serde_json::from_str(&ended.stdout).expect("JSON on standard output");
    assert_eq!(
        (&reported["drained"], &reported["cameras_left"]),
        (&true.into(), &0.into()),
        "{reported}"
    );
    assert!(
        ended.stderr.contains("cameras left"),
        "it does not say how far it is: {}",
        ended.stderr
    );
    Ok(())
}

fn owned(metrics: &str) -> Option<f64> {
    prometheus::sum(metrics, "holdfast_owned_cameras", None)
}

async fn set_drain(site: &Site, asked: usize, drained: usize, method: Method) -> Result<()> {
    let look = site.ask(asked).await?;
    let name = site.cluster.name(drained);
    let node = look
        .cluster
        .nodes
        .iter()
        .find(|node| node.name == name)
        .expect("it is a member");
    let answer = site
        .send(
            asked,
            method,
            &format!("nodes/{}/drain", node.id),
            None::<&()>,
        )
        .await?;
    assert!(
        (200..300).contains(&answer.status),
        "{}: {}",
        answer.status,
        answer.text()
    );
    Ok(())
}

/// Adds the first camera under more names: a camera serves any number of sessions.
async fn add(site: &mut Site, name: &str, count: usize) -> Result<()> {
    let url = site.server().url(1);
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(
            site.add(&format!("{name}-{number}"), source(url.clone()))
                .await?
                .id,
        );
    }
    site.wait_these_recorded_beyond(&ids, wall_now()).await
}
