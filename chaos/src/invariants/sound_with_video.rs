//! Stored sound has the times of the video that was captured with it.

use super::{Outcome, broken};
use crate::evidence::{CameraEvidence, Evidence};

/// The most that they may be apart: people notice more.
const DRIFT_US_MAX: i64 = 150_000;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence.is_clock_stepped() {
        return Outcome::NotJudged("a wall clock was stepped".to_owned());
    }
    let mut offences = Vec::new();
    let mut most = None;
    for camera in evidence.cameras.iter().filter(|camera| !camera.is_odd) {
        let Some((sequence, captured_us, drift_us)) = worst(camera) else {
            continue;
        };
        most = most.max(Some(drift_us.abs()));
        if drift_us.abs() > DRIFT_US_MAX {
            let what = format!(
                "{}: frame {sequence} of sound is {} ms off its video",
                camera.name,
                drift_us / 1000
            );
            offences.push((what, Some(captured_us)));
        }
    }
    let Some(most) = most else {
        return Outcome::NotJudged("no camera had sound with stamps".to_owned());
    };
    broken(offences, || format!("at most {} ms off", most / 1000))
}

/// The sound frame that is furthest off the video captured at about the same time, each measured
/// against its own capture time.
fn worst(camera: &CameraEvidence) -> Option<(u64, i64, i64)> {
    let off = |found: &crate::evidence::Found| {
        let captured_us = i64::try_from(found.stamp.captured_us).ok()?;
        Some((
            found.stamp.sequence,
            captured_us,
            found.wall_us? - captured_us,
        ))
    };
    let video: Vec<_> = camera.found.iter().filter_map(off).collect();
    let nearest = |at_us: i64| {
        video
            .iter()
            .min_by_key(|(_, captured_us, _)| (captured_us - at_us).abs())
    };
    let drifts =
        camera
            .sound
            .found
            .iter()
            .filter_map(off)
            .filter_map(|(sequence, at_us, off_us)| {
                let (_, _, video_off_us) = nearest(at_us)?;
                Some((sequence, at_us, off_us - video_off_us))
            });
    drifts.max_by_key(|(_, _, drift_us)| drift_us.abs())
}
