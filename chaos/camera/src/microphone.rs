//! Turns a camera's sound into RTP packets: a tone in G.711 or AAC, each frame with its stamp. A
//! function of its inputs.

use crate::history::Sent;
use crate::oddity::{AudioOddity, Oddity};
use crate::packetize::{AAC_PAYLOAD_TYPE, AUDIO_PAYLOAD_TYPE, Packets};
use crate::sound::{STAMP_BYTES, Sound, stamp_aac, stamp_mu_law};
use crate::stamp::Stamp;
use crate::tone::{self, AAC_HZ, AAC_SAMPLES, TONE_SAMPLES};
use rtp_types::{RtpParseError, RtpWriteError};

const G711_HZ: u64 = 8_000;

#[derive(Debug)]
pub(crate) struct Microphone {
    hearing: Hearing,
    camera: u32,
    /// The instant at which the RTP clocks start.
    epoch_us: u64,
    tone: [u8; TONE_SAMPLES as usize],
    adts: Vec<&'static [u8]>,
    /// Number of samples (G.711) or access units (AAC) so far.
    sent: u64,
    /// Number of G.711 packets so far.
    packets: u64,
    /// Samples in one frame interval: after a freeze, or a time without a session, older sound was
    /// never sampled.
    samples_max: u64,
}

/// The sound since the last frame of video.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) packets: Packets,
    /// None if they carry no stamps.
    pub(crate) frames: Vec<Sent>,
}

/// The properties of a camera's sound.
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
    pub(crate) fn of(sound: Option<Sound>, oddity: Option<Oddity>) -> Option<Self> {
        let oddity = oddity.and_then(Oddity::audio);
        let sound = match oddity {
            Some(of) if of.is_aac() => Sound::Aac,
            Some(_) => Sound::MuLaw,
            None => sound?,
        };
        Some(Self { sound, oddity })
    }

    /// Whether its frames carry stamps: an oddity of sound may be in the payload.
    pub(crate) fn is_stamped(self) -> bool {
        self.oddity.is_none()
    }

    /// The RTP time of sound this long after the clocks' start.
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
    pub(crate) fn new(hearing: Hearing, fps: u32, (camera, epoch_us): (u32, u64)) -> Self {
        let samples_max = G711_HZ / u64::from(fps) + 1;
        let (tone, adts) = (tone::mu_law_tone(), tone::adts_frames());
        Self {
            hearing,
            camera,
            epoch_us,
            tone,
            adts,
            sent: 0,
            packets: 0,
            samples_max,
        }
    }

    /// The sound since the last frame, up to `micros` after the clocks' start.
    pub(crate) fn hear(&mut self, micros: u64) -> Result<Option<Heard>, SoundError> {
        match self.hearing.sound {
            Sound::MuLaw => self
                .g711(micros * G711_HZ / 1_000_000)
                .map_err(SoundError::Write),
            Sound::Aac => self.aac(micros * AAC_HZ / 1_000_000 / AAC_SAMPLES),
        }
    }

    fn g711(&mut self, to: u64) -> Result<Option<Heard>, RtpWriteError> {
        let from = self.sent.max(to.saturating_sub(self.samples_max));
        let is_stamped = self.hearing.is_stamped();
        let least = if is_stamped { STAMP_BYTES as u64 } else { 1 };
        if to.saturating_sub(from) < least {
            return Ok(None);
        }
        self.sent = to;
        let mut samples: Vec<u8> = (from..to)
            .map(|at| self.tone[(at % TONE_SAMPLES) as usize])
            .collect();
        let mut frames = Vec::new();
        if is_stamped {
            let stamp = self.stamp(self.packets, from * 1_000_000 / G711_HZ);
            stamp_mu_law(stamp, &mut samples);
            frames.push(sent(stamp));
            self.packets += 1;
        }
        let timestamp = self.hearing.rated(from) as u32;
        let packets = Packets::of_audio(AUDIO_PAYLOAD_TYPE, &samples, false, timestamp)?;
        Ok(Some(Heard { packets, frames }))
    }

    /// Access units from the last one to `to`, each in a packet; at most two, as above.
    fn aac(&mut self, to: u64) -> Result<Option<Heard>, SoundError> {
        let oddity = self.hearing.oddity.unwrap_or(AudioOddity::Aac);
        let mut heard: Option<Heard> = None;
        for number in self.sent.max(to.saturating_sub(2))..to {
            let adts = self.adts[usize::try_from(number).unwrap_or(0) % self.adts.len()];
            let unit = tone::access_unit(adts);
            let stamp = self.stamp(number, number * AAC_SAMPLES * 1_000_000 / AAC_HZ);
            let is_stamped = self.hearing.is_stamped();
            let payload = if is_stamped {
                oddity.aac_payload(number, adts, &stamp_aac(stamp, unit))
            } else {
                oddity.aac_payload(number, adts, unit)
            };
            let timestamp = (number * AAC_SAMPLES) as u32;
            let packet = Packets::of_audio(AAC_PAYLOAD_TYPE, &payload, true, timestamp)
                .map_err(SoundError::Write)?;
            match &mut heard {
                None => {
                    heard = Some(Heard {
                        packets: packet,
                        frames: Vec::new(),
                    })
                }
                Some(heard) => heard.packets.append(&packet).map_err(SoundError::Parse)?,
            }
            if let Some(heard) = heard.as_mut().filter(|_| is_stamped) {
                heard.frames.push(sent(stamp));
            }
        }
        self.sent = to;
        Ok(heard)
    }

    fn stamp(&self, sequence: u64, micros: u64) -> Stamp {
        Stamp {
            camera: self.camera,
            sequence,
            captured_us: self.epoch_us + micros,
        }
    }
}

