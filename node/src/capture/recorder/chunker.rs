//! Cuts one track's frames into chunks. Pure.
//!
//! A chunk ends before an access point, before the frame that would make it longer than 500 ms or
//! larger than 1 MiB, at a loss of frames, and when no frame came for 600 ms. Access points that
//! follow each other within 5 ms share a chunk: each chunk costs memory until its segment is
//! sealed, and a camera must not decide how much. A frame lasts until the next one; the last one,
//! as long as the one before it. Chunks of a track never overlap: a frame that would begin before
//! the end of the last chunk begins at that end.

use super::mux::Frame;
use crate::capture::ingest::codec::slices::slices_crc;
use crate::capture::ingest::media::VideoCodec;
use bytes::Bytes;
use holdfast_storage::chunk::{Access, AccessPoint, CHUNK_BYTES_MAX};
use holdfast_storage::time::Timestamp;

/// The assumed length of a frame of unknown length, in microseconds (25 frames per second).
const FRAME_US_DEFAULT: i64 = 40_000;
/// The longest that a frame can last, in microseconds; a longer time without a frame is a gap.
const FRAME_US_MAX: i64 = 3_000_000;
/// Frames of a chunk: enough for 500 ms of any sane stream, and a bound for those that are not.
pub const CHUNK_FRAMES_MAX: usize = 512;
/// The shortest chunk, in microseconds, that begins with an access point and that the next access
/// point ends.
const ACCESS_US_MIN: i64 = 5_000;
/// A hole between two chunks that is worth an entry in the gap ledger, in microseconds.
const HOLE_US_MIN: i64 = 100_000;

/// Distances between frames that are remembered as the camera's rhythm.
const USUAL_SPANS: usize = 8;
/// A pause of this many usual distances means that frames are missing.
const USUAL_SPANS_MAX: i64 = 3;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub duration_us: i64,
    pub bytes: usize,
    pub frames: usize,
    /// A chunk ends when no frame came for this long.
    pub idle_us: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            duration_us: 500_000,
            bytes: CHUNK_BYTES_MAX,
            frames: CHUNK_FRAMES_MAX,
            idle_us: 600_000,
        }
    }
}

/// A frame with its place in wall time.
#[derive(Clone, Debug)]
pub struct TimedFrame {
    pub data: Bytes,
    pub decode: Timestamp,
    pub composition_us: i32,
    /// How decoding can begin here; meaningless for tracks other than video.
    pub access: Option<AccessPoint>,
    /// Known for some codecs.
    pub length_us: Option<i64>,
}

/// A chunk that lacks only its place in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub frames: Vec<Frame>,
    pub start: Timestamp,
    pub duration_us: u32,
    /// Set if the first frame is an access point of video; always set for sound.
    pub access: Option<Access>,
    pub after_loss: bool,
}

impl Cut {
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.start.plus_micros(i64::from(self.duration_us))
    }
}

/// The result of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    pub cut: Option<Cut>,
    /// The frame is the first of its chunk.
    pub begins: bool,
    /// An interval right before the frame that holds no frame.
    pub hole: Option<(Timestamp, Timestamp)>,
    /// How many frames are missing in the hole, if frames were lost and frames come evenly.
    pub lost_frames: Option<u32>,
}

/// No frame has come so far yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotReached;

#[derive(Debug)]
pub struct Chunker {
    /// Of video; `None` for other tracks.
    codec: Option<VideoCodec>,
    timescale: u32,
    limits: Limits,
    open: Vec<TimedFrame>,
    open_bytes: usize,
    last_decode: Option<Timestamp>,
    /// The last two distances between frames, the newest first: the smaller one is how long a
    /// frame lasts, so that one pause does not count.
    spans_us: [Option<i64>; 2],
    /// The last distances between frames, however long: the smallest is the camera's rhythm.
    usual_us: [Option<i64>; USUAL_SPANS],
    /// End of the last chunk.
    end: Option<Timestamp>,
    after_loss: bool,
}

impl Chunker {
    #[must_use]
    pub fn new(codec: Option<VideoCodec>, timescale: u32, limits: Limits) -> Self {
        Self {
            codec,
            timescale,
            limits,
            open: Vec::new(),
            open_bytes: 0,
            last_decode: None,
            spans_us: [None; 2],
            usual_us: [None; USUAL_SPANS],
            end: None,
            after_loss: false,
        }
    }

