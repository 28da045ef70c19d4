//! Merges stored init segments into the header of one presentation: a video and an audio track
//! whose `stsd` have every sample entry in use.

use super::Error;
use super::boxes::{self, BoxRef, Kind, be16, be32};
use super::init::{Times, Track, header};
use crate::chunk::InitId;
use crate::ids::TrackKind;
use bytes::Bytes;
use mp4_atom::{Avcc, Decode, Hvcc};
use std::collections::BTreeMap;

/// Bytes of a visual sample entry before its child boxes (ISO/IEC 14496-12, 12.1.3.2), with the box
/// header.
const VISUAL_ENTRY_BYTES: usize = 8 + 78;

/// The most init segments per track of one presentation.
pub const INITS_MAX: usize = 256;

/// The track of a stored init segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitInfo {
    pub track: TrackKind,
    pub timescale: u32,
    pub width: u16,
    pub height: u16,
    /// Kind of the sample entry, for example `avc1`.
    pub codec: [u8; 4],
    /// The complete sample entry.
    entry: Vec<u8>,
}

/// The header of a presentation.
#[derive(Clone, Debug, Default)]
pub struct MergedInit {
    pub bytes: Bytes,
    /// The `sample_description_index` for the chunks of each init.
    pub sample_description_index: BTreeMap<InitId, u32>,
    /// If video has more than one entry: each one's parameter sets as NAL units with 4-byte
    /// lengths, to be put before keyframes. Players built on ffmpeg ignore
    /// `sample_description_index` in fragments, but they read these.
    pub parameter_sets: BTreeMap<InitId, Bytes>,
    /// Ticks per second of each track.
    pub timescale: BTreeMap<TrackKind, u32>,
    tracks: Vec<Track>,
}

impl MergedInit {
    /// The header of a presentation whose times are known.
    ///
    /// # Errors
    /// [`Error::Unbuildable`] if they cannot be expressed.
    pub fn with_times(&self, times: &Times) -> Result<Bytes, Error> {
        header(&self.tracks, times)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// One track cannot hold both: cut the presentation where this init is first used.
    #[error("the {track:?} track changes from {from} to {to}")]
    CodecChanged {
        track: TrackKind,
        init: InitId,
        from: String,
        to: String,
    },
    #[error(
        "{count} parameter changes in the {track:?} track where {INITS_MAX} fit into one \
         presentation"
    )]
    TooMany { track: TrackKind, count: usize },
    #[error("init segment {init:?}: {error}")]
    Unreadable { init: InitId, error: Error },
    #[error(transparent)]
    Unbuildable(#[from] Error),
}

/// One header for all these inits, each list in order of first use. Duplicates count once; an empty
/// list makes no track.
///
/// # Errors
/// See [`MergeError`].
pub fn merge_inits(
    video: &[(InitId, Bytes)],
    audio: &[(InitId, Bytes)],
) -> Result<MergedInit, MergeError> {
    merge_inits_from(video, audio, 0)
}

/// Like [`merge_inits`], for a presentation that players show from `shown_from_us` on, in
/// microseconds: everything before is only decoded.
///
/// # Errors
/// See [`MergeError`].
pub fn merge_inits_from(
    video: &[(InitId, Bytes)],
    audio: &[(InitId, Bytes)],
    shown_from_us: u64,
) -> Result<MergedInit, MergeError> {
    let mut merged = MergedInit::default();
    for (kind, inits) in [(TrackKind::Video, video), (TrackKind::Audio, audio)] {
        if let Some(track) = merge_track(kind, inits, &mut merged.sample_description_index)? {
            merged.timescale.insert(kind, track.timescale);
            if kind == TrackKind::Video && track.entries.len() > 1 {
                merged.parameter_sets = parameter_sets(inits)?;
            }
            merged.tracks.push(track);
        }
    }
    merged.bytes = merged.with_times(&Times {
        shown_from_us,
        ..Times::default()
    })?;
    Ok(merged)
}

