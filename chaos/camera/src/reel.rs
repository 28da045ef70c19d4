//! Small clips of encodings that the main clips lack, played in a loop (see `clip/README.md`).

use crate::annexb;
use crate::clip::ClipFrame;
use crate::codec::{Codec, Unit};
use bytes::Bytes;
use std::ops::Range;

/// Names of the clips in `clip/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReelName {
    /// H.264, three slices a picture, CAVLC.
    Slices,
    /// H.264, gradual refresh: recovery points, and no IDR picture in the loop.
    Refresh,
    /// H.264, B pictures, open GOPs; an IDR picture at the start of the loop.
    OpenGop,
    /// The same without IDR pictures: I pictures with recovery points.
    RecoveryPoints,
    /// H.264, a GOP of 10 s.
    LongGop,
    H265,
    /// H.265 of another size.
    H265Small,
    /// H.265, B pictures, open GOPs (CRA pictures); an IDR picture at the start of the loop.
    H265OpenGop,
}

/// The frames of a clip in the order in which they are sent.
#[derive(Debug)]
pub(crate) struct Reel {
    pub(crate) codec: Codec,
    frames: Vec<ReelFrame>,
    /// The frames that are played in a loop.
    turn: Range<usize>,
    /// SPS and PPS, preceded by the VPS if there is one.
    pub(crate) sets: Vec<Bytes>,
}

#[derive(Clone, Debug)]
pub(crate) struct ReelFrame {
    pub(crate) frame: ClipFrame,
    /// How many frames later it is shown than it is sent; negative for B pictures.
    pub(crate) shown_later: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clip {0:?} is not as its README says")]
pub struct ReelError(ReelName);

impl Reel {
    pub(crate) fn load(name: ReelName) -> Result<Self, ReelError> {
        let whole = |frames: usize| 0..frames;
        let (codec, stream, turn): (_, &'static [u8], Range<usize>) = match name {
            ReelName::Slices => (
                Codec::H264,
                include_bytes!("../clip/slices-160x90-25fps.h264"),
                whole(100),
            ),
            // Frame numbers repeat every 16 reference frames, so the loop has no seam.
            ReelName::Refresh => (
                Codec::H264,
                include_bytes!("../clip/refresh-160x90-25fps.h264"),
                1..97,
            ),
            ReelName::OpenGop => (
                Codec::H264,
                include_bytes!("../clip/open-gop-160x90-25fps.h264"),
                whole(121),
            ),
            ReelName::RecoveryPoints => (
                Codec::H264,
                include_bytes!("../clip/open-gop-160x90-25fps.h264"),
                22..118,
            ),
            ReelName::LongGop => (
                Codec::H264,
                include_bytes!("../clip/long-gop-160x90-25fps.h264"),
                whole(250),
            ),
            ReelName::H265 => (
                Codec::H265,
                include_bytes!("../clip/main-160x90-25fps.h265"),
                whole(100),
            ),
            ReelName::H265Small => (
                Codec::H265,
                include_bytes!("../clip/small-96x64-25fps.h265"),
                whole(50),
            ),
            ReelName::H265OpenGop => (
                Codec::H265,
                include_bytes!("../clip/open-gop-160x90-25fps.h265"),
                whole(100),
            ),
        };
        let has_b_pictures = matches!(
            name,
            ReelName::OpenGop | ReelName::RecoveryPoints | ReelName::H265OpenGop
        );
        let cut = cut(codec, &Bytes::from_static(stream));
        let sets: Vec<Bytes> = cut
            .iter()
            .take(1)
            .flat_map(|frame| &frame.head)
            .cloned()
            .collect();
        let sets: Vec<Bytes> = sets
            .into_iter()
            .filter(|nal| codec.is_parameter_set(nal))
            .collect();
        let wanted = match codec {
            Codec::H264 => 2,
            Codec::H265 => 3,
        };
        if turn.end > cut.len() || sets.len() != wanted {
            return Err(ReelError(name));
        }
        let shown_later = |at: usize| if has_b_pictures { shown_later(at) } else { 0 };
        let frames = cut.into_iter().enumerate();
        let frames = frames
            .map(|(at, frame)| ReelFrame {
                frame,
                shown_later: shown_later(at),
            })
            .collect();
        Ok(Self {
            codec,
            frames,
            turn,
            sets,
        })
    }

