//! Plans an export: one file of everything that can be played in a range, video and audio in the order of their times.

use super::gate::{Admission, KeyframeGate, from_keyframe_before};
use super::grid::frame_interval_ns;
use super::{GAP_MICROS_MIN, Tracks};
use crate::range::Range;
use holdfast_storage::chunk::{ChunkEntry, InitId};
use holdfast_storage::time::Timestamp;

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportPlan {
    /// Wall time of the file's time 0.
    pub base: Timestamp,
    /// In the order in which they are sent.
    pub chunks: Vec<ChunkEntry>,
    /// In order of first use.
    pub video_inits: Vec<InitId>,
    pub audio_inits: Vec<InitId>,
    /// Of video, in nanoseconds, for [`super::rebase::Rebaser::in_frames`].
    pub frame_interval_ns: Option<u64>,
    /// Intervals of the asked range that the file does not show.
    pub gaps: usize,
    /// All of them together, in microseconds.
    pub gap_micros: i64,
}

/// The plan for a range, from entries that begin up to [`super::LOOKBACK_MAX`] before it; `None` where nothing of it can be played.
#[must_use]
pub fn plan_export(tracks: &Tracks, range: Range) -> Option<ExportPlan> {
    let mut gate = KeyframeGate::default();
    let candidates = from_keyframe_before(&tracks.video, range.from).iter();
    let video: Vec<_> = candidates
        .filter(|entry| entry.meta.start < range.to && gate.admit(&entry.meta) != Admission::Skip)
        .copied()
        .collect();
    let base = video.first()?.meta.start;
    let end = video.iter().map(|entry| entry.meta.end()).max()?;
    let audio: Vec<_> = tracks.audio.iter().filter(|entry| (base..end).contains(&entry.meta.start)).copied().collect();
    let (gaps, gap_micros) = count_gaps(&video, range);
    let (video_inits, audio_inits) = (first_uses(&video), first_uses(&audio));
    let frame_interval_ns = frame_interval_ns(&video);
    let chunks = interleave(video, audio);
    Some(ExportPlan { base, chunks, video_inits, audio_inits, frame_interval_ns, gaps, gap_micros })
}

fn count_gaps(video: &[ChunkEntry], range: Range) -> (usize, i64) {
    let starts = video.iter().map(|entry| entry.meta.start).chain([range.to]);
    let ends = std::iter::once(range.from).chain(video.iter().map(|entry| entry.meta.end()));
    let holes = ends.zip(starts).map(|(end, start)| start.micros_since(end)).filter(|micros| *micros >= GAP_MICROS_MIN);
    holes.fold((0, 0), |(count, sum), micros| (count + 1, sum + micros))
}

fn first_uses(entries: &[ChunkEntry]) -> Vec<InitId> {
    let mut seen = Vec::new();
    for entry in entries {
        if seen.last() != Some(&entry.meta.init) && !seen.contains(&entry.meta.init) {
            seen.push(entry.meta.init);
        }
    }
    seen
}

/// Merges two sorted tracks by start; video goes first where both begin at once.
pub(crate) fn interleave(video: Vec<ChunkEntry>, audio: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    let mut chunks = [video, audio].concat();
    chunks.sort_by_key(|entry| (entry.meta.start, entry.meta.track));
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::{session, starts_ms};
    use holdfast_storage::ids::TrackKind::{Audio, Video};

    fn range(from_ms: i64, to_ms: i64) -> Range {
        Range { from: Timestamp(from_ms * 1000), to: Timestamp(to_ms * 1000) }
    }

    #[test]
    fn tracks_are_interleaved_from_the_first_keyframe_to_the_last_video() {
        let tracks = Tracks { video: session(1, Video, 1, 0, "KdKd"), audio: session(1, Audio, 2, -700, "KKKKKKKK") };
        let plan = plan_export(&tracks, range(1100, 5000)).unwrap();
        assert_eq!(plan.base, Timestamp(1_000_000));
        assert_eq!(starts_ms(&plan.chunks), [1000, 1300, 1500, 1800]);
        assert_eq!((plan.video_inits, plan.audio_inits), (vec![InitId(1)], vec![InitId(2)]));
        assert_eq!(
            (plan.gaps, plan.gap_micros),
            (1, 3_000_000),
            "from the end of the recording to the end of the range"
        );
    }

    #[test]
    fn gaps_are_counted_inside_and_at_both_ends() {
        let video =
            [session(1, Video, 1, 1000, "Kd"), session(2, Video, 3, 4000, "dKd"), session(1, Video, 1, 5600, "K")]
                .concat();
        let plan = plan_export(&Tracks { video, audio: vec![] }, range(0, 6100)).unwrap();
        assert_eq!((plan.gaps, plan.gap_micros), (2, 1_000_000 + 2_500_000));
        assert_eq!(plan.video_inits, [InitId(1), InitId(3)]);
    }

    #[test]
    fn nothing_playable_is_no_plan() {
        let tracks = Tracks { video: session(1, Video, 1, 0, "ddd"), audio: session(1, Audio, 2, 0, "KK") };
        assert_eq!(plan_export(&tracks, range(0, 5000)), None);
    }
}
