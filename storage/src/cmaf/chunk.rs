//! Builds a chunk (CMAF, ISO/IEC 23000-19, 7.3.2.3: `prft`+`moof`+`mdat`) around frames whose bytes
//! are not copied.

use super::{Error, boxes, groups, probe};
use crate::chunk::AccessPoint;
use crate::ids::TrackKind;
use crate::time::Timestamp;
use bytes::Bytes;
use mp4_atom::{
    Atom, Encode, Mfhd, Moof, Prft, ReferenceTime, Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples,
};

/// The most frames of one chunk.
pub const CHUNK_FRAMES_MAX: usize = 65_536;

/// Seconds from the NTP era's start (1900) to the Unix epoch.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;

/// `sample_depends_on = 2`: decodable alone (ISO/IEC 14496-12, 8.8.3.1).
const FLAGS_SYNC: u32 = 0x0200_0000;
/// The same with `sample_is_non_sync_sample = 1`: following samples may not be decodable.
const FLAGS_OPEN: u32 = 0x0201_0000;
/// `sample_depends_on = 1`, `sample_is_non_sync_sample = 1`.
const FLAGS_NON_SYNC: u32 = 0x0101_0000;

/// One access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// NAL units with 4-byte lengths before them (ISO/IEC 14496-15), or raw audio.
    pub data: Bytes,
    /// In ticks of the track's timescale since the Unix epoch ([`Timestamp::ticks`]); grows from
    /// frame to frame.
    pub decode_time: u64,
    /// In ticks; only used for the last frame of a chunk, the others last until the next one's
    /// decode time.
    pub duration: u32,
    /// From decode time to composition time, in ticks.
    pub composition_offset: i32,
    /// How decoding can begin here; in tracks other than video, every frame is
    /// [`AccessPoint::Sync`].
    pub access: Option<AccessPoint>,
}

/// The chunk of these frames in parts, for one gathering write: the boxes up to the first payload
/// byte, then each frame's bytes unchanged.
///
/// `sequence` is the `moof`'s number, from 0 ([`crate::chunk::ChunkMeta::sequence`]);
/// `start` is the wall time of the first frame.
///
/// # Errors
/// [`Error::Unbuildable`] without frames, with more than [`CHUNK_FRAMES_MAX`], if decode times do
/// not increase, or if a length exceeds 32 bits.
pub fn build_chunk(
    track: TrackKind,
    sequence: u32,
    start: Timestamp,
    frames: &[Frame],
) -> Result<Vec<Bytes>, Error> {
    let (Some(first), true) = (frames.first(), frames.len() <= CHUNK_FRAMES_MAX) else {
        return Err(Error::unbuildable(
            "chunk",
            format!("{} frames where 1 to {CHUNK_FRAMES_MAX} fit", frames.len()),
        ));
    };
    let payload_bytes: usize = frames.iter().map(|frame| frame.data.len()).sum();
    let mdat_bytes = u32::try_from(payload_bytes + 8)
        .map_err(|_| Error::unbuildable("chunk", "longer than 4 GiB"))?;
    let mut head = Vec::with_capacity(256 + frames.len() * 16);
    let moof = moof(track, sequence, first.decode_time, frames)?;
    write_head(&mut head, track, start, first.decode_time, &moof)
        .map_err(|error| Error::unbuildable("chunk", error))?;
    head.extend_from_slice(&mdat_bytes.to_be_bytes());
    head.extend_from_slice(b"mdat");
    Ok(std::iter::once(head.into())
        .chain(frames.iter().map(|frame| frame.data.clone()))
        .collect())
}

/// A chunk of only the first frame of the one chunk that `bytes` begins with.
///
/// # Errors
/// [`Error::Damaged`] if it has none.
pub fn first_frame(bytes: &Bytes, start: Timestamp) -> Result<Bytes, Error> {
    let first = *probe::samples(bytes)?
        .first()
        .ok_or(Error::damaged("trun", 0, "no sample"))?;
    let frame = Frame {
        data: bytes.slice(first.offset..first.offset + first.size),
        decode_time: first.decode_time,
        duration: first.duration,
        composition_offset: i32::try_from(first.composition_offset).unwrap_or_default(),
        access: Some(AccessPoint::Sync),
    };
    Ok(build_chunk(TrackKind::Video, 0, start, &[frame])?
        .concat()
        .into())
}

