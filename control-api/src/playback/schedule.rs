//! When each chunk of a presentation is shown, from the catalogue's information. Pure.
//!
//! No decision depends on the contents of an earlier chunk, so each chunk can be sent without the
//! others, and every node sends the same bytes. The contents of a chunk only decide the times of
//! its frames within its place.

use super::grid::{LEAD_DIVISOR, LEAD_SECONDS};
use bytes::{Bytes, BytesMut};
use holdfast_storage::chunk::{ChunkEntry, ChunkMeta};
use holdfast_storage::cmaf::Error;
use holdfast_storage::cmaf::merge::MergedInit;
use holdfast_storage::cmaf::patch::{Placement, patch_chunk, patch_durations, prefix_first_sample};
use holdfast_storage::cmaf::probe::{Sample, samples};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

/// The place of a chunk, in ticks of its track from the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub at: u64,
    /// Its frames end by then.
    pub until: u64,
}

/// How a presentation's chunks are placed: where recordings overlap slightly (two recorders' clocks
/// at a handover), the later one is moved back behind the earlier; gaps stay as they are.
#[derive(Clone, Debug)]
pub struct Placer {
    base: Timestamp,
    init: MergedInit,
    /// Interval of the grid of video frames ([`super::grid`]), in ticks; without it, their times
    /// are those of the recording.
    interval: Option<u64>,
}

const NO_SAMPLE: Error = Error::damaged("trun", 0, "no sample");
const TOO_MANY: Error = Error::damaged("trun", 0, "more samples than there is time for");

impl Placer {
    /// The presentation begins at `base` and is decoded with `init`.
    #[must_use]
    pub fn new(base: Timestamp, init: MergedInit) -> Self {
        Self {
            base,
            init,
            interval: None,
        }
    }

    /// Like [`Placer::new`], with the video frames on a grid of `interval_ns`.
    #[must_use]
    pub fn in_frames(base: Timestamp, init: MergedInit, interval_ns: Option<u64>) -> Self {
        let timescale = u128::from(
            init.timescale
                .get(&TrackKind::Video)
                .copied()
                .unwrap_or_default(),
        );
        let ticks = |ns: u64| {
            u64::try_from((u128::from(ns) * timescale + 500_000_000) / 1_000_000_000).ok()
        };
        Self {
            base,
            init,
            interval: interval_ns.and_then(ticks).filter(|ticks| *ticks > 0),
        }
    }

    #[must_use]
    pub fn init(&self) -> &MergedInit {
        &self.init
    }

    /// The places of chunks that are sent in this order.
    #[must_use]
    pub fn schedule(&self, chunks: &[ChunkEntry]) -> Vec<Place> {
        let mut scheduler = Scheduler::default();
        let mut places: Vec<Place> = Vec::with_capacity(chunks.len());
        for (index, entry) in chunks.iter().enumerate() {
            let meta = &entry.meta;
            let span = (
                self.ticks(meta.track, meta.start),
                self.ticks(meta.track, meta.end()),
            );
            let place = match self.interval.filter(|_| meta.track == TrackKind::Video) {
                Some(interval) => {
                    let timescale = self.timescale(TrackKind::Video);
                    let place =
                        scheduler.frames(span, u64::from(meta.frames), (interval, timescale));
                    let before = scheduler
                        .last_video
                        .replace(index)
                        .and_then(|before| places.get_mut(before));
                    // The next chunk may need some of it.
                    before
                        .into_iter()
                        .for_each(|before| before.until = before.until.min(place.at));
                    place
                }
                None => scheduler.whole(meta.track, span, self.timescale(meta.track)),
            };
            places.push(place);
        }
        places
    }

    /// The bytes that are put before the first sample of a chunk.
    #[must_use]
    pub fn added_bytes(&self, meta: &ChunkMeta) -> u64 {
        self.parameter_sets(meta)
            .map_or(0, |sets| sets.len() as u64)
    }

    /// A chunk's bytes at its place, as the `moof` with this number.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the chunk cannot be read or its init is not part of the presentation;
    /// the presentation may continue without it.
    pub fn place(
        &self,
        meta: &ChunkMeta,
        place: Place,
        moof_sequence: u32,
        bytes: Bytes,
    ) -> Result<Bytes, Error> {
        let unknown = Error::damaged(
            "chunk",
            0,
            "its init segment is not part of the presentation",
        );
        let sample_description_index = *self
            .init
            .sample_description_index
            .get(&meta.init)
            .ok_or(unknown)?;
        let samples = samples(&bytes)?;
        let times = self.times(meta.track, &samples);
        let first = *times.first().ok_or(NO_SAMPLE)?;
        let mut bytes = match self.parameter_sets(meta) {
            Some(sets) => prefix_first_sample(&bytes, sets)?,
            None => BytesMut::from(bytes),
        };
        let decode_time = match self.interval.filter(|_| meta.track == TrackKind::Video) {
            None => {
                first.saturating_add(place.at.saturating_sub(self.ticks(meta.track, meta.start)))
            }
            Some(interval) => {
                // Frames that are decoded in another order than they are shown have no single time
                // to use.
                let in_order = samples.iter().all(|sample| sample.composition_offset == 0);
                let points = if in_order {
                    on_grid(&times, place, interval)?
                } else {
                    moved(&times, place, interval)?
                };
                let last = samples
                    .last()
                    .map_or(0, |sample| u64::from(sample.duration));
                let end = points.last().map(|point| {
                    if in_order {
                        place.until
                    } else {
                        point.saturating_add(last)
                    }
                });
                patch_durations(&mut bytes, &durations(&points, end.unwrap_or_default())?)?;
                *points.first().ok_or(NO_SAMPLE)?
            }
        };
        patch_chunk(
            &mut bytes,
            &Placement {
                decode_time,
                moof_sequence,
                sample_description_index,
            },
        )?;
        Ok(bytes.freeze())
    }

