//! The oddities of cameras, in groups by where they act; a camera has at most one.
//!
//! Each group is a table, and pure functions that change what an honest camera would send. Oddities
//! are harmless: each was found in a real camera, and a recorder has to cope with it. Cameras that
//! attack are in `hostile`.

mod audio;
mod clocks;
mod control;
mod description;
pub(crate) mod kinds;
mod loss;
mod payload;
mod rhythm;
mod rtp;

pub use audio::AudioOddity;
pub use clocks::ClockOddity;
pub use control::ControlOddity;
pub use description::DescriptionOddity;
pub use loss::LossOddity;
pub use payload::PayloadOddity;
pub use rhythm::RhythmOddity;
pub use rtp::RtpOddity;

pub(crate) use clocks::Warp;
pub(crate) use control::{Instead, Manners, Moment};
pub(crate) use description::Place;
pub(crate) use loss::Lossy;
pub(crate) use payload::AccessUnit;
pub(crate) use rhythm::Rhythm;
pub(crate) use rtp::{Bender, Lane, Outgoing};

use crate::codec::Codec;
use crate::reel::ReelName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One oddity, by its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Oddity {
    Control(ControlOddity),
    Description(DescriptionOddity),
    Rtp(RtpOddity),
    Payload(PayloadOddity),
    Clock(ClockOddity),
    Rhythm(RhythmOddity),
    Loss(LossOddity),
    Audio(AudioOddity),
}

/// A name that no oddity has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no oddity of a camera; `cargo run -p holdfast-camera --example odd` lists them")]
pub struct UnknownOddity(pub String);

/// Calls a method of the group that the oddity belongs to.
macro_rules! of_group {
    ($oddity:expr, $of:ident => $call:expr) => {
        match $oddity {
            Oddity::Control($of) => $call,
            Oddity::Description($of) => $call,
            Oddity::Rtp($of) => $call,
            Oddity::Payload($of) => $call,
            Oddity::Clock($of) => $call,
            Oddity::Rhythm($of) => $call,
            Oddity::Loss($of) => $call,
            Oddity::Audio($of) => $call,
        }
    };
}

impl Oddity {
    pub const GROUPS: [&'static str; 8] = [
        "control",
        "description",
        "rtp",
        "payload",
        "clock",
        "rhythm",
        "loss",
        "audio",
    ];

    /// Every oddity, group by group.
    pub fn all() -> impl Iterator<Item = Self> {
        let control = ControlOddity::ALL.iter().copied().map(Self::Control);
        let description = DescriptionOddity::ALL
            .iter()
            .copied()
            .map(Self::Description);
        let rtp = RtpOddity::ALL.iter().copied().map(Self::Rtp);
        let payload = PayloadOddity::ALL.iter().copied().map(Self::Payload);
        let clock = ClockOddity::ALL.iter().copied().map(Self::Clock);
        let rhythm = RhythmOddity::ALL.iter().copied().map(Self::Rhythm);
        let loss = LossOddity::ALL.iter().copied().map(Self::Loss);
        let audio = AudioOddity::ALL.iter().copied().map(Self::Audio);
        control
            .chain(description)
            .chain(rtp)
            .chain(payload)
            .chain(clock)
            .chain(rhythm)
            .chain(loss)
            .chain(audio)
    }

    /// The name in scenarios and on the command line.
    #[must_use]
    pub fn name(self) -> String {
        of_group!(self, of => of.name())
    }

