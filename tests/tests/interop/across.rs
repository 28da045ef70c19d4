//! VLC, GStreamer and hls.js play across gaps of any length, a handoff, and the death of the
//! recorder. None stops, and none misses stored footage.

use crate::heard::{FRAME_US, Jump, heard, jumps};
use crate::hls_js::Page;
use crate::judges;
use crate::players::{gstreamer_seconds, vlc_seconds};
use crate::site::{self, Source, seconds};
use crate::written::Written;
use holdfast_camera::{CameraOptions, Sound};
use holdfast_chaos::oracle::{count_all, wait_available};
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteCamera, SiteOptions};
use holdfast_control_api::wire;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::VolumeOptions;
use holdfast_storage::ids::{CameraId, NodeId};
use reqwest::Method;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// What a player may leave out at both ends.
const SLACK_SECONDS: f64 = 1.5;
const FPS: f64 = 25.0;
/// Of frames, at both ends of a presentation.
const SLACK_FRAMES: f64 = 5.0;
/// Where a recorder died, sound may end before its video, and two recorders' clocks differ where a
/// busy machine reads late: hls.js hops over more than a frame of sound that is missing.
const HOP_FRAMES: f64 = 20.0;
/// By how much the clocks of two recorders may differ until they converge.
const UNEVEN_US_MAX: i64 = 150_000;
/// By how much sound may end earlier than its video there: a chunk, and what had yet to come.
const SILENT_US_MAX: i64 = 500_000;
/// By how much sound of both may overlap there: it comes that much later than its video.
const OVERLAP_US_MAX: i64 = 110_000;

