//! Cameras that two nodes record all the time: whichever node dies, whatever its roles, no frame is
//! lost, not even while the node is away.

use crate::steady::steady;
use crate::support::export_plays;
use holdfast_chaos::oracle::{count_all, count_one, expect_covered, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, new_camera, source};
use holdfast_chaos::{Result, prometheus, wait};
use holdfast_consensus::model::Protection;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::{self, NewCamera};
use holdfast_node::terminal::clock::wall_now;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

const CAMERAS: u32 = 6;

/// Long enough that every camera has keyframes before and after each event.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gapless_camera_loses_no_frame_whichever_node_dies() -> Result<()> {
    let mut site = gapless_site().await?;
    let began = wall_now();
    // The leader is the first of the nodes that die.
    let leader = site.leader().await?;
    for dead in [leader, (leader + 1) % 3] {
        // From here on two nodes record. Earlier footage of only one node, from before a lost one
        // was replaced, may be away with it.
        let from = wall_now();
        sleep(A_WHILE).await;
        let roles = roles_of(&mut site, dead).await?;
        assert_eq!(
            roles,
            ["mirror", "owner"].into(),
            "the node that dies is to be both"
        );
        site.cluster.kill(dead).await?;
        let died = wall_now();
        site.wait_recorded_beyond(died.plus(A_WHILE)).await?;
        wait_two_each(&mut site, dead).await?;
        let to = wall_now();
        site.wait_recorded_beyond(to.plus(Duration::from_secs(1)))
            .await?;
        // With the others' footage only: the dead node is away.
        let mut verdicts = Vec::new();
        for camera in site.cameras().to_vec() {
            verdicts.push(count_one(&mut site, &camera, from, to).await?);
        }
        expect_whole(&verdicts)?;

        site.cluster.start(dead)?;
        site.cluster.wait_ready(dead).await?;
        wait_two_each(&mut site, usize::MAX).await?;
    }
    let to = wall_now();
    expect_whole(&count_all(&mut site, began, to).await?)?;
    for camera in site.cameras() {
        let timeline = site.timeline(leader, camera.id, began, to).await?;
        assert!(timeline.gaps.is_empty(), "{timeline:?}");
        expect_covered(&site, leader, camera.id, began, to).await?;
    }
    let first = site.cameras()[0].id;
    export_plays(&mut site, first, began, to).await?;
    site.pass();
    Ok(())
}

/// Three nodes that fail independently, each the owner of some cameras and the mirror of others.
async fn gapless_site() -> Result<Site> {
    let mut site = Site::prepare(steady(CAMERAS)).await?;
    site.cluster.form().await?;
    for number in 1..=CAMERAS {
        let plain = new_camera(
            &format!("cam{number:02}"),
            source(site.server().url(number)),
        );
        site.add_served_as(
            number,
            NewCamera {
                protection: Protection::Gapless,
                ..plain
            },
        )
        .await?;
    }
    site.wait_recorded_beyond(wall_now()).await?;
    wait_two_each(&mut site, usize::MAX).await?;
    Ok(site)
}

/// The node's roles over all cameras.
async fn roles_of(site: &mut Site, index: usize) -> Result<BTreeSet<&'static str>> {
    let look = site.look().await?;
    let name = site.cluster.name(index);
    let id = look
        .cluster
        .nodes
        .iter()
        .find(|node| node.name == name)
        .map(|node| node.id);
    let parts = look.cameras.iter().flat_map(|camera| {
        let wire::Assignment { owner, mirror, .. } = camera.assignment;
        [(owner, "owner"), (mirror, "mirror")]
    });
    Ok(parts
        .filter(|(node, _)| *node == id)
        .map(|(_, role)| role)
        .collect())
}

/// Number of recorders of all running nodes whose watermarks advance.
async fn recorders(site: &mut Site) -> Result<f64> {
    let mut recorders = 0.0;
    for index in (0..3)
        .filter(|index| site.cluster.is_running(*index))
        .collect::<Vec<_>>()
    {
        let metrics = site.metrics(index).await?;
        recorders += prometheus::sum(&metrics, "holdfast_recorders", Some("state=\"recording\""))
            .unwrap_or(0.0);
    }
    Ok(recorders)
}

/// Waits until two nodes other than `dead` record every camera: two sessions at it, an owner that
/// records, and a mirror.
async fn wait_two_each(site: &mut Site, dead: usize) -> Result<()> {
    let gone = (dead < site.cluster.len()).then(|| site.cluster.name(dead).to_owned());
    wait::until("two nodes record each camera", SETTLE_TIMEOUT, async || {
        let look = site.look().await.map_err(|error| error.to_string())?;
        let gone = look
            .cluster
            .nodes
            .iter()
            .find(|node| Some(&node.name) == gone.as_ref())
            .map(|node| node.id);
        let is_settled = |camera: &wire::Camera| {
            let wire::Assignment {
                owner,
                mirror,
                moving_to,
                ..
            } = camera.assignment;
            let are_there = owner.is_some() && mirror.is_some() && moving_to.is_none();
            let live = gone.is_none() || (owner != gone && mirror != gone);
            are_there && live && camera.recording.state == Some(RecorderState::Recording)
        };
        let unsettled: Vec<_> = look
            .cameras
            .iter()
            .filter(|camera| !is_settled(camera))
            .collect();
        let sessions: Vec<usize> = site
            .cameras()
            .iter()
            .map(|camera| camera.handle.sessions())
            .collect();
        let recording = recorders(site).await.map_err(|error| error.to_string())?;
        let have_two =
            sessions.iter().all(|count| *count == 2) && recording == 2.0 * f64::from(CAMERAS);
        if unsettled.is_empty() && have_two {
            return Ok(());
        }
        Err(format!(
            "sessions {sessions:?}; {recording} record; {unsettled:?}"
        ))
    })
    .await
}
