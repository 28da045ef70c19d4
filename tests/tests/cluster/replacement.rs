//! A node that is lost permanently is removed, and another takes its name, but never its number. A
//! node with another cluster's data is not admitted.

use crate::steady::steady;
use holdfast_chaos::site::{SETTLE_TIMEOUT, STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Error, Result, wait};
use holdfast_control_api::wire::{InitCluster, JoinCluster, Node};
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;
use std::time::Duration;

/// A camera moves at most once a minute, so a rebalance may take that long to start with some.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced_by_one_of_its_name_with_another_number() -> Result<()> {
    let mut site = Site::start(steady(6)).await?;
    site.wait_one_recorder_each().await?;
    let leader = site.leader().await?;
    let (dead, asked) = ((leader + 1) % 3, leader);
    let before = node_of(&mut site, dead).await?;
    site.cluster.kill(dead).await?;
    site.wait_recorded_beyond(wall_now()).await?;

    let path = format!("nodes/{}?force=true", before.id);
    let answer = site.send(asked, Method::DELETE, &path, None::<&()>).await?;
    assert_eq!(answer.status, 204, "{}", answer.text());
    // Another machine: it has nothing of the old one's.
    let data_dir = site.cluster.config(dead).data_dir.clone();
    std::fs::remove_dir_all(&data_dir).map_err(io_error("empty the data directory"))?;
    join(&mut site, dead, asked).await?;
    site.cluster.wait_ready(dead).await?;

    let after = node_of(&mut site, dead).await?;
    assert_eq!(after.name, before.name);
    assert!(after.id > before.id, "{} was given out again", before.id);
    wait::until("three vote", SETTLE_TIMEOUT, async || {
        let voters = site
            .look()
            .await
            .map_err(|error| error.to_string())?
            .cluster
            .voters;
        let votes = voters.len() == 3 && voters.contains(&after.id) && !voters.contains(&before.id);
        if votes {
            Ok(())
        } else {
            Err(format!("{voters:?}"))
        }
    })
    .await?;

    assert!(
        site.owned_by(dead).await?.is_empty(),
        "nothing moves without need"
    );
    let answer = site
        .send(asked, Method::POST, "cluster/rebalance", None::<&()>)
        .await?;
    assert_eq!(answer.status, 202, "{}", answer.text());
    wait::until("cameras are spread evenly", REBALANCE_TIMEOUT, async || {
        let look = site.look().await.map_err(|error| error.to_string())?;
        let owned: Vec<usize> = look.cluster.nodes.iter().map(|node| node.cameras).collect();
        if owned == [2, 2, 2] && !look.cluster.rebalancing {
            Ok(())
        } else {
            Err(format!("{owned:?}"))
        }
    })
    .await?;
    site.wait_one_recorder_each().await?;
    site.wait_recorded_beyond(wall_now()).await?;
    site.pass();
    Ok(())
}

fn io_error(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Io { what, source }
}

async fn node_of(site: &mut Site, index: usize) -> Result<Node> {
    let name = site.cluster.name(index).to_owned();
    let nodes = site.look().await?.cluster.nodes;
    Ok(nodes
        .into_iter()
        .find(|node| node.name == name)
        .expect("it is a member"))
}

async fn join(site: &mut Site, index: usize, through: usize) -> Result<()> {
    site.cluster.start(index)?;
    site.cluster.wait_healthy(index).await?;
    let token = site.cluster.invite(index, through).await?;
    let answer = site
        .send(
            index,
            Method::POST,
            "cluster/join",
            Some(&JoinCluster { token }),
        )
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_clusters_data_is_refused() -> Result<()> {
    let mut site = Site::prepare(SiteOptions::new(2, 0)).await?;
    for index in 0..2 {
        site.cluster.start(index)?;
        site.cluster.wait_healthy(index).await?;
        let answer = site
            .send(index, Method::POST, "cluster/init", Some(&InitCluster {}))
            .await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        site.cluster.wait_ready(index).await?;
    }
    let own = site.ask(1).await?.cluster.id.expect("it founded one");
    refused(&site, "already-member", &own).await?;

    // Without its identity the node does not know its cluster, but its volume does.
    site.cluster.stop(1, STOP_TIMEOUT).await?;
    let data_dir = site.cluster.config(1).data_dir.clone();
    std::fs::remove_file(data_dir.join("identity.json"))
        .map_err(io_error("remove the identity"))?;
    site.cluster.start(1)?;
    site.cluster.wait_healthy(1).await?;
    refused(&site, "foreign-data", &own).await?;
    assert_eq!(
        site.ask(0).await?.cluster.nodes.len(),
        1,
        "a node that was refused is no member"
    );

    // Once everything of the other cluster is gone, the node is admitted.
    site.cluster.stop(1, STOP_TIMEOUT).await?;
    std::fs::remove_dir_all(&data_dir).map_err(io_error("empty the data directory"))?;
    join(&mut site, 1, 0).await?;
    site.cluster.wait_ready(1).await?;
    site.pass();
    Ok(())
}

/// Node 1 asks to join node 0's cluster; the answer names the cluster whose data it has, and the
/// remedy.
async fn refused(site: &Site, code: &str, cluster: &str) -> Result<()> {
    let token = site.cluster.invite(1, 0).await?;
    let join = JoinCluster { token };
    let answer = site
        .send(1, Method::POST, "cluster/join", Some(&join))
        .await?;
    let problem = answer
        .problem()
        .unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, code),
        "{problem:?}"
    );
    assert!(
        problem.detail.contains(cluster) && problem.detail.contains("empty"),
        "{}",
        problem.detail
    );
    Ok(())
}
