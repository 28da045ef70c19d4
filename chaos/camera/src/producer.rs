//! Makes a camera's frames: clip, stamp, padding and faults into RTP packets. A function of its inputs; the caller brings times and numbers.

use crate::clip::{ClipFrame, Clips, Picture, Playhead};
use crate::faults::{FramePlan, TimestampKind};
use crate::options::CameraOptions;
use crate::packetize::Packets;
use crate::random::Random;
use crate::rate::RatePlan;
use crate::stamp::Stamp;
use rtp_types::RtpWriteError;
use std::f64::consts::TAU;

pub(crate) const AUDIO_HZ: u64 = 8_000;
/// A period of the 500 Hz tone.
const TONE_SAMPLES: u64 = 16;

/// One frame, the same for all sessions of its camera.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) keyframe: bool,
    pub(crate) captured_us: u64,
    pub(crate) video: Packets,
    pub(crate) video_timestamp: u32,
    pub(crate) audio: Option<Packets>,
    pub(crate) audio_timestamp: u32,
    /// UDP sessions swap the packets pairwise. TCP cannot reorder.
    pub(crate) reordered: bool,
    pub(crate) packets_dropped: u32,
}

#[derive(Debug)]
pub(crate) struct Producer {
    camera: u32,
    gop_frames: usize,
    clips: Clips,
    picture: Picture,
    playhead: Playhead,
    rate: RatePlan,
    random: Random,
    /// Where the RTP clocks start.
    epoch_us: u64,
    tone: Option<[u8; TONE_SAMPLES as usize]>,
    audio_sent_samples: u64,
    /// What one frame interval has: after a freeze or without a session, what lies further back was never sampled.
    audio_samples_max: u64,
}

impl Producer {
    pub(crate) fn new(options: &CameraOptions, clips: Clips, epoch_us: u64, start_frame: u64, random: Random) -> Self {
        let gop_frames = options.gop_frames as usize;
        Self {
            camera: options.id,
            gop_frames,
            clips,
            picture: Picture::Main,
            playhead: Playhead::at(start_frame, gop_frames),
            rate: RatePlan::new(options.bitrate_bps, options.fps, options.gop_frames),
            random,
            epoch_us,
            tone: options.audio.then(tone),
            audio_sent_samples: 0,
            audio_samples_max: AUDIO_HZ / u64::from(options.fps) + 1,
        }
    }

    /// The frame captured at `captured_us` with number `sequence`; `None` where nobody is to see it.
    pub(crate) fn next(
        &mut self,
        plan: &FramePlan,
        sequence: u64,
        captured_us: u64,
        wanted: bool,
    ) -> Result<Option<Frame>, RtpWriteError> {
        let clip_frame = self.advance(plan.picture);
        if plan.dropped || !wanted {
            return Ok(None);
        }
        let video_timestamp = self.video_timestamp(plan, captured_us);
        let stamp = Stamp { camera: self.camera, sequence, captured_us };
        let mut video = self.access_unit(&clip_frame, stamp, video_timestamp)?;
        let packets_dropped = video.len().min(plan.packets_dropped_max as usize);
        video.drop_first(packets_dropped);
        if plan.garbage {
            video.garble(&mut self.random);
        }
        let audio_timestamp = samples_at(captured_us - self.epoch_us) as u32;
        Ok(Some(Frame {
            keyframe: clip_frame.keyframe,
            captured_us,
            video,
            video_timestamp,
            audio: self.audio(captured_us)?,
            audio_timestamp,
            reordered: plan.reordered,
            packets_dropped: packets_dropped as u32,
        }))
    }

    fn advance(&mut self, picture: Picture) -> ClipFrame {
        if picture != self.picture {
            self.picture = picture;
            self.playhead = Playhead::at(0, self.gop_frames);
        }
        self.playhead.next(self.clips.of(picture), self.gop_frames).clone()
    }

    fn access_unit(&mut self, frame: &ClipFrame, stamp: Stamp, timestamp: u32) -> Result<Packets, RtpWriteError> {
        let bare_bytes = frame.bytes() + stamp.encode(0).len();
        let sei = stamp.encode(self.rate.padding(frame.keyframe, bare_bytes));
        let head = frame.head.iter().map(AsRef::as_ref);
        let slices = frame.slices.iter().map(AsRef::as_ref);
        let nals: Vec<&[u8]> = head.chain([sei.as_slice()]).chain(slices).collect();
        Packets::of_access_unit(&nals, timestamp)
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

    /// The samples since those of the last frame.
    fn audio(&mut self, captured_us: u64) -> Result<Option<Packets>, RtpWriteError> {
        let Some(tone) = &self.tone else { return Ok(None) };
        let to = samples_at(captured_us - self.epoch_us);
        let from = self.audio_sent_samples.max(to.saturating_sub(self.audio_samples_max));
        self.audio_sent_samples = to;
        if to.saturating_sub(from) == 0 {
            return Ok(None);
        }
        let samples: Vec<u8> = (from..to).map(|at| tone[(at % TONE_SAMPLES) as usize]).collect();
        Packets::of_audio(&samples, from as u32).map(Some)
    }
}

/// Ticks of the 90 kHz video clock (RFC 6184, 5.1) in `micros`.
pub(crate) fn ticks_90k(micros: u64) -> u64 {
    micros * 9 / 100
}

fn samples_at(micros: u64) -> u64 {
    micros * AUDIO_HZ / 1_000_000
}

fn tone() -> [u8; TONE_SAMPLES as usize] {
    std::array::from_fn(|at| mu_law((8_000.0 * (TAU * at as f64 / TONE_SAMPLES as f64).sin()) as i16))
}

/// G.711 mu-law of a 16-bit sample (ITU-T G.711, table 2).
fn mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (sample.unsigned_abs() >> 2).min(8_158) + 33;
    let exponent = 10 - magnitude.leading_zeros() as u8;
    let mantissa = (magnitude >> (exponent + 1)) as u8 & 0x0f;
    !(sign | exponent << 4 | mantissa)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;
    use crate::packetize::{INTERLEAVED_BYTES, Numbers};

