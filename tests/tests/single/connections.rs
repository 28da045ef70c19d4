//! Clients that open more connections than a node serves.

use holdfast_chaos::Result;
use holdfast_chaos::oracle::{count_all, expect_whole};
use holdfast_chaos::site::{Site, SiteOptions};
use holdfast_control_api::limits::CONNECTIONS_MAX;
use holdfast_node::cli::wall_now;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// For the node to take in what connected before.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_bound_wait_until_one_is_closed_and_recording_goes_on() -> Result<()> {
    // A shell withholds what this takes.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("no more than is granted");
    let mut site = Site::start(SiteOptions::new(1, 1)).await?;
    let from = wall_now();
    let api = site.cluster.config(0).listen.api;
    // The cluster's own client has some open, too: those of its requests that are over are not in the way for long.
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        idle.push(TcpStream::connect(api).await.expect("the backlog takes it"));
    }
    sleep(SETTLED_AFTER).await;
    let mut late = ask(api).await;
    let mut head = [0; 15];
    assert!(timeout(SETTLED_AFTER, late.read_exact(&mut head)).await.is_err(), "{}", String::from_utf8_lossy(&head));
    idle.clear();
    timeout(ANSWER_MAX, late.read_exact(&mut head)).await.expect("in time").expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    expect_whole(&count_all(&mut site, from, wall_now()).await?)?;
    site.pass();
    Ok(())
}

async fn ask(api: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(api).await.expect("the backlog takes it");
    client.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the kernel takes it");
    client
}
