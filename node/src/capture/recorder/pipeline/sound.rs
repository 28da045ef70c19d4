//! Aligns chunks of sound, and the times of sound, with the video. Readers switch from one recorder
//! to another at keyframes; because both recorders cut sound before the same frame, no sound is
//! lost and none comes twice.

use super::Pipeline;
use crate::capture::ingest::clock::alongside_video;
use crate::capture::recorder::chunker::{Limits, NotReached};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;

/// Sound is cut at one keyframe in each such time since the epoch: a camera of keyframes alone must
/// not decide how many chunks its sound has.
const KEYFRAME_US: i64 = 400_000;

/// The longest chunk of sound, in microseconds, unless video cuts it earlier. It is longer than a
/// chunk of video because sound arrives later and would otherwise be cut in two each time.
const CHUNK_US_MAX: i64 = 500_000;

/// The limits for sound, from those for video.
pub(super) fn limits(video: Limits) -> Limits {
    let longer_us = video.duration_us.saturating_add(video.duration_us / 2);
    Limits {
        duration_us: longer_us.min(CHUNK_US_MAX).max(video.duration_us),
        ..video
    }
}

/// Where a session's sound is cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SoundCuts {
    /// The time of the session's first keyframe. Earlier sound has no video.
    begins: Option<Timestamp>,
    /// The number of the [`KEYFRAME_US`] interval of the last keyframe at which sound was cut.
    keyframe_in: Option<i64>,
    /// Sound is to be cut before its first frame at or after this time.
    awaited: Option<Timestamp>,
}

impl SoundCuts {
    /// A session begins with the keyframe at `start`.
    pub(super) fn begin(&mut self, start: Timestamp) {
        self.begins = Some(start);
    }

    /// Whether sound of that time precedes the session.
    pub(super) fn is_early(&self, decode: Timestamp) -> bool {
        self.begins.is_some_and(|begins| decode < begins)
    }

    /// Whether sound is to be cut at this keyframe.
    fn is_due(&mut self, keyframe: Timestamp) -> bool {
        let slot = keyframe.micros().div_euclid(KEYFRAME_US);
        self.keyframe_in.replace(slot) != Some(slot)
    }
}

impl Pipeline {
    /// When a frame of sound was sent, by both tracks' reports; `None` for other tracks, and if the
    /// reports do not allow it.
    pub(super) fn alongside(
        &self,
        kind: TrackKind,
        rtp: i64,
        arrival: Timestamp,
    ) -> Option<Timestamp> {
        let (video, audio) = (self.video.as_ref()?, self.audio.as_ref()?);
        let reported = [(&video.clock, video.report), (&audio.clock, audio.report)];
        alongside_video(reported[0], reported[1], rtp, arrival).filter(|_| kind == TrackKind::Audio)
    }

    /// A chunk of video ended or began with the frame at `decode`.
    pub(super) fn cut_sound_with_video(&mut self, decode: Timestamp, is_keyframe: bool) {
        let Some(sound) = &mut self.audio else { return };
        let cut = if is_keyframe {
            if !self.sound.is_due(decode) {
                return;
            }
            match sound.chunker.flush_before(decode) {
                Ok(cut) => cut,
                // Sound arrives later than the video that it belongs to.
                Err(NotReached) => {
                    self.sound.awaited.get_or_insert(decode);
                    return;
                }
            }
        } else if sound.chunker.open_us() >= self.context.limits.duration_us / 2 {
            // A kill costs equally much of both: they become durable together.
            sound
                .chunker
                .flush_before(decode)
                .unwrap_or_else(|NotReached| sound.chunker.flush())
        } else {
            return;
        };
        self.emit(TrackKind::Audio, cut);
    }

    /// A frame of sound comes.
    pub(super) fn cut_sound_before(&mut self, decode: Timestamp) {
        if self.sound.awaited.is_some_and(|at| decode >= at) {
            self.sound.awaited = None;
            let cut = self.audio.as_mut().and_then(|track| track.chunker.flush());
            self.emit(TrackKind::Audio, cut);
        }
    }
}
