//! Reads chunks: their samples, their times, and the boundaries of chunks in a longer file. Never
//! trusts a length.

use super::Error;
use super::boxes::{self, BoxRef, be32, be64};
use super::chunk::CHUNK_FRAMES_MAX;

/// One sample of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Of its first byte, from the start of the probed bytes.
    pub offset: usize,
    pub size: usize,
    /// In ticks of the track's timescale.
    pub decode_time: u64,
    pub duration: u32,
    pub composition_offset: i64,
    /// A sync sample (ISO/IEC 14496-12, 8.6.2).
    pub is_sync: bool,
}

/// The properties of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkInfo {
    pub track_id: u32,
    pub moof_sequence: u32,
    pub sample_description_index: u32,
    /// Decode time of the first sample, in ticks.
    pub decode_time: u64,
    /// Duration of all samples together, in ticks.
    pub duration: u64,
    pub samples: usize,
}

/// The samples of the one chunk that `bytes` begins with.
///
/// # Errors
/// [`Error::Damaged`] if a box is missing or a sample lies outside the `mdat`.
pub fn samples(bytes: &[u8]) -> Result<Vec<Sample>, Error> {
    let layout = Layout::read(bytes)?;
    let mut samples = Vec::new();
    let mut time = layout.decode_time(bytes)?;
    let defaults = Defaults::read(bytes, layout.tfhd)?;
    for trun in &layout.truns {
        read_run(bytes, &layout, &defaults, *trun, &mut time, &mut samples)?;
    }
    Ok(samples)
}

/// # Errors
/// Like [`samples`].
pub fn chunk_info(bytes: &[u8]) -> Result<ChunkInfo, Error> {
    let layout = Layout::read(bytes)?;
    let samples = samples(bytes)?;
    Ok(ChunkInfo {
        track_id: be32(bytes, layout.tfhd.body + 4)?,
        moof_sequence: be32(bytes, layout.mfhd.body + 4)?,
        sample_description_index: Defaults::read(bytes, layout.tfhd)?.sample_description_index,
        decode_time: layout.decode_time(bytes)?,
        duration: samples
            .iter()
            .map(|sample| u64::from(sample.duration))
            .sum(),
        samples: samples.len(),
    })
}

/// Splits a file into its chunks: each item is the byte range from the first box after the previous
/// `mdat` to the end of its own `mdat`, without `ftyp` and `moov`.
pub fn chunk_ranges(
    bytes: &[u8],
) -> impl Iterator<Item = Result<std::ops::Range<usize>, Error>> + '_ {
    let mut begin = None;
    boxes::siblings(bytes, 0, bytes.len()).filter_map(move |found| match found {
        Err(error) => Some(Err(error)),
        Ok(found) if found.kind == *b"ftyp" || found.kind == *b"moov" => {
            begin = None;
            None
        }
        Ok(found) => {
            let start = *begin.get_or_insert(found.start);
            (found.kind == *b"mdat").then(|| {
                begin = None;
                Ok(start..found.end)
            })
        }
    })
}

/// The places of the boxes of a single-track chunk.
pub(crate) struct Layout {
    pub(crate) prft: Option<BoxRef>,
    pub(crate) mfhd: BoxRef,
    pub(crate) tfhd: BoxRef,
    pub(crate) tfdt: BoxRef,
    moof: BoxRef,
    pub(crate) truns: Vec<BoxRef>,
    pub(crate) mdat: BoxRef,
}

impl Layout {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let (mut prft, mut moof) = (None, None);
        for found in boxes::siblings(bytes, 0, bytes.len()) {
            let found = found?;
            match (&found.kind, moof) {
                (b"prft", None) => prft = Some(found),
                (b"moof", None) => moof = Some(found),
                (b"mdat", Some(moof)) => return Self::of(bytes, prft, moof, found),
                (b"moof" | b"mdat", _) => {
                    return Err(Error::damaged(
                        "chunk",
                        found.start,
                        "moof and mdat do not alternate",
                    ));
                }
                _ => {}
            }
        }
        Err(Error::damaged(
            "chunk",
            bytes.len(),
            "no moof with its mdat",
        ))
    }

    fn of(bytes: &[u8], prft: Option<BoxRef>, moof: BoxRef, mdat: BoxRef) -> Result<Self, Error> {
        let traf = boxes::only(bytes, moof.body, moof.end, b"traf")?;
        let within = |kind| boxes::only(bytes, traf.body, traf.end, kind);
        let truns = boxes::siblings(bytes, traf.body, traf.end)
            .filter(|found| !matches!(found, Ok(found) if found.kind != *b"trun"));
        Ok(Self {
            prft,
            mfhd: boxes::only(bytes, moof.body, moof.end, b"mfhd")?,
            tfhd: within(b"tfhd")?,
            tfdt: within(b"tfdt")?,
            moof,
            truns: truns.collect::<Result<_, _>>()?,
            mdat,
        })
    }

    pub(crate) fn decode_time(&self, bytes: &[u8]) -> Result<u64, Error> {
        match be32(bytes, self.tfdt.body)? >> 24 {
            0 => be32(bytes, self.tfdt.body + 4).map(u64::from),
            _ => be64(bytes, self.tfdt.body + 4),
        }
    }
}

