//! A record: one chunk, init segment or gap, with its own checksum.

use super::FormatError;
use super::bytes::{Put, Take};
use crate::chunk::{Access, AccessPoint, Chunk, ChunkMeta, Gap, Init, InitId, Record};
use crate::ids::{CameraId, Epoch, NodeId, SessionId, StreamKind, TrackKind};
use crate::time::Timestamp;
use crc32fast::Hasher;

/// Length of the head that all kinds of records begin with.
pub const RECORD_HEAD_BYTES: usize = 16;

/// The longest payload of a record: a chunk that was nearly full when the longest frame arrived,
/// and the boxes before them.
pub const RECORD_PAYLOAD_BYTES_MAX: usize = 18 << 20;

const _: () = assert!(
    RECORD_PAYLOAD_BYTES_MAX > crate::chunk::FRAME_BYTES_MAX + crate::chunk::CHUNK_BYTES_MAX
);

const WHAT: &str = "record";
const RECORD_VERSION: u8 = 1;
const RECORD_ALIGN: usize = 8;
const CRC_BYTES: usize = 4;
const KIND_CHUNK: u8 = 1;
const KIND_INIT: u8 = 2;
const KIND_GAP: u8 = 3;
/// Bits of a chunk's flags.
const FLAG_ACCESS: u8 = 1;
const FLAG_AFTER_LOSS: u8 = 2;
const FLAG_DAMAGED: u8 = 4;
/// Which [`AccessPoint`] the first frame is.
const ACCESS_SHIFT: u8 = 4;
const ACCESS_MASK: u8 = 3;
const ACCESS_SYNC: u8 = 0;
const ACCESS_OPEN: u8 = 1;
const ACCESS_RECOVERY: u8 = 2;
/// Value of [`ChunkMeta::since_access_ms`] if there is no access point.
const NO_ACCESS: u32 = u32::MAX;
const INIT_HEAD_BYTES: usize = 16;
pub(crate) const GAP_HEAD_BYTES: usize = 40;

/// The contents of a record, borrowed from the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    Chunk {
        meta: ChunkMeta,
        payload: &'a [u8],
    },
    Init {
        camera: CameraId,
        stream: StreamKind,
        track: TrackKind,
        id: InitId,
        payload: &'a [u8],
    },
    Gap(Gap),
    /// Sound, but of a kind that this release does not know.
    Unknown {
        kind: u8,
    },
}

/// The length of a record according to its head; not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSpan {
    head_bytes: usize,
    payload_bytes: usize,
}

impl RecordSpan {
    /// Up to the end of the payload.
    #[must_use]
    pub fn bytes(self) -> usize {
        RECORD_HEAD_BYTES + self.head_bytes + self.payload_bytes
    }

    /// Up to the next record.
    #[must_use]
    pub fn padded(self) -> usize {
        self.bytes().next_multiple_of(RECORD_ALIGN)
    }
}

/// The length of a record from its first [`RECORD_HEAD_BYTES`] bytes.
///
/// # Errors
/// Too few bytes, another version, or a length that no record has.
pub fn span_of(head: &[u8]) -> Result<RecordSpan, FormatError> {
    let mut take = Take::new(WHAT, head);
    take.slice(CRC_BYTES + 1)?;
    let version = take.u8()?;
    if version != RECORD_VERSION {
        return Err(FormatError::Version {
            what: WHAT,
            found: u16::from(version),
        });
    }
    let span = RecordSpan {
        head_bytes: usize::from(take.u16()?),
        payload_bytes: take.u32()? as usize,
    };
    take.u32()?;
    if span.payload_bytes > RECORD_PAYLOAD_BYTES_MAX {
        return Err(FormatError::Invalid { what: WHAT });
    }
    Ok(span)
}

/// The space that a record takes in a batch, in bytes.
#[must_use]
pub fn encoded_bytes(record: &Record) -> usize {
    let (head_bytes, payload_bytes) = sizes(record);
    RecordSpan {
        head_bytes,
        payload_bytes,
    }
    .padded()
}

/// The length of a chunk's record up to the end of its payload, in bytes.
pub(crate) fn chunk_record_bytes(payload_bytes: usize) -> usize {
    RecordSpan {
        head_bytes: ChunkHead::BYTES,
        payload_bytes,
    }
    .bytes()
}

/// Like [`chunk_record_bytes`], for an init segment.
pub(crate) fn init_record_bytes(payload_bytes: usize) -> usize {
    RecordSpan {
        head_bytes: INIT_HEAD_BYTES,
        payload_bytes,
    }
    .bytes()
}

