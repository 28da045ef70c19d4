//! Builds the CMAF header (`ftyp`+`moov`, ISO/IEC 23000-19, 7.3.1) of one track from its codec
//! parameters.

use super::Error;
use crate::ids::TrackKind;
use bytes::Bytes;
use mp4_atom::{
    Audio, BufMut, Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode, Esds, FourCC, Ftyp, Hdlr,
    Mdhd, Mehd, Mvex, Mvhd, Pasp, Smhd, Stco, Stsc, Stsz, Stts, Tkhd, Trex, Url, Visual, Vmhd,
    esds,
};
use std::collections::BTreeMap;

/// Ticks per second of every video track.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Ticks per second of the times of the whole presentation.
const MOVIE_TIMESCALE: u32 = 1000;

/// What decodes a video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// An `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1).
    Avc { avcc: Vec<u8> },
    /// An `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 8.3.3.1).
    Hevc { hvcc: Vec<u8> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoParameters {
    pub codec: VideoCodec,
    /// Coded size in pixels.
    pub width: u16,
    pub height: u16,
    /// Width to height of one pixel, if the stream specifies it.
    pub pixel_aspect: Option<(u32, u32)>,
}

/// What decodes an audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// An `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1).
    Aac { config: Vec<u8> },
    /// ITU-T G.711 A-law.
    PcmAlaw,
    /// ITU-T G.711 µ-law.
    PcmUlaw,
}

/// The track's timescale is its sample rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioParameters {
    pub codec: AudioCodec,
    pub sample_rate_hz: u32,
    pub channels: u16,
}

/// The init segment of a video track.
///
/// # Errors
/// [`Error::Unbuildable`] if the parameters cannot be expressed.
pub fn video_init(video: &VideoParameters) -> Result<Bytes, Error> {
    let entry = video_entry(video)?;
    let track = Track {
        kind: TrackKind::Video,
        timescale: VIDEO_TIMESCALE,
        size: (video.width, video.height),
        entries: vec![entry],
    };
    header(&[track], &Times::default())
}

/// The init segment of an audio track.
///
/// # Errors
/// [`Error::Unbuildable`] if the parameters cannot be expressed.
pub fn audio_init(audio: &AudioParameters) -> Result<Bytes, Error> {
    if audio.sample_rate_hz == 0 || audio.channels == 0 {
        return Err(Error::unbuildable(
            "audio init",
            "sample rate and channels must not be 0",
        ));
    }
    let entry = audio_entry(audio)?;
    let track = Track {
        kind: TrackKind::Audio,
        timescale: audio.sample_rate_hz,
        size: (0, 0),
        entries: vec![entry],
    };
    header(&[track], &Times::default())
}

/// A track of a header. Its sample entries are whole boxes, byte for byte, so that parameter sets
/// stay as the camera sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) kind: TrackKind,
    pub(crate) timescale: u32,
    pub(crate) size: (u16, u16),
    pub(crate) entries: Vec<Vec<u8>>,
}

/// The times of a presentation in its header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Where players begin to show it, in microseconds.
    pub shown_from_us: u64,
    /// The end of each track, in its ticks from time 0; empty if it is not known.
    pub durations: BTreeMap<TrackKind, u64>,
}

impl Times {
    /// How long a track is shown, in ticks of the movie; 0 if that is not known.
    fn shown(&self, track: &Track) -> u64 {
        let ticks = self.durations.get(&track.kind).copied().unwrap_or_default();
        let us = u128::from(ticks) * 1_000_000 / u128::from(track.timescale.max(1));
        let shown_us = us.saturating_sub(u128::from(self.shown_from_us));
        u64::try_from(shown_us * u128::from(MOVIE_TIMESCALE) / 1_000_000).unwrap_or(u64::MAX)
    }
}