    fn parameter_sets(&self, meta: &ChunkMeta) -> Option<&Bytes> {
        self.init
            .parameter_sets
            .get(&meta.init)
            .filter(|_| meta.is_access_point())
    }

    fn timescale(&self, track: TrackKind) -> u32 {
        self.init.timescale.get(&track).copied().unwrap_or(1)
    }

    fn ticks(&self, track: TrackKind, time: Timestamp) -> u64 {
        let timescale = self.timescale(track);
        time.ticks(timescale)
            .saturating_sub(self.base.ticks(timescale))
    }

    /// The time of each sample.
    fn times(&self, track: TrackKind, samples: &[Sample]) -> Vec<u64> {
        let base = self.base.ticks(self.timescale(track));
        samples
            .iter()
            .map(|sample| sample.decode_time.saturating_sub(base))
            .collect()
    }
}

/// The state after the previous chunks.
#[derive(Debug, Default)]
struct Scheduler {
    /// The last chunk of video on a grid.
    last_video: Option<usize>,
    /// The earliest grid point of the next video frame, normally and if necessary.
    next: (u64, u64),
    /// How far video is shown after its time, in whole frames, in microseconds.
    lead_us: u64,
    /// Where the last chunk of each track ends.
    ends: BTreeMap<TrackKind, u64>,
}

impl Scheduler {
    /// The free grid points nearest to the recorded time, as many as there are frames.
    fn frames(
        &mut self,
        (start, end): (u64, u64),
        frames: u64,
        (interval, timescale): (u64, u32),
    ) -> Place {
        let nearest = |time: u64| time.saturating_add(interval / 2) / interval * interval;
        // A camera that became faster than its grid must not be shown in slow motion.
        let latest =
            start.saturating_add(LEAD_SECONDS * u64::from(timescale) + start / LEAD_DIVISOR);
        let at = nearest(start).max(self.next.0).min(latest.max(self.next.1));
        let frames = frames.max(1);
        self.next = (
            at.saturating_add(frames.saturating_mul(interval)),
            at.saturating_add(frames),
        );
        let lead = at.saturating_sub(start) / interval * interval;
        self.lead_us = micros(lead, timescale);
        Place {
            at,
            until: self.next.0.max(nearest(end)),
        }
    }

    fn whole(&mut self, track: TrackKind, (start, end): (u64, u64), timescale: u32) -> Place {
        // Audio follows video.
        let lead = u128::from(self.lead_us) * u128::from(timescale) / 1_000_000;
        let shown = start.saturating_add(u64::try_from(lead).unwrap_or(u64::MAX));
        let at = shown.max(self.ends.get(&track).copied().unwrap_or_default());
        let until = at.saturating_add(end.saturating_sub(start));
        self.ends.insert(track, until);
        Place { at, until }
    }
}

fn micros(ticks: u64, timescale: u32) -> u64 {
    u64::try_from(u128::from(ticks) * 1_000_000 / u128::from(timescale.max(1))).unwrap_or(u64::MAX)
}

/// Each frame at the free point nearest to its time; closer together if the place is too short.
fn on_grid(times: &[u64], place: Place, interval: u64) -> Result<Vec<u64>, Error> {
    let count = times.len() as u64;
    let step = interval.min(
        place
            .until
            .saturating_sub(place.at)
            .checked_div(count)
            .ok_or(NO_SAMPLE)?,
    );
    if step == 0 {
        return Err(TOO_MANY);
    }
    let mut earliest = place.at;
    let point = |(left, time): (u64, &u64)| {
        let nearest = time.saturating_add(interval / 2) / interval * interval;
        let latest = if left == count {
            place.at
        } else {
            place.until - left * step
        };
        let point = nearest.clamp(earliest, latest);
        earliest = point + step;
        point
    };
    Ok((1..=count).rev().zip(times).map(point).collect())
}

/// The times of the recording, moved together behind the previous chunk and before the next one.
fn moved(times: &[u64], place: Place, interval: u64) -> Result<Vec<u64>, Error> {
    let first = *times.first().ok_or(NO_SAMPLE)?;
    let end = place.until.saturating_sub(interval / 2);
    // A place is rounded to the grid; a larger difference means that it was moved behind the
    // previous chunk.
    let shift = Some(place.at.saturating_sub(first))
        .filter(|shift| *shift > interval / 2)
        .unwrap_or_default();
    let mut earliest = first.saturating_add(shift);
    let point = |(left, time): (u64, &u64)| {
        let point = time
            .saturating_add(shift)
            .max(earliest)
            .min(end.saturating_sub(left));
        let fits = point >= earliest;
        earliest = point.saturating_add(1);
        fits.then_some(point).ok_or(TOO_MANY)
    };
    (1..=times.len() as u64)
        .rev()
        .zip(times)
        .map(point)
        .collect()
}

fn durations(points: &[u64], end: u64) -> Result<Vec<u32>, Error> {
    let next_points = points.iter().skip(1).chain([&end]);
    let durations = points
        .iter()
        .zip(next_points)
        .map(|(point, next)| u32::try_from(next.saturating_sub(*point)));
    durations
        .collect::<Result<_, _>>()
        .map_err(|_| Error::damaged("trun", 0, "a frame lasts hours"))
}

#[cfg(test)]
mod tests;
