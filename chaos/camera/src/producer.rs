//! Makes a camera's frames: turns clip, stamp, padding, faults and oddities into RTP packets. A
//! function of its inputs; the caller supplies times and numbers.

use crate::clip::ClipFrame;
use crate::codec::Codec;
use crate::faults::{FramePlan, TimestampKind};
use crate::film::{Film, Films};
use crate::history::Sent;
use crate::microphone::{Heard, Hearing, Microphone, SoundError};
use crate::oddity::{AccessUnit, Lossy, Oddity, Rhythm};
use crate::options::CameraOptions;
use crate::packetize::Packets;
use crate::packing;
use crate::random::Random;
use crate::rate::RatePlan;
use crate::stamp::Stamp;
use rtp_types::RtpWriteError;

/// One frame, shared by all sessions of its camera.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) keyframe: bool,
    pub(crate) captured_us: u64,
    pub(crate) video: Packets,
    pub(crate) video_timestamp: u32,
    pub(crate) audio: Option<Packets>,
    /// The frames of sound in `audio`, if they carry stamps.
    pub(crate) heard: Vec<Sent>,
    pub(crate) audio_timestamp: u32,
    /// UDP sessions swap each pair of packets. TCP cannot reorder.
    pub(crate) reordered: bool,
    pub(crate) packets_dropped: u32,
    /// It cannot be whole because of the camera's oddity.
    pub(crate) hurt: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProduceError {
    #[error("a packet cannot be written: {0:?}")]
    Write(RtpWriteError),
    #[error(transparent)]
    Sound(#[from] SoundError),
}

#[derive(Debug)]
pub(crate) struct Producer {
    camera: u32,
    film: Film,
    oddity: Option<Oddity>,
    lossy: Option<Lossy>,
    /// Number of frames made so far.
    number: u64,
    frame_ticks: i64,
    rate: RatePlan,
    random: Random,
    /// The instant at which the RTP clocks start.
    epoch_us: u64,
    hearing: Option<Hearing>,
    microphone: Option<Microphone>,
}

impl Producer {
    pub(crate) fn new(
        options: &CameraOptions,
        films: Films,
        epoch_us: u64,
        start_frame: u64,
        mut random: Random,
    ) -> Self {
        let CameraOptions { oddity, fps, .. } = *options;
        let lossy = Lossy::new(oddity, Random::seeded(random.next_u64()));
        let hearing = Hearing::of(options.sound, oddity);
        let (frames, seconds) = Rhythm::new(oddity, fps).rate();
        Self {
            camera: options.id,
            film: Film::new(films, oddity, options.gop_frames as usize, start_frame),
            oddity,
            lossy,
            number: 0,
            frame_ticks: (90_000 * seconds / frames).cast_signed(),
            rate: RatePlan::new(options.bitrate_bps, fps, options.gop_frames),
            random,
            epoch_us,
            hearing,
            microphone: hearing
                .map(|hearing| Microphone::new(hearing, fps, (options.id, epoch_us))),
        }
    }

    /// The frame captured at `captured_us` with number `sequence`; `None` if it is not to be sent.
    pub(crate) fn next(
        &mut self,
        plan: &FramePlan,
        sequence: u64,
        captured_us: u64,
        wanted: bool,
    ) -> Result<Option<Frame>, ProduceError> {
        let seen = self.film.next(plan.picture);
        let number = self.number;
        self.number += 1;
        if plan.dropped || !wanted {
            return Ok(None);
        }
        let shift = seen.shown_later * self.frame_ticks;
        let video_timestamp = self
            .video_timestamp(plan, captured_us)
            .wrapping_add(shift as u32);
        let stamp = Stamp {
            camera: self.camera,
            sequence,
            captured_us,
        };
        let (mut video, hurt) = self
            .access_unit(&seen.frame, stamp, number, video_timestamp)
            .map_err(ProduceError::Write)?;
        let packets_dropped = video.len().min(plan.packets_dropped_max as usize);
        video.drop_first(packets_dropped);
        if plan.garbage {
            video.garble(&mut self.random);
        }
        let micros = captured_us - self.epoch_us;
        let heard = self
            .microphone
            .as_mut()
            .map(|microphone| microphone.hear(micros))
            .transpose()?
            .flatten();
        let (audio, heard) = heard
            .map(|Heard { packets, frames }| (packets, frames))
            .unzip();
        Ok(Some(Frame {
            keyframe: seen.frame.keyframe,
            captured_us,
            video,
            video_timestamp,
            audio,
            heard: heard.unwrap_or_default(),
            audio_timestamp: self
                .hearing
                .map_or(0, |hearing| hearing.ticks(micros) as u32),
            reordered: plan.reordered,
            packets_dropped: packets_dropped as u32,
            // Its stamp is garbage, too.
            hurt: hurt || plan.garbage,
        }))
    }

    /// The packets of the access unit, and whether they are incomplete.
    fn access_unit(
        &mut self,
        frame: &ClipFrame,
        stamp: Stamp,
        number: u64,
        timestamp: u32,
    ) -> Result<(Packets, bool), RtpWriteError> {
        let codec = self.film.codec();
        let bare_bytes = frame.bytes() + stamp.encode_as(codec, 0).len();
        let sei = stamp.encode_as(codec, self.rate.padding(frame.keyframe, bare_bytes));
        let head = frame.head.iter().map(AsRef::as_ref);
        let slices = frame.slices.iter().map(AsRef::as_ref);
        let nals: Vec<&[u8]> = head.chain([sei.as_slice()]).chain(slices).collect();
        match self.oddity {
            Some(Oddity::Payload(_) | Oddity::Rtp(_) | Oddity::Loss(_)) => {
                self.odd_access_unit(codec, &nals, frame.keyframe, number, timestamp)
            }
            _ => Ok((Packets::of_access_unit(codec, &nals, timestamp)?, false)),
        }
    }

    fn odd_access_unit(
        &mut self,
        codec: Codec,
        nals: &[&[u8]],
        is_keyframe: bool,
        number: u64,
        timestamp: u32,
    ) -> Result<(Packets, bool), RtpWriteError> {
        let nals = nals.iter().map(|nal| nal.to_vec()).collect();
        let mut unit = AccessUnit {
            codec,
            number,
            is_keyframe,
            nals,
            sets: self.film.sets(),
        };
        let payload = self.oddity.and_then(Oddity::payload);
        if let Some(payload) = payload {
            payload.bend_unit(&mut unit);
        }
        let mut payloads = packing::of_access_unit(codec, &unit.nals, timestamp);
        let mut whole =
            payload.is_none_or(|payload| payload.bend_payloads(codec, number, &mut payloads));
        if let Some(rtp) = self.oddity.and_then(Oddity::rtp) {
            rtp.bend_payloads(number, &mut payloads);
        }
        if let Some(lossy) = &mut self.lossy {
            whole &= !lossy.strike(&mut payloads, is_keyframe);
        }
        Ok((Packets::of_payloads(&payloads)?, !whole))
    }

    fn video_timestamp(&mut self, plan: &FramePlan, captured_us: u64) -> u32 {
        let ticks = ticks_90k(captured_us - self.epoch_us);
        let ticks = match plan.timestamps {
            TimestampKind::Honest => ticks,
            TimestampKind::Stuck => 0,
            TimestampKind::Random => self.random.next_u64(),
            TimestampKind::Backward => ticks.wrapping_neg(),
        };
        ticks.wrapping_add_signed(plan.timestamp_offset_90k) as u32
    }
}

/// Ticks of the 90 kHz video clock (RFC 6184, 5.1) in `micros`.
pub(crate) fn ticks_90k(micros: u64) -> u64 {
    micros * 9 / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{Clips, Picture};
    use crate::faults::Faults;
    use crate::packetize::{INTERLEAVED_BYTES, Numbers};
    use crate::sound::{self, Sound};
    use crate::stamp;

    fn producer(sound: Option<Sound>) -> Producer {
        let options = CameraOptions {
            sound,
            ..CameraOptions::new(5)
        };
        make(&options)
    }

    fn make(options: &CameraOptions) -> Producer {
        let films = Films::load(Clips::load().unwrap(), options.oddity, options.codec).unwrap();
        Producer::new(options, films, 1_000_000, 0, Random::seeded(1))
    }

    fn plan() -> FramePlan {
        Faults::default().plan().unwrap()
    }

    fn play(producer: &mut Producer, plan: FramePlan, frames: u64) -> Vec<Frame> {
        (0..frames)
            .filter_map(|at| {
                producer
                    .next(&plan, at, 1_000_000 + (at + 1) * 40_000, true)
                    .unwrap()
            })
            .collect()
    }

    fn bytes(packets: &Packets) -> Vec<u8> {
        let mut out = Vec::new();
        Numbers {
            channel: 0,
            ssrc: 0,
            sequence: 0,
            timestamp_offset: 0,
        }
        .patch(packets, &mut out)
        .unwrap();
        out
    }

    #[test]
    fn two_seconds_have_the_bitrate_and_two_keyframes() {
        let frames = play(&mut producer(None), plan(), 50);
        let octets: usize = frames.iter().map(|frame| frame.video.payload_octets).sum();
        assert!(octets.abs_diff(500_000) < 5_000, "{octets}");
        assert_eq!(frames.iter().filter(|frame| frame.keyframe).count(), 2);
        assert!(frames[0].video.payload_octets > frames[1].video.payload_octets * 7);
        assert!(
            frames
                .windows(2)
                .all(|pair| pair[1].video_timestamp - pair[0].video_timestamp == 3600)
        );
    }

    #[test]
    fn a_frame_that_is_not_sent_still_advances_the_clip() {
        let mut producer = producer(None);
        assert!(
            producer
                .next(&plan(), 0, 1_000_000, false)
                .unwrap()
                .is_none()
        );
        let dropped = FramePlan {
            dropped: true,
            ..plan()
        };
        assert!(
            producer
                .next(&dropped, 1, 1_040_000, true)
                .unwrap()
                .is_none()
        );
        assert!(
            !producer
                .next(&plan(), 2, 1_080_000, true)
                .unwrap()
                .unwrap()
                .keyframe
        );
    }

    #[test]
    fn a_new_picture_starts_with_its_keyframe() {
        let mut producer = producer(None);
        play(&mut producer, plan(), 3);
        let small = FramePlan {
            picture: Picture::Small,
            ..plan()
        };
        let frame = producer.next(&small, 3, 1_200_000, true).unwrap().unwrap();
        let sps = Clips::load().unwrap().of(Picture::Small).sps.clone();
        assert!(
            frame.keyframe
                && bytes(&frame.video)
                    .windows(sps.len())
                    .any(|window| window == sps)
        );
    }

    #[test]
    fn wrong_timestamps_are_wrong_as_asked() {
        let with = |timestamps| FramePlan {
            timestamps,
            ..plan()
        };
        let of = |plan| {
            play(&mut producer(None), plan, 4)
                .iter()
                .map(|frame| frame.video_timestamp)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(with(TimestampKind::Stuck)), [0; 4]);
        assert!(
            of(with(TimestampKind::Backward))
                .windows(2)
                .all(|pair| pair[0].wrapping_sub(pair[1]) == 3600)
        );
        let random = of(with(TimestampKind::Random));
        assert!(
            random
                .windows(2)
                .all(|pair| pair[1].wrapping_sub(pair[0]) != 3600)
        );
        let jumped = of(FramePlan {
            timestamp_offset_90k: -90_000,
            ..plan()
        });
        assert_eq!(jumped[0], 3600u32.wrapping_sub(90_000));
    }

    #[test]
    fn audio_keeps_pace_with_video() {
        let frames = play(&mut producer(Some(Sound::MuLaw)), plan(), 25);
        let samples: usize = frames
            .iter()
            .filter_map(|frame| frame.audio.as_ref())
            .map(|audio| audio.payload_octets)
            .sum();
        assert_eq!(samples, 8_000);
        let packet = bytes(frames[3].audio.as_ref().unwrap());
        assert_eq!(packet.len(), INTERLEAVED_BYTES + 12 + 320);
        let stamp = sound::find(&packet[INTERLEAVED_BYTES + 12..]).unwrap();
        let Sent {
            sequence,
            captured_us,
        } = frames[3].heard[0];
        assert_eq!(
            stamp,
            Stamp {
                camera: 5,
                sequence,
                captured_us
            }
        );
        assert_eq!((sequence, captured_us), (3, 1_000_000 + 3 * 40_000));
    }

    /// Each whole frame carries its stamp, whatever its packets look like.
    #[test]
    fn frames_of_every_oddity_are_stamped_and_marked_if_hurt() {
        for oddity in Oddity::all() {
            for codec in [Codec::H264, Codec::H265] {
                if oddity.codec().is_some_and(|only| only != codec) {
                    continue;
                }
                let frames = play(
                    &mut make(&CameraOptions {
                        codec,
                        ..CameraOptions::odd(5, oddity)
                    }),
                    plan(),
                    260,
                );
                assert_eq!(frames.len(), 260, "{oddity}");
                let hurt = frames.iter().filter(|frame| frame.hurt).count();
                let may_hurt = matches!(oddity, Oddity::Loss(_) | Oddity::Payload(_));
                assert!(
                    hurt < 130 && (hurt == 0 || may_hurt),
                    "{oddity}: {hurt} hurt"
                );
                assert!(hurt > 0 || !matches!(oddity, Oddity::Loss(_)), "{oddity}");
                assert!(frames.iter().any(|frame| frame.keyframe), "{oddity}");
                let plain = frames
                    .iter()
                    .find(|frame| !frame.hurt && frame.video.len() > 1)
                    .unwrap();
                assert!(
                    bytes(&plain.video)
                        .windows(16)
                        .any(|window| window == b"holdfast:stamp-1"),
                    "{oddity}"
                );
            }
        }
        assert!(stamp::find(&[]).is_none());
    }
}