    /// One line: the behaviour of the camera.
    #[must_use]
    pub fn about(self) -> &'static str {
        of_group!(self, of => of.about())
    }

    /// Where such a camera was found, or the clause that it stretches.
    #[must_use]
    pub fn source(self) -> &'static str {
        of_group!(self, of => of.source())
    }

    #[must_use]
    pub fn group(self) -> &'static str {
        Self::GROUPS[match self {
            Self::Control(_) => 0,
            Self::Description(_) => 1,
            Self::Rtp(_) => 2,
            Self::Payload(_) => 3,
            Self::Clock(_) => 4,
            Self::Rhythm(_) => 5,
            Self::Loss(_) => 6,
            Self::Audio(_) => 7,
        }]
    }

    /// Whether it appears only over UDP.
    #[must_use]
    pub fn needs_udp(self) -> bool {
        match self {
            Self::Control(of) => of.needs_udp(),
            Self::Rtp(of) => of.needs_udp(),
            _ => false,
        }
    }

    /// The only codec that it can have; `None` if either will do.
    #[must_use]
    pub fn codec(self) -> Option<Codec> {
        match self {
            Self::Payload(of) => of.codec(),
            Self::Rtp(of) => of.codec(),
            Self::Loss(of) => of.codec(),
            _ => None,
        }
    }

    /// User name and password that the camera demands because of it.
    #[must_use]
    pub fn login(self) -> Option<(&'static str, &'static str)> {
        let asks = self.control().is_some_and(ControlOddity::asks_for_login);
        asks.then_some((control::USER, control::PASSWORD))
    }

    /// The longest that a frame is held between capture and sending, in microseconds.
    #[must_use]
    pub fn held_us(self) -> u64 {
        match self {
            Self::Rhythm(of) => of.held_us(),
            _ => 0,
        }
    }

    /// The clip of a camera with this oddity, if it is not the common one.
    pub(crate) fn reel(oddity: Option<Self>, codec: Codec) -> Option<ReelName> {
        let own = match oddity {
            Some(Self::Payload(of)) => of.reel(codec),
            Some(Self::Rtp(of)) => of.reel(),
            Some(Self::Loss(of)) => of.reel(),
            _ => None,
        };
        own.or((codec == Codec::H265).then_some(ReelName::H265))
    }

    /// Whether the camera has a track that sends nothing.
    pub(crate) fn has_silent_track(self) -> bool {
        match self {
            Self::Description(of) => of.has_silent_track(),
            Self::Audio(of) => of.has_silent_track(),
            _ => false,
        }
    }

    pub(crate) fn control(self) -> Option<ControlOddity> {
        if let Self::Control(of) = self {
            Some(of)
        } else {
            None
        }
    }

    pub(crate) fn rtp(self) -> Option<RtpOddity> {
        if let Self::Rtp(of) = self {
            Some(of)
        } else {
            None
        }
    }

    pub(crate) fn payload(self) -> Option<PayloadOddity> {
        if let Self::Payload(of) = self {
            Some(of)
        } else {
            None
        }
    }

    pub(crate) fn audio(self) -> Option<AudioOddity> {
        if let Self::Audio(of) = self {
            Some(of)
        } else {
            None
        }
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Oddity {
    type Err = UnknownOddity;

    fn from_str(text: &str) -> Result<Self, UnknownOddity> {
        Self::all()
            .find(|oddity| oddity.name() == text)
            .ok_or_else(|| UnknownOddity(text.to_owned()))
    }
}

impl TryFrom<String> for Oddity {
    type Error = UnknownOddity;

    fn try_from(text: String) -> Result<Self, UnknownOddity> {
        text.parse()
    }
}

impl From<Oddity> for String {
    fn from(oddity: Oddity) -> Self {
        oddity.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_oddity_has_a_name_of_its_own_and_says_what_it_is() {
        let names: BTreeSet<String> = Oddity::all().map(Oddity::name).collect();
        assert_eq!(names.len(), Oddity::all().count());
        for oddity in Oddity::all() {
            assert_eq!(oddity.name().parse(), Ok(oddity));
            assert!(
                oddity.about().len() > 8 && !oddity.source().is_empty(),
                "{oddity}"
            );
        }
        assert_eq!(
            "dance".parse::<Oddity>(),
            Err(UnknownOddity("dance".to_owned()))
        );
    }

    #[test]
    fn every_clip_that_an_oddity_plays_can_be_loaded() {
        for oddity in Oddity::all() {
            for codec in [Codec::H264, Codec::H265] {
                if oddity.codec().is_none_or(|only| only == codec)
                    && let Some(name) = Oddity::reel(Some(oddity), codec)
                {
                    assert_eq!(
                        crate::reel::Reel::load(name).unwrap().codec,
                        codec,
                        "{oddity}"
                    );
                }
            }
        }
    }
}
