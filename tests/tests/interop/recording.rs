//! Everything that GStreamer's cameras send is recorded, and other programs can play it.

use crate::clips::{Clip, FPS, GOP_FRAMES};
use crate::gst::{Auth, GstCameras, PASSWORD, USER};
use crate::judges::{self, Found};
use crate::site::{Site, Source, seconds};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::time::Timestamp;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

/// Length of each camera's recording.
const RECORDED_SECONDS: i64 = 8;

/// A camera and the expected contents of its recording.
struct Expected {
    name: &'static str,
    source: Source,
    video: &'static str,
    /// Codec, and frames per second.
    audio: Option<(&'static str, f64)>,
}

#[tokio::test]
#[ignore = "needs GStreamer and ffmpeg: cargo xtask verify"]
async fn every_codec_transport_and_login_is_recorded_and_played() {
    let h264 = GstCameras::start(2, Clip::H264, None, Auth::None).await;
    let aac = GstCameras::start(1, Clip::H265, Some(Clip::Aac), Auth::Digest).await;
    let alaw = GstCameras::start(1, Clip::H264, Some(Clip::Alaw), Auth::Basic).await;
    let mulaw = GstCameras::start(2, Clip::H264, Some(Clip::Mulaw), Auth::None).await;
    let source = |url, credentials, udp| Source {
        url,
        credentials,
        udp,
    };
    let login = Some((USER, PASSWORD));
    // GStreamer packs G.711 as it arrives: 20 ms in a packet.
    let (aac_fps, g711_fps) = (16_000.0 / 1024.0, 50.0);
    let expected = [
        Expected {
            name: "h264-tcp",
            source: source(h264.url(1), None, false),
            video: "h264",
            audio: None,
        },
        Expected {
            name: "h264-udp",
            source: source(h264.url(2), None, true),
            video: "h264",
            audio: None,
        },
        Expected {
            name: "h265-aac-digest",
            source: source(aac.url(1), login, false),
            video: "hevc",
            audio: Some(("aac", aac_fps)),
        },
        Expected {
            name: "h264-alaw-basic",
            source: source(alaw.url(1), login, false),
            video: "h264",
            audio: Some(("pcm_alaw", g711_fps)),
        },
        Expected {
            name: "h264-mulaw",
            source: source(mulaw.url(1), None, false),
            video: "h264",
            audio: Some(("pcm_mulaw", g711_fps)),
        },
        Expected {
            name: "h264-mulaw-udp",
            source: source(mulaw.url(2), None, true),
            video: "h264",
            audio: Some(("pcm_mulaw", g711_fps)),
        },
    ];
    let site = Site::start().await;
    let mut cameras = Vec::new();
    for camera in &expected {
        cameras.push(site.add(camera.name, &camera.source).await);
    }
    let mut from = Timestamp::MIN;
    for &camera in &cameras {
        from = from.max(site.wait_recording(camera).await);
    }
    let to = from.plus(seconds(RECORDED_SECONDS));
    for &camera in &cameras {
        site.wait_durable(camera, to).await;
    }
    for (&id, camera) in cameras.iter().zip(&expected) {
        judge(&site, id, camera, from, to).await;
    }
    assert_eq!(site.metric("holdfast_lost_packets_total").await, 0.0);
}

async fn judge(site: &Site, id: u64, expected: &Expected, from: Timestamp, to: Timestamp) {
    let name = expected.name;
    let timeline = site.timeline(id, from, to).await;
    assert!(
        timeline.gaps.is_empty() && timeline.spans.len() == 1,
        "{name}: {timeline:?}"
    );

    let export = site.export(id, from, to).await;
    let file = export.path.to_str().unwrap();
    judges::decode_without_a_message(file);
    let probed = judges::probe(file);
    println!("{name}: {probed:?}");
    let video = probed.video.unwrap_or_else(|| panic!("{name}: no video"));
    check_video(name, &video, expected.video);
    let audio = probed.audio.map(|found| (found.codec, found.frames));
    assert_eq!(
        audio.as_ref().map(|(codec, _)| codec.as_str()),
        expected.audio.map(|(codec, _)| codec),
        "{name}"
    );
    assert_eq!((export.gaps, export.gap_ms), (0, 0), "{name}");

    let samples = judges::parse_mp4(&export.path);
    assert_eq!(
        samples[0] as u64, video.frames,
        "{name}: re_mp4 and ffprobe count video frames"
    );
    if let Some((codec, fps)) = expected.audio {
        let played_seconds = video.frames as f64 / FPS;
        let packets = samples[1] as f64;
        assert!(
            (packets / (played_seconds * fps) - 1.0).abs() < 0.1,
            "{name}: {packets} packets of {codec}"
        );
    }

    let url = site.playlist_url(id, from, to);
    let playlist = judges::parse_playlist(&site.playlist(id, from, to).await);
    assert!(
        playlist.segments[1..]
            .iter()
            .all(|segment| !segment.discontinuity),
        "{name}: {playlist:?}"
    );
    judges::decode_without_a_message(&url);
    let played = judges::probe(&url).video.unwrap();
    assert!(
        played.frames >= video.frames && played.frames <= video.frames + 5 * GOP_FRAMES,
        "{name}: HLS has {played:?}"
    );
}

/// From the keyframe before the range to the frame before its end, give or take a chunk.
fn check_video(name: &str, video: &Found, codec: &str) {
    assert_eq!(video.codec, codec, "{name}");
    let range_frames = RECORDED_SECONDS as u64 * FPS as u64;
    let plausible = range_frames - 1..=range_frames + GOP_FRAMES + GOP_FRAMES / 2 + 1;
    assert!(
        plausible.contains(&video.frames),
        "{name}: {} frames in {RECORDED_SECONDS} s",
        video.frames
    );
}

#[tokio::test]
#[ignore = "needs GStreamer and ffmpeg: cargo xtask verify"]
async fn a_wrong_password_is_named_and_not_hammered() {
    let mut cameras = GstCameras::start(2, Clip::H264, None, Auth::Digest).await;
    let site = Site::start().await;
    let wrong = Source {
        url: cameras.url(1),
        credentials: Some((USER, "wrong")),
        udp: false,
    };
    let none = Source {
        url: cameras.url(2),
        credentials: None,
        udp: false,
    };
    let mut ids = Vec::new();
    for (name, source) in [("wrong password", wrong), ("no password", none)] {
        let id = site.add(name, &source).await;
        let camera = site
            .wait(id, "refused", |camera| {
                camera["recording"]["error"].is_string()
            })
            .await;
        let error = camera["recording"]["error"].as_str().unwrap();
        assert!(
            error.contains("refused the user name or password"),
            "{name}: {error}"
        );
        assert_eq!(camera["recording"]["state"], "failing", "{name}");
        ids.push((id, error.to_owned()));
    }
    let (before, failed_before) = (
        cameras.connections().await,
        site.metric("holdfast_failed_sessions_total").await,
    );
    sleep(Duration::from_secs(8)).await;
    let (after, failed_after) = (
        cameras.connections().await,
        site.metric("holdfast_failed_sessions_total").await,
    );
    // Without a login there is no account to lock: delays grow from 0.25 s to 5 s, six attempts in
    // the first 8 s. A refused login waits for 30 s.
    let attempts = failed_after - failed_before;
    assert!((1.0..=6.0).contains(&attempts), "{attempts} attempts");
    assert!(
        after - before <= 2 * attempts as u64 + 2,
        "{} connections for {attempts} attempts",
        after - before
    );

    let (id, error) = &ids[0];
    let next_attempt = error
        .split("the next attempt is at ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let next: Timestamp = next_attempt
        .unwrap_or_else(|| panic!("{error}"))
        .parse()
        .unwrap();
    site.change(*id, &json!({"source": {"password": PASSWORD}}))
        .await;
    site.wait_recording(*id).await;
    assert!(
        wall_now() < next,
        "the right password is tried at once, not at {next}"
    );
}
