//! Frames are served in the order in which they were captured, those of video and those of sound.

use super::{Outcome, broken};
use crate::evidence::{CameraEvidence, Evidence, Found};
use crate::sound::Excuses;
use holdfast_camera::Stamp;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut offences = Vec::new();
    for camera in &evidence.cameras {
        let seams = camera.seams();
        let mut excuses = Excuses::new(&seams, &camera.sound.sent);
        let video = first_back(camera, &camera.found, |_| false);
        let sound = first_back(camera, &camera.sound.found, |at_us| excuses.excuse(at_us));
        for (of, back) in [("", video), (" of sound", sound)] {
            let Some([early, late]) = back else { continue };
            let what = format!(
                "{}: frame {}{of} is served after {}",
                camera.name, late.sequence, early.sequence
            );
            offences.push((what, i64::try_from(late.captured_us).ok()));
        }
    }
    broken(offences, || "all in order".to_owned())
}

/// The first frame that is served after one that was captured later and is not excused, as the pair
/// in the order served.
fn first_back(
    camera: &CameraEvidence,
    found: &[Found],
    mut is_excused: impl FnMut(i64) -> bool,
) -> Option<[Stamp; 2]> {
    let own = found
        .iter()
        .map(|found| found.stamp)
        .filter(|stamp| stamp.camera == camera.number);
    let own: Vec<Stamp> = own.collect();
    let mut back = own
        .windows(2)
        .filter(|pair| pair[1].sequence < pair[0].sequence);
    back.find(|pair| !is_excused(pair[1].captured_us.cast_signed()))
        .map(|pair| [pair[0], pair[1]])
}
