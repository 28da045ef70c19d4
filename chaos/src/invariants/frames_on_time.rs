//! Recorded wall time is the capture time, except for the transit time.

use super::{Outcome, broken};
use crate::evidence::Found;
use crate::evidence::{CameraEvidence, Evidence};

/// The most that a recording's time may differ from the camera's own.
const OFF_US_MAX: i64 = 1_000_000;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence.is_clock_stepped() {
        return Outcome::NotJudged("a wall clock was stepped".to_owned());
    }
    let mut offences = Vec::new();
    let mut most = 0;
    for camera in &evidence.cameras {
        let offs = camera
            .found
            .iter()
            .filter_map(|found| Some((found, off_us(camera, found)?)));
        let Some((found, off)) = offs.max_by_key(|(_, off)| off.abs()) else {
            continue;
        };
        most = most.max(off.abs());
        if off.abs() > OFF_US_MAX + camera.held_us {
            let sequence = found.stamp.sequence;
            let what = format!(
                "{}: frame {sequence} is recorded {} ms off its capture",
                camera.name,
                off / 1000
            );
            offences.push((what, i64::try_from(found.stamp.captured_us).ok()));
        }
    }
    broken(offences, || format!("at most {} ms off", most / 1000))
}

/// Of the first frame of a chunk.
fn off_us(camera: &CameraEvidence, found: &Found) -> Option<i64> {
    let captured_us = i64::try_from(found.stamp.captured_us).ok()?;
    (found.stamp.camera == camera.number).then_some(found.wall_us? - captured_us)
}
