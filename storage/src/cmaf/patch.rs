//! Rewrites a stored chunk's position in a presentation, in place: decode time, `moof` number and
//! sample description. Its samples are not changed.

use super::Error;
use super::boxes::{be32, put};
use super::probe::{Layout, samples};
use bytes::BytesMut;

/// The position of a chunk in a presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Decode time of the first sample, in ticks of the track's timescale.
    pub decode_time: u64,
    /// Number of the `moof` within the presentation, from 1.
    pub moof_sequence: u32,
    /// From 1, into the `stsd` of the presentation's header.
    pub sample_description_index: u32,
}

/// Patches the one chunk that `bytes` begins with.
///
/// # Errors
/// [`Error::Damaged`] if [`super::chunk::build_chunk`] did not write the chunk; it may then be
/// partly patched and must not be served.
pub fn patch_chunk(bytes: &mut [u8], placement: &Placement) -> Result<(), Error> {
    let layout = Layout::read(bytes)?;
    put(
        bytes,
        layout.mfhd.body + 4,
        &placement.moof_sequence.to_be_bytes(),
    )?;
    if be32(bytes, layout.tfhd.body)? & 0x3 != 0x2 {
        return Err(Error::damaged(
            "tfhd",
            layout.tfhd.start,
            "no sample_description_index to patch",
        ));
    }
    put(
        bytes,
        layout.tfhd.body + 8,
        &placement.sample_description_index.to_be_bytes(),
    )?;
    put_time(bytes, layout.tfdt.body, 4, placement.decode_time)?;
    match layout.prft {
        Some(prft) => put_time(bytes, prft.body, 16, placement.decode_time),
        None => Ok(()),
    }
}

/// Replaces the durations, in ticks, of the samples of the one chunk that `bytes` begins with.
///
/// # Errors
/// Like [`patch_chunk`]; also if there are more or fewer durations than samples.
pub fn patch_durations(bytes: &mut [u8], durations: &[u32]) -> Result<(), Error> {
    let layout = Layout::read(bytes)?;
    let table = SampleTable::read(bytes, &layout)?;
    if table.samples != durations.len() {
        return Err(Error::damaged(
            "trun",
            table.at,
            "not as many samples as durations",
        ));
    }
    for (index, duration) in durations.iter().enumerate() {
        put(
            bytes,
            table.at + index * table.stride,
            &duration.to_be_bytes(),
        )?;
    }
    Ok(())
}

/// The chunk that `bytes` begins with, with `prefix` put before its first sample's data.
///
/// # Errors
/// Like [`patch_chunk`].
pub fn prefix_first_sample(bytes: &[u8], prefix: &[u8]) -> Result<BytesMut, Error> {
    let layout = Layout::read(bytes)?;
    let first =
        *samples(bytes)?
            .first()
            .ok_or(Error::damaged("trun", layout.mdat.start, "no sample"))?;
    let size_at = SampleTable::read(bytes, &layout)?.at + 4;
    let mdat_bytes = layout.mdat.end - layout.mdat.start;
    if layout.mdat.body - layout.mdat.start != 8 || first.offset != layout.mdat.body {
        return Err(Error::damaged(
            "mdat",
            layout.mdat.start,
            "not laid out as a chunk's",
        ));
    }
    let grown = |length: usize| {
        u32::try_from(length + prefix.len())
            .map_err(|_| Error::damaged("mdat", size_at, "longer than 4 GiB"))
    };
    let mut out = BytesMut::with_capacity(bytes.len() + prefix.len());
    out.extend_from_slice(&bytes[..first.offset]);
    out.extend_from_slice(prefix);
    out.extend_from_slice(&bytes[first.offset..layout.mdat.end]);
    put(&mut out, size_at, &grown(first.size)?.to_be_bytes())?;
    put(
        &mut out,
        layout.mdat.start,
        &grown(mdat_bytes)?.to_be_bytes(),
    )?;
    Ok(out)
}

/// The table of a chunk's only `trun`: each sample's duration and size, then its other fields.
struct SampleTable {
    /// Offset of the first sample's duration.
    at: usize,
    stride: usize,
    samples: usize,
}

impl SampleTable {
    fn read(bytes: &[u8], layout: &Layout) -> Result<Self, Error> {
        let unlike = Error::damaged("trun", layout.mdat.start, "not laid out as a chunk's");
        let [trun] = layout.truns[..] else {
            return Err(unlike);
        };
        let flags = be32(bytes, trun.body)?;
        // Data offset, durations and sizes.
        if flags & 0x301 != 0x301 {
            return Err(unlike);
        }
        // If there is a flag for the first sample, its field precedes the table.
        let at = trun.body + if flags & 0x4 == 0 { 12 } else { 16 };
        let stride = 4 * (flags & 0xf00).count_ones() as usize;
        Ok(Self {
            at,
            stride,
            samples: be32(bytes, trun.body + 4)? as usize,
        })
    }
}

