//! Strangers at a node's two ports: thousands of connections that send nothing, or never a complete
//! request.

use crate::support::strangers::{HALF_A_HELLO, NOTHING, Strangers, Watch};
use holdfast_chaos::oracle::{count_all, expect_whole};
use holdfast_chaos::prometheus::sum;
use holdfast_chaos::site::{Site, SiteOptions};
use holdfast_chaos::{Error, Result};
use holdfast_control_api::limits::HEAD_DEADLINE;
use holdfast_node::terminal::clock::wall_now;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::time::sleep;

/// The limit that `docs/operations.md` recommends.
const FILES_MAX: u64 = 4096;

/// The default of most shells and service managers. Half of it is reserved for cameras and volumes.
const FEW_FILES: u64 = 1024;

/// A request that never becomes complete.
const HALF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-";

/// More than `FILES_MAX`.
const CROWD: usize = 4200;

/// Each makes this many connections, half of them with half a head: fewer than an address may have.
const ADDRESSES: u8 = 250;
const FROM_EACH: usize = 8;

/// For work that takes a node a second or two; it takes longer on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long after a deadline the node may take to enforce it.
const LOOK_MAX: Duration = Duration::from_secs(4);

/// Connections in addition to the strangers': the test's own, and closed ones that have not gone
/// yet.
const ALMOST: f64 = 150.0;

/// So that recording needs several segments while the strangers are there.
const SEGMENT_SECONDS: u64 = 3;

fn options() -> SiteOptions {
    SiteOptions {
        tune: |_, config| config.storage.segment_seconds = SEGMENT_SECONDS,
        ..SiteOptions::new(1, 2)
    }
}

async fn recording_site(files_max: u64) -> Result<Site> {
    let mut site = Site::prepare_with_files(options(), files_max).await?;
    site.cluster.form().await?;
    site.add_all().await?;
    site.wait_recorded_beyond(wall_now()).await?;
    Ok(site)
}

fn ports(site: &Site) -> [SocketAddr; 2] {
    let listen = &site.cluster.config(0).listen;
    [listen.api, listen.peer]
}

async fn sealed(site: &Site) -> Result<f64> {
    metric(site, "holdfast_volume_sealed_segments", None).await
}

async fn metric(site: &Site, family: &str, label: Option<&str>) -> Result<f64> {
    sum(&site.metrics(0).await?, family, label).ok_or_else(|| Error::Wrong(format!("no {family}")))
}

