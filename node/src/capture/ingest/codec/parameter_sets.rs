//! The parameter sets of a stream by id: all that were seen, and the decoder configuration for an
//! init segment. Pure but for what retina logs.
//!
//! A camera may send several sets of a kind, and pictures name the one they refer to (ITU-T H.264,
//! 7.4.1.2.1; H.265, 7.4.2.4.2). All of them go into the decoder configuration record, so that a
//! player can decode any picture; a set that comes again with another content replaces the one
//! before. Samples keep the sets that came within them.

use super::bits::Bits;
use super::nal::{Nal, SetKind, inspect};
use crate::capture::ingest::error::detail;
use crate::capture::ingest::media::{TrackParameters, Undecodable, VideoCodec};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use retina::codec::{Depacketizer, ParametersRef, VideoParameters, h26x::Framing};
use std::collections::BTreeMap;

/// A longer parameter set is refused: real ones have some dozens of bytes, with scaling lists and
/// VUI some hundreds.
const SET_BYTES_MAX: usize = 4096;
/// All sets of a stream together.
const SETS_BYTES_MAX: usize = 48 << 10;
/// `numOfSequenceParameterSets` has five bits (ISO/IEC 14496-15, 5.3.3.1.2); no stream has more
/// ids.
const SEQUENCE_SETS_MAX: usize = 31;
/// `numOfPictureParameterSets` has eight bits.
const PICTURE_SETS_MAX: usize = 255;
/// Profile, compatibility, tier and level at the beginning of an H.265 sequence parameter set
/// (7.3.2.2.1, 7.3.3).
const H265_PROFILE_BITS: u32 = 88;
/// What an `HEVCDecoderConfigurationRecord` holds before its arrays (ISO/IEC 14496-15, 8.3.3.1.2).
const HVCC_HEAD_BYTES: usize = 22;

/// Why a parameter set was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetError {
    /// Longer than any real one, or too many.
    Oversize,
    /// Its id cannot be read.
    Malformed,
}

#[derive(Debug)]
pub(crate) struct ParameterSets {
    codec: VideoCodec,
    sets: BTreeMap<(SetKind, u8), Set>,
    bytes: usize,
    /// Something has changed since the parameters were put together.
    changed: bool,
}

#[derive(Debug)]
struct Set {
    nal: Bytes,
    /// The id of the set that it refers to: a picture's of its sequence, a sequence's of its video
    /// set.
    refers_to: u8,
}

