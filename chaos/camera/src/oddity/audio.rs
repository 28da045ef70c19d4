//! Sound that starts late, ends, or cannot be read. Video is correct.

use super::kinds::kinds;

kinds! {
    /// The oddity of a camera's sound.
    AudioOddity {
        Aac: "AAC as it should be, which the others of AAC are compared with", "RFC 3640";
        AacWithoutConfig: "AAC whose fmtp line names no config",
            "bluenviron/mediacommon#144 (Hikvision)";
        AacOtherFormat: "AAC whose fmtp line names another payload type",
            "bluenviron/mediacommon#144";
        AacHeadersMalformed: "AAC whose AU headers never fit",
            "AlexxIT/go2rtc#1328, blakeblackshear/frigate#2185";
        AacSometimesMalformed: "AAC of which one packet in 50 has AU headers that do not fit",
            "a sibling of the malformed headers";
        AacInAdts: "AAC in ADTS frames", "blakeblackshear/frigate#7297";
        AudioLate: "the first sound comes 8 s after PLAY", "cameras that open the microphone late";
        AudioEnds: "sound ends 6 s after PLAY", "cameras whose microphone is taken away";
        AudioNever: "a track of sound that never comes", "AlexxIT/go2rtc#1442, a sibling";
        AudioWrongRate: "G.711 is said to have 8000 Hz and its RTP time counts 16000 a second",
            "a sibling of the wrong video clocks";
        AudioRefused: "SETUP of the sound is answered with 500", "blakeblackshear/frigate#7297";
        AudioStaticType: "G.711 by its static payload type, without an rtpmap", "RFC 3551, table 4";
        AudioBackChannelFirst: "a track to talk back (sendonly) before the one with sound",
            "bluenviron/gortsplib pull 501 (Avigilon), AlexxIT/go2rtc#1442";
    }
}

impl AudioOddity {
    pub(crate) fn is_aac(self) -> bool {
        matches!(
            self,
            Self::Aac
                | Self::AacWithoutConfig
                | Self::AacOtherFormat
                | Self::AacHeadersMalformed
                | Self::AacSometimesMalformed
                | Self::AacInAdts
        )
    }

    /// Whether sound is sent this long after PLAY.
    pub(crate) fn sounds_at(self, since_play_us: u64) -> bool {
        match self {
            Self::AudioLate => since_play_us >= 8_000_000,
            Self::AudioEnds => since_play_us < 6_000_000,
            Self::AudioNever => false,
            _ => true,
        }
    }

    /// The payload of one AAC packet: AU headers and the access unit (RFC 3640, 3.2.1). `adts` is
    /// the unit with its ADTS header.
    pub(crate) fn aac_payload(self, number: u64, adts: &[u8], unit: &[u8]) -> Vec<u8> {
        let unit = if self == Self::AacInAdts { adts } else { unit };
        let is_malformed = self == Self::AacHeadersMalformed
            || self == Self::AacSometimesMalformed && number % 50 == 49;
        // 13 bits of size and 3 of index; malformed ones announce more than there is.
        let bytes = if is_malformed {
            unit.len() + 999
        } else {
            unit.len()
        };
        let header = (bytes as u16) << 3;
        [&[0, 16][..], &header.to_be_bytes(), unit].concat()
    }

    /// The rate of the sound's RTP time, in percent of the announced one.
    pub(crate) fn rate_percent(self) -> u64 {
        if self == Self::AudioWrongRate {
            200
        } else {
            100
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_comes_when_it_should() {
        let at =
            |oddity: AudioOddity| [0, 7, 9].map(|seconds| oddity.sounds_at(seconds * 1_000_000));
        assert_eq!(at(AudioOddity::AudioLate), [false, false, true]);
        assert_eq!(at(AudioOddity::AudioEnds), [true, false, false]);
        assert_eq!(
            (at(AudioOddity::AudioNever), at(AudioOddity::Aac)),
            ([false; 3], [true; 3])
        );
    }

    #[test]
    fn au_headers_are_malformed_as_often_as_named() {
        let size = |oddity: AudioOddity, number| {
            let payload = oddity.aac_payload(number, &[9; 17], &[1; 10]);
            (
                u16::from_be_bytes([payload[2], payload[3]]) >> 3,
                payload.len(),
            )
        };
        assert_eq!(size(AudioOddity::Aac, 49), (10, 14));
        assert_eq!(size(AudioOddity::AacInAdts, 49), (17, 21));
        assert_eq!(size(AudioOddity::AacHeadersMalformed, 1), (1009, 14));
        assert_eq!(
            (
                size(AudioOddity::AacSometimesMalformed, 1).0,
                size(AudioOddity::AacSometimesMalformed, 49).0
            ),
            (10, 1009)
        );
    }
}
