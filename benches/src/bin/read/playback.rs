//! Players during recording: whether recording falls behind while they watch.

use crate::api::Client;
use holdfast_benches::cameras::serve_cameras;
use holdfast_benches::numbers::worst;
use holdfast_benches::rig::Rig;
use holdfast_benches::{Outcome, clock};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Until connections are open and the first keyframes have arrived.
const WARM_UP: Duration = Duration::from_secs(15);
const SCRAPE_INTERVAL: Duration = Duration::from_millis(250);
const RELOAD_INTERVAL: Duration = Duration::from_secs(4);
/// How far behind the present a player begins, and how far into the future its playlist reaches.
const BEHIND_US: i64 = 10_000_000;
const AHEAD_US: i64 = 3_600_000_000;

/// The result of one window.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Window {
    /// The largest watermark lag of any camera, in seconds.
    pub(crate) lag_max: f64,
    pub(crate) received_mb_per_s: f64,
    pub(crate) played_mb_per_s: f64,
}

/// A window without players, then one with them.
pub(crate) async fn measure(
    base: &Path,
    cameras: u32,
    players: u32,
    window: Duration,
) -> Outcome<[Window; 2]> {
    let (_cameras, address) = serve_cameras(cameras)?;
    let rig = Rig::form(base, 1).await?;
    let added = rig
        .add_cameras((1..=cameras).map(|id| format!("rtsp://{address}/cam/{id}")))
        .await?;
    rig.wait_durable_beyond(0, Timestamp::MIN).await?;
    sleep(WARM_UP).await;
    let client = Arc::new(Client::of(&rig)?);
    let alone = watch(&client, window, JoinSet::new()).await?;
    let mut playing = JoinSet::new();
    for camera in added.iter().take(players as usize) {
        playing.spawn(play(Arc::clone(&client), camera.id, window));
    }
    let watched = watch(&client, window, playing).await?;
    Ok([alone, watched])
}

async fn watch(
    client: &Client,
    window: Duration,
    mut playing: JoinSet<Outcome<u64>>,
) -> Outcome<Window> {
    let (started, before) = (
        clock::now(),
        received_bytes(&client.text("/metrics").await?)?,
    );
    let (mut lags, mut received) = (Vec::new(), before);
    while started.elapsed() < window {
        sleep(SCRAPE_INTERVAL).await;
        let text = client.text("/metrics").await?;
        lags.extend(
            text.lines()
                .filter(|line| line.starts_with("holdfast_watermark_lag_seconds{"))
                .filter_map(value),
        );
        received = received_bytes(&text)?;
    }
    let took = started.elapsed().as_secs_f64();
    let mut played = 0;
    while let Some(player) = playing.join_next().await {
        played += player??;
    }
    let rate = |bytes: f64| bytes / 1e6 / took;
    Ok(Window {
        lag_max: worst(&lags),
        received_mb_per_s: rate(received - before),
        played_mb_per_s: rate(played as f64),
    })
}

fn received_bytes(metrics: &str) -> Outcome<f64> {
    let line = metrics
        .lines()
        .find(|line| line.starts_with("holdfast_received_bytes_total "));
    Ok(line
        .and_then(value)
        .ok_or("the node exports no holdfast_received_bytes_total")?)
}

fn value(line: &str) -> Option<f64> {
    line.rsplit(' ').next()?.parse().ok()
}

/// Follows a growing playlist as a player does: reads it again now and then, and fetches each
/// segment once, as it appears. Returns the bytes that it received.
async fn play(client: Arc<Client>, camera: CameraId, window: Duration) -> Outcome<u64> {
    let (now, started) = (wall_now(), clock::now());
    let (from, to) = (now.plus_micros(-BEHIND_US), now.plus_micros(AHEAD_US));
    let base = format!("/api/v1/cameras/{camera}/hls");
    let opened = client
        .text(&format!("{base}/index.m3u8?from={from}&to={to}"))
        .await?;
    let growing = uris(&opened)
        .next()
        .ok_or("the playlist that was opened names none that grows")?
        .to_owned();
    let (mut seen, mut bytes) = (BTreeSet::new(), 0);
    let mut reload_at = Duration::ZERO;
    while started.elapsed() < window {
        let playlist = client.text(&format!("{base}/{growing}")).await?;
        for uri in uris(&playlist) {
            if seen.insert(uri.to_owned()) {
                bytes += client.fetch(&format!("{base}/{uri}")).await?;
            }
        }
        reload_at += RELOAD_INTERVAL;
        sleep(reload_at.min(window).saturating_sub(started.elapsed())).await;
    }
    Ok(bytes)
}

/// Headers and segments, in the order of the playlist.
fn uris(playlist: &str) -> impl Iterator<Item = &str> {
    playlist
        .lines()
        .filter_map(|line| match line.strip_prefix("#EXT-X-MAP:URI=\"") {
            Some(map) => map.split('"').next(),
            None => (!line.starts_with('#') && !line.is_empty() && !line.starts_with("gap"))
                .then_some(line),
        })
}
