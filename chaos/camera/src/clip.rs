//! The clips that cameras play, cut into frames (see `clip/README.md` for how they were made).

use crate::annexb::{self, NAL_AUD, NAL_IDR, NAL_PPS, NAL_SEI, NAL_SPS};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Frames of one group of pictures in the clips: the most that a camera's GOP can have.
pub const CLIP_GOP_FRAMES: u32 = 25;

/// The picture that a camera shows. Changing it changes the parameter sets in the middle of the
/// stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    /// 640x360.
    #[default]
    Main,
    /// 320x180.
    Small,
}

/// One access unit of a clip.
#[derive(Clone, Debug)]
pub(crate) struct ClipFrame {
    /// NAL units that must come before any SEI: delimiter and parameter sets.
    pub(crate) head: Vec<Bytes>,
    pub(crate) slices: Vec<Bytes>,
    pub(crate) keyframe: bool,
}

impl ClipFrame {
    pub(crate) fn bytes(&self) -> usize {
        self.head.iter().chain(&self.slices).map(Bytes::len).sum()
    }
}

/// A clip as groups of pictures, each of which starts with a keyframe.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(crate) gops: Vec<Vec<ClipFrame>>,
    pub(crate) sps: Bytes,
    pub(crate) pps: Bytes,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClipError {
    #[error("the clip does not start with a keyframe and its parameter sets")]
    NoKeyframe,
    #[error("a group of pictures of the clip has {0} frames, fewer than {CLIP_GOP_FRAMES}")]
    ShortGop(usize),
}

/// Both clips, parsed once and shared by all cameras.
#[derive(Clone, Debug)]
pub(crate) struct Clips {
    main: Arc<Clip>,
    small: Arc<Clip>,
}

impl Clips {
    pub(crate) fn load() -> Result<Self, ClipError> {
        let main = Clip::parse(Bytes::from_static(include_bytes!(
            "../clip/main-640x360-25fps.h264"
        )))?;
        let small = Clip::parse(Bytes::from_static(include_bytes!(
            "../clip/small-320x180-25fps.h264"
        )))?;
        Ok(Self {
            main: Arc::new(main),
            small: Arc::new(small),
        })
    }

    pub(crate) fn of(&self, picture: Picture) -> &Arc<Clip> {
        match picture {
            Picture::Main => &self.main,
            Picture::Small => &self.small,
        }
    }
}

impl Clip {
    /// Splits an Annex B stream whose access units start with delimiters.
    pub(crate) fn parse(stream: Bytes) -> Result<Self, ClipError> {
        let mut gops: Vec<Vec<ClipFrame>> = Vec::new();
        for frame in frames(&stream) {
            if frame.keyframe {
                gops.push(Vec::new());
            }
            gops.last_mut().ok_or(ClipError::NoKeyframe)?.push(frame);
        }
        if let Some(short) = gops
            .iter()
            .map(Vec::len)
            .find(|&frames| frames < CLIP_GOP_FRAMES as usize)
        {
            return Err(ClipError::ShortGop(short));
        }
        let first = gops.first().ok_or(ClipError::NoKeyframe)?;
        let (sps, pps) = parameter_sets(&first[0]).ok_or(ClipError::NoKeyframe)?;
        Ok(Self { gops, sps, pps })
    }
}

/// A camera's position in a clip. `gop_frames` (at most [`CLIP_GOP_FRAMES`]) frames of each GOP are
/// played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Playhead {
    gop: usize,
    frame: usize,
}

impl Playhead {
    /// The position after `frames` frames, played from the start of the clip.
    pub(crate) fn at(frames: u64, gop_frames: usize) -> Self {
        let frames = usize::try_from(frames).unwrap_or(0);
        Self {
            gop: frames / gop_frames,
            frame: frames % gop_frames,
        }
    }

    /// The frame to show now; advances to the next, and wraps from the end to the start.
    pub(crate) fn next<'c>(&mut self, clip: &'c Clip, gop_frames: usize) -> &'c ClipFrame {
        let frame = &clip.gops[self.gop % clip.gops.len()][self.frame];
        self.frame += 1;
        if self.frame >= gop_frames {
            *self = Self {
                gop: (self.gop + 1) % clip.gops.len(),
                frame: 0,
            };
        }
        frame
    }
}

fn frames(stream: &Bytes) -> Vec<ClipFrame> {
    let mut frames: Vec<ClipFrame> = Vec::new();
    for nal in annexb::nals(stream).map(|nal| stream.slice_ref(nal)) {
        let kind = annexb::nal_type(&nal);
        if kind == NAL_AUD || frames.is_empty() {
            frames.push(ClipFrame {
                head: Vec::new(),
                slices: Vec::new(),
                keyframe: false,
            });
        }
        let Some(frame) = frames.last_mut() else {
            continue;
        };
        match kind {
            NAL_AUD | NAL_SPS | NAL_PPS => frame.head.push(nal),
            NAL_SEI => {} // replaced by the stamp
            _ => frame.slices.push(nal),
        }
        frame.keyframe |= kind == NAL_IDR;
    }
    frames
}

fn parameter_sets(keyframe: &ClipFrame) -> Option<(Bytes, Bytes)> {
    let of = |kind| {
        keyframe
            .head
            .iter()
            .find(|nal| annexb::nal_type(nal) == kind)
            .cloned()
    };
    Some((of(NAL_SPS)?, of(NAL_PPS)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clips_are_as_their_readme_says() {
        let clips = Clips::load().unwrap();
        for (picture, gops) in [(Picture::Main, 10), (Picture::Small, 2)] {
            let clip = clips.of(picture);
            assert_eq!(clip.gops.len(), gops);
            for gop in &clip.gops {
                assert_eq!(gop.len(), CLIP_GOP_FRAMES as usize);
                assert!(parameter_sets(&gop[0]).is_some());
                assert!(gop.iter().skip(1).all(|frame| !frame.keyframe
                    && frame.slices.len() == 1
                    && frame.head.len() == 1));
            }
        }
        assert_ne!(clips.of(Picture::Main).sps, clips.of(Picture::Small).sps);
    }

    #[test]
    fn a_short_gop_ends_early_and_the_clip_loops() {
        let clips = Clips::load().unwrap();
        let clip = clips.of(Picture::Small);
        let mut head = Playhead::at(8, 5);
        let keyframes: Vec<bool> = (0..14).map(|_| head.next(clip, 5).keyframe).collect();
        assert_eq!(
            keyframes
                .iter()
                .enumerate()
                .filter(|(_, k)| **k)
                .map(|(i, _)| i)
                .collect::<Vec<_>>(),
            [2, 7, 12]
        );
    }

    #[test]
    fn a_stream_without_a_keyframe_is_refused() {
        assert_eq!(
            Clip::parse(Bytes::from_static(&[0, 0, 1, 9, 16, 0, 0, 1, 0x41, 1])).unwrap_err(),
            ClipError::NoKeyframe
        );
        assert_eq!(
            Clip::parse(Bytes::new()).unwrap_err(),
            ClipError::NoKeyframe
        );
        let short = [
            0, 0, 1, 9, 16, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 1,
        ];
        assert_eq!(
            Clip::parse(Bytes::copy_from_slice(&short)).unwrap_err(),
            ClipError::ShortGop(1)
        );
    }
}
