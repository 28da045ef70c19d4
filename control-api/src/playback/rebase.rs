//! Assigns each chunk its place in a presentation: times from 0 that never go back, numbers, sample
//! descriptions.

use super::grid::FrameGrid;
use bytes::{Bytes, BytesMut};
use holdfast_storage::chunk::ChunkMeta;
use holdfast_storage::cmaf::Error;
use holdfast_storage::cmaf::merge::MergedInit;
use holdfast_storage::cmaf::patch::{Placement, patch_chunk, patch_durations, prefix_first_sample};
use holdfast_storage::cmaf::probe::{Sample, samples};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

/// Places one presentation's chunks, in the order of sending.
#[derive(Clone, Debug)]
pub struct Rebaser {
    base: Timestamp,
    init: MergedInit,
    /// Where the last chunk of each track ended, in ticks since `base`.
    ends: BTreeMap<TrackKind, u64>,
    /// The grid of video frames; without it, their times are those of the recording.
    grid: Option<FrameGrid>,
    /// How far video is shown after its time, in whole frames, in microseconds.
    lead_us: u64,
    moof_sequence: u32,
}

const NO_SAMPLE: Error = Error::damaged("trun", 0, "no sample");

/// The place of a chunk, in ticks from the beginning.
struct Place {
    decode_time: u64,
    end: u64,
    /// Durations of its samples, if they change.
    durations: Option<Vec<u32>>,
}

impl Rebaser {
    /// The presentation begins at `base` and is decoded with `init`; its times are those of the
    /// recording.
    #[must_use]
    pub fn new(base: Timestamp, init: MergedInit) -> Self {
        Self {
            base,
            init,
            ends: BTreeMap::new(),
            grid: None,
            lead_us: 0,
            moof_sequence: 0,
        }
    }

    /// Like [`Rebaser::new`], with the video frames on a grid of `interval_ns` ([`super::grid`]).
    #[must_use]
    pub fn in_frames(base: Timestamp, init: MergedInit, interval_ns: Option<u64>) -> Self {
        let timescale = init.timescale.get(&TrackKind::Video).copied();
        let grid = interval_ns
            .zip(timescale)
            .and_then(|(interval_ns, timescale)| FrameGrid::new(interval_ns, timescale));
        Self {
            grid,
            ..Self::new(base, init)
        }
    }

    /// The chunk's bytes, placed. Where recordings overlap slightly (two recorders' clocks at a
    /// handover), the later one is moved back behind the earlier; gaps stay as they are, or become
    /// whole frames.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the chunk cannot be read or its init is not part of the presentation;
    /// the presentation may continue without it.
    pub fn place(&mut self, meta: &ChunkMeta, bytes: Bytes) -> Result<Bytes, Error> {
        let unknown = Error::damaged(
            "chunk",
            0,
            "its init segment is not part of the presentation",
        );
        let sample_description_index = *self
            .init
            .sample_description_index
            .get(&meta.init)
            .ok_or(unknown.clone())?;
        let timescale = *self.init.timescale.get(&meta.track).ok_or(unknown)?;
        let place = self.find_place(meta.track, timescale, &samples(&bytes)?)?;
        let mut bytes = match self.init.parameter_sets.get(&meta.init) {
            Some(sets) if meta.is_access_point() => prefix_first_sample(&bytes, sets)?,
            _ => BytesMut::from(bytes),
        };
        if let Some(durations) = &place.durations {
            patch_durations(&mut bytes, durations)?;
        }
        let (decode_time, moof_sequence) = (place.decode_time, self.moof_sequence + 1);
        patch_chunk(
            &mut bytes,
            &Placement {
                decode_time,
                moof_sequence,
                sample_description_index,
            },
        )?;
        self.moof_sequence = moof_sequence;
        self.ends.insert(meta.track, place.end);
        Ok(bytes.freeze())
    }

    fn find_place(
        &mut self,
        track: TrackKind,
        timescale: u32,
        samples: &[Sample],
    ) -> Result<Place, Error> {
        // Frames that are decoded in another order than they are shown have no single time to use.
        let in_order = samples.iter().all(|sample| sample.composition_offset == 0);
        match self.grid.filter(|_| track == TrackKind::Video && in_order) {
            Some(grid) => self.place_frames(grid, timescale, samples),
            None => self.place_whole(track, timescale, samples),
        }
    }

