//! Frames are served in the order in which they were captured, those of video and those of sound.

use super::{Outcome, broken};
use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut offences = Vec::new();
    for camera in &evidence.cameras {
        for (of, found) in [
            ("", &camera.found),
            (" of sound", &camera.sound_off_seams()),
        ] {
            let own = found
                .iter()
                .map(|found| found.stamp)
                .filter(|stamp| stamp.camera == camera.number);
            let own: Vec<_> = own.collect();
            if let Some(pair) = own
                .windows(2)
                .find(|pair| pair[1].sequence < pair[0].sequence)
            {
                let (late, early) = (pair[1].sequence, pair[0].sequence);
                let what = format!("{}: frame {late}{of} is served after {early}", camera.name);
                offences.push((what, i64::try_from(pair[1].captured_us).ok()));
            }
        }
    }
    broken(offences, || "all in order".to_owned())
}