    fn producer(audio: bool) -> Producer {
        let options = CameraOptions { audio, ..CameraOptions::new(5) };
        Producer::new(&options, Clips::load().unwrap(), 1_000_000, 0, Random::seeded(1))
    }

    fn plan() -> FramePlan {
        Faults::default().plan().unwrap()
    }

    fn play(producer: &mut Producer, plan: FramePlan, frames: u64) -> Vec<Frame> {
        (0..frames).filter_map(|at| producer.next(&plan, at, 1_000_000 + (at + 1) * 40_000, true).unwrap()).collect()
    }

    fn bytes(packets: &Packets) -> Vec<u8> {
        let mut out = Vec::new();
        Numbers { channel: 0, ssrc: 0, sequence: 0, timestamp_offset: 0 }.patch(packets, &mut out).unwrap();
        out
    }

    #[test]
    fn two_seconds_have_the_bitrate_and_two_keyframes() {
        let frames = play(&mut producer(false), plan(), 50);
        let octets: usize = frames.iter().map(|frame| frame.video.payload_octets).sum();
        assert!(octets.abs_diff(500_000) < 5_000, "{octets}");
        assert_eq!(frames.iter().filter(|frame| frame.keyframe).count(), 2);
        assert!(frames[0].video.payload_octets > frames[1].video.payload_octets * 7);
        assert!(frames.windows(2).all(|pair| pair[1].video_timestamp - pair[0].video_timestamp == 3600));
    }

    #[test]
    fn a_frame_that_nobody_sees_still_moves_the_clip_on() {
        let mut producer = producer(false);
        assert!(producer.next(&plan(), 0, 1_000_000, false).unwrap().is_none());
        let dropped = FramePlan { dropped: true, ..plan() };
        assert!(producer.next(&dropped, 1, 1_040_000, true).unwrap().is_none());
        assert!(!producer.next(&plan(), 2, 1_080_000, true).unwrap().unwrap().keyframe);
    }

    #[test]
    fn a_new_picture_starts_with_its_keyframe() {
        let mut producer = producer(false);
        play(&mut producer, plan(), 3);
        let small = FramePlan { picture: Picture::Small, ..plan() };
        let frame = producer.next(&small, 3, 1_200_000, true).unwrap().unwrap();
        let sps = Clips::load().unwrap().of(Picture::Small).sps.clone();
        assert!(frame.keyframe && bytes(&frame.video).windows(sps.len()).any(|window| window == sps));
    }

    #[test]
    fn wrong_timestamps_are_wrong_as_asked() {
        let with = |timestamps| FramePlan { timestamps, ..plan() };
        let of =
            |plan| play(&mut producer(false), plan, 4).iter().map(|frame| frame.video_timestamp).collect::<Vec<_>>();
        assert_eq!(of(with(TimestampKind::Stuck)), [0; 4]);
        assert!(of(with(TimestampKind::Backward)).windows(2).all(|pair| pair[0].wrapping_sub(pair[1]) == 3600));
        let random = of(with(TimestampKind::Random));
        assert!(random.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) != 3600));
        let jumped = of(FramePlan { timestamp_offset_90k: -90_000, ..plan() });
        assert_eq!(jumped[0], 3600u32.wrapping_sub(90_000));
    }

    #[test]
    fn audio_keeps_pace_with_video() {
        let frames = play(&mut producer(true), plan(), 25);
        let samples: usize =
            frames.iter().filter_map(|frame| frame.audio.as_ref()).map(|audio| audio.payload_octets).sum();
        assert_eq!(samples, 8_000);
        assert!(bytes(frames[3].audio.as_ref().unwrap()).len() == INTERLEAVED_BYTES + 12 + 320);
    }

    #[test]
    fn mu_law_is_that_of_g_711() {
        assert_eq!([0, 32_767, -32_768, 1_000].map(mu_law), [0xff, 0x80, 0x00, 0xce]);
    }
}
