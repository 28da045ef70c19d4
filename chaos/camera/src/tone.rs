//! The sound of cameras: a tone in G.711, or in AAC from a small clip.

use std::f64::consts::TAU;

/// A period of the 500 Hz tone at 8 kHz.
pub(crate) const TONE_SAMPLES: u64 = 16;
/// Sampling rate of the AAC clip.
pub(crate) const AAC_HZ: u64 = 16_000;
/// Samples of one AAC access unit (ISO/IEC 14496-3).
pub(crate) const AAC_SAMPLES: u64 = 1024;
const ADTS_HEADER_BYTES: usize = 7;

/// One period of the tone in mu-law.
pub(crate) fn mu_law_tone() -> [u8; TONE_SAMPLES as usize] {
    std::array::from_fn(|at| {
        mu_law((8_000.0 * (TAU * at as f64 / TONE_SAMPLES as f64).sin()) as i16)
    })
}

/// The access units of the AAC clip, each with its ADTS header.
pub(crate) fn adts_frames() -> Vec<&'static [u8]> {
    let mut rest: &'static [u8] = include_bytes!("../clip/tone-16khz.aac");
    let mut frames = Vec::new();
    while let Some(&[_, _, _, high, middle, low, _]) = rest.get(..ADTS_HEADER_BYTES) {
        let length = usize::from(high & 3) << 11 | usize::from(middle) << 3 | usize::from(low >> 5);
        let Some((frame, tail)) = rest.split_at_checked(length.max(ADTS_HEADER_BYTES)) else {
            break;
        };
        frames.push(frame);
        rest = tail;
    }
    frames
}

/// The access unit without its ADTS header.
pub(crate) fn access_unit(adts: &'static [u8]) -> &'static [u8] {
    adts.get(ADTS_HEADER_BYTES..).unwrap_or_default()
}

/// G.711 mu-law encoding of a 16-bit sample (ITU-T G.711, table 2).
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

    #[test]
    fn mu_law_is_that_of_g_711() {
        assert_eq!(
            [0, 32_767, -32_768, 1_000].map(mu_law),
            [0xff, 0x80, 0x00, 0xce]
        );
    }

    #[test]
    fn the_clip_has_three_seconds_of_access_units() {
        let frames = adts_frames();
        assert!((46..=50).contains(&frames.len()), "{}", frames.len());
        assert!(
            frames
                .iter()
                .all(|frame| frame.starts_with(&[0xff, 0xf1]) && !access_unit(frame).is_empty())
        );
    }
}
