//! A sealed segment's footer: a head (directory, init, gap and span tables) and one chunk table per
//! track. Each has its own checksum, so one camera's hour is read without reading the others'.

use super::bytes::{Put, Take};
use super::record::{GAP_HEAD_BYTES, decode_gap, encode_gap};
use super::trailer::Trailer;
use super::{ChunkHead, FORMAT_VERSION, FormatError, check_version, padded};
use crate::chunk::InitId;
use crate::format::index::{ChunkRow, InitRow, SegmentIndex, StreamSpan, TrackKey};
use crate::ids::{CameraId, Epoch, NodeId, SegmentId, SessionId};
use crate::time::Timestamp;
use crate::timeline::{ChunkNumber, Span, Stretch};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const WHAT: &str = "segment footer";
const MAGIC: [u8; 4] = *b"HFFT";
const HEAD_BYTES: usize = 64;
const DIRECTORY_ROW_BYTES: usize = 48;
const INIT_ROW_BYTES: usize = 32;
const SPAN_ROW_BYTES: usize = 64;
/// Bits of a span row's flags.
const SPAN_DAMAGED: u8 = 1;
const SPAN_AFTER_LOSS: u8 = 2;
pub(crate) const CHUNK_ROW_BYTES: usize = 88;

/// Where one track's chunk table is, and the time that it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackTable {
    pub key: TrackKey,
    pub rows: u32,
    pub crc: u32,
    /// From the start of the file, in bytes.
    pub offset: u64,
    pub start: Timestamp,
    pub end: Timestamp,
    /// Sum of the chunks' payloads.
    pub payload_bytes: u64,
}

impl TrackTable {
    /// Length of the table in the file.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows as usize * CHUNK_ROW_BYTES
    }
}

/// A footer without the chunk tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FooterHead {
    pub tracks: Vec<TrackTable>,
    pub inits: Vec<InitRow>,
    pub gaps: Vec<crate::chunk::Gap>,
    pub spans: Vec<StreamSpan>,
}

/// The input of a segment's footer, apart from its index.
#[derive(Clone, Copy, Debug)]
pub struct Footer {
    pub segment: SegmentId,
    pub volume: Uuid,
    pub offset: u64,
    pub closed_at: Timestamp,
    pub batches: u32,
    pub damaged_batches: u32,
}

/// The bytes from the footer's offset to the end of the file, trailer included, with its head and
/// trailer as structures.
#[must_use]
pub fn encode_footer(footer: &Footer, index: &SegmentIndex) -> (Vec<u8>, FooterHead, Trailer) {
    let spans = index.spans();
    let head_bytes = HEAD_BYTES
        + index.tracks().len() * DIRECTORY_ROW_BYTES
        + index.inits().len() * INIT_ROW_BYTES
        + index.gaps().len() * GAP_HEAD_BYTES
        + spans.len() * SPAN_ROW_BYTES;
    let mut out = vec![0; head_bytes];
    let tracks = index
        .tracks()
        .iter()
        .map(|(key, rows)| append_table(&mut out, *key, rows, footer.offset))
        .collect();
    let head = FooterHead {
        tracks,
        inits: index.inits().to_vec(),
        gaps: index.gaps().to_vec(),
        spans,
    };
    encode_head(footer.segment, &head, &mut out[..head_bytes]);
    let head_crc = crc32fast::hash(&out[..head_bytes]);
    out.resize(padded(out.len()), 0);
    let trailer = Trailer {
        segment: footer.segment,
        volume: footer.volume,
        footer_offset: footer.offset,
        head_bytes: head_bytes as u64,
        head_crc,
        footer_bytes: out.len() as u64,
        closed_at: footer.closed_at,
        chunks: index.chunks() as u64,
        batches: footer.batches,
        damaged_batches: footer.damaged_batches,
    };
    out.extend_from_slice(&trailer.encode());
    (out, head, trailer)
}

