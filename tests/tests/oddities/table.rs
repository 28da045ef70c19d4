//! The expectations for each odd camera. A camera without a row is recorded completely and on time,
//! without a gap.

use holdfast_camera::{
    AudioOddity, ClockOddity, Codec, Oddity, PayloadOddity, RhythmOddity, RtpOddity,
};
use holdfast_storage::chunk::GapCause;

/// The most that recorded time may differ from the capture, in microseconds; more only if the
/// camera holds frames back.
const OFF_US_MAX: i64 = 1_000_000;

/// The expected results of a camera.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) oddity: Oddity,
    pub(crate) codec: Codec,
    /// Number of frames that may be missing in addition to those that the camera spoils itself.
    pub(crate) lost_max: u64,
    /// Causes of gaps that its timeline may have.
    pub(crate) causes: &'static [GapCause],
    /// Recorded time minus capture time: least and most.
    pub(crate) off_us: (i64, i64),
    /// Whether the export has sound; `None` if either is right.
    pub(crate) sound: Option<bool>,
}

impl Row {
    /// Its oddity, with the codec if it exists in both.
    pub(crate) fn name(&self) -> String {
        match self.codec {
            Codec::H264 => self.oddity.name(),
            Codec::H265 => format!("{}-h265", self.oddity),
        }
    }
}

/// The rows of a group that exist in the codec.
pub(crate) fn rows(group: &str, codec: Codec) -> Vec<Row> {
    let fits = |oddity: &Oddity| {
        oddity.group() == group && oddity.codec().is_none_or(|only| only == codec)
    };
    Oddity::all()
        .filter(fits)
        .map(|oddity| row(oddity, codec))
        .collect()
}

fn row(oddity: Oddity, codec: Codec) -> Row {
    let held_us = i64::try_from(oddity.held_us()).unwrap();
    let whole = Row {
        oddity,
        codec,
        lost_max: 0,
        causes: &[],
        off_us: (-OFF_US_MAX, OFF_US_MAX + held_us),
        sound: Some(false),
    };
    match oddity {
        Oddity::Loss(_) => Row {
            causes: &[GapCause::PacketsLost],
            ..whole
        },
        // Whether these frames are lost cannot be known before the next packet of the new source.
        Oddity::Rtp(RtpOddity::SsrcChange) => Row {
            lost_max: 6,
            causes: &[GapCause::PacketsLost],
            ..whole
        },
        // A reset looks like a loss of the packets in between.
        Oddity::Rtp(RtpOddity::SequenceReset) => Row {
            causes: &[GapCause::PacketsLost],
            ..whole
        },
        // The damaged frames may be kept as damaged or left out.
        Oddity::Payload(
            PayloadOddity::FragmentStartMissing
            | PayloadOddity::EmulationMissing
            | PayloadOddity::ForbiddenBit,
        ) => Row {
            causes: &[GapCause::PacketsLost],
            ..whole
        },
        // Nothing is captured in between.
        Oddity::Rhythm(RhythmOddity::Pauses | RhythmOddity::FallsAsleep) => Row {
            causes: &[GapCause::CameraStalled],
            ..whole
        },
        // During the first seconds nothing reveals the wrong clock yet.
        Oddity::Clock(ClockOddity::ClockSlowStart) => Row {
            off_us: (-3_000_000, OFF_US_MAX),
            ..whole
        },
        Oddity::Audio(audio) => Row {
            sound: sound(audio),
            ..whole
        },
        _ => whole,
    }
}

fn sound(audio: AudioOddity) -> Option<bool> {
    match audio {
        AudioOddity::AacWithoutConfig | AudioOddity::AudioNever | AudioOddity::AudioRefused => {
            Some(false)
        }
        AudioOddity::AacOtherFormat | AudioOddity::AacHeadersMalformed | AudioOddity::AacInAdts => {
            None
        }
        _ => Some(true),
    }
}
