//! Every frame that is served for a camera is that camera's and carries its stamp: no foreign
//! frames, no damage.

use super::{Outcome, broken};
use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut offences = Vec::new();
    for camera in &evidence.cameras {
        let all = camera.found.iter().chain(&camera.sound.found);
        if let Some(found) = all
            .into_iter()
            .find(|found| found.stamp.camera != camera.number)
        {
            let stamp = found.stamp;
            let what = format!(
                "{}: frame {} of camera {} is served as its own",
                camera.name, stamp.sequence, stamp.camera
            );
            offences.push((what, i64::try_from(stamp.captured_us).ok()));
        }
        // A camera that a fault made send garbage did send it.
        if camera.unstamped > 0 && !evidence.is_camera_hit(&camera.name) {
            offences.push((
                format!(
                    "{}: {} frames carry no stamp: they are damaged",
                    camera.name, camera.unstamped
                ),
                None,
            ));
        }
    }
    broken(offences, || "nothing foreign, nothing damaged".to_owned())
}