fn append_table(
    out: &mut Vec<u8>,
    key: TrackKey,
    rows: &[ChunkRow],
    footer_offset: u64,
) -> TrackTable {
    let at = out.len();
    for row in rows {
        out.extend_from_slice(&ChunkHead::encode(&row.meta));
        out.extend_from_slice(&row.offset.to_le_bytes());
        out.extend_from_slice(&row.payload_bytes.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
    TrackTable {
        key,
        rows: rows.len() as u32,
        crc: crc32fast::hash(&out[at..]),
        offset: footer_offset + at as u64,
        start: rows
            .iter()
            .map(|row| row.meta.start)
            .min()
            .unwrap_or_default(),
        end: rows
            .iter()
            .map(|row| row.meta.end())
            .max()
            .unwrap_or_default(),
        payload_bytes: rows.iter().map(|row| u64::from(row.payload_bytes)).sum(),
    }
}

fn encode_head(segment: SegmentId, head: &FooterHead, out: &mut [u8]) {
    let mut at = HEAD_BYTES;
    Put::new(out)
        .bytes(&MAGIC)
        .u16(FORMAT_VERSION)
        .u16(0)
        .u64(segment.0)
        .u32(head.tracks.len() as u32)
        .u32(head.inits.len() as u32)
        .u32(head.gaps.len() as u32)
        .u32(head.spans.len() as u32);
    for table in &head.tracks {
        encode_directory_row(table, &mut out[at..at + DIRECTORY_ROW_BYTES]);
        at += DIRECTORY_ROW_BYTES;
    }
    for init in &head.inits {
        encode_init_row(init, &mut out[at..at + INIT_ROW_BYTES]);
        at += INIT_ROW_BYTES;
    }
    for gap in &head.gaps {
        encode_gap(gap, &mut out[at..at + GAP_HEAD_BYTES]);
        at += GAP_HEAD_BYTES;
    }
    for span in &head.spans {
        encode_span_row(span, &mut out[at..at + SPAN_ROW_BYTES]);
        at += SPAN_ROW_BYTES;
    }
}

fn put_key(put: Put<'_>, key: TrackKey) -> Put<'_> {
    put.u32(key.camera.0)
        .u8(key.stream as u8)
        .u8(key.track as u8)
        .u16(0)
}

fn take_key(take: &mut Take<'_>) -> Result<TrackKey, FormatError> {
    let key = TrackKey {
        camera: CameraId(take.u32()?),
        stream: take.kind()?,
        track: take.kind()?,
    };
    take.u16()?;
    Ok(key)
}

fn encode_directory_row(table: &TrackTable, out: &mut [u8]) {
    put_key(Put::new(out), table.key)
        .u32(table.rows)
        .u32(table.crc)
        .u64(table.offset)
        .i64(table.start.0)
        .i64(table.end.0)
        .u64(table.payload_bytes);
}

fn encode_init_row(init: &InitRow, out: &mut [u8]) {
    put_key(Put::new(out), init.key)
        .u64(init.id.0)
        .u64(init.offset)
        .u32(init.bytes)
        .u32(0);
}

fn encode_span_row(row: &StreamSpan, out: &mut [u8]) {
    let Stretch {
        span,
        track,
        first,
        last,
        after_loss,
    } = row.stretch;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    Put::new(out)
        .u32(row.camera.0)
        .u8(row.stream as u8)
        .u8(span.rank as u8)
        .u8(flag(span.damaged, SPAN_DAMAGED) | flag(after_loss, SPAN_AFTER_LOSS))
        .u8(track as u8)
        .u64(span.node.0)
        .u64(span.epoch.0)
        .i64(span.start.0)
        .i64(span.end.0)
        .u64(first.session.0)
        .u32(first.sequence)
        .u64(last.session.0)
        .u32(last.sequence);
}

/// Reads a footer's head: the `head_bytes` bytes at its start.
///
/// # Errors
/// The head is short, damaged, of another version, contradicts itself, or names a table outside its
/// footer.
pub fn decode_head(trailer: &Trailer, bytes: &[u8]) -> Result<FooterHead, FormatError> {
    if bytes.len() as u64 != trailer.head_bytes || crc32fast::hash(bytes) != trailer.head_crc {
        return Err(FormatError::Checksum { what: WHAT });
    }
    let mut take = Take::new(WHAT, bytes);
    if take.array::<4>()? != MAGIC {
        return Err(FormatError::Magic { what: WHAT });
    }
    check_version(WHAT, take.u16()?)?;
    take.u16()?;
    if take.u64()? != trailer.segment.0 {
        return Err(FormatError::Invalid { what: WHAT });
    }
    let counts = [take.u32()?, take.u32()?, take.u32()?, take.u32()?];
    take.slice(HEAD_BYTES - 32)?;
    Ok(FooterHead {
        tracks: (0..counts[0])
            .map(|_| directory_row(&mut take, trailer))
            .collect::<Result<_, _>>()?,
        inits: (0..counts[1])
            .map(|_| init_row(&mut take))
            .collect::<Result<_, _>>()?,
        gaps: (0..counts[2])
            .map(|_| decode_gap(take.slice(GAP_HEAD_BYTES)?))
            .collect::<Result<_, _>>()?,
        spans: (0..counts[3])
            .map(|_| span_row(&mut take))
            .collect::<Result<_, _>>()?,
    })
}

/// A table lies within its footer, so the file's size bounds what a reader allocates for it.
fn directory_row(take: &mut Take<'_>, trailer: &Trailer) -> Result<TrackTable, FormatError> {
    let table = TrackTable {
        key: take_key(take)?,
        rows: take.u32()?,
        crc: take.u32()?,
        offset: take.u64()?,
        start: Timestamp(take.i64()?),
        end: Timestamp(take.i64()?),
        payload_bytes: take.u64()?,
    };
    let tables =
        trailer.footer_offset + trailer.head_bytes..=trailer.footer_offset + trailer.footer_bytes;
    let end = table.offset.checked_add(table.bytes() as u64);
    if tables.contains(&table.offset) && end.is_some_and(|end| tables.contains(&end)) {
        Ok(table)
    } else {
        Err(FormatError::Invalid { what: WHAT })
    }
}

fn init_row(take: &mut Take<'_>) -> Result<InitRow, FormatError> {
    let row = InitRow {
        key: take_key(take)?,
        id: InitId(take.u64()?),
        offset: take.u64()?,
        bytes: take.u32()?,
    };
    take.u32()?;
    Ok(row)
}

fn span_row(take: &mut Take<'_>) -> Result<StreamSpan, FormatError> {
    let (camera, stream, rank) = (CameraId(take.u32()?), take.kind()?, take.kind()?);
    let (flags, track) = (take.u8()?, take.kind()?);
    let (node, epoch) = (NodeId(take.u64()?), Epoch(take.u64()?));
    let (start, end) = (Timestamp(take.i64()?), Timestamp(take.i64()?));
    let number = |take: &mut Take<'_>| -> Result<_, FormatError> {
        Ok(ChunkNumber {
            session: SessionId(take.u64()?),
            sequence: take.u32()?,
        })
    };
    let (first, last) = (number(take)?, number(take)?);
    let span = Span {
        start,
        end,
        node,
        epoch,
        rank,
        damaged: flags & SPAN_DAMAGED != 0,
    };
    let stretch = Stretch {
        span,
        track,
        first,
        last,
        after_loss: flags & SPAN_AFTER_LOSS != 0,
    };
    Ok(StreamSpan {
        camera,
        stream,
        stretch,
    })
}

/// Reads one track's chunk table.
///
/// # Errors
/// The table is short or damaged.
pub fn decode_table(table: &TrackTable, bytes: &[u8]) -> Result<Vec<ChunkRow>, FormatError> {
    let what = "chunk table";
    if bytes.len() != table.bytes() {
        return Err(FormatError::Short { what });
    }
    if crc32fast::hash(bytes) != table.crc {
        return Err(FormatError::Checksum { what });
    }
    bytes
        .chunks_exact(CHUNK_ROW_BYTES)
        .map(decode_row)
        .collect()
}

fn decode_row(row: &[u8]) -> Result<ChunkRow, FormatError> {
    let (head, place) = row.split_at(ChunkHead::BYTES);
    let mut take = Take::new("chunk table", place);
    Ok(ChunkRow {
        meta: ChunkHead::decode(head)?,
        offset: take.u64()?,
        payload_bytes: take.u32()?,
    })
}