/// Reads an init segment of one track as [`super::init`] writes them.
///
/// # Errors
/// [`Error::Damaged`] if it is no init segment.
pub fn parse_init(bytes: &[u8]) -> Result<InitInfo, Error> {
    let moov = boxes::only(bytes, 0, bytes.len(), b"moov")?;
    let trak = boxes::only(bytes, moov.body, moov.end, b"trak")?;
    let child = |path: &[&Kind]| boxes::descend(bytes, trak, path);
    let (tkhd, mdhd, hdlr) = (
        child(&[b"tkhd"])?,
        child(&[b"mdia", b"mdhd"])?,
        child(&[b"mdia", b"hdlr"])?,
    );
    let stsd = child(&[b"mdia", b"minf", b"stbl", b"stsd"])?;
    let entry = boxes::siblings(bytes, stsd.body + 8, stsd.end).next();
    let entry = entry.ok_or(Error::damaged("stsd", stsd.start, "no sample entry"))??;
    let timescale = timescale(bytes, mdhd)?;
    if timescale == 0 {
        return Err(Error::damaged("mdhd", mdhd.start, "the timescale is 0"));
    }
    // Width and height are the last two 16.16 fields.
    let size_at = tkhd.end.saturating_sub(8).max(tkhd.body);
    Ok(InitInfo {
        track: track_kind(bytes, hdlr)?,
        timescale,
        width: be16(bytes, size_at)?,
        height: be16(bytes, size_at + 4)?,
        codec: entry.kind,
        entry: bytes[entry.start..entry.end].to_vec(),
    })
}

fn timescale(bytes: &[u8], mdhd: BoxRef) -> Result<u32, Error> {
    let offset = if be32(bytes, mdhd.body)? >> 24 == 0 {
        12
    } else {
        20
    };
    be32(bytes, mdhd.body + offset)
}

fn track_kind(bytes: &[u8], hdlr: BoxRef) -> Result<TrackKind, Error> {
    match &boxes::array::<4>(bytes, hdlr.body + 8)? {
        b"vide" => Ok(TrackKind::Video),
        b"soun" => Ok(TrackKind::Audio),
        b"meta" => Ok(TrackKind::Metadata),
        _ => Err(Error::damaged(
            "hdlr",
            hdlr.start,
            "neither video nor audio nor metadata",
        )),
    }
}

fn merge_track(
    kind: TrackKind,
    inits: &[(InitId, Bytes)],
    index: &mut BTreeMap<InitId, u32>,
) -> Result<Option<Track>, MergeError> {
    let mut first: Option<(InitInfo, Track)> = None;
    for (id, bytes) in inits {
        if index.contains_key(id) {
            continue;
        }
        let info =
            parse_init(bytes).map_err(|error| MergeError::Unreadable { init: *id, error })?;
        let (like, track) = first.get_or_insert_with(|| {
            let track = Track {
                kind,
                timescale: info.timescale,
                size: (0, 0),
                entries: Vec::new(),
            };
            (info.clone(), track)
        });
        if (like.codec, like.timescale) != (info.codec, info.timescale) || info.track != kind {
            return Err(MergeError::CodecChanged {
                track: kind,
                init: *id,
                from: like.name(),
                to: info.name(),
            });
        }
        if track.entries.len() == INITS_MAX {
            return Err(MergeError::TooMany {
                track: kind,
                count: inits.len(),
            });
        }
        track.size = (track.size.0.max(info.width), track.size.1.max(info.height));
        track.entries.push(info.entry);
        index.insert(*id, track.entries.len() as u32);
    }
    Ok(first.map(|(_, track)| track))
}

fn parameter_sets(inits: &[(InitId, Bytes)]) -> Result<BTreeMap<InitId, Bytes>, MergeError> {
    let read = |(id, bytes): &(InitId, Bytes)| {
        let sets = parse_init(bytes).and_then(|info| info.parameter_sets());
        sets.map(|sets| (*id, sets))
            .map_err(|error| MergeError::Unreadable { init: *id, error })
    };
    inits.iter().map(read).collect()
}

impl InitInfo {
    /// The parameter sets of a video track as NAL units with 4-byte lengths.
    fn parameter_sets(&self) -> Result<Bytes, Error> {
        let entry = &self.entry;
        let child = |kind| {
            boxes::only(entry, VISUAL_ENTRY_BYTES, entry.len(), kind)
                .map(|found| &entry[found.start..found.end])
        };
        let unreadable = |_| {
            Error::damaged(
                "sample entry",
                0,
                "its decoder configuration cannot be read",
            )
        };
        let sets = if self.codec == *b"avc1" {
            let avcc = Avcc::decode(&mut child(b"avcC")?).map_err(unreadable)?;
            [avcc.sequence_parameter_sets, avcc.picture_parameter_sets].concat()
        } else {
            let hvcc = Hvcc::decode(&mut child(b"hvcC")?).map_err(unreadable)?;
            hvcc.arrays
                .into_iter()
                .flat_map(|array| array.nalus)
                .collect()
        };
        let with_length = |nal: Vec<u8>| [&(nal.len() as u32).to_be_bytes()[..], &nal].concat();
        Ok(sets.into_iter().flat_map(with_length).collect())
    }

