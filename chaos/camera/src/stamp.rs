//! The stamp that every frame carries: one SEI message of type `user_data_unregistered` (ITU-T
//! H.264, D.1.7) under our own UUID.

use crate::annexb;
use crate::codec::{Codec, Unit};
use serde::{Deserialize, Serialize};

/// Identifies a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub camera: u32,
    /// For each camera, from 0 at the start of the process; increments with each frame captured.
    pub sequence: u64,
    /// When the frame was captured, in microseconds since the Unix epoch, by the camera's own
    /// clock.
    pub captured_us: u64,
}

const STAMP_UUID: [u8; 16] = *b"holdfast:stamp-1";
const PADDING_UUID: [u8; 16] = *b"holdfast:padding";
const USER_DATA_UNREGISTERED: u8 = 5;
const STAMP_BYTES: usize = 16 + 4 + 8 + 8;
const PADDING_BYTE: u8 = 0x55;
/// Type, first size byte and UUID: the minimum size of a padding message.
const PADDING_BYTES_MIN: usize = 2 + 16;
/// `find` searches no further into an SEI unit, so that padding costs nothing.
const SEI_SEARCH_BYTES_MAX: usize = 1024;

impl Stamp {
    /// An H.264 SEI NAL unit (without start code) with this stamp, followed by about
    /// `padding_bytes` of padding.
    #[must_use]
    pub fn encode(&self, padding_bytes: usize) -> Vec<u8> {
        self.encode_as(Codec::H264, padding_bytes)
    }

    /// The same for either codec: the message is the same in both (ITU-T H.265, D.2.7).
    #[must_use]
    pub fn encode_as(&self, codec: Codec, padding_bytes: usize) -> Vec<u8> {
        let mut nal = Vec::with_capacity(64 + padding_bytes);
        nal.extend_from_slice(match codec {
            Codec::H264 => &[annexb::NAL_SEI],
            Codec::H265 => &[39 << 1, 1],
        });
        annexb::escape_into(&self.message(), &mut nal);
        pad(&mut nal, padding_bytes);
        nal.push(0x80); // rbsp_trailing_bits
        nal
    }

    fn message(&self) -> Vec<u8> {
        let mut message = vec![USER_DATA_UNREGISTERED, STAMP_BYTES as u8];
        message.extend_from_slice(&STAMP_UUID);
        message.extend_from_slice(&self.camera.to_be_bytes());
        message.extend_from_slice(&self.sequence.to_be_bytes());
        message.extend_from_slice(&self.captured_us.to_be_bytes());
        message
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let payload = payload.strip_prefix(&STAMP_UUID)?;
        let (camera, payload) = payload.split_first_chunk::<4>()?;
        let (sequence, payload) = payload.split_first_chunk::<8>()?;
        let captured_us = payload.first_chunk::<8>()?;
        Some(Self {
            camera: u32::from_be_bytes(*camera),
            sequence: u64::from_be_bytes(*sequence),
            captured_us: u64::from_be_bytes(*captured_us),
        })
    }
}

/// The stamp of one H.264 or H.265 sample, either with 4-byte lengths or in Annex B format; `None`
/// if it carries none.
#[must_use]
pub fn find(sample: &[u8]) -> Option<Stamp> {
    let by_length =
        annexb::nals_of_sample(sample).and_then(|nals| nals.into_iter().find_map(find_in_nal));
    by_length.or_else(|| annexb::nals(sample).find_map(find_in_nal))
}

/// Appends a message of about `bytes` bytes in total. Neither its UUID nor its fill has a zero
/// byte, so none needs escaping.
fn pad(nal: &mut Vec<u8>, bytes: usize) {
    if bytes < PADDING_BYTES_MIN {
        return;
    }
    let size = bytes - 2 - bytes / 256;
    nal.push(USER_DATA_UNREGISTERED);
    nal.resize(nal.len() + size / 255, 0xff);
    // A last size byte of 0 after `ff ff` is no start code either: the UUID follows.
    nal.push((size % 255) as u8);
    nal.extend_from_slice(&PADDING_UUID);
    nal.resize(nal.len() + size - PADDING_UUID.len(), PADDING_BYTE);
}

