//! Strangers at the ports of a cluster's nodes: members stay in contact, and no camera moves.

use crate::steady::steady;
use crate::support::strangers::{HALF_A_HELLO, NOTHING, Strangers, Watch};
use holdfast_chaos::Result;
use holdfast_chaos::oracle::{count_all, expect_whole};
use holdfast_chaos::site::{STOP_TIMEOUT, Site};
use holdfast_control_api::limits::HEAD_DEADLINE;
use holdfast_node::terminal::clock::wall_now;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Number of connections from each address to each port of each node: more than an address may have
/// that members share.
const FROM_EACH: usize = 100;
const ADDRESSES: u8 = 12;

/// How long after a deadline the node may take to enforce it.
const LOOK_MAX: Duration = Duration::from_secs(4);

const ANSWER_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_camera_moves_because_strangers_crowd_the_ports_and_a_node_joins_again_through_them()
-> Result<()> {
    let mut site = Site::start(steady(3)).await?;
    site.wait_one_recorder_each().await?;
    let epochs = async |site: &mut Site| -> Result<Vec<_>> {
        let look = site.look().await?;
        Ok(look
            .cameras
            .iter()
            .map(|camera| (camera.id, camera.assignment.owner, camera.assignment.epoch))
            .collect())
    };
    let (from, before) = (wall_now(), epochs(&mut site).await?);
    let watches: Vec<Watch> = (0..3)
        .map(|index| Watch::begin(site.cluster.config(index).listen.api))
        .collect();
    let mut strangers = Strangers::assemble();
    crowd(&site, &mut strangers).await;
    assert_eq!(
        strangers.open_after(HEAD_DEADLINE + LOOK_MAX).await,
        0,
        "still open after the deadline"
    );
    assert_eq!(epochs(&mut site).await?, before);
    for watch in watches {
        watch.end(ANSWER_MAX).await;
    }
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;

    // New connections of members are accepted while the ports are full.
    site.cluster.stop(2, STOP_TIMEOUT).await?;
    crowd(&site, &mut strangers).await;
    site.cluster.start(2)?;
    site.cluster.wait_ready(2).await?;
    site.pass();
    Ok(())
}

/// Connects to every port of every node.
async fn crowd(site: &Site, strangers: &mut Strangers) {
    for number in 1..=ADDRESSES {
        for index in 0..3 {
            let listen = &site.cluster.config(index).listen;
            for (port, words) in [
                (listen.peer, NOTHING),
                (listen.peer, HALF_A_HELLO),
                (listen.api, NOTHING),
            ] {
                strangers
                    .come(port, Ipv4Addr::new(127, 0, 0, number), FROM_EACH / 2, words)
                    .await;
            }
        }
    }
}
