//! Finds frames of sound that are missing although the video around them is present, and which of
//! them a change of recorder excuses. Pure.

use holdfast_camera::Sent;

/// Sound comes later than its video, and both are stored in separate chunks: when a recorder dies,
/// video may reach further by a chunk and the data underway.
pub(crate) const EDGE_US: u64 = 600_000;

/// How much sound may be missing or doubled where one recorder replaces another, in microseconds.
/// None is if both have a chunk that begins with the same frame, as they do unless packets were
/// lost there.
const SEAM_US_MAX: u64 = 150_000;

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

/// The few frames that changes of recorder excuse.
#[derive(Clone, Debug)]
pub(crate) struct Excuses<'a> {
    /// Captures around each change.
    seams: &'a [(i64, i64)],
    /// How many frames are left to excuse at each.
    left: Vec<u64>,
}

impl<'a> Excuses<'a> {
    pub(crate) fn new(seams: &'a [(i64, i64)], sent: &[Sent]) -> Self {
        let apart = sent
            .windows(2)
            .map(|pair| pair[1].captured_us.saturating_sub(pair[0].captured_us));
        let frames = SEAM_US_MAX / apart.min().unwrap_or(SEAM_US_MAX).max(1);
        Self {
            seams,
            left: vec![frames; seams.len()],
        }
    }

    /// Whether a missing or doubled frame captured then is excused.
    pub(crate) fn excuse(&mut self, at_us: i64) -> bool {
        let near = self
            .seams
            .iter()
            .zip(&mut self.left)
            .filter(|((from, to), _)| (*from..=*to).contains(&at_us));
        let mut left = near.map(|(_, left)| left).filter(|left| **left > 0);
        left.next().map(|left| *left -= 1).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_recorder_excuses_few_frames() {
        let seams = [(5_000_000, 7_000_000), (6_500_000, 9_000_000)];
        let mut excuses = Excuses::new(&seams, &sent(20, 64_000));
        let excused =
            |excuses: &mut Excuses<'_>, at_us| (0..5).filter(|_| excuses.excuse(at_us)).count();
        assert_eq!(excused(&mut excuses, 4_000_000), 0);
        assert_eq!(excused(&mut excuses, 6_000_000), 2);
        assert_eq!(excused(&mut excuses, 6_900_000), 2, "the other one's");
    }

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
        assert!(missing(0..0, 0..9).is_empty(), "at the beginning");
        // 64 ms times 100 is frame 160 of video.
        assert!(missing(150..170, 90..115).is_empty(), "video is lost, too");
        assert_eq!(missing(150..170, 70..80).len(), 10, "well before that");
    }
}