/// `ftyp` and a `moov` with these tracks, whose samples are all in fragments.
pub(crate) fn header(tracks: &[Track], times: &Times) -> Result<Bytes, Error> {
    let mut bytes = Vec::with_capacity(1024);
    write_header(&mut bytes, tracks, times).map_err(|error| Error::unbuildable("init", error))?;
    Ok(bytes.into())
}

fn write_header(out: &mut Vec<u8>, tracks: &[Track], times: &Times) -> mp4_atom::Result<()> {
    let brands = [b"iso6", b"cmfc", b"mp41"].map(FourCC::new);
    Ftyp {
        major_brand: brands[0],
        minor_version: 0,
        compatible_brands: brands.to_vec(),
    }
    .encode(out)?;
    out.encode_atom(b"moov", |out| {
        let next_track_id = tracks
            .iter()
            .map(|track| track.kind.track_id())
            .max()
            .unwrap_or(0)
            + 1;
        let duration = tracks
            .iter()
            .map(|track| times.shown(track))
            .max()
            .unwrap_or_default();
        let (timescale, rate, volume) = (MOVIE_TIMESCALE, 1.into(), 1.into());
        Mvhd {
            timescale,
            duration,
            rate,
            volume,
            next_track_id,
            ..Default::default()
        }
        .encode(out)?;
        tracks
            .iter()
            .try_for_each(|track| write_track(out, track, times))?;
        // Players of fragmented files read this, or the boxes of unfragmented ones: all have the
        // same value.
        let mehd = (!times.durations.is_empty()).then_some(Mehd {
            fragment_duration: duration,
        });
        Mvex {
            mehd,
            trex: tracks.iter().map(trex).collect(),
        }
        .encode(out)
    })
}

fn trex(track: &Track) -> Trex {
    Trex {
        track_id: track.kind.track_id(),
        default_sample_description_index: 1,
        ..Default::default()
    }
}

fn write_track(out: &mut Vec<u8>, track: &Track, times: &Times) -> mp4_atom::Result<()> {
    let audible = track.kind == TrackKind::Audio;
    let tkhd = Tkhd {
        track_id: track.kind.track_id(),
        duration: times.shown(track),
        enabled: true,
        in_movie: true,
        volume: u8::from(audible).into(),
        width: track.size.0.into(),
        height: track.size.1.into(),
        ..Default::default()
    };
    out.encode_atom(b"trak", |out| {
        tkhd.encode(out)?;
        if times.shown_from_us > 0 {
            edit(track.timescale, times.shown_from_us).encode(out)?;
        }
        out.encode_atom(b"mdia", |out| write_media(out, track, times))
    })
}

/// One edit up to the end: in a fragmented file, its duration is 0 (ISO/IEC 14496-12, 8.6.6.1).
fn edit(timescale: u32, shown_from_us: u64) -> Edts {
    let media_time = u128::from(shown_from_us) * u128::from(timescale) / 1_000_000;
    let entry = ElstEntry {
        segment_duration: 0,
        media_time: u64::try_from(media_time).ok(),
        media_rate: 1.into(),
    };
    Edts {
        elst: Some(Elst {
            entries: vec![entry],
        }),
    }
}

fn write_media(out: &mut Vec<u8>, track: &Track, times: &Times) -> mp4_atom::Result<()> {
    let (handler, name) = match track.kind {
        TrackKind::Video => (b"vide", "video"),
        TrackKind::Audio => (b"soun", "audio"),
        TrackKind::Metadata => (b"meta", "metadata"),
    };
    let duration = times
        .durations
        .get(&track.kind)
        .copied()
        .unwrap_or_default();
    Mdhd {
        timescale: track.timescale,
        duration,
        language: "und".to_owned(),
        ..Default::default()
    }
    .encode(out)?;
    Hdlr {
        handler: FourCC::new(handler),
        name: name.to_owned(),
    }
    .encode(out)?;
    out.encode_atom(b"minf", |out| {
        match track.kind {
            TrackKind::Video => Vmhd::default().encode(out)?,
            TrackKind::Audio => Smhd::default().encode(out)?,
            TrackKind::Metadata => mp4_atom::Nmhd::default().encode(out)?,
        }
        Dinf {
            dref: Dref {
                entries: vec![DrefEntry::Url(Url::default())],
            },
        }
        .encode(out)?;
        out.encode_atom(b"stbl", |out| write_sample_table(out, &track.entries))
    })
}

