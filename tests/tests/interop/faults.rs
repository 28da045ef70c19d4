//! GStreamer's cameras freeze, drop frames, jump in time or hang up: the gap is known, recording
//! continues, and other programs can play it.

use crate::clips::{Clip, FPS, GOP_FRAMES};
use crate::gst::{Auth, GstCameras};
use crate::judges;
use crate::site::{Export, Site, Source, seconds};
use holdfast_control_api::wire::{Gap, Timeline};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

/// Recorded before the faults, and after their end.
const SOUND_SECONDS: i64 = 4;
/// Longer than the node waits for a frame.
const FREEZE: Duration = Duration::from_millis(5_000);
/// Shorter than the node waits for a frame.
const DROPPED_FRAMES: u64 = 50;

const FREEZES: u64 = 1;
const DROPS: u64 = 2;
const JUMPS_AHEAD: u64 = 3;
const JUMPS_BACK: u64 = 4;
const HANGS_UP: u64 = 5;
const CAMERAS: u64 = 5;

/// The results of one camera.
struct Outcome {
    timeline: Timeline,
    export: Export,
    /// Frames in the export.
    frames: f64,
    /// Frames that the camera would send in the range without a fault.
    range_frames: f64,
}

#[tokio::test]
#[ignore = "needs GStreamer and ffmpeg: cargo xtask verify"]
async fn faults_of_cameras_leave_known_gaps_and_recording_goes_on() {
    let mut cameras =
        GstCameras::start(CAMERAS as usize, Clip::H264, Some(Clip::Aac), Auth::None).await;
    let site = Site::start().await;
    let mut from = Timestamp::MIN;
    for number in 1..=CAMERAS {
        let source = Source {
            url: cameras.url(number as usize),
            ..Source::default()
        };
        let id = site.add(&format!("camera {number}"), &source).await;
        assert_eq!(id, number, "ids are handed out from 1");
        from = from.max(site.wait_recording(id).await);
    }
    sleep(seconds(SOUND_SECONDS)).await;
    cause_faults(&mut cameras).await;
    let to = wall_now().plus(seconds(SOUND_SECONDS));
    for id in 1..=CAMERAS {
        site.wait_durable(id, to).await;
    }
    freezes(&outcome(&site, FREEZES, from, to).await);
    drops(&outcome(&site, DROPS, from, to).await);
    jumps(&outcome(&site, JUMPS_AHEAD, from, to).await);
    jumps(&outcome(&site, JUMPS_BACK, from, to).await);
    hangs_up(&outcome(&site, HANGS_UP, from, to).await);
}

async fn cause_faults(cameras: &mut GstCameras) {
    cameras.command(&format!("freeze {FREEZES}")).await;
    cameras
        .command(&format!("drop {DROPS} {DROPPED_FRAMES}"))
        .await;
    cameras.command(&format!("jump {JUMPS_AHEAD} 60000")).await;
    cameras.command(&format!("jump {JUMPS_BACK} -60000")).await;
    cameras.command(&format!("kick {HANGS_UP}")).await;
    sleep(FREEZE).await;
    cameras.command(&format!("resume {FREEZES}")).await;
}

async fn outcome(site: &Site, id: u64, from: Timestamp, to: Timestamp) -> Outcome {
    let export = site.export(id, from, to).await;
    let file = export.path.to_str().unwrap();
    judges::decode_without_a_message(file);
    judges::parse_mp4(&export.path);
    let frames = judges::probe(file).video.unwrap().frames as f64;
    judges::parse_playlist(&site.playlist(id, from, to).await);
    judges::decode_without_a_message(&site.playlist_url(id, from, to));
    let range_frames = to.micros_since(from) as f64 / 1e6 * FPS;
    let timeline = site.timeline(id, from, to).await;
    println!(
        "camera {id}: {frames} frames of {range_frames:.0}, {} gaps of {} ms, {:?}",
        export.gaps, export.gap_ms, timeline.gaps
    );
    Outcome {
        timeline,
        export,
        frames,
        range_frames,
    }
}

fn gap_seconds(gap: &Gap) -> f64 {
    gap.end.micros_since(gap.start) as f64 / 1e6
}

impl Outcome {
    /// Checks that only `missing` frames are missing, with at most one more GOP before the range
    /// and one more chunk after it.
    fn assert_frames_missing(&self, missing: f64) {
        let more = self.frames - (self.range_frames - missing);
        let slack = GOP_FRAMES as f64 * 1.5 + 3.0;
        assert!(
            (-3.0..=slack).contains(&more),
            "{} frames of {} less {missing}",
            self.frames,
            self.range_frames
        );
    }
}

fn freezes(outcome: &Outcome) {
    let [gap] = &outcome.timeline.gaps[..] else {
        panic!("{:?}", outcome.timeline.gaps)
    };
    assert_eq!(gap.cause, GapCause::CameraStalled);
    let gap_seconds = gap_seconds(gap);
    // At the end there may also be one delay between two attempts, and one GOP.
    assert!((4.8..=9.0).contains(&gap_seconds), "{gap_seconds} s");
    outcome.assert_frames_missing(gap_seconds * FPS);
    assert_eq!(
        (outcome.export.gaps, outcome.export.gap_ms / 1000),
        (1, gap_seconds as u64)
    );
}

/// No packet is missing and the session is sound: the camera sent nothing for a moment.
fn drops(outcome: &Outcome) {
    assert_eq!(outcome.timeline.gaps, [], "one session");
    outcome.assert_frames_missing(DROPPED_FRAMES as f64);
}

/// Whatever a camera's timestamps do, its footage is placed by its time of arrival.
fn jumps(outcome: &Outcome) {
    assert_eq!(outcome.timeline.gaps, []);
    outcome.assert_frames_missing(0.0);
}

fn hangs_up(outcome: &Outcome) {
    let [gap] = &outcome.timeline.gaps[..] else {
        panic!("{:?}", outcome.timeline.gaps)
    };
    let gap_seconds = gap_seconds(gap);
    assert!((0.0..=4.0).contains(&gap_seconds), "{gap_seconds} s");
    outcome.assert_frames_missing(gap_seconds * FPS);
}