    fn place_frames(
        &mut self,
        mut grid: FrameGrid,
        timescale: u32,
        samples: &[Sample],
    ) -> Result<Place, Error> {
        let base = self.base.ticks(timescale);
        let time = |sample: &Sample| sample.decode_time.saturating_sub(base);
        let points: Vec<u64> = samples
            .iter()
            .map(|sample| grid.place(time(sample)))
            .collect();
        let last = samples.last().ok_or(NO_SAMPLE)?;
        let end = grid.peek(time(last).saturating_add(u64::from(last.duration)));
        let next_points = points.iter().skip(1).chain([&end]);
        let durations = points
            .iter()
            .zip(next_points)
            .map(|(point, next)| u32::try_from(next.saturating_sub(*point)));
        let durations = durations
            .collect::<Result<_, _>>()
            .map_err(|_| Error::damaged("trun", 0, "a frame lasts hours"))?;
        let lead = points
            .last()
            .map_or(0, |point| point.saturating_sub(time(last)));
        self.lead_us = grid.whole(lead).saturating_mul(1_000_000) / u64::from(timescale);
        self.grid = Some(grid);
        Ok(Place {
            decode_time: points.first().copied().ok_or(NO_SAMPLE)?,
            end,
            durations: Some(durations),
        })
    }