    #[must_use]
    pub fn timescale(&self) -> u32 {
        self.timescale
    }

    /// Takes a frame; `lost`: frames right before it were lost. Returns the chunk that it ended.
    pub fn push(&mut self, mut frame: TimedFrame, lost: bool) -> Pushed {
        if let Some(after) = self.not_before() {
            frame.decode = frame.decode.max(after);
        }
        let cut = self.ended_by(&frame, lost);
        self.learn_span(frame.decode, lost);
        self.after_loss |= lost;
        let hole = self.hole_before(frame.decode, lost);
        let begins = self.open.is_empty();
        self.open_bytes += frame.data.len();
        self.open.push(frame);
        let lost_frames = hole
            .filter(|_| lost)
            .and_then(|(start, end)| self.frames_in(end.micros_since(start)));
        Pushed {
            cut,
            begins,
            hole,
            lost_frames,
        }
    }

    /// Ends the chunk if its last frame is older than the idle limit.
    pub fn idle(&mut self, now: Timestamp) -> Option<Cut> {
        let last = self.open.last()?.decode;
        if now.micros_since(last) < self.limits.idle_us {
            None
        } else {
            self.flush()
        }
    }

    /// Ends the chunk; its last frame lasts as long as the one before.
    pub fn flush(&mut self) -> Option<Cut> {
        let last = self.open.last()?;
        let end = last.decode.plus_micros(self.estimate(last));
        self.close(end)
    }

    /// Ends the chunk before the first frame at or after `at`.
    ///
    /// # Errors
    /// No such frame has come yet: the chunk stays open.
    pub fn flush_before(&mut self, at: Timestamp) -> Result<Option<Cut>, NotReached> {
        let first = self.open.partition_point(|frame| frame.decode < at);
        let later = self.open.split_off(first);
        let Some(next) = later.first() else {
            return Err(NotReached);
        };
        let cut = self.close(next.decode);
        self.open_bytes = later.iter().map(|frame| frame.data.len()).sum();
        self.open = later;
        Ok(cut)
    }

    /// The length of the open chunk up to its last frame, in microseconds.
    #[must_use]
    pub fn open_us(&self) -> i64 {
        self.open
            .first()
            .zip(self.open.last())
            .map_or(0, |(first, last)| last.decode.micros_since(first.decode))
    }

    /// The next chunk does not follow the last one without loss.
    pub fn mark_loss(&mut self) {
        self.after_loss = true;
    }

    /// Frames pushed from here on are of this codec. The open chunk must have been flushed.
    pub fn set_codec(&mut self, codec: Option<VideoCodec>) {
        self.codec = codec;
    }

    /// Time begins again: later frames have no relation to the chunks before, which must have been
    /// flushed.
    pub fn restart(&mut self) {
        (self.end, self.last_decode, self.spans_us) = (None, None, [None; 2]);
        self.usual_us = [None; USUAL_SPANS];
    }

    /// The frames of the open chunk.
    #[must_use]
    pub fn open(&self) -> &[TimedFrame] {
        &self.open
    }

    /// Whether frames were lost right before the open chunk.
    #[must_use]
    pub fn opens_after_loss(&self) -> bool {
        self.after_loss
    }

    /// Where the open chunk begins, if there is one.
    #[must_use]
    pub fn begun(&self) -> Option<Timestamp> {
        self.open.first().map(|first| first.decode)
    }

