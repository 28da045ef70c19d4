//! Common players play a recording to its end, over gaps and over changes of the session
//! (`docs/decisions/2026-11-30-gaps-in-hls.md`): VLC stops and GStreamer fails at streams that they
//! do not understand.

use crate::clips::Clip;
use crate::gst::{Auth, GstCameras};
use crate::judges;
use crate::site::{Site, Source, seconds};
use holdfast_node::terminal::clock::wall_now;
use m3u8_rs::MediaSegment;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Recorded before the gap, and after its end.
const SOUND_SECONDS: i64 = 6;
/// Longer than the node waits for a frame.
const FREEZE: Duration = Duration::from_secs(5);

/// The most that a player may leave out at the two ends together.
const SLACK_SECONDS: f64 = 1.5;

/// The unprivileged user of Debian: VLC does not run as root.
const UNPRIVILEGED_USER: u32 = 65_534;

#[tokio::test]
#[ignore = "needs GStreamer and VLC: cargo xtask verify"]
async fn vlc_and_gstreamer_play_over_gaps_to_the_end() {
    let mut cameras = GstCameras::start(2, Clip::H264, Some(Clip::Aac), Auth::None).await;
    let site = Site::start().await;
    let mut from = wall_now();
    for number in [1, 2] {
        let source = Source {
            url: cameras.url(number),
            ..Source::default()
        };
        let id = site.add(&format!("camera {number}"), &source).await;
        from = from.max(site.wait_recording(id).await);
    }
    sleep(seconds(SOUND_SECONDS)).await;
    cameras.command("freeze 1").await;
    cameras.command("kick 2").await;
    sleep(FREEZE).await;
    cameras.command("resume 1").await;
    for id in [1, 2] {
        site.wait_durable(id, wall_now()).await;
    }
    let to = wall_now().plus(seconds(SOUND_SECONDS));
    for id in [1, 2] {
        site.wait_durable(id, to).await;
        let playlist = judges::parse_playlist(&site.playlist(id, from, to).await);
        let is_media =
            |segment: &&MediaSegment| segment.unknown_tags.iter().all(|tag| tag.tag != "X-GAP");
        let media: f64 = playlist
            .segments
            .iter()
            .filter(is_media)
            .map(|segment| f64::from(segment.duration))
            .sum();
        let range = to.micros_since(from) as f64 / 1e6;
        assert!(
            id == 2 || media + 3.0 < range,
            "camera 1 was frozen: {media} of {range} s"
        );
        let url = site.playlist_url(id, from, to);
        let shown = gstreamer_seconds(&url);
        assert!(
            shown > media - SLACK_SECONDS,
            "GStreamer ended at {shown} of {media} s of camera {id}"
        );
        let shown = vlc_seconds(&url, site.dir());
        assert!(
            shown > media - SLACK_SECONDS,
            "VLC ended after {shown} of {media} s of camera {id}"
        );
    }
}

/// The last position that GStreamer prints.
pub(crate) fn gstreamer_seconds(url: &str) -> f64 {
    let sink = "fakesink sync=true";
    let arguments = [
        &format!("--videosink={sink}"),
        &format!("--audiosink={sink}"),
        "--no-interactive",
        url,
    ];
    let output = played(
        Command::new("timeout")
            .args(["120", "gst-play-1.0"])
            .args(arguments),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let position = |line: &str| {
        let (at, _) = line.split_once(" / ")?;
        let fields: Vec<f64> = at
            .trim()
            .split(':')
            .filter_map(|field| field.parse().ok())
            .collect();
        let [hours, minutes, seconds] = fields[..] else {
            return None;
        };
        Some(hours * 3600.0 + minutes * 60.0 + seconds)
    };
    text.split(['\r', '\n'])
        .filter_map(position)
        .fold(0.0, f64::max)
}

/// How long VLC plays, in real time: it does not print its position, and ends early without an
/// error.
pub(crate) fn vlc_seconds(url: &str, home: &Path) -> f64 {
    let silent = [
        "-I",
        "dummy",
        "--vout",
        "vdummy",
        "--aout",
        "adummy",
        "--no-video-title-show",
    ];
    let mut begun = Instant::now();
    let mut command = Command::new("timeout");
    command
        .args(["120", "vlc"])
        .args(silent)
        .args([url, "vlc://quit"])
        .env("HOME", home);
    if is_root() {
        command.uid(UNPRIVILEGED_USER).gid(UNPRIVILEGED_USER);
    }
    let output = command.output().unwrap();
    if output.status.code() == Some(TIMED_OUT) {
        // On a busy machine VLC itself hangs now and then; what a list does to it, it does twice.
        println!("VLC hung, and is tried once more");
        begun = Instant::now();
        played(&mut command);
    } else {
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    begun.elapsed().as_secs_f64()
}

/// Of `timeout`.
const TIMED_OUT: i32 = 124;

fn is_root() -> bool {
    played(Command::new("id").arg("-u")).stdout == b"0\n"
}

fn played(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}