/// Seconds since 1900 in the upper half, fraction in the lower (RFC 5905, clause 6); wraps in 2036
/// as NTP does.
#[must_use]
pub fn ntp_time(time: Timestamp) -> u64 {
    let seconds = time
        .micros()
        .div_euclid(1_000_000)
        .wrapping_add(NTP_TO_UNIX_S);
    let micros = time.micros().rem_euclid(1_000_000) as u64;
    ((seconds as u64 & 0xffff_ffff) << 32) | ((micros << 32) / 1_000_000)
}

fn sample_table(frames: &[Frame]) -> Result<Vec<TrunEntry>, Error> {
    let offsets = frames.iter().any(|frame| frame.composition_offset != 0);
    let next_times = frames
        .iter()
        .skip(1)
        .map(|frame| Some(frame.decode_time))
        .chain([None]);
    let entry = |(frame, next): (&Frame, Option<u64>)| {
        Ok(TrunEntry {
            duration: Some(duration(frame, next)?),
            size: Some(
                u32::try_from(frame.data.len())
                    .map_err(|_| Error::unbuildable("chunk", "a frame is longer than 4 GiB"))?,
            ),
            flags: Some(flags(frame.access)),
            cts: offsets.then_some(i64::from(frame.composition_offset)),
        })
    };
    frames.iter().zip(next_times).map(entry).collect()
}

fn flags(access: Option<AccessPoint>) -> u32 {
    match access {
        Some(AccessPoint::Sync) => FLAGS_SYNC,
        Some(AccessPoint::Open) => FLAGS_OPEN,
        Some(AccessPoint::Recovery { .. }) | None => FLAGS_NON_SYNC,
    }
}

fn duration(frame: &Frame, next: Option<u64>) -> Result<u32, Error> {
    let Some(next) = next else {
        return Ok(frame.duration);
    };
    let ticks = next
        .checked_sub(frame.decode_time)
        .filter(|ticks| *ticks > 0)
        .and_then(|ticks| u32::try_from(ticks).ok());
    ticks.ok_or_else(|| {
        Error::unbuildable(
            "chunk",
            format!("decode time {next} follows {}", frame.decode_time),
        )
    })
}

fn write_head(
    out: &mut Vec<u8>,
    track: TrackKind,
    start: Timestamp,
    decode_time: u64,
    moof: &Moof,
) -> mp4_atom::Result<()> {
    let prft = Prft {
        reference_track_id: track.track_id(),
        ntp_timestamp: ntp_time(start),
        media_time: decode_time,
        utc_time_semantics: ReferenceTime::RealTime,
    };
    prft.encode(out)?;
    let moof_start = out.len();
    moof.encode(out)?;
    // Payload begins 8 bytes after the moof.
    let data_offset = (out.len() - moof_start + 8) as u32;
    let at = data_offset_at(out, moof_start).ok_or(mp4_atom::Error::MissingBox(Trun::KIND))?;
    out[at..at + 4].copy_from_slice(&data_offset.to_be_bytes());
    Ok(())
}

/// The offset of the data offset in the moof's only trun: after its version, flags and sample
/// count.
fn data_offset_at(out: &[u8], moof_start: usize) -> Option<usize> {
    let moof = boxes::siblings(out, moof_start, out.len()).next()?.ok()?;
    boxes::descend(out, moof, &[b"traf", b"trun"])
        .ok()
        .map(|trun| trun.body + 8)
}

