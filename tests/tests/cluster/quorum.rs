//! Two of three nodes die: no node can decide anything, and recording continues. Then all of them
//! die, and come back at once.

use holdfast_chaos::oracle::{count_one, expect_covered, expect_whole, wait_available};
use holdfast_chaos::site::{Look, Site, SiteCamera, SiteOptions, new_camera, source};
use holdfast_chaos::{Result, wait};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::NodeId;
use reqwest::Method;
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::sleep;

/// The API promises 2 s; the rest is for a busy machine.
const REFUSAL_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_decided_and_recording_goes_on() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(3, 6)).await?;
    site.wait_one_recorder_each().await?;
    let began = wall_now();
    let leader = site.leader().await?;
    let survivor = (leader + 1) % 3;
    let kept = its_own_and_those_it_succeeds(&site, survivor).await?;
    assert!(
        kept.len() > site.owned_by(survivor).await?.len(),
        "it is no camera's successor"
    );

    let dead = [leader, (leader + 2) % 3];
    for index in dead {
        site.cluster.signal(index, Signal::KILL)?;
    }
    for index in dead {
        site.cluster.kill(index).await?;
    }
    let ids: Vec<_> = kept.iter().map(|camera| camera.id).collect();
    site.wait_these_recorded_beyond(&ids, wall_now().plus(Duration::from_secs(1)))
        .await?;
    let provisional_from = wall_now();
    writes_are_refused_and_reads_answered(&site, survivor).await?;
    sleep(Duration::from_secs(2)).await;
    let provisional_to = wall_now();
    site.wait_these_recorded_beyond(&ids, provisional_to.plus(Duration::from_secs(1)))
        .await?;

    site.cluster.kill(survivor).await?;
    for index in 0..3 {
        site.cluster.start(index)?;
    }
    let resumed = wall_now();
    site.wait_recorded_beyond(resumed).await?;
    for index in 0..3 {
        site.cluster.wait_ready(index).await?;
    }
    site.wait_one_recorder_each().await?;
    let ended = wall_now();
    site.wait_recorded_beyond(ended.plus(Duration::from_secs(1)))
        .await?;
    for camera in &kept {
        wait_available(&mut site, camera.id, began, ended).await?;
        expect_whole([&count_one(&mut site, camera, provisional_from, provisional_to).await?])?;
    }
    for camera in site.cameras() {
        expect_covered(&site, leader, camera.id, began, ended).await?;
    }
    site.pass();
    Ok(())
}

async fn its_own_and_those_it_succeeds(site: &Site, index: usize) -> Result<Vec<SiteCamera>> {
    let look = site.ask(index).await?;
    let me = id_of(&look, site.cluster.name(index));
    let kept = |camera: &&SiteCamera| {
        let assignment = look
            .cameras
            .iter()
            .find(|known| known.id == camera.id)
            .map(|known| &known.assignment);
        assignment.is_some_and(|assignment| [assignment.owner, assignment.successor].contains(&me))
    };
    Ok(site.cameras().iter().filter(kept).cloned().collect())
}

fn id_of(look: &Look, name: &str) -> Option<NodeId> {
    look.cluster
        .nodes
        .iter()
        .find(|node| node.name == name)
        .map(|node| node.id)
}

async fn writes_are_refused_and_reads_answered(site: &Site, survivor: usize) -> Result<()> {
    wait::until(
        "the survivor knows no leader",
        Duration::from_secs(10),
        async || {
            let look = site
                .ask(survivor)
                .await
                .map_err(|error| error.to_string())?;
            look.cluster.leader.map_or(Ok(()), |leader| {
                Err(format!("it believes in node {leader}"))
            })
        },
    )
    .await?;
    let camera = new_camera("late", source(site.server().url(1)));
    for (method, path, body) in [
        (Method::POST, "cameras".to_owned(), Some(&camera)),
        (
            Method::DELETE,
            format!("cameras/{}", site.cameras()[0].id),
            None,
        ),
        (Method::POST, "nodes/1/drain".to_owned(), None),
    ] {
        let answer = site.send(survivor, method, &path, body).await?;
        let problem = answer
            .problem()
            .unwrap_or_else(|| panic!("{path}: {} {}", answer.status, answer.text()));
        assert!(
            ["no-leader", "outcome-unknown"].contains(&problem.code.as_str()),
            "{problem:?}"
        );
        assert!(
            answer.took < REFUSAL_MAX,
            "{path} was refused only after {:?}",
            answer.took
        );
        println!("{path}: {} after {:?}", problem.code, answer.took);
    }
    let look = site.ask(survivor).await?;
    assert_eq!((look.cameras.len(), look.cluster.nodes.len()), (6, 3));
    Ok(())
}
