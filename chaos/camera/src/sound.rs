//! The sound of cameras, and the stamp that each frame of it carries, so that recorded sound can be
//! counted like video.
//!
//! In AAC the stamp is a data stream element before the sound itself (ISO/IEC 14496-3, 4.4.2.7),
//! which decoders skip; in G.711 it replaces the first samples, and is audible as a click.

use crate::stamp::Stamp;
use serde::{Deserialize, Serialize};

/// The codec of a camera's sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sound {
    /// Mu-law, 8 kHz.
    #[serde(rename = "g711")]
    MuLaw,
    /// 16 kHz, mono.
    Aac,
}

const SOUND_UUID: [u8; 16] = *b"holdfast:sound-1";

/// UUID, camera, sequence, capture, checksum of what follows.
pub(crate) const STAMP_BYTES: usize = 16 + 4 + 8 + 8 + 4;

/// `ID_DSE`, tag 0, byte-aligned, and the number of bytes.
const DATA_STREAM_ELEMENT: [u8; 2] = [0b1000_0001, STAMP_BYTES as u8];

/// A frame of sound with its stamp, as cameras send it: for tests of readers.
#[must_use]
pub fn encoded(sound: Sound, stamp: Stamp, frame: &[u8]) -> Vec<u8> {
    match sound {
        Sound::Aac => stamp_aac(stamp, frame),
        Sound::MuLaw => {
            let mut samples = frame.to_vec();
            stamp_mu_law(stamp, &mut samples);
            samples
        }
    }
}

/// The stamp followed by the access unit, in one raw data block.
pub(crate) fn stamp_aac(stamp: Stamp, unit: &[u8]) -> Vec<u8> {
    [&DATA_STREAM_ELEMENT[..], &encode(stamp, unit), unit].concat()
}

/// Overwrites the first samples with the stamp; a shorter frame stays unchanged.
pub(crate) fn stamp_mu_law(stamp: Stamp, samples: &mut [u8]) {
    if let Some((head, rest)) = samples.split_first_chunk_mut::<STAMP_BYTES>() {
        *head = encode(stamp, rest);
    }
}

/// The stamp of one stored sample of sound; `None` if it carries none, or differs from the one
/// sent.
#[must_use]
pub fn find(sample: &[u8]) -> Option<Stamp> {
    let stamp = sample.strip_prefix(&DATA_STREAM_ELEMENT).unwrap_or(sample);
    let (camera, rest) = stamp.strip_prefix(&SOUND_UUID)?.split_first_chunk::<4>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (captured_us, rest) = rest.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let stamp = Stamp {
        camera: u32::from_be_bytes(*camera),
        sequence: u64::from_be_bytes(*sequence),
        captured_us: u64::from_be_bytes(*captured_us),
    };
    (u32::from_be_bytes(*sum) == checksum(rest)).then_some(stamp)
}

fn encode(stamp: Stamp, rest: &[u8]) -> [u8; STAMP_BYTES] {
    let mut bytes = [0; STAMP_BYTES];
    let fields: [&[u8]; 5] = [
        &SOUND_UUID,
        &stamp.camera.to_be_bytes(),
        &stamp.sequence.to_be_bytes(),
        &stamp.captured_us.to_be_bytes(),
        &checksum(rest).to_be_bytes(),
    ];
    let mut at = 0;
    for field in fields {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    bytes
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        camera: 7,
        sequence: 9,
        captured_us: u64::MAX,
    };

    #[test]
    fn a_stamp_is_found_in_both_codecs() {
        assert_eq!(find(&stamp_aac(STAMP, &[1, 2, 3])), Some(STAMP));
        let mut samples = [0x55; 320];
        stamp_mu_law(STAMP, &mut samples);
        assert_eq!(find(&samples), Some(STAMP));
        assert_eq!(find(&[0x55; 320]), None);
    }

    #[test]
    fn a_frame_that_is_not_whole_has_none() {
        let unit = stamp_aac(STAMP, &[1, 2, 3]);
        assert_eq!(find(&unit[..unit.len() - 1]), None);
        let mut other = unit.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(find(&other), None);
        assert_eq!(find(&[unit, vec![0]].concat()), None);
    }
}
