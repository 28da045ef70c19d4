//! Whether decoding can begin at an access unit. Pure.
//!
//! Retina's own flag is not used: it misses H.265's CRA and BLA pictures, with which encoders of open GOPs begin all but the first, and it is set on access
//! units that hold no picture at all.

use super::media::VideoCodec;

const LENGTH_BYTES: usize = 4;

/// Whether all slices of the access unit (NAL units with four-byte lengths) are of an IDR picture (ITU-T H.264, table 7-1) or of an intra random access point
/// (ITU-T H.265, 3.77 and table 7-1), and there is one.
#[must_use]
pub fn is_keyframe(codec: VideoCodec, data: &[u8]) -> bool {
    let mut slices = nal_units(data).filter_map(|nal| slice(codec, nal)).peekable();
    slices.peek().is_some() && slices.all(|random_access| random_access)
}

/// For a slice, whether its picture is a random access point.
fn slice(codec: VideoCodec, nal: &[u8]) -> Option<bool> {
    let header = nal.first()?;
    match codec {
        VideoCodec::H264 => match header & 0x1f {
            5 => Some(true),
            1..=4 => Some(false),
            _ => None,
        },
        VideoCodec::H265 => match header >> 1 & 0x3f {
            16..=23 => Some(true),
            0..=31 => Some(false),
            _ => None,
        },
    }
}

/// The NAL units; one that is cut short ends the iteration with what there is of it.
fn nal_units(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (nal, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        Some(nal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use VideoCodec::{H264, H265};

    fn access_unit(headers: &[u8]) -> Vec<u8> {
        headers.iter().flat_map(|header| [0, 0, 0, 3, *header, 1, 0xff]).collect()
    }

    #[test]
    fn h264_begins_at_idr_pictures() {
        assert!(is_keyframe(H264, &access_unit(&[0x09, 0x06, 0x65, 0x65])));
        assert!(!is_keyframe(H264, &access_unit(&[0x09, 0x41])));
        assert!(!is_keyframe(H264, &access_unit(&[0x65, 0x41])), "a damaged one");
        assert!(!is_keyframe(H264, &access_unit(&[0x09, 0x06])), "no picture");
    }

    #[test]
    fn h265_begins_at_idr_cra_and_bla_pictures() {
        for unit_type in [16, 18, 19, 20, 21] {
            assert!(is_keyframe(H265, &access_unit(&[35 << 1, 39 << 1, unit_type << 1])), "type {unit_type}");
        }
        for unit_type in [0, 1, 8, 9] {
            assert!(!is_keyframe(H265, &access_unit(&[35 << 1, unit_type << 1])), "type {unit_type}");
        }
        assert!(!is_keyframe(H265, &access_unit(&[35 << 1, 39 << 1])));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(data: Vec<u8>) {
            let holds_slices = nal_units(&data).any(|nal| slice(H264, nal).is_some());
            proptest::prop_assert!(holds_slices || !is_keyframe(H264, &data));
            is_keyframe(H265, &data).then_some(());
        }
    }
}
