//! The sequence of frames that a camera plays from its clips.

use crate::clip::{ClipFrame, Clips, Picture, Playhead};
use crate::codec::Codec;
use crate::oddity::{Oddity, PayloadOddity, Rhythm};
use crate::reel::{Reel, ReelError, ReelName};
use std::sync::Arc;

/// Number of frames until the size of the picture changes.
const SWITCH_FRAMES: u64 = 100;
/// Distance between keyframes in the clips of cameras that send only keyframes.
const KEYFRAME_STEP: u64 = 25;

/// The clips of one camera.
#[derive(Clone, Debug)]
pub(crate) struct Films {
    clips: Clips,
    /// Replaces the clips.
    reel: Option<Arc<Reel>>,
    /// The same reel in another size.
    other: Option<Arc<Reel>>,
}

/// One frame of a film.
#[derive(Clone, Debug)]
pub(crate) struct FilmFrame {
    pub(crate) frame: ClipFrame,
    /// How many frames later it is shown than it is sent.
    pub(crate) shown_later: i64,
}

/// A camera's position in its film.
#[derive(Debug)]
pub(crate) struct Film {
    films: Films,
    oddity: Option<Oddity>,
    gop_frames: usize,
    /// Number of frames played so far.
    played: u64,
    step: u64,
    picture: Picture,
    playhead: Playhead,
}

impl Films {
    pub(crate) fn load(
        clips: Clips,
        oddity: Option<Oddity>,
        codec: Codec,
    ) -> Result<Self, ReelError> {
        let load = |name| Reel::load(name).map(Arc::new);
        let reel = Oddity::reel(oddity, codec).map(load).transpose()?;
        let switches = switches(oddity) && codec == Codec::H265;
        let other = switches.then(|| load(ReelName::H265Small)).transpose()?;
        Ok(Self { clips, reel, other })
    }

    pub(crate) fn codec(&self) -> Codec {
        self.reel.as_ref().map_or(Codec::H264, |reel| reel.codec)
    }

    /// The parameter sets of the first frames.
    pub(crate) fn sets(&self, picture: Picture) -> Vec<Vec<u8>> {
        match &self.reel {
            Some(reel) => reel.sets.iter().map(|set| set.to_vec()).collect(),
            None => {
                let clip = self.clips.of(picture);
                vec![clip.sps.to_vec(), clip.pps.to_vec()]
            }
        }
    }
}

impl Film {
    /// `start_frame` is the starting position in the common clip.
    pub(crate) fn new(
        films: Films,
        oddity: Option<Oddity>,
        gop_frames: usize,
        start_frame: u64,
    ) -> Self {
        let is_intra_only = Rhythm::new(oddity, 1).is_intra_only();
        let gop_frames = if is_intra_only { 1 } else { gop_frames };
        let playhead = Playhead::at(start_frame, gop_frames);
        let step = if is_intra_only { KEYFRAME_STEP } else { 1 };
        Self {
            films,
            oddity,
            gop_frames,
            played: 0,
            step,
            picture: Picture::Main,
            playhead,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.films.codec()
    }

    pub(crate) fn sets(&self) -> Vec<Vec<u8>> {
        self.films.sets(self.picture)
    }

    /// The next frame. `picture` is the one that a fault asks for.
    pub(crate) fn next(&mut self, picture: Picture) -> FilmFrame {
        let played = self.played;
        self.played += 1;
        let is_switched = switches(self.oddity) && played / SWITCH_FRAMES % 2 == 1;
        if let Some(reel) = &self.films.reel {
            let reel = self
                .films
                .other
                .as_ref()
                .filter(|_| is_switched)
                .unwrap_or(reel);
            let number = if self.films.other.is_some() {
                played % SWITCH_FRAMES
            } else {
                played
            };
            let found = reel.frame(number * self.step);
            return FilmFrame {
                frame: found.frame.clone(),
                shown_later: found.shown_later,
            };
        }
        let picture = if is_switched { Picture::Small } else { picture };
        if picture != self.picture {
            self.picture = picture;
            self.playhead = Playhead::at(0, self.gop_frames);
        }
        let frame = self
            .playhead
            .next(self.films.clips.of(picture), self.gop_frames)
            .clone();
        FilmFrame {
            frame,
            shown_later: 0,
        }
    }
}

fn switches(oddity: Option<Oddity>) -> bool {
    oddity == Some(Oddity::Payload(PayloadOddity::ResolutionSwitch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oddity::RhythmOddity;

    fn film(oddity: Oddity, codec: Codec) -> Film {
        let films = Films::load(Clips::load().unwrap(), Some(oddity), codec).unwrap();
        Film::new(films, Some(oddity), 25, 0)
    }

    #[test]
    fn the_size_changes_with_a_keyframe() {
        for codec in [Codec::H264, Codec::H265] {
            let mut film = film(Oddity::Payload(PayloadOddity::ResolutionSwitch), codec);
            let frames: Vec<FilmFrame> = (0..201).map(|_| film.next(Picture::Main)).collect();
            let sets = |at: usize| {
                frames[at]
                    .frame
                    .head
                    .iter()
                    .filter(|nal| codec.is_parameter_set(nal))
                    .cloned()
            };
            assert!([0, 100, 200].iter().all(|&at| frames[at].frame.keyframe));
            assert_ne!(sets(0).collect::<Vec<_>>(), sets(100).collect::<Vec<_>>());
            assert_eq!(sets(0).collect::<Vec<_>>(), sets(200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_slow_camera_sends_keyframes_only() {
        for codec in [Codec::H264, Codec::H265] {
            let mut film = film(Oddity::Rhythm(RhythmOddity::FrameInFourSeconds), codec);
            assert!((0..30).all(|_| film.next(Picture::Main).frame.keyframe));
        }
    }
}