fn find_in_nal(nal: &[u8]) -> Option<Stamp> {
    // No NAL unit is an SEI unit in both codecs.
    let codec = [Codec::H264, Codec::H265]
        .into_iter()
        .find(|codec| codec.unit(nal) == Unit::Sei)?;
    let rbsp =
        annexb::unescape(nal.get(codec.header_bytes()..nal.len().min(SEI_SEARCH_BYTES_MAX))?);
    let mut rest = rbsp.as_slice();
    while let Some((kind, size, tail)) = message_header(rest) {
        let payload = &tail[..size.min(tail.len())];
        if kind == usize::from(USER_DATA_UNREGISTERED)
            && let Some(stamp) = Stamp::parse(payload)
        {
            return Some(stamp);
        }
        rest = &tail[payload.len()..];
    }
    None
}

/// Type and size of the SEI message at the start of `rbsp`, and the bytes after them (ITU-T H.264,
/// 7.3.2.3.1).
fn message_header(rbsp: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (kind, rest) = ff_coded(rbsp)?;
    let (size, rest) = ff_coded(rest)?;
    Some((kind, size, rest))
}

fn ff_coded(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let full = bytes.iter().take_while(|&&byte| byte == 0xff).count();
    let last = *bytes.get(full)?;
    Some((full * 255 + usize::from(last), &bytes[full + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(camera, sequence, captured_us)| {
            Stamp {
                camera,
                sequence,
                captured_us,
            }
        })
    }

    fn sample(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter()
            .flat_map(|nal| [&u32::try_from(nal.len()).unwrap().to_be_bytes()[..], nal].concat())
            .collect()
    }

    fn byte_stream(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter()
            .flat_map(|nal| [&[0, 0, 0, 1][..], nal].concat())
            .collect()
    }

    proptest! {
        #[test]
        fn is_found_in_either_format(
            stamp in any_stamp(),
            padding in 0usize..70_000,
            slice in prop::collection::vec(4u8.., 1..400),
        ) {
            let (sei, slice) = (stamp.encode(padding), [&[0x65][..], &slice].concat());
            let nals = [&[9, 0xf0][..], &sei, &slice];
            prop_assert_eq!(find(&sample(&nals)), Some(stamp));
            prop_assert_eq!(find(&byte_stream(&nals)), Some(stamp));
        }

        #[test]
        fn padding_is_as_long_as_asked_for(padding in PADDING_BYTES_MIN..70_000) {
            let stamp = Stamp { camera: 1, sequence: 2, captured_us: u64::MAX };
            let added = stamp.encode(padding).len() - stamp.encode(0).len();
            prop_assert!(added.abs_diff(padding) <= 2, "{} for {}", added, padding);
        }

        #[test]
        fn the_unit_holds_no_start_code(stamp in any_stamp(), padding in 0usize..3000) {
            let nal = stamp.encode(padding);
            prop_assert!(!nal.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] < 3));
        }

        #[test]
        fn none_is_found_in_noise(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(find(&noise), None);
        }
    }

    #[test]
    fn is_found_in_h265_too() {
        let stamp = Stamp {
            camera: 7,
            sequence: 3,
            captured_us: 1,
        };
        let sei = stamp.encode_as(Codec::H265, 3000);
        assert_eq!(
            find(&sample(&[&[0x46, 1, 0x50], &sei, &[0x26, 1, 9]])),
            Some(stamp)
        );
        assert_eq!(
            find(&byte_stream(&[&[0x46, 1, 0x50], &sei, &[0x26, 1, 9]])),
            Some(stamp)
        );
    }

    #[test]
    fn is_found_behind_another_sei_message() {
        let stamp = Stamp {
            camera: 7,
            sequence: 0,
            captured_us: 1,
        };
        let stamped = stamp.encode(0);
        let other = [&[annexb::NAL_SEI, 6, 1, 0xaa][..], &stamped[1..]].concat();
        assert_eq!(find(&sample(&[&other])), Some(stamp));
    }

    #[test]
    fn none_is_found_where_there_is_none() {
        assert_eq!(find(&sample(&[&[9, 0xf0], &[0x65, 1, 2, 3]])), None);
        assert_eq!(find(&[]), None);
        let cut = Stamp {
            camera: 7,
            sequence: 9,
            captured_us: 1,
        }
        .encode(0);
        assert_eq!(find(&byte_stream(&[&cut[..30]])), None);
    }
}
