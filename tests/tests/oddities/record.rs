//! Lets odd cameras play to one node, and collects the results of each.

use crate::judge::{self, Seen};
use crate::peer;
use crate::table::{Row, rows};
use holdfast_camera::{CameraOptions, Codec};
use holdfast_chaos::Result;
use holdfast_chaos::site::{Site, SiteCamera, SiteOptions};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

/// Number of cameras that play to a node at a time.
const TOGETHER: usize = 12;
const CAMERA_BPS: u64 = 300_000;
/// How long a camera may take until some of its footage is durable: a GOP of 10 s, or a frame in 10
/// s.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(25);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long before the end frames must have been sent to be durable, even with a frame in 10 s.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Records every camera of the group, and fails with a line for each that differs from its row.
pub(crate) async fn record_group(group: &str, codec: Codec, window: Duration) {
    let all = rows(group, codec);
    assert!(!all.is_empty(), "no oddity is in the group `{group}`");
    let mut wrong = Vec::new();
    for some in all.chunks(TOGETHER) {
        wrong.extend(record(some, window).await.unwrap());
    }
    assert!(
        wrong.is_empty(),
        "of {} odd cameras:\n{}",
        all.len(),
        wrong.join("\n")
    );
    println!(
        "{} odd cameras of the group `{group}` ({codec:?}) are as their rows say",
        all.len()
    );
}

/// The faults of each of them.
async fn record(rows: &[Row], window: Duration) -> Result<Vec<String>> {
    let camera = |(id, row): (u32, &Row)| CameraOptions {
        codec: row.codec,
        bitrate_bps: CAMERA_BPS,
        ..CameraOptions::odd(id, row.oddity)
    };
    let cameras = (1..).zip(rows).map(camera).collect();
    let mut site = Site::prepare(SiteOptions {
        cameras,
        ..SiteOptions::new(1, 0)
    })
    .await?;
    site.cluster.form().await?;
    let added_at = wall_now();
    for (number, row) in (1..).zip(rows) {
        site.add_odd(number, &row.name()).await?;
    }
    let peers = peer::copy_all(site.dir(), site.server(), rows, window);
    wait_begun(&mut site, added_at).await?;
    sleep(window).await;
    let to = wall_now();
    wait_durable(&mut site, to).await?;
    let peers = peers.await;

    let mut wrong = Vec::new();
    for ((row, camera), peer) in rows.iter().zip(site.cameras().to_vec()).zip(peers) {
        let seen = Seen::collect(&mut site, &camera, (added_at, to)).await?;
        let complaints = peer::complaints(&site, row, &seen, peer.as_deref()).await?;
        let found = judge::faults(row, &camera.handle, &seen, to)
            .into_iter()
            .chain(complaints);
        let name = row.name();
        wrong.extend(found.map(|fault| format!("{name}: {fault}")));
    }
    if wrong.is_empty() {
        site.pass();
    }
    Ok(wrong)
}

/// Waits until some footage of each is durable; cameras that take too long are judged as they are.
async fn wait_begun(site: &mut Site, added_at: Timestamp) -> Result<()> {
    let began = wall_now();
    while wall_now() < began.plus(BEGIN_TIMEOUT) {
        if late(site, added_at).await?.is_empty() {
            break;
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Waits until each recorded camera is durable beyond `to`; slow cameras as far as they can be.
async fn wait_durable(site: &mut Site, to: Timestamp) -> Result<()> {
    let until = wall_now().plus(DURABLE_TIMEOUT);
    while !late(site, to).await?.is_empty() && wall_now() < until {
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Cameras that are not durable beyond `instant`.
async fn late(site: &mut Site, instant: Timestamp) -> Result<Vec<SiteCamera>> {
    let look = site.look().await?;
    let is_late = |camera: &&SiteCamera| {
        let shown = look.cameras.iter().find(|shown| shown.id == camera.id);
        shown
            .and_then(|shown| shown.recording.watermark)
            .is_none_or(|watermark| watermark <= instant)
    };
    Ok(site.cameras().iter().filter(is_late).cloned().collect())
}