/// The defaults in `tfhd` for samples without their own values (ISO/IEC 14496-12, 8.8.7).
struct Defaults {
    sample_description_index: u32,
    duration: u32,
    size: u32,
    flags: u32,
}

impl Defaults {
    fn read(bytes: &[u8], tfhd: BoxRef) -> Result<Self, Error> {
        let mut fields = Fields {
            bytes,
            at: tfhd.body + 8,
            end: tfhd.end,
        };
        let flags = be32(bytes, tfhd.body)?;
        if flags & 0x1 != 0 {
            return Err(Error::damaged(
                "tfhd",
                tfhd.start,
                "absolute data offsets are not supported",
            ));
        }
        Ok(Self {
            sample_description_index: fields.next_if(flags & 0x2 != 0)?.unwrap_or(1),
            duration: fields.next_if(flags & 0x8 != 0)?.unwrap_or(0),
            size: fields.next_if(flags & 0x10 != 0)?.unwrap_or(0),
            flags: fields.next_if(flags & 0x20 != 0)?.unwrap_or(0),
        })
    }
}

/// Consecutive optional 32-bit fields within one box.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Fields<'_> {
    fn next_if(&mut self, present: bool) -> Result<Option<u32>, Error> {
        if !present {
            return Ok(None);
        }
        if self.at + 4 > self.end {
            return Err(Error::damaged(
                "box",
                self.at,
                "its flags promise more than it holds",
            ));
        }
        self.at += 4;
        be32(self.bytes, self.at - 4).map(Some)
    }
}

fn read_run(
    bytes: &[u8],
    layout: &Layout,
    defaults: &Defaults,
    trun: BoxRef,
    time: &mut u64,
    out: &mut Vec<Sample>,
) -> Result<(), Error> {
    let version_flags = be32(bytes, trun.body)?;
    let has = |bit: u32| version_flags & bit != 0;
    let count = be32(bytes, trun.body + 4)? as usize;
    if count > CHUNK_FRAMES_MAX - out.len() {
        return Err(Error::damaged(
            "trun",
            trun.start,
            "more samples than a chunk may hold",
        ));
    }
    let mut fields = Fields {
        bytes,
        at: trun.body + 8,
        end: trun.end,
    };
    let data_offset = fields.next_if(has(0x1))?;
    let mut offset = match (data_offset, out.last()) {
        (Some(offset), _) => layout.moof.start.saturating_add(offset as usize),
        (None, Some(last)) => last.offset + last.size,
        (None, None) => layout.mdat.body,
    };
    let first_flags = fields.next_if(has(0x4))?;
    for index in 0..count {
        let duration = fields.next_if(has(0x100))?.unwrap_or(defaults.duration);
        let size = fields.next_if(has(0x200))?.unwrap_or(defaults.size) as usize;
        let own_flags = fields.next_if(has(0x400))?;
        let flags = own_flags
            .or(first_flags.filter(|_| index == 0))
            .unwrap_or(defaults.flags);
        let cts = fields.next_if(has(0x800))?.unwrap_or(0);
        let composition_offset = if version_flags >> 24 == 0 {
            i64::from(cts)
        } else {
            i64::from(cts as i32)
        };
        let end = offset.saturating_add(size);
        if offset < layout.mdat.body || end > layout.mdat.end {
            return Err(Error::damaged(
                "trun",
                trun.start,
                "a sample lies outside the mdat",
            ));
        }
        // sample_is_non_sync_sample
        out.push(Sample {
            offset,
            size,
            decode_time: *time,
            duration,
            composition_offset,
            is_sync: flags & 0x1_0000 == 0,
        });
        offset = end;
        *time = time.saturating_add(u64::from(duration));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = samples(&bytes);
            let _ = chunk_info(&bytes);
            prop_assert!(chunk_ranges(&bytes).count() <= bytes.len());
        }

        #[test]
        fn a_flipped_byte_never_panics_nor_reads_outside(at in 0usize..230, value in any::<u8>()) {
            let mut bytes = crate::cmaf::patch::tests::two_frame_chunk();
            let length = bytes.len();
            bytes[at % length] = value;
            for sample in samples(&bytes).unwrap_or_default() {
                prop_assert!(sample.offset + sample.size <= length);
            }
            let _ = chunk_info(&bytes);
        }
    }

    #[test]
    fn a_file_is_cut_into_its_chunks() {
        let chunk = crate::cmaf::patch::tests::two_frame_chunk();
        let file = [
            &[0, 0, 0, 8][..],
            b"ftyp",
            &[0, 0, 0, 8],
            b"moov",
            &chunk,
            &chunk,
        ]
        .concat();
        let ranges: Vec<_> = chunk_ranges(&file).collect::<Result<_, _>>().unwrap();
        assert_eq!(ranges, [16..16 + chunk.len(), 16 + chunk.len()..file.len()]);
        assert_eq!(samples(&file[ranges[1].clone()]).unwrap().len(), 2);
    }
}