/// `sample_description_index` is always present, so that playback can patch it in place
/// ([`super::patch`]).
fn moof(
    track: TrackKind,
    sequence: u32,
    decode_time: u64,
    frames: &[Frame],
) -> Result<Moof, Error> {
    let tfhd = Tfhd {
        track_id: track.track_id(),
        sample_description_index: Some(1),
        default_base_is_moof: true,
        ..Default::default()
    };
    let (sgpd, sbgp) = groups::of(frames);
    let traf = Traf {
        tfhd,
        tfdt: Some(Tfdt {
            base_media_decode_time: decode_time,
        }),
        trun: vec![Trun {
            data_offset: Some(0),
            samples: TrunSamples::Explicit(sample_table(frames)?),
        }],
        sbgp,
        sgpd,
        ..Default::default()
    };
    // 14496-12 counts fragments from 1.
    Ok(Moof {
        mfhd: Mfhd {
            sequence_number: sequence.wrapping_add(1),
        },
        traf: vec![traf],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmaf::probe;
    use proptest::prelude::*;

    fn frame(decode_time: u64, bytes: &'static [u8], is_sync: bool) -> Frame {
        let access = is_sync.then_some(AccessPoint::Sync);
        Frame {
            data: Bytes::from_static(bytes),
            decode_time,
            duration: 3000,
            composition_offset: 0,
            access,
        }
    }

    fn flat(parts: &[Bytes]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn frames_come_back_byte_for_byte_and_are_not_copied() {
        let frames = [frame(900, b"key", true), frame(3900, b"delta!", false)];
        let parts = build_chunk(TrackKind::Video, 6, Timestamp(10_000), &frames).unwrap();
        assert_eq!(parts[1].as_ptr(), frames[0].data.as_ptr());
        let bytes = flat(&parts);
        let samples = probe::samples(&bytes).unwrap();
        let read: Vec<_> = samples
            .iter()
            .map(|s| {
                (
                    &bytes[s.offset..s.offset + s.size],
                    s.decode_time,
                    s.duration,
                    s.is_sync,
                )
            })
            .collect();
        assert_eq!(
            read,
            [
                (&b"key"[..], 900, 3000, true),
                (&b"delta!"[..], 3900, 3000, false)
            ]
        );
        let info = probe::chunk_info(&bytes).unwrap();
        assert_eq!(
            (
                info.track_id,
                info.moof_sequence,
                info.sample_description_index
            ),
            (1, 7, 1)
        );
    }

    #[test]
    fn decode_times_must_grow() {
        for second in [900, 0] {
            let frames = [frame(900, b"a", true), frame(second, b"b", false)];
            assert!(matches!(
                build_chunk(TrackKind::Video, 0, Timestamp(0), &frames),
                Err(Error::Unbuildable { .. })
            ));
        }
        assert!(build_chunk(TrackKind::Video, 0, Timestamp(0), &[]).is_err());
    }

    #[test]
    fn ntp_time_counts_from_1900_and_wraps_in_2036() {
        assert_eq!(
            ntp_time(Timestamp(500_000)),
            (NTP_TO_UNIX_S as u64) << 32 | 1 << 31
        );
        assert_eq!(
            ntp_time(Timestamp(((1_i64 << 32) - NTP_TO_UNIX_S) * 1_000_000)),
            0
        );
    }

    fn access() -> impl Strategy<Value = Option<AccessPoint>> {
        prop_oneof![
            Just(None),
            Just(Some(AccessPoint::Sync)),
            Just(Some(AccessPoint::Open)),
            any::<u16>().prop_map(|frames| Some(AccessPoint::Recovery { frames })),
        ]
    }

    proptest! {
        #[test]
        fn any_frames_round_trip(
            base in 0u64..1 << 50,
            raw in prop::collection::vec(
                (
                    1u32..1 << 20,
                    -90_000i32..90_000,
                    access(),
                    prop::collection::vec(any::<u8>(), 0..40),
                ),
                1..20,
            ),
        ) {
            let mut time = base;
            let frames: Vec<_> = raw
                .into_iter()
                .map(|(duration, composition_offset, access, data)| {
                    let frame = Frame {
                        data: data.into(),
                        decode_time: time,
                        duration,
                        composition_offset,
                        access,
                    };
                    time += u64::from(duration);
                    frame
                })
                .collect();
            let bytes = flat(&build_chunk(TrackKind::Audio, 0, Timestamp(0), &frames).unwrap());
            let samples = probe::samples(&bytes).unwrap();
            prop_assert_eq!(samples.len(), frames.len());
            for (sample, frame) in samples.iter().zip(&frames) {
                prop_assert_eq!(
                    &bytes[sample.offset..sample.offset + sample.size],
                    &frame.data[..]
                );
                prop_assert_eq!(
                    (
                        sample.decode_time,
                        sample.duration,
                        sample.composition_offset,
                        sample.is_sync
                    ),
                    (
                        frame.decode_time,
                        frame.duration,
                        i64::from(frame.composition_offset),
                        frame.access == Some(AccessPoint::Sync)
                    )
                );
            }
        }
    }
}
