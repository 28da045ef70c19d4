//! Packets that use a sequence number but are never sent.

use super::Oddity;
use super::kinds::kinds;
use crate::codec::Codec;
use crate::packing::Payload;
use crate::random::Random;
use crate::reel::ReelName;

kinds! {
    /// The video packets that are lost, for all sessions alike.
    LossOddity {
        LossSteady: "every 150th packet is lost, though it is TCP", "scottlamb/retina#119 (Eufy)";
        LossInLongGop: "every 150th packet is lost, and a GOP is 10 s",
            "scottlamb/retina#119, smart codecs";
        LossInBursts: "30 packets in a row are lost every 4 s", "scottlamb/retina#30 (UDP)";
        LossAtRandom: "a packet of a hundred is lost at random", "cameras on Wi-Fi";
        LossOfKeyframes: "the first packet of every third keyframe's slice is lost",
            "a sibling of the steady one";
        LossOfMarkers: "the last packet of every 40th frame is lost, with its marker",
            "a sibling of the steady one";
        LossOfWholeFrames: "every 30th frame is lost whole", "a sibling of the steady one";
    }
}

impl LossOddity {
    pub(super) fn codec(self) -> Option<Codec> {
        (self == Self::LossInLongGop).then_some(Codec::H264)
    }

    pub(super) fn reel(self) -> Option<ReelName> {
        (self == Self::LossInLongGop).then_some(ReelName::LongGop)
    }
}

/// The packets that a camera loses.
#[derive(Debug)]
pub(crate) struct Lossy {
    oddity: LossOddity,
    packets: u64,
    frames: u64,
    keyframes: u64,
    /// Remaining packets of the current burst of losses.
    burst_left: u64,
    random: Random,
}

impl Lossy {
    pub(crate) fn new(oddity: Option<Oddity>, random: Random) -> Option<Self> {
        let Some(Oddity::Loss(oddity)) = oddity else {
            return None;
        };
        Some(Self {
            oddity,
            packets: 0,
            frames: 0,
            keyframes: 0,
            burst_left: 0,
            random,
        })
    }

    /// Marks the lost packets of the next frame; returns whether there are any.
    pub(crate) fn strike(&mut self, payloads: &mut [Payload], is_keyframe: bool) -> bool {
        self.frames += 1;
        self.keyframes += u64::from(is_keyframe);
        if self.frames.is_multiple_of(100) {
            self.burst_left = 30;
        }
        let (count, mut seen_slice, mut any) = (payloads.len(), false, false);
        for (at, payload) in payloads.iter_mut().enumerate() {
            self.packets += 1;
            let starts_slice = payload.is_slice && !seen_slice;
            seen_slice |= payload.is_slice;
            payload.is_lost = match self.oddity {
                LossOddity::LossSteady | LossOddity::LossInLongGop => self.packets % 150 == 149,
                LossOddity::LossInBursts => self.burst_left > 0,
                LossOddity::LossAtRandom => self.random.next_u16().is_multiple_of(100),
                LossOddity::LossOfKeyframes => {
                    is_keyframe && self.keyframes.is_multiple_of(3) && starts_slice
                }
                LossOddity::LossOfMarkers => self.frames % 40 == 39 && at + 1 == count,
                LossOddity::LossOfWholeFrames => self.frames % 30 == 29,
            };
            self.burst_left = self.burst_left.saturating_sub(1);
            any |= payload.is_lost;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(oddity: LossOddity, frames: u64, packets: usize) -> Vec<u64> {
        let mut lossy = Lossy::new(Some(Oddity::Loss(oddity)), Random::seeded(1)).unwrap();
        let mut hurt = Vec::new();
        for number in 0..frames {
            let mut payloads = vec![
                Payload {
                    is_slice: true,
                    ..Payload::new(vec![1], 0)
                };
                packets
            ];
            if lossy.strike(&mut payloads, number % 25 == 0) {
                hurt.push(number);
            }
        }
        hurt
    }

    #[test]
    fn losses_hit_what_they_say() {
        assert_eq!(lost(LossOddity::LossSteady, 200, 3), [49, 99, 149, 199]);
        assert_eq!(lost(LossOddity::LossOfKeyframes, 200, 3), [50, 125]);
        assert_eq!(lost(LossOddity::LossOfMarkers, 80, 3), [38, 78]);
        assert_eq!(lost(LossOddity::LossOfWholeFrames, 60, 1), [28, 58]);
        let at_random = lost(LossOddity::LossAtRandom, 1000, 1).len();
        assert!((2..30).contains(&at_random), "{at_random}");
    }

    #[test]
    fn a_burst_takes_thirty_packets_and_then_none() {
        let hurt = lost(LossOddity::LossInBursts, 400, 3);
        assert_eq!(
            hurt,
            [99..109, 199..209, 299..309]
                .into_iter()
                .flatten()
                .chain([399])
                .collect::<Vec<u64>>()
        );
    }
}