fn write_sample_table(out: &mut Vec<u8>, entries: &[Vec<u8>]) -> mp4_atom::Result<()> {
    out.encode_atom(b"stsd", |out| {
        0u32.encode(out)?;
        (entries.len() as u32).encode(out)?;
        entries
            .iter()
            .for_each(|entry| out.extend_from_slice(entry));
        Ok(())
    })?;
    Stts::default().encode(out)?;
    Stsc::default().encode(out)?;
    Stsz::default().encode(out)?;
    Stco::default().encode(out)
}

fn video_entry(video: &VideoParameters) -> Result<Vec<u8>, Error> {
    let (entry, config, record) = match &video.codec {
        VideoCodec::Avc { avcc } => (b"avc1", b"avcC", avcc),
        VideoCodec::Hevc { hvcc } => (b"hvc1", b"hvcC", hvcc),
    };
    // Both records begin with configurationVersion 1 and are longer than this even without
    // parameter sets.
    if record.len() < 7 || record[0] != 1 {
        return Err(Error::unbuildable(
            "video init",
            "the decoder configuration record is not of version 1",
        ));
    }
    if video.width == 0 || video.height == 0 {
        return Err(Error::unbuildable(
            "video init",
            "width and height must not be 0",
        ));
    }
    let visual = Visual {
        data_reference_index: 1,
        width: video.width,
        height: video.height,
        ..Default::default()
    };
    let mut out = Vec::with_capacity(record.len() + 128);
    out.encode_atom(entry, |out| {
        visual.encode(out)?;
        out.encode_atom(config, |out| {
            out.extend_from_slice(record);
            Ok(())
        })?;
        video
            .pixel_aspect
            .map(|(h_spacing, v_spacing)| Pasp {
                h_spacing,
                v_spacing,
            })
            .encode(out)
    })
    .map_err(|error| Error::unbuildable("video init", error))?;
    Ok(out)
}

fn audio_entry(audio: &AudioParameters) -> Result<Vec<u8>, Error> {
    let kind = match audio.codec {
        AudioCodec::Aac { .. } => b"mp4a",
        AudioCodec::PcmAlaw => b"alaw",
        AudioCodec::PcmUlaw => b"ulaw",
    };
    let fields = Audio {
        data_reference_index: 1,
        channel_count: audio.channels,
        sample_size: 16,
        // 16.16 fixed point; 0 if the rate does not fit, because the AudioSpecificConfig then
        // decides.
        sample_rate: u16::try_from(audio.sample_rate_hz).unwrap_or(0).into(),
    };
    let mut out = Vec::with_capacity(128);
    out.encode_atom(kind, |out| {
        fields.encode(out)?;
        match &audio.codec {
            AudioCodec::Aac { config } => elementary_stream(config).encode(out),
            AudioCodec::PcmAlaw | AudioCodec::PcmUlaw => Ok(()),
        }
    })
    .map_err(|error| Error::unbuildable("audio init", error))?;
    Ok(out)
}

/// The `esds` of AAC (ISO/IEC 14496-14, 3.1.2): object type 0x40, stream type audio.
fn elementary_stream(config: &[u8]) -> Esds {
    let dec_specific = esds::DecoderSpecific {
        raw: config.to_vec(),
        ..Default::default()
    };
    let dec_config = esds::DecoderConfig {
        object_type_indication: 0x40,
        stream_type: 0x05,
        dec_specific: Some(dec_specific),
        ..Default::default()
    };
    Esds {
        es_desc: esds::EsDescriptor {
            dec_config,
            ..Default::default()
        },
    }
}
