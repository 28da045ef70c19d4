//! A node that was removed while it was away comes back: it reports that it was removed, and what
//! to do.

use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, wait};
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_that_comes_back_says_so() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(3, 2)).await?;
    site.wait_one_recorder_each().await?;
    let leader = site.leader().await?;
    let dead = (leader + 1) % 3;
    let name = site.cluster.name(dead).to_owned();
    let nodes = site.look().await?.cluster.nodes;
    let id = nodes
        .into_iter()
        .find(|node| node.name == name)
        .expect("it is a member")
        .id;
    site.cluster.kill(dead).await?;
    let answer = site
        .send(
            leader,
            Method::DELETE,
            &format!("nodes/{id}?force=true"),
            None::<&()>,
        )
        .await?;
    assert_eq!(answer.status, 204, "{}", answer.text());

    site.cluster.start(dead)?;
    wait::until("it says that it was removed", SETTLE_TIMEOUT, async || {
        let api = site.cluster.api(dead).map_err(|error| error.to_string())?;
        match api.probe("/readyz").await {
            Err(error) if error.message.contains("was removed from the cluster") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    assert!(
        site.cluster
            .log_tail(dead)
            .contains("was removed from the cluster")
    );
    site.cluster.kill(dead).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    site.pass();
    Ok(())
}