fn sizes(record: &Record) -> (usize, usize) {
    match record {
        Record::Chunk(chunk) => (ChunkHead::BYTES, chunk.payload_bytes()),
        Record::Init(init) => (INIT_HEAD_BYTES, init.bytes.len()),
        Record::Gap(_) => (GAP_HEAD_BYTES, 0),
    }
}

/// Writes a record to the start of `out`, zero-padded, and feeds all of it to `body`, the checksum
/// of its batch: every byte is copied and summed once. The caller has checked that
/// [`encoded_bytes`] fit, and that the payload is at most [`RECORD_PAYLOAD_BYTES_MAX`].
pub(crate) fn encode_record(record: &Record, out: &mut [u8], body: &mut Hasher) -> usize {
    let (head_bytes, payload_bytes) = sizes(record);
    let span = RecordSpan {
        head_bytes,
        payload_bytes,
    };
    let head_end = RECORD_HEAD_BYTES + head_bytes;
    Put::new(&mut out[CRC_BYTES..])
        .u8(kind_of(record))
        .u8(RECORD_VERSION)
        .u16(head_bytes as u16)
        .u32(payload_bytes as u32)
        .u32(0);
    encode_kind_head(record, &mut out[RECORD_HEAD_BYTES..head_end]);
    let mut crc = Hasher::new();
    crc.update(&out[CRC_BYTES..head_end]);
    copy_payload(record, &mut out[head_end..span.bytes()], &mut crc);
    let sum = crc.clone().finalize().to_le_bytes();
    out[..CRC_BYTES].copy_from_slice(&sum);
    out[span.bytes()..span.padded()].fill(0);
    body.update(&sum);
    body.combine(&crc);
    body.update(&out[span.bytes()..span.padded()]);
    span.padded()
}

fn kind_of(record: &Record) -> u8 {
    match record {
        Record::Chunk(_) => KIND_CHUNK,
        Record::Init(_) => KIND_INIT,
        Record::Gap(_) => KIND_GAP,
    }
}

fn encode_kind_head(record: &Record, out: &mut [u8]) {
    match record {
        Record::Chunk(Chunk { meta, .. }) => out.copy_from_slice(&ChunkHead::encode(meta)),
        Record::Init(init) => encode_init_head(init, out),
        Record::Gap(gap) => encode_gap(gap, out),
    }
}

fn copy_payload(record: &Record, mut out: &mut [u8], crc: &mut Hasher) {
    let mut copy = |part: &[u8]| {
        let (to, rest) = std::mem::take(&mut out).split_at_mut(part.len());
        to.copy_from_slice(part);
        crc.update(to);
        out = rest;
    };
    match record {
        Record::Chunk(chunk) => chunk.parts.iter().for_each(|part| copy(part)),
        Record::Init(init) => copy(&init.bytes),
        Record::Gap(_) => {}
    }
}

/// Reads the record at the start of `bytes`.
///
/// # Errors
/// The record is cut, damaged, of another version, or impossible.
pub fn decode_record(bytes: &[u8]) -> Result<(Decoded<'_>, RecordSpan), FormatError> {
    let span = span_of(bytes)?;
    let record = bytes
        .get(..span.bytes())
        .ok_or(FormatError::Short { what: WHAT })?;
    let (crc, rest) = record.split_at(CRC_BYTES);
    if crc != crc32fast::hash(rest).to_le_bytes() {
        return Err(FormatError::Checksum { what: WHAT });
    }
    let (head, payload) = record[RECORD_HEAD_BYTES..].split_at(span.head_bytes);
    let decoded = match rest[0] {
        KIND_CHUNK => Decoded::Chunk {
            meta: ChunkHead::decode(head)?,
            payload,
        },
        KIND_INIT => decode_init(head, payload)?,
        KIND_GAP => Decoded::Gap(decode_gap(head)?),
        kind => Decoded::Unknown { kind },
    };
    Ok((decoded, span))
}

/// The encoding of a [`ChunkMeta`], the same in the record and in the footer's table.
pub(crate) struct ChunkHead;

impl ChunkHead {
    pub(crate) const BYTES: usize = 72;

    pub(crate) fn encode(meta: &ChunkMeta) -> [u8; Self::BYTES] {
        let (access, recovery_frames, slices_crc) = meta.access.map_or((0, 0, 0), encode_access);
        let after_loss = if meta.after_loss { FLAG_AFTER_LOSS } else { 0 };
        let damaged = if meta.damaged { FLAG_DAMAGED } else { 0 };
        let mut out = [0; Self::BYTES];
        Put::new(&mut out)
            .u32(meta.camera.0)
            .u8(meta.stream as u8)
            .u8(meta.track as u8)
            .u8(meta.rank as u8)
            .u8(access | after_loss | damaged)
            .u64(meta.node.0)
            .u64(meta.epoch.0)
            .u64(meta.session.0)
            .u64(meta.init.0)
            .i64(meta.start.0)
            .u32(meta.duration_us)
            .u32(meta.frames)
            .u32(meta.sequence)
            .u32(slices_crc)
            .u16(recovery_frames)
            .u16(0)
            .u32(meta.since_access_ms.unwrap_or(NO_ACCESS));
        out
    }

