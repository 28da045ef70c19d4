//! Wherever video is stored, the sound that was sent with it is stored, too, except for a frame or
//! two at changes of recorder.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use crate::sound::{Excuses, missing_sound};
use holdfast_camera::Sent;
use std::collections::BTreeSet;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence
        .cameras
        .iter()
        .all(|camera| camera.sound.sent.is_empty())
    {
        return Outcome::NotJudged("no camera had sound with stamps".to_owned());
    }
    let mut offences = Vec::new();
    let mut frames = 0;
    for camera in &evidence.cameras {
        let video: BTreeSet<u64> = camera
            .found
            .iter()
            .map(|found| found.stamp.sequence)
            .collect();
        let sound: BTreeSet<u64> = camera
            .sound
            .found
            .iter()
            .map(|found| found.stamp.sequence)
            .collect();
        frames += sound.len();
        let missing = missing_sound(
            (&camera.sent, |sequence| video.contains(&sequence)),
            (&camera.sound.sent, |sequence| sound.contains(&sequence)),
        );
        let seams = camera.seams();
        let mut excuses = Excuses::new(&seams, &camera.sound.sent);
        let missing = missing
            .iter()
            .filter(|sent| !excuses.excuse(sent.captured_us.cast_signed()));
        let missing: Vec<&Sent> = missing.collect();
        if let Some(first) = missing.first() {
            let count = missing.len();
            let what = format!(
                "{}: {count} frames of sound from {} on are missing, where all of the video is \
                 stored",
                camera.name, first.sequence
            );
            offences.push((what, i64::try_from(first.captured_us).ok()));
        }
        if camera.sound.unstamped > 0 {
            let count = camera.sound.unstamped;
            offences.push((
                format!(
                    "{}: {count} frames of sound are not as they were sent",
                    camera.name
                ),
                None,
            ));
        }
    }
    broken(offences, || format!("{frames} frames of sound"))
}