/// Overwrites a time that has 32 bits in version 0 of a box and 64 in version 1, `offset` bytes
/// into its body.
fn put_time(bytes: &mut [u8], body: usize, offset: usize, time: u64) -> Result<(), Error> {
    if be32(bytes, body)? >> 24 != 0 {
        return put(bytes, body + offset, &time.to_be_bytes());
    }
    let time = u32::try_from(time)
        .map_err(|_| Error::damaged("time", body, "does not fit into its 32-bit field"))?;
    put(bytes, body + offset, &time.to_be_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::chunk::AccessPoint;
    use crate::cmaf::chunk::{Frame, build_chunk};
    use crate::cmaf::probe;
    use crate::ids::TrackKind;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const EPOCH_TICKS: u64 = 1_795_341_600 * 90_000;

    pub(crate) fn two_frame_chunk() -> Vec<u8> {
        let frame = |index: u64, access| Frame {
            data: vec![index as u8; 20].into(),
            decode_time: EPOCH_TICKS + index * 3000,
            duration: 3000,
            composition_offset: 0,
            access,
        };
        build_chunk(
            TrackKind::Video,
            9,
            Timestamp(1_795_341_600_000_000),
            &[frame(0, Some(AccessPoint::Sync)), frame(1, None)],
        )
        .unwrap()
        .concat()
    }

    #[test]
    fn a_patched_chunk_says_its_new_place_and_keeps_its_samples() {
        let stored = two_frame_chunk();
        let mut bytes = stored.clone();
        patch_chunk(
            &mut bytes,
            &Placement {
                decode_time: 77,
                moof_sequence: 5,
                sample_description_index: 3,
            },
        )
        .unwrap();
        let info = probe::chunk_info(&bytes).unwrap();
        assert_eq!(
            (
                info.decode_time,
                info.moof_sequence,
                info.sample_description_index,
                info.duration
            ),
            (77, 5, 3, 6000)
        );
        let payload = bytes.len() - 40;
        assert_eq!(bytes[payload..], stored[payload..]);
        assert_eq!(
            u64::from_be_bytes(bytes[24..32].try_into().unwrap()),
            77,
            "prft media_time"
        );
    }

    #[test]
    fn a_prefix_makes_the_first_sample_longer_and_moves_the_rest() {
        let stored = two_frame_chunk();
        let longer = prefix_first_sample(&stored, b"prefix").unwrap();
        let cut = |bytes: &[u8]| {
            probe::samples(bytes)
                .unwrap()
                .iter()
                .map(|s| bytes[s.offset..s.offset + s.size].to_vec())
                .collect::<Vec<_>>()
        };
        let (before, after) = (cut(&stored), cut(&longer));
        assert_eq!(
            after,
            [[b"prefix", &before[0][..]].concat(), before[1].clone()]
        );
        assert_eq!(
            probe::chunk_ranges(&longer).next().unwrap().unwrap(),
            0..longer.len()
        );
    }

    #[test]
    fn a_lone_sample_is_patched_as_others_are() {
        let frame = Frame {
            data: vec![7; 20].into(),
            decode_time: 5,
            duration: 9,
            composition_offset: 0,
            access: Some(AccessPoint::Sync),
        };
        let stored = build_chunk(TrackKind::Video, 0, Timestamp(0), &[frame])
            .unwrap()
            .concat();
        let mut longer = prefix_first_sample(&stored, b"prefix").unwrap();
        patch_durations(&mut longer, &[11]).unwrap();
        let [sample] = probe::samples(&longer).unwrap()[..] else {
            panic!("one sample")
        };
        assert_eq!(
            (sample.size, sample.duration, sample.is_sync),
            (26, 11, true)
        );
    }

    #[test]
    fn samples_get_other_durations_and_nothing_else_changes() {
        let stored = two_frame_chunk();
        let mut bytes = stored.clone();
        patch_durations(&mut bytes, &[3600, 7200]).unwrap();
        let durations = |bytes: &[u8]| {
            probe::samples(bytes)
                .unwrap()
                .iter()
                .map(|s| s.duration)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (durations(&stored), durations(&bytes)),
            (vec![3000, 3000], vec![3600, 7200])
        );
        patch_durations(&mut bytes, &[3000, 3000]).unwrap();
        assert_eq!(bytes, stored);
        assert!(
            patch_durations(&mut bytes, &[3000]).is_err()
                && patch_durations(&mut bytes, &[1, 2, 3]).is_err()
        );
    }

    #[test]
    fn a_truncated_chunk_is_refused() {
        let whole = two_frame_chunk();
        for length in 0..whole.len() {
            let placement = Placement {
                decode_time: 0,
                moof_sequence: 1,
                sample_description_index: 1,
            };
            assert!(
                matches!(
                    patch_chunk(&mut whole[..length].to_vec(), &placement),
                    Err(Error::Damaged { .. })
                ),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics_nor_changes_the_length(
            at in 0usize..230,
            value in any::<u8>(),
            cut in 0usize..230,
        ) {
            let mut bytes = two_frame_chunk();
            let length = bytes.len();
            bytes[at % length] = value;
            bytes.truncate(length - cut.min(length));
            let kept = bytes.len();
            let _ = prefix_first_sample(&bytes, b"prefix");
            let _ = patch_durations(&mut bytes, &[1, 2]);
            let _ = patch_chunk(
                &mut bytes,
                &Placement {
                    decode_time: u64::MAX,
                    moof_sequence: 1,
                    sample_description_index: 1,
                },
            );
            prop_assert_eq!(bytes.len(), kept);
        }
    }
}