    pub(crate) fn decode(head: &[u8]) -> Result<ChunkMeta, FormatError> {
        let mut take = Take::new("chunk head", head);
        let camera = CameraId(take.u32()?);
        let (stream, track, rank, flags) = (take.kind()?, take.kind()?, take.kind()?, take.u8()?);
        let (node, epoch, session) = (
            NodeId(take.u64()?),
            Epoch(take.u64()?),
            SessionId(take.u64()?),
        );
        let (init, start) = (InitId(take.u64()?), Timestamp(take.i64()?));
        let (duration_us, frames, sequence, slices_crc) =
            (take.u32()?, take.u32()?, take.u32()?, take.u32()?);
        let access = decode_access(flags, take.u16()?, slices_crc)?;
        take.u16()?;
        let since_access_ms = Some(take.u32()?).filter(|ms| *ms != NO_ACCESS);
        Ok(ChunkMeta {
            camera,
            stream,
            track,
            node,
            epoch,
            rank,
            session,
            sequence,
            init,
            start,
            duration_us,
            frames,
            access,
            since_access_ms,
            after_loss: flags & FLAG_AFTER_LOSS != 0,
            damaged: flags & FLAG_DAMAGED != 0,
        })
    }
}

fn encode_access(access: Access) -> (u8, u16, u32) {
    let (kind, recovery_frames) = match access.point {
        AccessPoint::Sync => (ACCESS_SYNC, 0),
        AccessPoint::Open => (ACCESS_OPEN, 0),
        AccessPoint::Recovery { frames } => (ACCESS_RECOVERY, frames),
    };
    (
        FLAG_ACCESS | kind << ACCESS_SHIFT,
        recovery_frames,
        access.slices_crc,
    )
}

fn decode_access(
    flags: u8,
    recovery_frames: u16,
    slices_crc: u32,
) -> Result<Option<Access>, FormatError> {
    if flags & FLAG_ACCESS == 0 {
        return Ok(None);
    }
    let point = match flags >> ACCESS_SHIFT & ACCESS_MASK {
        ACCESS_SYNC => AccessPoint::Sync,
        ACCESS_OPEN => AccessPoint::Open,
        ACCESS_RECOVERY => AccessPoint::Recovery {
            frames: recovery_frames,
        },
        _ => return Err(FormatError::Invalid { what: "chunk head" }),
    };
    Ok(Some(Access { point, slices_crc }))
}

fn encode_init_head(init: &Init, out: &mut [u8]) {
    Put::new(out)
        .u32(init.camera.0)
        .u8(init.stream as u8)
        .u8(init.track as u8)
        .u16(0)
        .u64(init.id().0);
}

fn decode_init<'a>(head: &[u8], payload: &'a [u8]) -> Result<Decoded<'a>, FormatError> {
    let mut take = Take::new("init head", head);
    let (camera, stream, track) = (CameraId(take.u32()?), take.kind()?, take.kind()?);
    take.u16()?;
    Ok(Decoded::Init {
        camera,
        stream,
        track,
        id: InitId(take.u64()?),
        payload,
    })
}

/// Writes [`GAP_HEAD_BYTES`] bytes, the same in the record and in the footer's table.
pub(crate) fn encode_gap(gap: &Gap, out: &mut [u8]) {
    Put::new(out)
        .u32(gap.camera.0)
        .u8(gap.stream as u8)
        .u8(gap.cause as u8)
        .u16(gap.frames_missing.unwrap_or(0))
        .u64(gap.node.0)
        .u64(gap.epoch.0)
        .i64(gap.start.0)
        .i64(gap.end.0);
}

pub(crate) fn decode_gap(head: &[u8]) -> Result<Gap, FormatError> {
    let mut take = Take::new("gap", head);
    let (camera, stream, cause) = (CameraId(take.u32()?), take.kind()?, take.kind()?);
    let frames_missing = Some(take.u16()?).filter(|frames| *frames > 0);
    let (node, epoch) = (NodeId(take.u64()?), Epoch(take.u64()?));
    let (start, end) = (Timestamp(take.i64()?), Timestamp(take.i64()?));
    Ok(Gap {
        camera,
        stream,
        node,
        epoch,
        start,
        end,
        cause,
        frames_missing,
    })
}
