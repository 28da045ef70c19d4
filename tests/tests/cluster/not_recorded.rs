//! A camera that is off: the status reports it by name, and it delays neither a drain nor a stop.

use holdfast_chaos::process::{Ended, run};
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions, source};
use holdfast_chaos::wait;
use holdfast_chaos::{Error, Result};
use holdfast_node::terminal::clock::monotonic_now;
use holdfast_storage::ids::CameraId;
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;

const COMMAND_MAX: Duration = Duration::from_secs(90);

/// Connections to this address are refused at once.
const OFF: &str = "rtsp://127.0.0.1:9/off";

/// Earlier versions never ended a drain of such a node, and took 20 s to stop.
const MOVED_MAX: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_off_is_reported_and_holds_up_neither_a_drain_nor_a_stop() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(3, 3)).await?;
    site.wait_one_recorder_each().await?;
    let whole = command(&site, 0, &["status"]).await?;
    assert_eq!(whole.code, Some(0), "{}{}", whole.stdout, whole.stderr);
    let off = site.add("off", source(OFF.to_owned())).await?.id;
    shown(&mut site).await?;

    let owner = owner(&mut site, off).await?;
    let (asked, name) = ((owner + 1) % 3, site.cluster.name(owner).to_owned());
    let began = monotonic_now();
    let drained = command(
        &site,
        asked,
        &["cluster", "drain", &name, "--wait", "--timeout", "60"],
    )
    .await?;
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    assert!(
        began.elapsed() < MOVED_MAX,
        "the drain took {:?}",
        began.elapsed()
    );
    assert!(site.owned_by(owner).await?.is_empty());

    let owner = self::owner(&mut site, off).await?;
    let began = monotonic_now();
    let ended = site.cluster.stop(owner, STOP_TIMEOUT).await?;
    assert_eq!(ended.code(), Some(0), "{}", site.cluster.log_tail(owner));
    assert!(
        began.elapsed() < MOVED_MAX,
        "the stop took {:?}: {}",
        began.elapsed(),
        site.cluster.log_tail(owner)
    );
    site.pass();
    Ok(())
}

/// In the status, with its exit code, and in the metrics.
async fn shown(site: &mut Site) -> Result<()> {
    wait::until(
        "the status says that it is not recorded",
        COMMAND_MAX,
        async || {
            let status = command(site, 1, &["status", "--json"])
                .await
                .map_err(|error| error.to_string())?;
            let shown: Value =
                serde_json::from_str(&status.stdout).map_err(|error| error.to_string())?;
            let found = &shown["findings"][0];
            match (
                status.code,
                found["code"].as_str(),
                found["subject"].as_str(),
            ) {
                (Some(20), Some("not-recorded"), Some("off")) => Ok(()),
                _ => Err(format!("{:?} {shown}", status.code)),
            }
        },
    )
    .await?;
    let mut pages = String::new();
    for index in 0..3 {
        pages.push_str(&site.metrics(index).await?);
    }
    let line = |start: &str, with: &str| {
        let found = pages
            .lines()
            .find(|line| line.starts_with(start) && line.contains(with));
        found
            .unwrap_or_else(|| panic!("no {start} with {with}"))
            .to_owned()
    };
    let info = line("holdfast_camera_info{", "name=\"off\"");
    let number = info
        .split("camera=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a camera's number");
    let recorded = line(
        "holdfast_camera_recorded_info{",
        &format!("camera=\"{number}\""),
    );
    assert!(recorded.ends_with(" 0"), "{recorded}");
    Ok(())
}

async fn command(site: &Site, asked: usize, arguments: &[&str]) -> Result<Ended> {
    let (api, token) = (site.cluster.api_url(asked), site.dir().join("admin.token"));
    let token = token.to_string_lossy().into_owned();
    run(
        &[&["--api", &api, "--token-file", &token], arguments].concat(),
        COMMAND_MAX,
    )
    .await
}

async fn owner(site: &mut Site, camera: CameraId) -> Result<usize> {
    let until = monotonic_now() + COMMAND_MAX;
    loop {
        let look = site.look().await?;
        let found = look.cameras.iter().find(|found| found.id == camera);
        match found.and_then(|found| found.assignment.owner) {
            Some(owner) => return site.index_of(&look, owner),
            None if monotonic_now() >= until => {
                return Err(Error::Wrong(format!("no node owns camera {camera}")));
            }
            None => sleep(Duration::from_millis(100)).await,
        }
    }
}