    fn place_whole(
        &mut self,
        track: TrackKind,
        timescale: u32,
        samples: &[Sample],
    ) -> Result<Place, Error> {
        let lead_us = if track == TrackKind::Audio {
            self.lead_us
        } else {
            0
        };
        let time = samples
            .first()
            .ok_or(NO_SAMPLE)?
            .decode_time
            .saturating_sub(self.base.ticks(timescale));
        let shown = time.saturating_add(lead_us.saturating_mul(u64::from(timescale)) / 1_000_000);
        let decode_time = shown.max(self.ends.get(&track).copied().unwrap_or_default());
        let duration = samples
            .iter()
            .map(|sample| u64::from(sample.duration))
            .sum();
        let end = decode_time.saturating_add(duration);
        if let Some(grid) = self.grid.as_mut().filter(|_| track == TrackKind::Video) {
            grid.skip_to(end);
        }
        Ok(Place {
            decode_time,
            end,
            durations: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::session;
    use holdfast_storage::chunk::{AccessPoint, InitId};
    use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
    use holdfast_storage::cmaf::init::{
        AudioCodec, AudioParameters, VideoCodec, VideoParameters, audio_init, video_init,
    };
    use holdfast_storage::cmaf::merge::merge_inits;

    const BASE_MS: i64 = 1_795_341_600_000;
    const FRAME: u64 = 3600;

    fn init() -> (MergedInit, InitId, InitId) {
        let codec = VideoCodec::Avc {
            avcc: vec![1, 0x64, 0, 30, 0xff, 0xe0, 0],
        };
        let video = video_init(&VideoParameters {
            codec,
            width: 640,
            height: 360,
            pixel_aspect: None,
        })
        .unwrap();
        let audio = AudioParameters {
            codec: AudioCodec::PcmUlaw,
            sample_rate_hz: 8000,
            channels: 1,
        };
        let audio = audio_init(&audio).unwrap();
        let ids = (InitId::of(&video), InitId::of(&audio));
        (
            merge_inits(&[(ids.0, video)], &[(ids.1, audio)]).unwrap(),
            ids.0,
            ids.1,
        )
    }

    fn rebaser(frames: bool) -> (Rebaser, InitId, InitId) {
        let ((init, video, audio), base) = (init(), Timestamp(BASE_MS * 1000));
        let rebaser = if frames {
            Rebaser::in_frames(base, init, Some(40_000_000))
        } else {
            Rebaser::new(base, init)
        };
        (rebaser, video, audio)
    }

    /// Places a chunk of frames at these times, in ticks from the base; returns the resulting
    /// decode time and durations.
    fn place(
        rebaser: &mut Rebaser,
        track: TrackKind,
        init: InitId,
        times: &[u64],
        offset: i32,
    ) -> (u64, Vec<u32>) {
        let timescale = rebaser.init.timescale[&track];
        let frame = |&time: &u64| Frame {
            data: vec![0; 8].into(),
            decode_time: Timestamp(BASE_MS * 1000).ticks(timescale) + time,
            duration: if track == TrackKind::Video {
                FRAME as u32
            } else {
                320
            },
            composition_offset: offset,
            access: Some(AccessPoint::Sync),
        };
        let frames: Vec<Frame> = times.iter().map(frame).collect();
        let bytes = build_chunk(track, 0, Timestamp(BASE_MS * 1000), &frames)
            .unwrap()
            .concat();
        let mut meta = session(1, track, 1, BASE_MS, "K")[0].meta;
        meta.init = init;
        let placed = rebaser.place(&meta, bytes.into()).unwrap();
        let placed = samples(&placed).unwrap();
        (
            placed[0].decode_time,
            placed.iter().map(|sample| sample.duration).collect(),
        )
    }

    #[test]
    fn an_export_has_whole_frames_and_another_presentation_the_recorded_times() {
        let times = [[0, 3582, 7164], [10_746, 14_328, 460_000]];
        let (mut export, video, _) = rebaser(true);
        let placed = times.map(|times| place(&mut export, TrackKind::Video, video, &times, 0));
        let one = FRAME as u32;
        // 460,000 ticks are nearest to 128 frames.
        assert_eq!(
            placed,
            [(0, vec![one; 3]), (3 * FRAME, vec![one, 124 * one, one])]
        );
        let (mut recorded, video, _) = rebaser(false);
        let placed = times.map(|times| place(&mut recorded, TrackKind::Video, video, &times, 0));
        assert_eq!(
            placed,
            [
                (0, vec![3582, 3582, one]),
                (10_764, vec![3582, 445_672, one])
            ]
        );
    }

    /// A camera that changes its picture immediately after a keyframe produces such a chunk.
    #[test]
    fn a_lone_keyframe_gets_its_parameter_sets_where_there_are_several() {
        let header = |level| {
            let codec = VideoCodec::Avc {
                avcc: vec![1, 0x64, 0, level, 0xff, 0xe1, 0, 2, 0x67, level, 0],
            };
            video_init(&VideoParameters {
                codec,
                width: 640,
                height: 360,
                pixel_aspect: None,
            })
            .unwrap()
        };
        let inits = [30, 31]
            .map(header)
            .map(|bytes| (InitId::of(&bytes), bytes));
        let merged = merge_inits(&inits, &[]).unwrap();
        let mut export = Rebaser::in_frames(Timestamp(BASE_MS * 1000), merged, Some(40_000_000));
        for (number, (init, _)) in (0..).zip(&inits) {
            let placed = place(&mut export, TrackKind::Video, *init, &[number * FRAME], 0);
            assert_eq!(placed, (number * FRAME, vec![FRAME as u32]));
        }
    }

    /// The reader returns a part of the record that it read, and keeps nothing of it.
    #[test]
    fn a_chunk_is_patched_where_it_lies_and_not_copied() {
        let (mut export, video, _) = rebaser(true);
        let frame = Frame {
            data: vec![7; 50_000].into(),
            decode_time: Timestamp(BASE_MS * 1000).ticks(90_000),
            duration: FRAME as u32,
            composition_offset: 0,
            access: Some(AccessPoint::Sync),
        };
        let parts = build_chunk(TrackKind::Video, 0, Timestamp(BASE_MS * 1000), &[frame]).unwrap();
        let record = Bytes::from([&[0; 80][..], &parts.concat()].concat());
        let payload = record.slice(80..);
        drop(record);
        let mut meta = session(1, TrackKind::Video, 1, BASE_MS, "K")[0].meta;
        meta.init = video;
        let at = payload.as_ptr();
        assert_eq!(export.place(&meta, payload).unwrap().as_ptr(), at);
    }

    #[test]
    fn audio_follows_video_that_is_ahead_by_whole_frames() {
        let (mut export, video, audio) = rebaser(true);
        // The last three frames are at one point of the camera's clock: they are shown up to three
        // frames late, less three ticks.
        place(
            &mut export,
            TrackKind::Video,
            video,
            &[0, 9000, 18_000, 18_001, 18_002, 18_003],
            0,
        );
        let (at, durations) = place(&mut export, TrackKind::Audio, audio, &[1600], 0);
        assert_eq!((at, durations), (1600 + 2 * 320, vec![320]));
    }

    #[test]
    fn frames_in_another_order_than_shown_stay_as_they_are_and_what_follows_comes_after() {
        let (mut export, video, _) = rebaser(true);
        assert_eq!(
            place(&mut export, TrackKind::Video, video, &[0, 12, 7200], -12),
            (0, vec![12, 7188, 3600])
        );
        assert_eq!(
            place(&mut export, TrackKind::Video, video, &[9000], 0).0,
            10_800
        );
    }
}