    /// End of the last chunk, if any.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        self.end
    }

    fn not_before(&self) -> Option<Timestamp> {
        let tick_us = crate::capture::ingest::clock::TrackClock::tick_us(self.timescale);
        let after_last = self
            .open
            .last()
            .map(|last| last.decode.plus_micros(tick_us));
        after_last.or(self.end)
    }

    fn ended_by(&mut self, frame: &TimedFrame, lost: bool) -> Option<Cut> {
        let (first, last) = (self.open.first()?, self.open.last()?);
        let span_us = frame.decode.micros_since(last.decode);
        if lost || span_us > FRAME_US_MAX {
            let lasts_us = self.estimate(last).min(span_us);
            let end = last.decode.plus_micros(lasts_us);
            return self.close(end);
        }
        let is_near =
            first.access.is_some() && frame.decode.micros_since(first.decode) < ACCESS_US_MIN;
        let begins = frame.access.is_some() && self.codec.is_some() && !is_near;
        let longer_us =
            frame.decode.micros_since(first.decode) + frame.length_us.unwrap_or(span_us);
        let larger = self.open_bytes + frame.data.len();
        let full = larger > self.limits.bytes || self.open.len() >= self.limits.frames;
        if begins || full || longer_us > self.limits.duration_us {
            return self.close(frame.decode);
        }
        None
    }

    fn learn_span(&mut self, decode: Timestamp, lost: bool) {
        let last = self.last_decode.replace(decode).filter(|_| !lost);
        if let Some(last) = last {
            self.usual_us.rotate_right(1);
            self.usual_us[0] = Some(decode.micros_since(last));
        }
        if let Some(span_us) = last
            .map(|last| decode.micros_since(last))
            .filter(|span_us| *span_us <= FRAME_US_MAX)
        {
            self.spans_us = [Some(span_us), self.spans_us[0]];
        }
    }

    /// If no loss was reported, frames count as missing only if the camera usually sends more of
    /// them.
    fn hole_before(&self, decode: Timestamp, lost: bool) -> Option<(Timestamp, Timestamp)> {
        let end = self.end.filter(|_| self.open.is_empty())?;
        let hole_us = decode.micros_since(end);
        let usual_us = self.usual_us.iter().flatten().min().copied();
        let least_us = match usual_us {
            _ if lost => 0,
            Some(usual_us) => HOLE_US_MIN.max(usual_us.saturating_mul(USUAL_SPANS_MAX)),
            None => FRAME_US_MAX,
        };
        (hole_us > least_us).then_some((end, decode))
    }

    /// How many frames come in such a time: known only if the last two distances agree and the time
    /// is a whole number of them.
    fn frames_in(&self, hole_us: i64) -> Option<u32> {
        let [Some(last_us), Some(before_us)] = self.spans_us else {
            return None;
        };
        let span_us = i64::midpoint(last_us, before_us).max(1);
        let frames = (hole_us + span_us / 2) / span_us;
        let may_be_off_us =
            frames * (last_us - before_us).abs() + (hole_us - frames * span_us).abs();
        (frames > 0 && may_be_off_us <= span_us / 4)
            .then(|| u32::try_from(frames).ok())
            .flatten()
    }

    fn estimate(&self, last: &TimedFrame) -> i64 {
        let learnt_us = self.spans_us.iter().flatten().min().copied();
        let tick_us = crate::capture::ingest::clock::TrackClock::tick_us(self.timescale);
        last.length_us
            .or(learnt_us)
            .unwrap_or(FRAME_US_DEFAULT)
            .clamp(tick_us, FRAME_US_MAX)
    }

    /// The open frames as a chunk whose last frame ends at `end`.
    fn close(&mut self, end: Timestamp) -> Option<Cut> {
        let open = std::mem::take(&mut self.open);
        let first = open.first()?;
        let start = first.decode;
        let access = match self.codec {
            Some(codec) => first.access.map(|point| Access {
                point,
                slices_crc: slices_crc(codec, &first.data),
            }),
            None => Some(Access::of_sound(&first.data)),
        };
        let ends = open.iter().skip(1).map(|next| next.decode).chain([end]);
        let cut = Cut {
            start,
            duration_us: u32::try_from(end.micros_since(start)).unwrap_or(u32::MAX),
            access,
            after_loss: std::mem::take(&mut self.after_loss),
            frames: open
                .iter()
                .zip(ends)
                .map(|(frame, end)| sample(frame, end, self.timescale))
                .collect(),
        };
        self.open_bytes = 0;
        self.end = Some(end);
        Some(cut)
    }
}

fn sample(frame: &TimedFrame, end: Timestamp, timescale: u32) -> Frame {
    let decode_time = frame.decode.ticks(timescale);
    let composition = i64::from(frame.composition_us) * i64::from(timescale) / 1_000_000;
    Frame {
        data: frame.data.clone(),
        decode_time,
        duration: u32::try_from(end.ticks(timescale).saturating_sub(decode_time))
            .unwrap_or(u32::MAX),
        composition_offset: i32::try_from(composition).unwrap_or(i32::MIN),
        access: frame.access,
    }
}

#[cfg(test)]
mod tests;
