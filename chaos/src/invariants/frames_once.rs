//! No frame is served twice, of video or of sound.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use std::collections::BTreeSet;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut offences = Vec::new();
    let mut frames = 0;
    for camera in &evidence.cameras {
        for (of, found) in [
            ("", &camera.found),
            (" of sound", &camera.sound_off_seams()),
        ] {
            let mut seen = BTreeSet::new();
            frames += found.len();
            let own = found
                .iter()
                .map(|found| found.stamp)
                .filter(|stamp| stamp.camera == camera.number);
            let twice = own.into_iter().find(|stamp| !seen.insert(stamp.sequence));
            if let Some(stamp) = twice {
                let what = format!(
                    "{}: frame {}{of} is served more than once",
                    camera.name, stamp.sequence
                );
                offences.push((what, i64::try_from(stamp.captured_us).ok()));
            }
        }
    }
    broken(offences, || format!("{frames} frames, each once"))
}
