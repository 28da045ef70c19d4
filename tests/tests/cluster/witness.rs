//! Two recorders and a small third machine: if any one of the three dies, cameras continue, and
//! changes are still accepted.

use holdfast_chaos::oracle::expect_covered;
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, wait};
use holdfast_consensus::model::Role;
use holdfast_control_api::wire::{CameraPatch, FailoverHeadroom};
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;
use std::time::Duration;

const WITNESS: usize = 2;

fn options() -> SiteOptions {
    let mut options = SiteOptions::new(3, 4);
    options.tune = |index, config| {
        if index == WITNESS {
            config.cluster.role = Role::Witness;
        }
    };
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_recorders_and_a_witness_survive_the_loss_of_any_one() -> Result<()> {
    let mut site = Site::start(options()).await?;
    site.wait_one_recorder_each().await?;
    let began = wall_now();
    assert!(
        site.owned_by(WITNESS).await?.is_empty(),
        "a witness records nothing"
    );
    survives_any_node(&mut site).await?;

    // The leader dies first; then the others, each while all nodes are there again.
    let leader = site.leader().await?;
    let mut victims = vec![leader];
    victims.extend((0..3).filter(|index| *index != leader));
    for victim in victims {
        site.cluster.kill(victim).await?;
        site.wait_recorded_beyond(wall_now().plus(Duration::from_secs(1)))
            .await?;
        a_change_is_taken(&mut site, victim).await?;
        site.cluster.start(victim)?;
        site.cluster.wait_ready(victim).await?;
        site.wait_one_recorder_each().await?;
        survives_any_node(&mut site).await?;
    }
    let look = site.look().await?;
    assert_eq!(look.cluster.voters.len(), 3);
    assert!(site.owned_by(WITNESS).await?.is_empty());
    let ended = wall_now();
    site.wait_recorded_beyond(ended.plus(Duration::from_secs(1)))
        .await?;
    for camera in site.cameras() {
        expect_covered(&site, WITNESS, camera.id, began, ended).await?;
    }
    site.pass();
    Ok(())
}

/// Waits until the cluster reports that it survives the loss of any node.
async fn survives_any_node(site: &mut Site) -> Result<()> {
    wait::until(
        "the cluster survives any node",
        SETTLE_TIMEOUT,
        async || {
            let look = site.look().await.map_err(|error| error.to_string())?;
            match look.cluster.failover_headroom {
                Some(FailoverHeadroom {
                    survives_any_node: true,
                    worst: None,
                    ..
                }) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await
}

/// Any survivor accepts a change once there is a leader again.
async fn a_change_is_taken(site: &mut Site, dead: usize) -> Result<()> {
    let asked = (dead + 1) % 3;
    let path = format!("cameras/{}", site.cameras()[0].id);
    let patch = CameraPatch {
        name: Some(format!("without-{dead}")),
        ..CameraPatch::default()
    };
    wait::until("a change is taken", SETTLE_TIMEOUT, async || {
        let answer = site
            .send(asked, Method::PATCH, &path, Some(&patch))
            .await
            .map_err(|error| error.to_string())?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await
}
