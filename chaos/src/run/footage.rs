//! Every frame of video and sound that the cluster serves for a camera, with its stamp and the
//! recorded wall time.

use crate::evidence::Found;
use holdfast_camera::{Stamp, sound, stamp};
use holdfast_node::client::Api;
use holdfast_node::demo::footage::export;
use holdfast_node::terminal::error::{CliError, ExitKind};
use holdfast_storage::cmaf::{self, probe};
use holdfast_storage::ids::{CameraId, TrackKind};
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// Length of footage fetched at once, so that memory does not grow with the length of a run.
const WINDOW: Duration = Duration::from_secs(300);

/// The overlap of windows: an export begins at the keyframe before the requested time. Frames of
/// the overlap count once.
const OVERLAP: Duration = Duration::from_secs(5);

/// Seconds from 1900 (NTP) to 1970.
const NTP_TO_UNIX_SECONDS: i64 = 2_208_988_800;

/// The frames found for one camera.
#[derive(Clone, Debug, Default)]
pub struct Footage {
    pub frames: Vec<Found>,
    /// Number of frames without a stamp.
    pub unstamped: u64,
    pub sound: Vec<Found>,
    /// Number of sound frames without a stamp, or different from those sent.
    pub sound_unstamped: u64,
}

/// Every frame that the cluster serves for a camera between the two instants; none if nothing was
/// recorded.
///
/// # Errors
/// If the export fails, is too large or damaged.
pub async fn fetch(
    api: &Api,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Footage, CliError> {
    let mut footage = Footage::default();
    let mut start = from;
    while start < to {
        let end = start.plus(WINDOW).min(to);
        let fetched_to = end.plus(OVERLAP).min(to);
        match export(api, camera, start, fetched_to).await {
            Err(error) if error.kind == ExitKind::NotFound => {}
            file => footage.add(&file?).map_err(|error| {
                CliError::failed(format!(
                    "the export of camera {camera} from {start} to {fetched_to} is damaged: {error}"
                ))
            })?,
        }
        start = end;
    }
    Ok(footage)
}

impl Footage {
    /// Adds a window, without the part that the previous window already contained.
    fn add(&mut self, file: &[u8]) -> Result<(), cmaf::Error> {
        let mut video = Track::new(&mut self.frames, &mut self.unstamped);
        let mut heard = Track::new(&mut self.sound, &mut self.sound_unstamped);
        for range in probe::chunk_ranges(file) {
            let chunk = &file[range?];
            let is_sound = track(chunk) == Some(TrackKind::Audio.track_id());
            let wall_us = wall_us(chunk);
            for (number, sample) in probe::samples(chunk)?.into_iter().enumerate() {
                let bytes = &chunk[sample.offset..sample.offset + sample.size];
                let wall_us = wall_us.filter(|_| number == 0);
                if is_sound {
                    heard.take(sound::find(bytes), wall_us);
                } else {
                    video.take(stamp::find(bytes), wall_us);
                }
            }
        }
        Ok(())
    }
}

/// One track while a window is added.
struct Track<'a> {
    frames: &'a mut Vec<Found>,
    unstamped: &'a mut u64,
    /// The last number of the previous window, while its frames repeat.
    known: Option<u64>,
}

impl<'a> Track<'a> {
    fn new(frames: &'a mut Vec<Found>, unstamped: &'a mut u64) -> Self {
        let known = frames.iter().map(|found| found.stamp.sequence).max();
        Self {
            frames,
            unstamped,
            known,
        }
    }

    fn take(&mut self, stamp: Option<Stamp>, wall_us: Option<i64>) {
        let Some(stamp) = stamp else {
            *self.unstamped += 1;
            return;
        };
        self.known = self.known.filter(|known| stamp.sequence <= *known);
        if self.known.is_none() {
            self.frames.push(Found { stamp, wall_us });
        }
    }
}

/// The track in a chunk's `prft`.
fn track(chunk: &[u8]) -> Option<u32> {
    let is_reference = chunk.get(4..8)? == b"prft";
    is_reference.then_some(u32::from_be_bytes(chunk.get(12..16)?.try_into().ok()?))
}

/// The wall time in a chunk's `prft` (ISO/IEC 14496-12, 8.16.5): version and flags, track, NTP time
/// of 64 bits, media time.
fn wall_us(chunk: &[u8]) -> Option<i64> {
    if chunk.get(4..8)? != b"prft" {
        return None;
    }
    let ntp = u64::from_be_bytes(chunk.get(16..24)?.try_into().ok()?);
    let seconds = i64::try_from(ntp >> 32).ok()? - NTP_TO_UNIX_SECONDS;
    let fraction_us = ((ntp & 0xffff_ffff) * 1_000_000) >> 32;
    Some(seconds * 1_000_000 + i64::try_from(fraction_us).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::chunk::AccessPoint;
    use holdfast_storage::cmaf::chunk::{Frame, build_chunk};

    fn chunk(sequences: std::ops::Range<u64>, at_us: i64) -> Vec<u8> {
        let frame = |sequence| {
            let nal = Stamp {
                camera: 4,
                sequence,
                captured_us: 9,
            }
            .encode(0);
            let length = u32::try_from(nal.len()).unwrap().to_be_bytes();
            Frame {
                data: [&length[..], &nal].concat().into(),
                decode_time: sequence * 3600,
                duration: 3600,
                composition_offset: 0,
                access: (sequence == 0).then_some(AccessPoint::Sync),
            }
        };
        let frames: Vec<Frame> = sequences.map(frame).collect();
        build_chunk(TrackKind::Video, 1, Timestamp(at_us), &frames)
            .unwrap()
            .concat()
    }

    #[test]
    fn frames_are_found_with_their_wall_time_and_an_overlap_counts_once() {
        let mut footage = Footage::default();
        let at_us = 1_700_000_000_123_456;
        footage
            .add(&[chunk(0..2, at_us), chunk(2..4, at_us)].concat())
            .unwrap();
        footage
            .add(&[chunk(2..4, at_us), chunk(4..6, at_us)].concat())
            .unwrap();
        let sequences: Vec<u64> = footage
            .frames
            .iter()
            .map(|found| found.stamp.sequence)
            .collect();
        assert_eq!(sequences, [0, 1, 2, 3, 4, 5]);
        assert!(
            (footage.frames[0].wall_us.unwrap() - at_us).abs() <= 1,
            "{:?}",
            footage.frames[0]
        );
        assert_eq!((footage.frames[1].wall_us, footage.unstamped), (None, 0));
    }

    #[test]
    fn sound_is_counted_for_itself() {
        let sound = Frame {
            data: vec![7; 9].into(),
            decode_time: 0,
            duration: 9,
            composition_offset: 0,
            access: Some(AccessPoint::Sync),
        };
        let sound = build_chunk(TrackKind::Audio, 1, Timestamp(0), &[sound])
            .unwrap()
            .concat();
        let mut footage = Footage::default();
        footage.add(&[chunk(0..2, 0), sound].concat()).unwrap();
        assert_eq!((footage.frames.len(), footage.unstamped), (2, 0));
        assert_eq!((footage.sound.len(), footage.sound_unstamped), (0, 1));
    }

    #[test]
    fn what_is_served_twice_within_one_window_is_not_left_out() {
        let mut footage = Footage::default();
        footage
            .add(&[chunk(0..2, 0), chunk(0..2, 0)].concat())
            .unwrap();
        assert_eq!(footage.frames.len(), 4);
    }
}