/// While the strangers are there, nothing is lost and everything is answered; after the deadline
/// they are gone.
async fn outlasts(
    site: &mut Site,
    crowd: impl AsyncFnOnce([SocketAddr; 2], &mut Strangers),
) -> Result<()> {
    let ports = ports(site);
    let mut strangers = Strangers::assemble();
    let (from, sealed_before) = (wall_now(), sealed(site).await?);
    let watch = Watch::begin(ports[0]);
    crowd(ports, &mut strangers).await;
    // A client with the token is served while they are there.
    site.ask(0).await?;
    let open = metric(site, "holdfast_open_connections", Some("stranger")).await?;
    let files = metric(site, "holdfast_open_files", None).await?;
    let allowed = metric(site, "holdfast_allowed_files", None).await?;
    println!("{open} strangers are let in; {files} of {allowed} files are open");
    // Number of files reserved for the 500 cameras of the default configuration, or half.
    assert!(
        allowed - files >= (allowed / 2.0).min(1080.0) - ALMOST,
        "files are left for cameras and volumes"
    );
    assert!(
        open >= 48.0,
        "the crowd is no longer there: the test shows nothing"
    );
    assert_eq!(
        strangers.open_after(HEAD_DEADLINE + LOOK_MAX).await,
        0,
        "still open after the deadline"
    );
    watch.end(ANSWER_MAX).await;
    let (to, sealed_after) = (wall_now(), sealed(site).await?);
    let ran_s = to.micros_since(from) as f64 / 1e6;
    println!(
        "{} segments were sealed in {ran_s:.1} s",
        sealed_after - sealed_before
    );
    assert!(
        sealed_after - sealed_before >= 2.0,
        "segments are opened and sealed throughout"
    );
    expect_whole(&count_all(site, from, to).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_from_one_address_at_both_ports_cost_no_frame_and_no_answer() -> Result<()> {
    let mut site = recording_site(FILES_MAX).await?;
    outlasts(&mut site, async |[api, peer], strangers| {
        strangers
            .come(peer, Ipv4Addr::LOCALHOST, CROWD, NOTHING)
            .await;
        strangers
            .come(api, Ipv4Addr::LOCALHOST, CROWD / 4, NOTHING)
            .await;
        strangers
            .come(api, Ipv4Addr::LOCALHOST, CROWD / 4, HALF_A_HEAD)
            .await;
        strangers
            .come(peer, Ipv4Addr::LOCALHOST, CROWD / 8, HALF_A_HELLO)
            .await;
    })
    .await?;
    for port in ["api", "peer"] {
        let label = format!("port=\"{port}\",reason=\"address_full\"");
        let evicted = metric(&site, "holdfast_evicted_connections_total", Some(&label)).await?;
        assert!(evicted >= CROWD as f64 / 3.0, "{port}: {evicted}");
    }
    says_so_once(&site);
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_from_hundreds_of_addresses_at_both_ports_cost_no_frame_and_no_answer()
-> Result<()> {
    let mut site = recording_site(FILES_MAX).await?;
    outlasts(&mut site, from_hundreds_of_addresses).await?;
    // On the members' port a handshake comes before any head.
    for (port, late) in [("api", "head"), ("peer", "handshake")] {
        let label = format!("port=\"{port}\",reason=\"port_full\"");
        let evicted = metric(&site, "holdfast_evicted_connections_total", Some(&label)).await?;
        let label = format!("port=\"{port}\",reason=\"{late}\"");
        let late = metric(&site, "holdfast_timed_out_connections_total", Some(&label)).await?;
        // On a slow machine those at the members' port leave before others need their places.
        assert!(
            late > 64.0 && evicted + late >= 1000.0,
            "{port}: {evicted}, {late}"
        );
    }
    says_so_once(&site);
    site.pass();
    Ok(())
}

async fn from_hundreds_of_addresses(ports: [SocketAddr; 2], strangers: &mut Strangers) {
    for number in 2..ADDRESSES + 2 {
        let [api, peer] = ports;
        for (port, words) in [
            (api, NOTHING),
            (api, HALF_A_HEAD),
            (peer, NOTHING),
            (peer, HALF_A_HELLO),
        ] {
            strangers
                .come(port, Ipv4Addr::new(127, 0, 0, number), FROM_EACH / 2, words)
                .await;
        }
    }
}

/// The ports would accept more connections than there are files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_files_those_of_cameras_and_volumes_are_left_alone() -> Result<()> {
    let mut site = recording_site(FEW_FILES).await?;
    outlasts(&mut site, from_hundreds_of_addresses).await?;
    for port in ["api", "peer"] {
        let label = format!("port=\"{port}\",reason=\"files_short\"");
        assert!(
            metric(&site, "holdfast_evicted_connections_total", Some(&label)).await? > 500.0,
            "{port}"
        );
    }
    site.pass();
    Ok(())
}

/// One line a minute for each port and reason.
fn says_so_once(site: &Site) {
    let log = std::fs::read_to_string(site.cluster.log_path(0)).expect("a log");
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("make room"))
        .collect();
    assert!((2..=8).contains(&lines.len()), "{lines:?}");
}

/// A connection that carries the token outlasts the deadline of those that do not, and is never
/// evicted for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_connection_outlasts_strangers_and_their_deadline() -> Result<()> {
    let site = recording_site(FILES_MAX).await?;
    let [api, _] = ports(&site);
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(1)
        .build()
        .expect("a client");
    let ask = async || {
        let request = client
            .get(format!("http://{api}/api/v1/cameras"))
            .bearer_auth(&site.cluster.token().0);
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        answer.bytes().await.expect("a body");
        status
    };
    let authorised = Some("port=\"api\",state=\"authorised\"");
    assert_eq!(ask().await, 200);
    let mut strangers = Strangers::assemble();
    for number in 2..ADDRESSES {
        strangers
            .come(api, Ipv4Addr::new(127, 0, 0, number), FROM_EACH, NOTHING)
            .await;
    }
    sleep(HEAD_DEADLINE + LOOK_MAX).await;
    assert!(metric(&site, "holdfast_open_connections", authorised).await? >= 1.0);
    let accepted = metric(
        &site,
        "holdfast_accepted_connections_total",
        Some("port=\"api\""),
    )
    .await?;
    assert_eq!(ask().await, 200);
    let accepted_after = metric(
        &site,
        "holdfast_accepted_connections_total",
        Some("port=\"api\""),
    )
    .await?;
    // The one that the second query itself took.
    assert_eq!(
        accepted_after - accepted,
        1.0,
        "the client needed no new connection"
    );
    site.pass();
    Ok(())
}
