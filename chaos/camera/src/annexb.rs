//! Annex B byte streams and length-prefixed samples: splits them into NAL units, and handles
//! emulation prevention (ITU-T H.264, 7.3.1 and Annex B).

/// `nal_unit_type` values that this crate distinguishes (ITU-T H.264, table 7-1).
pub(crate) const NAL_IDR: u8 = 5;
pub(crate) const NAL_SEI: u8 = 6;
pub(crate) const NAL_SPS: u8 = 7;
pub(crate) const NAL_PPS: u8 = 8;
pub(crate) const NAL_AUD: u8 = 9;

/// The `nal_unit_type` of a NAL unit, 0 (unspecified) for an empty one.
pub(crate) fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros.
pub(crate) fn nals(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let body = rest?;
        let end = start_code(body).unwrap_or(body.len());
        rest = after_start_code(&body[end..]);
        Some(without_trailing_zeros(&body[..end]))
    })
    .filter(|nal| !nal.is_empty())
}

/// The NAL units of a sample with 4-byte lengths (ISO/IEC 14496-15, 5.3.3.1); `None` unless the
/// lengths add up exactly.
pub(crate) fn nals_of_sample(sample: &[u8]) -> Option<Vec<&[u8]>> {
    let mut nals = Vec::new();
    let mut rest = sample;
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (nal, tail) = tail.split_at_checked(length)?;
        nals.push(nal);
        rest = tail;
    }
    Some(nals)
}

/// Appends `rbsp` to `nal`, with an emulation prevention byte wherever three bytes would look like
/// a start code.
pub(crate) fn escape_into(rbsp: &[u8], nal: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in rbsp {
        if zeros == 2 && byte <= 3 {
            nal.push(3);
            zeros = 0;
        }
        nal.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

/// The bytes of `nal` without its emulation prevention bytes.
pub(crate) fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros == 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        rbsp.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    rbsp
}

fn start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|window| window == [0, 0, 1])
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    start_code(bytes).map(|at| &bytes[at + 3..])
}

fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let end = nal
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    &nal[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_a_stream_at_three_and_four_byte_start_codes() {
        let stream = [0, 0, 0, 1, 9, 16, 0, 0, 1, 0x65, 0, 1, 0, 0, 0, 1, 0x41, 7];
        let found: Vec<&[u8]> = nals(&stream).collect();
        assert_eq!(found, [&[9u8, 16][..], &[0x65, 0, 1], &[0x41, 7]]);
    }

    #[test]
    fn a_sample_whose_lengths_do_not_add_up_is_refused() {
        assert_eq!(
            nals_of_sample(&[0, 0, 0, 1, 9, 0, 0, 0, 2, 1, 2]),
            Some(vec![&[9u8][..], &[1, 2]])
        );
        assert_eq!(nals_of_sample(&[0, 0, 0, 1, 9, 0, 0, 0, 3, 1, 2]), None);
        assert_eq!(nals_of_sample(&[0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn escaping_round_trips_and_leaves_no_start_code(
            rbsp in prop::collection::vec(0u8..5, 0..200),
        ) {
            let mut nal = Vec::new();
            escape_into(&rbsp, &mut nal);
            prop_assert_eq!(unescape(&nal), rbsp);
            prop_assert!(!nal.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] < 3));
        }
    }
}
