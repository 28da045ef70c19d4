//! A node that does not vote receives few recorders' reports, and nevertheless answers for the
//! whole cluster.

use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, wait};
use holdfast_consensus::VOTERS_MAX;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_node::terminal::clock::wall_now;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_vote_reports_the_state_of_every_recorder() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(VOTERS_MAX + 1, 3)).await?;
    let look = site.look().await?;
    let node = look
        .cluster
        .nodes
        .iter()
        .find(|node| !node.voter)
        .expect("a node that does not vote");
    let asked = site.index_of(&look, node.id)?;
    let now = wall_now();
    wait::until(
        "it reports every camera as recorded",
        SETTLE_TIMEOUT,
        async || {
            let look = site.ask(asked).await.map_err(|error| error.to_string())?;
            let is_reported = look.cameras.iter().all(|camera| {
                camera.recording.state == Some(RecorderState::Recording)
                    && camera.recording.watermark > Some(now)
            });
            if is_reported && look.cluster.cameras_recording == 3 {
                Ok(())
            } else {
                Err(format!("{look:?}"))
            }
        },
    )
    .await?;
    // They share one clock.
    wait::until("it knows the clocks of all", SETTLE_TIMEOUT, async || {
        let look = site.ask(0).await.map_err(|error| error.to_string())?;
        let nodes = look.cluster.nodes;
        let offsets = nodes.iter().filter_map(|node| node.clock_offset_ms);
        if offsets.map(i64::abs).filter(|ms| *ms < 250).count() == VOTERS_MAX {
            Ok(())
        } else {
            Err(format!("{nodes:?}"))
        }
    })
    .await?;
    site.pass();
    Ok(())
}