fn sent(stamp: Stamp) -> Sent {
    Sent {
        sequence: stamp.sequence,
        captured_us: stamp.captured_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(oddity: Option<AudioOddity>, frames: u64) -> (usize, usize) {
        let hearing = Hearing::of(Some(Sound::MuLaw), oddity.map(Oddity::Audio)).unwrap();
        let mut microphone = Microphone::new(hearing, 25, (5, 0));
        let packets = (1..=frames).filter_map(|frame| microphone.hear(frame * 40_000).unwrap());
        let packets = packets.map(|heard| heard.packets);
        packets.fold((0, 0), |(count, octets), packets| {
            (count + packets.len(), octets + packets.payload_octets)
        })
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
        let ticks = |oddity: Option<AudioOddity>| {
            let hearing = Hearing::of(Some(Sound::MuLaw), oddity.map(Oddity::Audio)).unwrap();
            hearing.ticks(1_000_000)
        };
        assert_eq!(
            (ticks(None), ticks(Some(AudioOddity::AudioWrongRate))),
            (8_000, 16_000)
        );
        assert_eq!(ticks(Some(AudioOddity::Aac)), 16_000);
        assert_eq!(Hearing::of(None, None), None);
    }

    #[test]
    fn each_frame_of_sound_is_numbered_and_named_as_sent() {
        let hearing = Hearing::of(Some(Sound::Aac), None).unwrap();
        let mut microphone = Microphone::new(hearing, 25, (5, 1_000));
        let heard: Vec<Heard> = (1..=25)
            .filter_map(|frame| microphone.hear(frame * 40_000).unwrap())
            .collect();
        let frames: Vec<Sent> = heard
            .iter()
            .flat_map(|heard| heard.frames.clone())
            .collect();
        assert_eq!(
            frames.len(),
            heard.iter().map(|heard| heard.packets.len()).sum::<usize>()
        );
        assert_eq!(
            frames[3],
            Sent {
                sequence: 3,
                captured_us: 1_000 + 3 * 64_000
            }
        );
        let odd = Hearing::of(None, Some(Oddity::Audio(AudioOddity::AacInAdts))).unwrap();
        let heard = Microphone::new(odd, 25, (5, 0))
            .hear(1_000_000)
            .unwrap()
            .unwrap();
        assert!(heard.frames.is_empty() && heard.packets.len() == 2);
    }
}