    /// The frame that is sent as number `number`.
    pub(crate) fn frame(&self, number: u64) -> &ReelFrame {
        let turn = self.turn.len() as u64;
        let within = usize::try_from(number % turn).unwrap_or(0);
        &self.frames[self.turn.start + within]
    }
}

/// For the pattern I P B B P B B ..., in sending order.
fn shown_later(at: usize) -> i64 {
    match at {
        0 => 0,
        _ if at % 3 == 1 => 2,
        _ => -1,
    }
}

/// Access units, each of which starts with a delimiter. User SEI (the encoder's name) is left out.
fn cut(codec: Codec, stream: &Bytes) -> Vec<ClipFrame> {
    let mut frames: Vec<ClipFrame> = Vec::new();
    for nal in annexb::nals(stream).map(|nal| stream.slice_ref(nal)) {
        let unit = codec.unit(&nal);
        if unit == Unit::Delimiter || frames.is_empty() {
            frames.push(ClipFrame {
                head: Vec::new(),
                slices: Vec::new(),
                keyframe: false,
            });
        }
        let Some(frame) = frames.last_mut() else {
            continue;
        };
        match unit {
            Unit::Sei if nal.get(codec.header_bytes()) == Some(&5) => {}
            Unit::Slice { access } => {
                frame.keyframe |= access;
                frame.slices.push(nal);
            }
            // If there is no IDR picture, decoding begins at a recovery point.
            Unit::Sei => {
                frame.keyframe |= nal.get(codec.header_bytes()) == Some(&6);
                frame.head.push(nal);
            }
            _ => frame.head.push(nal),
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyframes(name: ReelName, frames: u64) -> Vec<u64> {
        let reel = Reel::load(name).unwrap();
        (0..frames)
            .filter(|&at| reel.frame(at).frame.keyframe)
            .collect()
    }

    #[test]
    fn the_reels_are_as_their_readme_says() {
        assert_eq!(keyframes(ReelName::Slices, 101), [0, 25, 50, 75, 100]);
        assert_eq!(keyframes(ReelName::Refresh, 97), [24, 49, 74]);
        assert_eq!(
            keyframes(ReelName::OpenGop, 122),
            [0, 22, 46, 70, 94, 118, 121]
        );
        assert_eq!(keyframes(ReelName::RecoveryPoints, 97), [0, 24, 48, 72, 96]);
        assert_eq!(keyframes(ReelName::LongGop, 251), [0, 250]);
        assert_eq!(keyframes(ReelName::H265, 101), [0, 25, 50, 75, 100]);
        assert_eq!(keyframes(ReelName::H265Small, 51), [0, 25, 50]);
        assert_eq!(
            keyframes(ReelName::H265OpenGop, 101),
            [0, 22, 46, 70, 94, 100]
        );
    }

    #[test]
    fn a_picture_of_the_first_reel_has_three_slices() {
        let reel = Reel::load(ReelName::Slices).unwrap();
        assert!((0..100).all(|at| reel.frame(at).frame.slices.len() == 3));
    }

    #[test]
    fn frames_are_shown_in_another_order_than_they_are_sent() {
        let reel = Reel::load(ReelName::OpenGop).unwrap();
        let shown: Vec<i64> = (0..7)
            .map(|at| at + reel.frame(at as u64).shown_later)
            .collect();
        assert_eq!(shown, [0, 3, 1, 2, 6, 4, 5]);
    }
}
