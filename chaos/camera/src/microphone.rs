//! Makes a camera's sound into RTP packets: a tone in G.711 or AAC. A function of its inputs.

use crate::oddity::{AudioOddity, Oddity};
use crate::packetize::{AAC_PAYLOAD_TYPE, AUDIO_PAYLOAD_TYPE, Packets};
use crate::sdp::Sound;
use crate::tone::{self, AAC_HZ, AAC_SAMPLES, TONE_SAMPLES};
use rtp_types::{RtpParseError, RtpWriteError};

const G711_HZ: u64 = 8_000;

#[derive(Debug)]
pub(crate) struct Microphone {
    hearing: Hearing,
    tone: [u8; TONE_SAMPLES as usize],
    adts: Vec<&'static [u8]>,
    /// Samples (G.711) or access units (AAC) so far.
    sent: u64,
    /// What one frame interval has: after a freeze or without a session, what lies further back was never sampled.
    samples_max: u64,
}

/// What a camera's sound is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hearing {
    pub(crate) sound: Sound,
    oddity: Option<AudioOddity>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SoundError {
    #[error("a packet of sound cannot be written: {0:?}")]
    Write(RtpWriteError),
    #[error("a packet of sound cannot be read: {0:?}")]
    Parse(RtpParseError),
}

impl Hearing {
    /// `None` for a camera without sound.
    pub(crate) fn of(audio: bool, oddity: Option<Oddity>) -> Option<Self> {
        let oddity = oddity.and_then(Oddity::audio);
        let sound = match oddity {
            Some(of) if of.is_aac() => Sound::Aac,
            Some(_) => Sound::MuLaw,
            None if audio => Sound::MuLaw,
            None => return None,
        };
        Some(Self { sound, oddity })
    }

    /// The RTP time of sound heard so long after the clocks' start.
    pub(crate) fn ticks(self, micros: u64) -> u64 {
        let hz = match self.sound {
            Sound::MuLaw => G711_HZ,
            Sound::Aac => AAC_HZ,
        };
        self.rated(micros * hz / 1_000_000)
    }

    fn rated(self, ticks: u64) -> u64 {
        ticks * self.oddity.map_or(100, AudioOddity::rate_percent) / 100
    }
}

impl Microphone {
    pub(crate) fn new(hearing: Hearing, fps: u32) -> Self {
        let samples_max = G711_HZ / u64::from(fps) + 1;
        Self { hearing, tone: tone::mu_law_tone(), adts: tone::adts_frames(), sent: 0, samples_max }
    }

    /// What was heard since the last frame, up to `micros` after the clocks' start.
    pub(crate) fn hear(&mut self, micros: u64) -> Result<Option<Packets>, SoundError> {
        match self.hearing.sound {
            Sound::MuLaw => self.g711(micros * G711_HZ / 1_000_000).map_err(SoundError::Write),
            Sound::Aac => self.aac(micros * AAC_HZ / 1_000_000 / AAC_SAMPLES),
        }
    }

    fn g711(&mut self, to: u64) -> Result<Option<Packets>, RtpWriteError> {
        let from = self.sent.max(to.saturating_sub(self.samples_max));
        self.sent = to;
        if to.saturating_sub(from) == 0 {
            return Ok(None);
        }
        let samples: Vec<u8> = (from..to).map(|at| self.tone[(at % TONE_SAMPLES) as usize]).collect();
        Packets::of_audio(AUDIO_PAYLOAD_TYPE, &samples, false, self.hearing.rated(from) as u32).map(Some)
    }

    /// Access units from the last one to `to`, each in a packet; at most two, as above.
    fn aac(&mut self, to: u64) -> Result<Option<Packets>, SoundError> {
        let oddity = self.hearing.oddity.unwrap_or(AudioOddity::Aac);
        let mut packets: Option<Packets> = None;
        for number in self.sent.max(to.saturating_sub(2))..to {
            let adts = self.adts[usize::try_from(number).unwrap_or(0) % self.adts.len()];
            let payload = oddity.aac_payload(number, adts, tone::access_unit(adts));
            let timestamp = (number * AAC_SAMPLES) as u32;
            let packet = Packets::of_audio(AAC_PAYLOAD_TYPE, &payload, true, timestamp).map_err(SoundError::Write)?;
            match &mut packets {
                None => packets = Some(packet),
                Some(packets) => packets.append(&packet).map_err(SoundError::Parse)?,
            }
        }
        self.sent = to;
        Ok(packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(oddity: Option<AudioOddity>, frames: u64) -> (usize, usize) {
        let hearing = Hearing::of(true, oddity.map(Oddity::Audio)).unwrap();
        let mut microphone = Microphone::new(hearing, 25);
        let packets = (1..=frames).filter_map(|frame| microphone.hear(frame * 40_000).unwrap());
        packets.fold((0, 0), |(count, octets), packets| (count + packets.len(), octets + packets.payload_octets))
    }

    #[test]
    fn a_second_of_g711_has_8000_samples() {
        assert_eq!(heard(None, 25), (25, 8000));
    }

    #[test]
    fn aac_keeps_pace() {
        let (packets, octets) = heard(Some(AudioOddity::Aac), 250);
        assert_eq!(packets, 10 * 16_000 / 1024);
        assert!(octets > 10_000, "{octets}");
    }

    #[test]
    fn a_wrong_rate_counts_double() {
        let ticks =
            |oddity: Option<AudioOddity>| Hearing::of(true, oddity.map(Oddity::Audio)).unwrap().ticks(1_000_000);
        assert_eq!((ticks(None), ticks(Some(AudioOddity::AudioWrongRate))), (8_000, 16_000));
        assert_eq!(ticks(Some(AudioOddity::Aac)), 16_000);
        assert_eq!(Hearing::of(false, None), None);
    }
}
