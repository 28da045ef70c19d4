//! The part of a frame that is the picture: its coded slices. Pure.

use super::nal::is_coded;
use crate::capture::ingest::media::VideoCodec;
use crc32fast::Hasher;

const LENGTH_BYTES: usize = 4;

/// CRC-32 of a frame's coded slices ([`holdfast_storage::chunk::Access::slices_crc`]). `data` are
/// NAL units with four-byte lengths; of one that is cut short, the present part counts.
#[must_use]
pub(crate) fn slices_crc(codec: VideoCodec, data: &[u8]) -> u32 {
    let mut crc = Hasher::new();
    nal_units(data)
        .filter(|nal| is_coded(codec, nal))
        .for_each(|nal| crc.update(nal));
    crc.finalize()
}

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

    fn frame(nal_units: &[&[u8]]) -> Vec<u8> {
        nal_units
            .iter()
            .flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat())
            .collect()
    }

    /// Sessions of one camera differ in parameter sets, SEI and access unit delimiters.
    #[test]
    fn what_a_camera_adds_to_a_session_does_not_count() {
        let bare = frame(&[&[0x65, 1], &[0x65, 2]]);
        let dressed = frame(&[
            &[0x09, 0xf0],
            &[0x67, 9],
            &[0x68, 9],
            &[0x06, 5],
            &[0x65, 1],
            &[0x65, 2],
        ]);
        assert_eq!(slices_crc(H264, &bare), slices_crc(H264, &dressed));
        let (bare, dressed) = (
            frame(&[&[19 << 1, 1, 7]]),
            frame(&[&[32 << 1, 1], &[39 << 1, 1], &[19 << 1, 1, 7]]),
        );
        assert_eq!(slices_crc(H265, &bare), slices_crc(H265, &dressed));
    }

    #[test]
    fn every_slice_counts() {
        let first = slices_crc(H264, &frame(&[&[0x65, 1], &[0x65, 2]]));
        assert_ne!(first, slices_crc(H264, &frame(&[&[0x65, 1], &[0x65, 3]])));
        assert_ne!(first, slices_crc(H264, &frame(&[&[0x65, 1]])));
        assert_ne!(
            slices_crc(H265, &frame(&[&[0, 1, 7]])),
            slices_crc(H265, &frame(&[&[21 << 1, 1, 7]]))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_one(data: Vec<u8>) {
            let cut = &data[..data.len() / 2];
            for codec in [H264, H265] {
                proptest::prop_assert_eq!(slices_crc(codec, cut), slices_crc(codec, cut));
            }
        }
    }
}
