//! Frames are served in the order in which they were captured.

use super::{Evidence, Outcome, broken};

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut offences = Vec::new();
    for camera in &evidence.cameras {
        let own: Vec<_> =
            camera.found.iter().map(|found| found.stamp).filter(|stamp| stamp.camera == camera.number).collect();
        if let Some(pair) = own.windows(2).find(|pair| pair[1].sequence < pair[0].sequence) {
            let what = format!("{}: frame {} is served after {}", camera.name, pair[1].sequence, pair[0].sequence);
            offences.push((what, i64::try_from(pair[1].captured_us).ok()));
        }
    }
    broken(offences, || "all in order".to_owned())
}