impl ParameterSets {
    pub(crate) fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            sets: BTreeMap::new(),
            bytes: 0,
            changed: false,
        }
    }

    /// Takes in the sets of an SDP's `fmtp` (RFC 6184, 8.1 `sprop-parameter-sets`; RFC 7798, 7.1
    /// `sprop-vps`, `-sps`, `-pps`). Skips unreadable ones: most cameras also send their sets
    /// within the stream.
    pub(crate) fn read_fmtp(&mut self, fmtp: &str) {
        for (name, value) in fmtp
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
        {
            let name = name.trim().to_ascii_lowercase();
            if !matches!(
                name.as_str(),
                "sprop-parameter-sets" | "sprop-vps" | "sprop-sps" | "sprop-pps"
            ) {
                continue;
            }
            for text in value.split(',') {
                for nal in decoded(text) {
                    if let Err(error) = self.see(&nal) {
                        tracing::debug!(?error, name, "left a parameter set of the SDP out");
                    }
                }
            }
        }
    }

    /// Takes in a parameter set, or another NAL unit, which changes nothing.
    ///
    /// # Errors
    /// The set is kept in its sample, and is not part of the configuration.
    pub(crate) fn see(&mut self, nal: &[u8]) -> Result<(), SetError> {
        let Nal::ParameterSet(kind) = inspect(self.codec, nal) else {
            return Ok(());
        };
        if nal.len() > SET_BYTES_MAX {
            return Err(SetError::Oversize);
        }
        let (id, refers_to) = ids(self.codec, kind, nal).ok_or(SetError::Malformed)?;
        let before = self.sets.get(&(kind, id)).map_or(0, |set| set.nal.len());
        if before > 0 && self.sets.get(&(kind, id)).is_some_and(|set| set.nal == nal) {
            return Ok(());
        }
        let bytes = self.bytes - before + nal.len();
        let others = self
            .sets
            .keys()
            .filter(|key| key.0 == kind && key.1 != id)
            .count();
        let most = if kind == SetKind::Picture {
            PICTURE_SETS_MAX
        } else {
            SEQUENCE_SETS_MAX
        };
        if bytes > SETS_BYTES_MAX || others >= most {
            return Err(SetError::Oversize);
        }
        self.bytes = bytes;
        self.changed = true;
        self.sets.insert(
            (kind, id),
            Set {
                nal: Bytes::copy_from_slice(nal),
                refers_to,
            },
        );
        Ok(())
    }

    /// Whether sets have come or changed since [`Self::parameters`] was asked last.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    /// What decodes a picture that refers to the picture parameter set `pps`, and all pictures of
    /// the other sets that were seen.
    ///
    /// # Errors
    /// Which set is missing, or why they cannot be used.
    pub(crate) fn parameters(
        &mut self,
        pps: Option<u8>,
        timescale: u32,
    ) -> Result<TrackParameters, Undecodable> {
        let unusable = |why: &str| {
            Undecodable::Unusable(format!(
                "its parameter sets cannot be used: {}",
                detail(why)
            ))
        };
        self.changed = false;
        let picture = self.referred(SetKind::Picture, pps);
        let picture = picture.ok_or(Undecodable::Missing("picture parameter set (PPS)"))?;
        let sequence = self.referred(SetKind::Sequence, Some(picture.refers_to));
        let sequence = sequence.ok_or(Undecodable::Missing("sequence parameter set (SPS)"))?;
        let (config, read) = match self.codec {
            VideoCodec::H264 => {
                let read = retina::codec::h264::parameters_from_sps_and_pps(
                    &sequence.nal,
                    &picture.nal,
                    Framing::FourByteLength,
                );
                (
                    self.avcc(&sequence.nal),
                    read.map_err(|error| unusable(&error.to_string()))?,
                )
            }
            VideoCodec::H265 => {
                let video = self.referred(SetKind::Video, Some(sequence.refers_to));
                let video = video.ok_or(Undecodable::Missing("video parameter set (VPS)"))?;
                let read = h265_parameters(&video.nal, &sequence.nal, &picture.nal);
                let read = read.map_err(|why| unusable(&why))?;
                (self.hvcc(read.extra_data()), read)
            }
        };
        let (width, height) = read.pixel_dimensions();
        let size = |pixels: u32| {
            u16::try_from(pixels).map_err(|_| unusable(&format!("{pixels} pixels wide or high")))
        };
        Ok(TrackParameters::Video {
            codec: self.codec,
            config,
            width: size(width)?,
            height: size(height)?,
            pixel_aspect_ratio: read.pixel_aspect_ratio(),
            timescale,
        })
    }

    /// The set of this id, or the first if the camera never sent that one.
    fn referred(&self, kind: SetKind, id: Option<u8>) -> Option<&Set> {
        let first = || self.of(kind).next();
        id.and_then(|id| self.sets.get(&(kind, id))).or_else(first)
    }

    fn of(&self, kind: SetKind) -> impl ExactSizeIterator<Item = &Set> {
        self.sets
            .range((kind, 0)..=(kind, u8::MAX))
            .map(|(_, set)| set)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// `AVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1.2) with four bytes of length
    /// before each NAL unit.
    fn avcc(&self, sequence: &[u8]) -> Bytes {
        let profile = sequence.get(1..4).unwrap_or(&[0; 3]);
        let mut record = vec![1];
        record.extend_from_slice(profile);
        record.push(0xff);
        let (sequences, pictures) = (self.of(SetKind::Sequence), self.of(SetKind::Picture));
        record.push(0xe0 | sequences.len() as u8);
        sequences.for_each(|set| push_nal(&mut record, &set.nal));
        record.push(pictures.len() as u8);
        pictures.for_each(|set| push_nal(&mut record, &set.nal));
        record.into()
    }

    /// `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 8.3.3.1.2) with the head of `record` and
    /// arrays of all sets, said to be complete as `hvc1` asks, which Apple's players want.
    fn hvcc(&self, record: &[u8]) -> Bytes {
        let mut record = record[..HVCC_HEAD_BYTES.min(record.len())].to_vec();
        record.push(3);
        for (kind, unit_type) in [
            (SetKind::Video, 32),
            (SetKind::Sequence, 33),
            (SetKind::Picture, 34),
        ] {
            let sets = self.of(kind);
            record.push(0x80 | unit_type);
            record.extend((sets.len() as u16).to_be_bytes());
            sets.for_each(|set| push_nal(&mut record, &set.nal));
        }
        record.into()
    }
}

