//! Plans an export: one file of everything playable in a range, video and audio in the order of
//! their times.

use super::gate::{Admission, KeyframeGate, from_keyframe_before};
use super::grid::frame_interval_ns;
use super::{GAP_MICROS_MIN, LEAD_IN_SHOWN_MAX, Tracks};
use crate::range::Range;
use holdfast_storage::chunk::{ChunkEntry, InitId};
use holdfast_storage::pictures::{Decoding, Shown};
use holdfast_storage::time::Timestamp;

/// The contents of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportPlan {
    /// Wall time of the file's time 0.
    pub base: Timestamp,
    /// In the order of sending.
    pub chunks: Vec<ChunkEntry>,
    /// In order of first use.
    pub video_inits: Vec<InitId>,
    pub audio_inits: Vec<InitId>,
    /// Interval of video frames in nanoseconds, for [`super::rebase::Rebaser::in_frames`].
    pub frame_interval_ns: Option<u64>,
    /// The number of intervals of the requested range that the file does not show.
    pub gaps: usize,
    /// Their total length in microseconds.
    pub gap_micros: i64,
    /// How long pictures are incomplete, so that a decoder conceals what is missing, in
    /// microseconds.
    pub damaged_micros: i64,
    /// How long before the requested range the file begins, to be decodable, in microseconds.
    pub lead_in_micros: i64,
}

impl ExportPlan {
    /// Where to begin showing the file, in microseconds of its time: at the requested range, if the
    /// file begins long before it.
    #[must_use]
    pub fn shown_from_us(&self) -> u64 {
        let is_long = self.lead_in_micros >= LEAD_IN_SHOWN_MAX.as_micros() as i64;
        if is_long {
            self.lead_in_micros.unsigned_abs()
        } else {
            0
        }
    }
}

/// The plan for a range, from entries that begin with the access point before it; `None` if nothing
/// of it can be played. `strict`: frames that refer to lost ones are left out.
#[must_use]
pub fn plan_export(tracks: &Tracks, range: Range, strict: bool) -> Option<ExportPlan> {
    let mut gate = KeyframeGate::new(strict);
    let candidates = from_keyframe_before(&tracks.video, range.from, strict).iter();
    let video: Vec<_> = candidates
        .filter(|entry| entry.meta.start < range.to && gate.admit(&entry.meta) != Admission::Skip)
        .copied()
        .collect();
    let base = video.first()?.meta.start;
    let end = video.iter().map(|entry| entry.meta.end()).max()?;
    let audio: Vec<_> = tracks
        .audio
        .iter()
        .filter(|entry| (base..end).contains(&entry.meta.start))
        .copied()
        .collect();
    let (gaps, gap_micros) = count_gaps(&video, range);
    let damaged_micros = damaged_micros(&video, range.from);
    let (video_inits, audio_inits) = (first_uses(&video), first_uses(&audio));
    let frame_interval_ns = frame_interval_ns(&video);
    let chunks = interleave(video, audio);
    let lead_in_micros = range.from.micros_since(base).max(0);
    Some(ExportPlan {
        base,
        chunks,
        video_inits,
        audio_inits,
        frame_interval_ns,
        gaps,
        gap_micros,
        damaged_micros,
        lead_in_micros,
    })
}

fn count_gaps(video: &[ChunkEntry], range: Range) -> (usize, i64) {
    let starts = video.iter().map(|entry| entry.meta.start).chain([range.to]);
    let ends = std::iter::once(range.from).chain(video.iter().map(|entry| entry.meta.end()));
    let holes = ends
        .zip(starts)
        .map(|(end, start)| start.micros_since(end))
        .filter(|micros| *micros >= GAP_MICROS_MIN);
    holes.fold((0, 0), |(count, sum), micros| (count + 1, sum + micros))
}

fn damaged_micros(video: &[ChunkEntry], from: Timestamp) -> i64 {
    let mut decoding = Decoding::default();
    let damaged = video
        .iter()
        .map(|entry| entry.meta)
        .filter(|meta| decoding.next(meta) == Shown::Damaged);
    damaged
        .map(|meta| meta.end().micros_since(meta.start.max(from)).max(0))
        .sum()
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

/// Merges two sorted tracks by start; video comes first if both begin at the same time.
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
        Range {
            from: Timestamp(from_ms * 1000),
            to: Timestamp(to_ms * 1000),
        }
    }

    #[test]
    fn tracks_are_interleaved_from_the_first_keyframe_to_the_last_video() {
        let tracks = Tracks {
            video: session(1, Video, 1, 0, "KdKd"),
            audio: session(1, Audio, 2, -700, "KKKKKKKK"),
        };
        let plan = plan_export(&tracks, range(1100, 5000), false).unwrap();
        assert_eq!(
            (plan.base, plan.lead_in_micros),
            (Timestamp(1_000_000), 100_000)
        );
        assert_eq!(starts_ms(&plan.chunks), [1000, 1300, 1500, 1800]);
        assert_eq!(
            (plan.video_inits, plan.audio_inits),
            (vec![InitId(1)], vec![InitId(2)])
        );
        assert_eq!(
            (plan.gaps, plan.gap_micros),
            (1, 3_000_000),
            "from the end of the recording to the end of the range"
        );
    }

    #[test]
    fn gaps_are_counted_inside_and_at_both_ends() {
        let video = [
            session(1, Video, 1, 1000, "Kd"),
            session(2, Video, 3, 4000, "dKd"),
            session(1, Video, 1, 5600, "K"),
        ]
        .concat();
        let plan = plan_export(
            &Tracks {
                video,
                audio: vec![],
            },
            range(0, 6100),
            true,
        )
        .unwrap();
        assert_eq!((plan.gaps, plan.gap_micros), (2, 1_000_000 + 2_500_000));
        assert_eq!(plan.video_inits, [InitId(1), InitId(3)]);
    }

    #[test]
    fn nothing_playable_is_no_plan() {
        let tracks = Tracks {
            video: session(1, Video, 1, 0, "ddd"),
            audio: session(1, Audio, 2, 0, "KK"),
        };
        assert_eq!(plan_export(&tracks, range(0, 5000), false), None);
    }

    #[test]
    fn after_a_loss_it_continues_with_a_hole_and_says_how_much_is_damaged() {
        let tracks = Tracks {
            video: session(1, Video, 1, 0, "Kd.ddK"),
            audio: vec![],
        };
        let plan = |strict| plan_export(&tracks, range(0, 3000), strict).unwrap();
        assert_eq!(starts_ms(&plan(false).chunks), [0, 500, 1500, 2000, 2500]);
        assert_eq!(
            (plan(false).gap_micros, plan(false).damaged_micros),
            (500_000, 1_000_000)
        );
        assert_eq!(starts_ms(&plan(true).chunks), [0, 500, 2500]);
        assert_eq!(
            (plan(true).gap_micros, plan(true).damaged_micros),
            (1_500_000, 0)
        );
    }
}