    fn name(&self) -> String {
        format!(
            "{} at {} ticks/s",
            String::from_utf8_lossy(&self.codec),
            self.timescale
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmaf::init::{
        AudioCodec, AudioParameters, VideoCodec, VideoParameters, audio_init, video_init,
    };
    use proptest::prelude::*;

    fn avc(level: u8) -> (InitId, Bytes) {
        let avcc = vec![1, 0x64, 0, level, 0xff, 0xe0, 0];
        let bytes = video_init(&VideoParameters {
            codec: VideoCodec::Avc { avcc },
            width: 640,
            height: 360,
            pixel_aspect: None,
        })
        .unwrap();
        (InitId::of(&bytes), bytes)
    }

    fn hevc() -> (InitId, Bytes) {
        let codec = VideoCodec::Hevc {
            hvcc: [&[1][..], &[0; 22]].concat(),
        };
        let bytes = video_init(&VideoParameters {
            codec,
            width: 640,
            height: 360,
            pixel_aspect: Some((4, 3)),
        })
        .unwrap();
        (InitId::of(&bytes), bytes)
    }

    fn audio(codec: AudioCodec, sample_rate_hz: u32) -> (InitId, Bytes) {
        let bytes = audio_init(&AudioParameters {
            codec,
            sample_rate_hz,
            channels: 1,
        })
        .unwrap();
        (InitId::of(&bytes), bytes)
    }

    #[test]
    fn an_init_says_what_it_was_built_from() {
        let info = parse_init(&avc(30).1).unwrap();
        assert_eq!(
            (
                info.track,
                info.timescale,
                info.width,
                info.height,
                &info.codec
            ),
            (TrackKind::Video, 90_000, 640, 360, b"avc1")
        );
        let info = parse_init(&audio(AudioCodec::PcmAlaw, 8000).1).unwrap();
        assert_eq!(
            (info.track, info.timescale, &info.codec),
            (TrackKind::Audio, 8000, b"alaw")
        );
        assert_eq!(&parse_init(&hevc().1).unwrap().codec, b"hvc1");
    }

    #[test]
    fn every_parameter_set_in_use_gets_its_own_entry_in_order_of_use() {
        let (a, b) = (avc(30), avc(31));
        let sound = audio(
            AudioCodec::Aac {
                config: vec![0x12, 0x08],
            },
            44_100,
        );
        let merged = merge_inits(
            &[a.clone(), b.clone(), a.clone()],
            std::slice::from_ref(&sound),
        )
        .unwrap();
        let expected = BTreeMap::from([(a.0, 1), (b.0, 2), (sound.0, 1)]);
        assert_eq!(merged.sample_description_index, expected);
        assert_eq!(
            merged.timescale,
            BTreeMap::from([(TrackKind::Video, 90_000), (TrackKind::Audio, 44_100)])
        );
        assert_eq!(merged.parameter_sets.len(), 2);
        let parsed = re_mp4::Mp4::read_bytes(&merged.bytes).unwrap();
        assert_eq!(parsed.moov.traks.len(), 2);
        assert_eq!(
            parsed.moov.traks[0].tkhd.track_id,
            TrackKind::Video.track_id()
        );
    }

    #[test]
    fn a_change_of_codec_or_sample_rate_names_the_init_where_it_happens() {
        let after = hevc();
        let error = merge_inits(&[avc(30), after.clone()], &[]).unwrap_err();
        assert!(
            matches!(error, MergeError::CodecChanged { init, .. } if init == after.0),
            "{error}"
        );
        let after = audio(AudioCodec::PcmUlaw, 16_000);
        let error =
            merge_inits(&[], &[audio(AudioCodec::PcmUlaw, 8000), after.clone()]).unwrap_err();
        assert!(
            matches!(error, MergeError::CodecChanged { init, .. } if init == after.0),
            "{error}"
        );
    }

    #[test]
    fn damaged_inits_are_named() {
        let (id, bytes) = avc(30);
        let error = merge_inits(&[(id, bytes.slice(..bytes.len() - 1))], &[]).unwrap_err();
        assert!(matches!(error, MergeError::Unreadable { init, .. } if init == id));
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            at in any::<prop::sample::Index>(),
            value in any::<u8>(),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut bytes = avc(30).1.to_vec();
            let place = at.index(bytes.len());
            bytes[place] = value;
            bytes.truncate(keep.index(bytes.len() + 1));
            let _ = parse_init(&bytes).and_then(|info| info.parameter_sets());
        }
    }
}
