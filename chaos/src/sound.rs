//! Which frames of sound are missing though the video around them is there. Pure.

use holdfast_camera::Sent;

/// Video begins with a keyframe and sound with any frame, and both are stored in chunks of their
/// own: at the ends of a recording one may reach further than the other.
pub(crate) const EDGE_US: u64 = 1_000_000;

/// Frames that a camera sends further apart are no run.
const APART_US_MAX: u64 = 1_000_000;

/// Captures from the first to the last frame of each run of video that is there without a hole.
fn runs(video: &[Sent], is_there: impl Fn(u64) -> bool) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut last = None;
    for sent in video {
        if !is_there(sent.sequence) {
            last = None;
            continue;
        }
        match (runs.last_mut(), last) {
            (Some(run), Some(last)) if sent.captured_us - last <= APART_US_MAX => {
                run.1 = sent.captured_us
            }
            _ => runs.push((sent.captured_us, sent.captured_us)),
        }
        last = Some(sent.captured_us);
    }
    runs
}

/// The frames of `sound` that are missing within the runs of `video`.
pub(crate) fn missing_sound(
    video: (&[Sent], impl Fn(u64) -> bool),
    sound: (&[Sent], impl Fn(u64) -> bool),
) -> Vec<Sent> {
    let runs = runs(video.0, video.1);
    let is_within = |at: u64| {
        runs.iter()
            .any(|(from, to)| from + EDGE_US <= at && at + EDGE_US <= *to)
    };
    sound
        .0
        .iter()
        .filter(|sent| is_within(sent.captured_us) && !sound.1(sent.sequence))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64, every_us: u64) -> Vec<Sent> {
        (0..count)
            .map(|sequence| Sent {
                sequence,
                captured_us: 5_000_000 + sequence * every_us,
            })
            .collect()
    }

    #[test]
    fn sound_is_missed_only_where_video_is_there() {
        let (video, sound) = (sent(250, 40_000), sent(156, 64_000));
        let missing =
            |video_lost: std::ops::Range<u64>, sound_lost: std::ops::Range<u64>| -> Vec<u64> {
                let has_video = |sequence| !video_lost.contains(&sequence);
                let has_sound = |sequence| !sound_lost.contains(&sequence);
                let missing = missing_sound((&video, has_video), (&sound, has_sound));
                missing.iter().map(|sent| sent.sequence).collect()
            };
        assert_eq!(missing(0..0, 100..102), [100, 101]);
        assert!(missing(0..0, 0..15).is_empty(), "at the beginning");
        // 64 ms times 100 is frame 160 of video.
        assert!(missing(150..170, 90..115).is_empty(), "video is lost, too");
        assert_eq!(missing(150..170, 70..80).len(), 8, "a second before that");
    }
}