/// For a browser to start, and to have something to show.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(40);
/// Beyond the presentation's own length, on a machine that does other things too.
const LATE_MAX: Duration = Duration::from_secs(40);
/// VLC does not report its position, so only its playing time is known. It begins and ends within
/// some seconds; a player that stands still for a gap is late by the gap's length, which is 20 s or
/// more.
const VLC_LATE_SECONDS_MAX: f64 = 15.0;
const SETTLE_TIMEOUT: Duration = Duration::from_secs(45);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs VLC, GStreamer, Chromium and npm: cargo xtask verify"]
async fn all_players_play_over_a_gap_of_20_seconds_and_one_of_8_minutes() {
    let mut site = site::Site::start().await;
    let source = Source {
        url: "rtsp://127.0.0.1:9/none".to_owned(),
        ..Source::default()
    };
    let camera = site.add("yard", &source).await;
    let cluster: wire::Cluster = site
        .cluster
        .api(0)
        .unwrap()
        .get(&["cluster"], &[])
        .await
        .unwrap();
    let node = cluster.this_node.unwrap();
    site.cluster.stop(0, STOP_TIMEOUT).await.unwrap();

    let began = wall_now().plus_micros(-1_200_000_000);
    let at = |second: i64| began.plus(seconds(second));
    let pieces = vec![(at(0), 5), (at(25), 5), (at(30 + 480), 5)];
    let volume = site.cluster.config(0).volume_paths()[0].clone();
    let options = VolumeOptions::new(volume, node, cluster.id.unwrap().parse().unwrap());
    Written {
        camera: CameraId(u32::try_from(camera).unwrap()),
        node,
        pieces,
    }
    .write(options)
    .await;
    site.cluster.start(0).unwrap();
    site.cluster.wait_ready(0).await.unwrap();

    let (from, to) = (began, at(520));
    let media = listed_seconds(&site.playlist(camera, from, to).await);
    assert!((media - 15.0).abs() < 0.1, "{media} s of media are listed");
    all_play(
        &site.playlist_url(camera, from, to),
        (media, 0.0),
        site.dir(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs VLC, GStreamer, Chromium and npm: cargo xtask verify"]
async fn all_players_play_across_a_handoff_and_the_death_of_the_recorder() {
    let mut options = SiteOptions::new(3, 1);
    options.cameras[0] = CameraOptions {
        sound: Some(Sound::Aac),
        ..options.cameras[0].clone()
    };
    let mut site = Site::start(options).await.unwrap();
    site.wait_one_recorder_each().await.unwrap();
    let camera = site.cameras()[0].clone();
    let asked = owner(&site, &camera, 0).await.unwrap();
    let live = Page::play(&url(&site, asked, &camera, "live=true")).await;
    let begun = live
        .wait("playing", BEGIN_TIMEOUT, |report| {
            report.at > 0.0 && report.frames > 25
        })
        .await;
    let from = wall_now();

    // The handoff: the node that is asked still answers.
    drain(&site, asked).await;
    let second = wait_owner(&site, asked, &camera, asked).await;
    let handed = live
        .wait("past the handoff", LATE_MAX, |report| {
            report.at > begun.at + 6.0
        })
        .await;

    site.cluster.kill(second).await.unwrap();
    wait_owner(&site, asked, &camera, second).await;
    // What had been buffered before the kill is less than what a live list shows.
    let killed = live
        .wait("past the kill", 2 * LATE_MAX, |report| {
            report.at > handed.at + 12.0
        })
        .await;
    println!("live: {begun:?}, {handed:?}, {killed:?}");
    drop(live);
    let to = wall_now().plus(seconds(1));

    site.cluster.start(second).unwrap();
    site.cluster.wait_ready(second).await.unwrap();
    wait_available(&mut site, camera.id, from, to)
        .await
        .unwrap();
    let verdict = count_all(&mut site, from, to).await.unwrap().remove(0);
    let url = url(&site, asked, &camera, &format!("from={from}&to={to}"));
    let playlist = closed_playlist(&url).await;
    let media = listed_seconds(&playlist);
    let jumps = jumps(&heard(&url, &playlist).await);
    let sent = to.micros_since(from) as f64 / 1e6;
    let lost = verdict.loss.lost as f64 / FPS;
    println!("{sent:.1} s were sent, {lost:.2} s lost, {media:.1} s are listed");
    assert!(
        media > sent - lost - 1.0,
        "{media} of {sent} s are listed, and {lost} s are lost"
    );
    println!("jumps of sound: {jumps:?}");
    let (torn, uneven): (Vec<Jump>, Vec<Jump>) =
        jumps.into_iter().partition(|jump| jump.missing != 0);
    assert!(torn.len() <= 1, "only where the recorder died: {torn:?}");
    assert!(
        uneven
            .iter()
            .all(|jump| jump.silent_us.abs() <= UNEVEN_US_MAX),
        "{uneven:?}"
    );
    for Jump { missing, silent_us } in torn {
        assert!(
            (-OVERLAP_US_MAX..=SILENT_US_MAX).contains(&silent_us),
            "nothing is heard for {silent_us} us"
        );
        let missing = (missing * FRAME_US) as f64 / 1e6;
        assert!(
            (0.0..lost + SILENT_US_MAX as f64 / 1e6).contains(&missing),
            "{missing} s of sound are missing"
        );
    }
    let named = site.timeline(asked, camera.id, from, to).await.unwrap();
    let named: i64 = named
        .gaps
        .iter()
        .map(|gap| gap.end.micros_since(gap.start))
        .sum();
    assert!(
        lost < named as f64 / 1e6 + 0.5,
        "{lost} s are lost, and the ledger names {named} us"
    );
    all_play(&url, (media, 2.0), site.dir()).await;
    site.pass();
}

/// Each player at the same time, to the end: of so many seconds, with so many changes of recorder.
async fn all_play(url: &str, (media, changes): (f64, f64), dir: &Path) {
    let (gstreamer_url, vlc_url, home): (String, String, PathBuf) =
        (url.to_owned(), url.to_owned(), dir.to_owned());
    let gstreamer = spawn_blocking(move || gstreamer_seconds(&gstreamer_url));
    let vlc = spawn_blocking(move || vlc_seconds(&vlc_url, &home));
    let page = Page::play(url).await;
    let within = Duration::from_secs_f64(media) + LATE_MAX;
    let hls_js = page.wait("at the end", within, |report| report.ended).await;
    let (gstreamer, vlc) = (gstreamer.await.unwrap(), vlc.await.unwrap());
    println!("of {media:.1} s: GStreamer {gstreamer:.1} s, VLC {vlc:.1} s, hls.js {hls_js:?}");
    assert!(
        gstreamer > media - SLACK_SECONDS,
        "GStreamer ended at {gstreamer} of {media} s"
    );
    assert!(
        vlc > media - SLACK_SECONDS,
        "VLC ended after {vlc} of {media} s"
    );
    assert!(
        vlc < media + VLC_LATE_SECONDS_MAX,
        "VLC stood still: {vlc} s for {media} s"
    );
    assert!(
        hls_js.at > media - SLACK_SECONDS,
        "hls.js ended at {} of {media} s",
        hls_js.at
    );
    let least = media * FPS - SLACK_FRAMES - changes * HOP_FRAMES;
    assert!(
        hls_js.frames as f64 > least,
        "{least} frames at least: {hls_js:?}"
    );
}

fn listed_seconds(playlist: &str) -> f64 {
    let playlist = judges::parse_playlist(playlist);
    playlist
        .segments
        .iter()
        .map(|segment| f64::from(segment.duration))
        .sum()
}

async fn closed_playlist(url: &str) -> String {
    let closed = timeout(SETTLE_TIMEOUT, async {
        loop {
            let text = reqwest::get(url).await.unwrap().text().await.unwrap();
            if text.contains("#EXT-X-ENDLIST") {
                return text;
            }
            sleep(POLL_INTERVAL).await;
        }
    });
    closed.await.expect("the playlist is closed in time")
}

fn url(site: &Site, index: usize, camera: &SiteCamera, query: &str) -> String {
    let (api, token) = (site.cluster.api_url(index), &site.cluster.token().0);
    format!(
        "{api}/api/v1/cameras/{}/hls/index.m3u8?{query}&token={token}",
        camera.id
    )
}

/// The camera's owner according to node `asked`.
async fn owner(site: &Site, camera: &SiteCamera, asked: usize) -> Option<usize> {
    let look = site.ask(asked).await.unwrap();
    let found = look.cameras.iter().find(|found| found.id == camera.id)?;
    let is_recorded =
        found.assignment.moving_to.is_none() && found.recording.node == found.assignment.owner;
    let owner: NodeId = found.assignment.owner.filter(|_| is_recorded)?;
    site.index_of(&look, owner).ok()
}

/// Waits until another node than `before` owns the camera and records it.
async fn wait_owner(site: &Site, asked: usize, camera: &SiteCamera, before: usize) -> usize {
    let waiting = timeout(SETTLE_TIMEOUT, async {
        loop {
            if let Some(owner) = owner(site, camera, asked)
                .await
                .filter(|owner| *owner != before)
            {
                return owner;
            }
            sleep(POLL_INTERVAL).await;
        }
    });
    waiting.await.expect("the camera has another owner in time")
}

async fn drain(site: &Site, index: usize) {
    let look = site.ask(index).await.unwrap();
    let node = look.cluster.this_node.unwrap();
    let answer = site
        .send(
            index,
            Method::POST,
            &format!("nodes/{node}/drain"),
            None::<&()>,
        )
        .await
        .unwrap();
    assert!(
        (200..300).contains(&answer.status),
        "{}: {}",
        answer.status,
        answer.text()
    );
}