/// NAL units of a base64 text: one, or several with start codes as some cameras send them.
fn decoded(text: &str) -> Vec<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    let config = base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let Ok(bytes) = engine.decode(text) else {
        return Vec::new();
    };
    super::annex_b::split(&bytes).map(<[u8]>::to_vec).collect()
}

/// The id of a set, and of the one that it refers to.
fn ids(codec: VideoCodec, kind: SetKind, nal: &[u8]) -> Option<(u8, u8)> {
    let narrow = |id: u32| u8::try_from(id).ok();
    match (codec, kind) {
        (VideoCodec::H264, SetKind::Sequence) => {
            let mut bits = Bits::after_header(nal, 1);
            bits.number(24)?;
            Some((narrow(bits.unsigned()?).filter(|id| *id < 32)?, 0))
        }
        (VideoCodec::H264, _) => {
            let mut bits = Bits::after_header(nal, 1);
            Some((narrow(bits.unsigned()?)?, narrow(bits.unsigned()?)?))
        }
        (VideoCodec::H265, SetKind::Video) => {
            Some((narrow(Bits::after_header(nal, 2).number(4)?)?, 0))
        }
        (VideoCodec::H265, SetKind::Sequence) => h265_sequence_ids(nal),
        (VideoCodec::H265, SetKind::Picture) => {
            let mut bits = Bits::after_header(nal, 2);
            Some((
                narrow(bits.unsigned()?).filter(|id| *id < 64)?,
                narrow(bits.unsigned()?)?,
            ))
        }
    }
}

/// Past `profile_tier_level` (H.265, 7.3.3), whose length depends on the number of sub-layers.
fn h265_sequence_ids(nal: &[u8]) -> Option<(u8, u8)> {
    let mut bits = Bits::after_header(nal, 2);
    let video = bits.number(4)?;
    let sub_layers = bits.number(3)?;
    bits.bit()?;
    skip(&mut bits, H265_PROFILE_BITS + 8)?;
    let present: Vec<_> = (0..sub_layers)
        .map_while(|_| Some((bits.bit()?, bits.bit()?)))
        .collect();
    if sub_layers > 0 {
        skip(&mut bits, 2 * (8 - sub_layers))?;
    }
    for (profile, level) in present {
        skip(
            &mut bits,
            if profile { H265_PROFILE_BITS } else { 0 } + if level { 8 } else { 0 },
        )?;
    }
    let id = u8::try_from(bits.unsigned()?).ok().filter(|id| *id < 16)?;
    Some((id, u8::try_from(video).ok()?))
}

fn skip(bits: &mut Bits<'_>, count: u32) -> Option<()> {
    (0..count).try_for_each(|_| bits.bit().map(drop))
}

/// What retina parses from one set of each kind.
fn h265_parameters(
    video: &[u8],
    sequence: &[u8],
    picture: &[u8],
) -> Result<VideoParameters, String> {
    let [video, sequence, picture] = [video, sequence, picture].map(|nal| STANDARD.encode(nal));
    let fmtp = format!("sprop-vps={video};sprop-sps={sequence};sprop-pps={picture}");
    let depacketizer = Depacketizer::new("video", "h265", 90_000, None, Some(&fmtp))?;
    match depacketizer.parameters() {
        Some(ParametersRef::Video(parameters)) => Ok(parameters.clone()),
        _ => Err("they cannot be read".to_owned()),
    }
}

fn push_nal(record: &mut Vec<u8>, nal: &[u8]) {
    // At most SET_BYTES_MAX.
    record.extend((nal.len() as u16).to_be_bytes());
    record.extend_from_slice(nal);
}

#[cfg(test)]
mod tests;
