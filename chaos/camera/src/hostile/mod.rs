//! Hostile cameras: each one of this gallery is an attack that a recorder has to survive without
//! losing a frame of another camera.
//!
//! A hostile camera is a server of its own with a thread for each connection. Its buffers are
//! constant, and it sends no more than [`HostileOptions::rate_bps_max`], so that the test machine
//! survives it. It uses the clock and the network throughout.

mod answers;
mod datagrams;
mod established;
mod pipe;
mod server;
mod streams;

pub use server::{HostileCamera, HostileOptions};

use crate::oddity::kinds::kinds;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

kinds! {
    /// The behaviour of a hostile camera. Unless its text says otherwise, it plays over TCP and
    /// does everything else correctly.
    #[derive(Serialize, Deserialize)]
    #[serde(try_from = "String", into = "String")]
    Hostile {
        EndlessBody: "DESCRIBE: Content-Length of 4 GB, and a body without an end",
            "unbounded answers";
        MegabyteHeadLines: "DESCRIBE: head lines of 1 MiB without an end", "unbounded answers";
        EndlessHeadLines: "DESCRIBE: short head lines without an end", "unbounded answers";
        MillionTracks: "DESCRIBE: a description of 1,000,000 tracks",
            "tracks refused after they were built";
        DripAnswer: "DESCRIBE: one byte of the answer in 0.5 s",
            "deadlines that begin again with each byte";
        LengthNegative: "DESCRIBE: Content-Length: -5", "lengths";
        LengthShort: "DESCRIBE: a Content-Length that is less than the body", "lengths";
        LengthHuge: "DESCRIBE: a Content-Length of 30 digits", "lengths";
        Noise: "random bytes instead of every answer", "parsers";
        ControlElsewhere: "DESCRIBE: a=control leads to another host",
            "requests to hosts that no user named";
        RedirectElsewhere: "DESCRIBE: a redirect to another host",
            "requests to hosts that no user named";
        RedirectLoop: "DESCRIBE: a redirect to itself, again and again", "loops";
        LoginLoop: "401 with a new nonce to every request", "loops";
        GiantParameterSets: "DESCRIBE: an SPS of 200 KB", "parameter sets";
        AbsurdTransport: "SETUP: channels beyond 255 and an SSRC that is no number", "parsers";
        NeverReads: "takes the connection and neither reads nor answers", "slow readers";
        HangsUp: "closes or resets the connection, each time at another stage, at once",
            "tight loops";
        TinyUnits: "two-byte NAL units of one time stamp, as fast as they go",
            "frames without an end";
        TinyUnitsH265: "the same in H.265, of three bytes", "frames without an end";
        EndlessHeadLine: "a keyframe, then a head line without an end", "quadratic parsers";
        EndlessFragments: "fragments of one NAL unit without an end", "frames without an end";
        GiantAccessUnit: "an access unit of 4 GB: NAL units of 1 MB, one time stamp, no marker",
            "frames without an end";
        TinyAndGiantUnits: "NAL units of 16 MiB and of two bytes in turn", "frames without a bound";
        GiantKeyframe: "one keyframe of 150 MB, then ordinary frames", "frames without a bound";
        TinyKeyframes: "tiny keyframes, as fast as they go", "floods that look like load";
        ParameterSetFlood: "parameter sets with every frame, another SPS with each keyframe, 500 \
                            frames a second",
            "headers that are stored whenever they change";
        TimesAtTheWrap: "RTP times that go to and fro over the wrap", "clocks";
        TimesJump: "RTP times at random", "clocks";
        TimesFast: "RTP times that run 300 times too fast", "clocks";
        RtcpFlood: "RTCP without an end, and no frame", "sessions that are never idle";
        UnknownChannels: "interleaved data without an end on channels that were not set up",
            "sessions that are never idle";
        OddLengths: "interleaved packets of length 0 and 65,535 in turn", "parsers";
        DripFrames: "PLAY: one byte of a keyframe in 0.5 s",
            "deadlines that begin again with each byte";
        SpoofedSources: "another SSRC and sequence number with every packet",
            "state for each source";
        TeardownStorm: "requests to the client, TEARDOWN among them, without an end",
            "parsers, answers";
        UnaskedAnswers: "answers to no request, without an end", "sessions that are never idle";
        AggregationBomb: "aggregation packets of 20,000 NAL units of one byte",
            "units that cost more than bytes";
        SlowReader: "ordinary frames, and no request is read after PLAY", "slow readers";
        UdpFlood: "UDP: tiny NAL units to both ports, as fast as they go",
            "sessions that are never idle";
        UdpStrangers: "UDP: ordinary frames, and a third party floods the client's ports",
            "spoofed packets";
    }
}

impl Hostile {
    /// Whether it plays over UDP.
    #[must_use]
    pub fn needs_udp(self) -> bool {
        matches!(self, Self::UdpFlood | Self::UdpStrangers)
    }
}

/// A name that no hostile camera has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no hostile camera; `cargo run -p holdfast-camera --example odd` lists them")]
pub struct UnknownHostile(pub String);

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Hostile {
    type Err = UnknownHostile;

    fn from_str(text: &str) -> Result<Self, UnknownHostile> {
        let found = Self::ALL
            .iter()
            .copied()
            .find(|hostile| hostile.name() == text);
        found.ok_or_else(|| UnknownHostile(text.to_owned()))
    }
}

impl TryFrom<String> for Hostile {
    type Error = UnknownHostile;

    fn try_from(text: String) -> Result<Self, UnknownHostile> {
        text.parse()
    }
}

impl From<Hostile> for String {
    fn from(hostile: Hostile) -> Self {
        hostile.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oddity::Oddity;

    #[test]
    fn the_gallery_is_large_and_every_name_is_its_own() {
        assert!(Hostile::ALL.len() >= 25);
        for &hostile in Hostile::ALL {
            assert_eq!(hostile.name().parse(), Ok(hostile));
            assert!(hostile.about().len() > 10 && !hostile.source().is_empty());
            assert!(
                hostile.name().parse::<Oddity>().is_err() || hostile == Hostile::RtcpFlood,
                "{hostile}"
            );
        }
        assert!("dance".parse::<Hostile>().is_err());
    }
}
