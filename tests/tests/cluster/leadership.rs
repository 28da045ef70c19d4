//! Health, status, metrics and the answer to a change agree on whether there is a leader. A node
//! whose data directory was put back reports that in all of them.

use holdfast_chaos::site::{Site, SiteOptions, source};
use holdfast_chaos::{Error, Result, prometheus, wait};
use reqwest::Method;
use std::fs;
use std::path::Path;
use std::time::Duration;

const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// What each of the four reports.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    is_ready: bool,
    has_leader: bool,
    is_known: bool,
    takes_changes: bool,
}

impl Said {
    const LEADS: Self = Self {
        is_ready: true,
        has_leader: true,
        is_known: true,
        takes_changes: true,
    };
    const NO_LEADER: Self = Self {
        is_ready: false,
        has_leader: false,
        is_known: false,
        takes_changes: false,
    };
}

async fn said(site: &Site, index: usize) -> Result<Said> {
    let is_ready = site.cluster.api(index)?.probe("/readyz").await.is_ok();
    let has_leader = site.ask(index).await?.cluster.leader.is_some();
    let page = site.metrics(index).await?;
    let is_known = prometheus::sum(&page, "holdfast_raft_leader_known_info", None) == Some(1.0);
    // A change that has no effect even if it is accepted: there is no such camera.
    let answer = site
        .send(index, Method::DELETE, "cameras/999999", None::<&()>)
        .await?;
    let problem = answer
        .problem()
        .ok_or_else(|| Error::Wrong(format!("{}: {}", answer.status, answer.text())))?;
    let takes_changes = match problem.code.as_str() {
        "unknown-camera" => true,
        "no-leader" | "consensus-stopped" => false,
        other => return Err(Error::Wrong(format!("a change was answered with {other}"))),
    };
    Ok(Said {
        is_ready,
        has_leader,
        is_known,
        takes_changes,
    })
}

async fn wait_said(site: &Site, index: usize, expected: Said) -> Result<()> {
    wait::until(
        "all four say the same",
        SETTLES_WITHIN,
        async || match said(site, index).await {
            Ok(said) if said == expected => Ok(()),
            Ok(said) => Err(format!("node {index} says {said:?}")),
            Err(error) => Err(error.to_string()),
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_followers_are_dead_is_none_for_all_who_ask() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(3, 1)).await?;
    let leader = site.leader().await?;
    for index in 0..3 {
        wait_said(&site, index, Said::LEADS).await?;
    }
    let dead = [(leader + 1) % 3, (leader + 2) % 3];
    for index in dead {
        site.cluster.kill(index).await?;
    }
    wait_said(&site, leader, Said::NO_LEADER).await?;
    let page = site.metrics(leader).await?;
    assert_eq!(
        prometheus::sum(&page, "holdfast_raft_leader_info", None),
        Some(0.0),
        "it has no followers"
    );
    let recorded = holdfast_node::terminal::clock::wall_now().plus(Duration::from_secs(1));
    site.wait_recorded_beyond(recorded).await?;

    site.cluster.start(dead[0])?;
    for index in [leader, dead[0]] {
        wait_said(&site, index, Said::LEADS).await?;
    }
    site.pass();
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_data_directory_was_put_back_says_so_and_undoes_nothing() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(3, 1)).await?;
    let leader = site.leader().await?;
    let (second, away) = ((leader + 1) % 3, (leader + 2) % 3);
    site.cluster.kill(away).await?;
    let raft = site.cluster.config(second).data_dir.join("raft");
    let before = tempfile::tempdir().expect("a directory");
    copy(&raft, before.path());
    let precious = site.add("precious", source(site.server().url(1))).await?;
    site.cluster.kill(second).await?;
    fs::remove_dir_all(&raft).expect("removed");
    copy(before.path(), &raft);
    site.cluster.start(second)?;

    wait::until(
        "the node that was put back says so",
        SETTLES_WITHIN,
        async || {
            let look = site.ask(second).await.map_err(|error| error.to_string())?;
            let why = look.cluster.no_part.unwrap_or_default();
            if why.contains("older than what this node has confirmed") {
                Ok(())
            } else {
                Err(why)
            }
        },
    )
    .await?;
    let why = site
        .cluster
        .api(second)?
        .probe("/readyz")
        .await
        .err()
        .map(|error| error.message)
        .unwrap_or_default();
    assert!(why.contains("restored from a backup"), "{why}");
    let page = site.metrics(second).await?;
    assert_eq!(
        prometheus::sum(&page, "holdfast_member_fenced_info", None),
        Some(1.0)
    );
    let look = site.ask(leader).await?;
    let name = site.cluster.name(second).to_owned();
    assert!(
        look.cluster
            .nodes
            .iter()
            .any(|node| node.name == name && node.refused.is_some()),
        "{:?}",
        look.cluster.nodes
    );

    // The node that knows is lost, and the one that was away is back.
    site.cluster.kill(leader).await?;
    site.cluster.start(away)?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    for index in [second, away] {
        wait_said(&site, index, Said::NO_LEADER).await?;
    }
    site.cluster.start(leader)?;
    wait_said(&site, away, Said::LEADS).await?;
    let look = site.ask(away).await?;
    assert!(
        look.cameras.iter().any(|camera| camera.id == precious.id),
        "an acknowledged camera is gone"
    );
    site.pass();
    Ok(())
}
