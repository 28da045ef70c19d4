//! No frame is served twice, of video or of sound.

use super::{Outcome, broken};
use crate::evidence::{CameraEvidence, Evidence, Found};
use crate::sound::Excuses;
use holdfast_camera::Stamp;
use std::collections::BTreeSet;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut offences = Vec::new();
    let mut frames = 0;
    for camera in &evidence.cameras {
        let seams = camera.seams();
        let mut excuses = Excuses::new(&seams, &camera.sound.sent);
        let video = twice(camera, &camera.found, |_| false);
        let sound = twice(camera, &camera.sound.found, |at_us| excuses.excuse(at_us));
        frames += camera.found.len() + camera.sound.found.len();
        for (of, stamp) in [("", video), (" of sound", sound)] {
            let Some(stamp) = stamp else { continue };
            let what = format!(
                "{}: frame {}{of} is served more than once",
                camera.name, stamp.sequence
            );
            offences.push((what, i64::try_from(stamp.captured_us).ok()));
        }
    }
    broken(offences, || format!("{frames} frames, each once"))
}

/// The first that is served again and not excused.
fn twice(
    camera: &CameraEvidence,
    found: &[Found],
    mut is_excused: impl FnMut(i64) -> bool,
) -> Option<Stamp> {
    let mut seen = BTreeSet::new();
    let own = found
        .iter()
        .map(|found| found.stamp)
        .filter(|stamp| stamp.camera == camera.number);
    let mut again = own.filter(|stamp| !seen.insert(stamp.sequence));
    again.find(|stamp| !is_excused(stamp.captured_us.cast_signed()))
}
