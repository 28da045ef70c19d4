//! Fuzz targets for stored data: hostile bytes never panic and never cause unbounded allocations,
//! and accepted data survives a round trip.
//!
//! Each target reads its input unchanged, and once more with correct checksums: otherwise hardly
//! any input would pass them.

#![allow(dead_code, reason = "each fuzzer uses one target")]
#![allow(clippy::unwrap_used, reason = "a panic is a finding")]

use bytes::Bytes;
use holdfast_storage::chunk::{Chunk, Init, Record};
use holdfast_storage::format::{
    BATCH_HEADER_BYTES, BLOCK, BLOCK_BYTES, BatchBuilder, BatchHead, Decoded, RECORD_HEAD_BYTES,
    SegmentHeader, Trailer, decode_batch_head, decode_head, decode_record, decode_table,
    encoded_bytes, span_of, verify_body,
};
use holdfast_storage::ids::SegmentId;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Error, offline};
use std::path::Path;

pub(crate) fn header(data: &[u8]) {
    check_header(data);
    check_header(&sealed_block(data));
}

fn check_header(block: &[u8]) {
    if let Ok(header) = SegmentHeader::decode(block) {
        assert_eq!(SegmentHeader::decode(&header.encode().unwrap()), Ok(header));
    }
}

pub(crate) fn trailer(data: &[u8]) {
    let sealed = sealed_block(data);
    let field = |at: usize| u64::from_le_bytes(sealed[at..at + 8].try_into().unwrap());
    let file_bytes = field(40).wrapping_add(field(56)).wrapping_add(BLOCK);
    for block in [data, &sealed] {
        if let Ok(trailer) = Trailer::decode(block, file_bytes) {
            assert_eq!(trailer.file_bytes(), file_bytes);
            assert_eq!(Trailer::decode(&trailer.encode(), file_bytes), Ok(trailer));
        }
    }
}

pub(crate) fn batch(data: &[u8]) {
    check_batch(data);
    let mut data = data.to_vec();
    repair_batch(&mut data);
    check_batch(&data);
}

fn check_batch(data: &[u8]) {
    let Ok(head) = decode_batch_head(data) else {
        return;
    };
    assert!(head.padded_bytes() >= BLOCK_BYTES);
    if verify_body(&head, data).is_ok() {
        records(&data[..head.bytes as usize]).for_each(check_record);
    }
}

pub(crate) fn record(data: &[u8]) {
    check_record(data);
    let mut data = data.to_vec();
    repair_record(&mut data);
    check_record(&data);
}

fn check_record(data: &[u8]) {
    let Ok((decoded, span)) = decode_record(data) else {
        return;
    };
    assert!(span.bytes() <= data.len() && span.bytes() <= span.padded());
    let Some(record) = owned(&decoded) else {
        return;
    };
    let mut out = vec![0xff; BATCH_HEADER_BYTES + encoded_bytes(&record) + BLOCK_BYTES];
    let mut builder = BatchBuilder::default();
    let at = builder.push(&record, &mut out);
    match (decode_record(&out[at..]).unwrap().0, decoded) {
        // An init segment's id is computed from its bytes, whatever its head contains.
        (Decoded::Init { payload: again, .. }, Decoded::Init { payload, .. }) => {
            assert_eq!(again, payload)
        }
        (again, decoded) => assert_eq!(again, decoded),
    }
    builder.finish(SegmentId(1), uuid(), 0, Timestamp(0), &mut out);
    let head: BatchHead = decode_batch_head(&out).unwrap();
    verify_body(&head, &out).unwrap();
}

fn uuid<T: Default>() -> T {
    T::default()
}

fn owned(decoded: &Decoded<'_>) -> Option<Record> {
    match *decoded {
        Decoded::Chunk { meta, payload } => Some(Record::Chunk(Chunk {
            meta,
            parts: vec![Bytes::copy_from_slice(payload)],
        })),
        Decoded::Init {
            camera,
            stream,
            track,
            payload,
            ..
        } => Some(Record::Init(Init {
            camera,
            stream,
            track,
            bytes: Bytes::copy_from_slice(payload),
        })),
        Decoded::Gap(gap) => Some(Record::Gap(gap)),
        Decoded::Unknown { .. } => None,
    }
}

/// A footer with a head as long as the first two bytes say, of the segment that it names, followed
/// by its tables.
pub(crate) fn footer(data: &[u8]) {
    let Some((length, data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let head_bytes = usize::from(u16::from_le_bytes(*length)).min(data.len());
    let segment = data
        .get(8..16)
        .map_or(0, |id| u64::from_le_bytes(id.try_into().unwrap()));
    let trailer = Trailer {
        segment: SegmentId(segment),
        volume: uuid(),
        footer_offset: BLOCK,
        head_bytes: head_bytes as u64,
        head_crc: crc32fast::hash(&data[..head_bytes]),
        footer_bytes: data.len().next_multiple_of(BLOCK_BYTES) as u64,
        closed_at: Timestamp(0),
        chunks: 0,
        batches: 0,
        damaged_batches: 0,
    };
    let Ok(head) = decode_head(&trailer, &data[..head_bytes]) else {
        return;
    };
    for mut table in head.tracks {
        // The file bounds the allocations of a reader.
        assert!(
            table.bytes() as u64 <= trailer.footer_bytes,
            "a table is longer than its footer: {table:?}"
        );
        let at = usize::try_from(table.offset - BLOCK).unwrap();
        let Some(rows) = data.get(at..at + table.bytes()) else {
            continue;
        };
        if let Ok(rows) = decode_table(&table, rows) {
            assert_eq!(rows.len(), table.rows as usize);
        }
        table.crc = crc32fast::hash(rows);
        decode_table(&table, rows).ok();
    }
}

/// Reads a whole file with everything that can read one without a running volume.
pub(crate) fn segment(data: &[u8]) {
    check_segment(data);
    let mut data = data.to_vec();
    repair_segment(&mut data);
    check_segment(&data);
}

/// In memory, if the system has a file system there.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let builder = &mut tempfile::Builder::new();
    let builder = builder.prefix("holdfast-fuzz-");
    if memory.is_dir() {
        builder.tempdir_in(memory)
    } else {
        builder.tempdir()
    }
    .unwrap()
}

fn check_segment(data: &[u8]) {
    let dir = scratch();
    // With this name, even a file without a header is a segment.
    let path = dir.path().join("0000000001.hfs");
    std::fs::write(&path, data).unwrap();
    let (inspected, verified) = (offline::inspect(&path), offline::verify(&path, |_, _| {}));
    if let Ok(summary) = &inspected {
        assert_eq!(summary.file_bytes, data.len() as u64);
        for stream in summary.streams.iter().take(8) {
            check_footage(&path, stream);
        }
    }
    if let Ok(report) = &verified {
        assert!(report.chunks_lost == report.lost.len() as u64);
    }
}

/// Every chunk and init segment that is listed can be read.
fn check_footage(path: &Path, stream: &offline::StreamSummary) {
    let footage = match offline::footage(path, stream.camera, stream.stream, |_, _| {}) {
        Ok(footage) => footage,
        Err(Error::Format { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    for entry in footage.entries() {
        assert_eq!(
            footage.read(entry).unwrap().len(),
            entry.location.payload_bytes as usize
        );
    }
    footage.inits().unwrap();
}

/// A row of the catalogue: the length of its key, the key, its value.
pub(crate) fn catalogue(data: &[u8]) {
    let Some((&length, data)) = data.split_first() else {
        return;
    };
    let (key, value) = data.split_at(usize::from(length).min(data.len()));
    holdfast_storage::fuzzing::catalogue_row(key, value);
}

/// One block with a correct checksum.
fn sealed_block(data: &[u8]) -> Vec<u8> {
    let mut block = data.to_vec();
    block.resize(BLOCK_BYTES, 0);
    put_crc(&mut block, 0..BLOCK_BYTES - 4, BLOCK_BYTES - 4);
    block
}

fn put_crc(bytes: &mut [u8], of: std::ops::Range<usize>, at: usize) {
    let crc = crc32fast::hash(&bytes[of]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

fn repair_record(data: &mut [u8]) {
    let Ok(span) = span_of(data) else { return };
    if span.bytes() <= data.len() {
        put_crc(data, 4..span.bytes(), 0);
    }
}

fn repair_batch(data: &mut [u8]) {
    if data.len() < BATCH_HEADER_BYTES {
        return;
    }
    let bytes = u32::from_le_bytes(data[24..28].try_into().unwrap()) as usize;
    let end = bytes.clamp(BATCH_HEADER_BYTES, data.len());
    let mut at = BATCH_HEADER_BYTES;
    while at + RECORD_HEAD_BYTES <= end {
        repair_record(&mut data[at..end]);
        let Ok(span) = span_of(&data[at..end]) else {
            break;
        };
        at += span.padded();
    }
    put_crc(data, BATCH_HEADER_BYTES..end, 56);
    put_crc(data, 0..60, 60);
}

fn repair_segment(data: &mut [u8]) {
    if data.len() >= BLOCK_BYTES {
        put_crc(data, 0..BLOCK_BYTES - 4, BLOCK_BYTES - 4);
    }
    for at in (BLOCK_BYTES..data.len()).step_by(BLOCK_BYTES) {
        if data[at..].starts_with(b"HFBT") {
            repair_batch(&mut data[at..]);
        }
    }
    if data.len() >= 3 * BLOCK_BYTES {
        repair_footer(data);
    }
}

/// Sets the footer's offset, and the checksum of its head.
fn repair_footer(data: &mut [u8]) {
    let trailer_at = data.len() - BLOCK_BYTES;
    let starts = (BLOCK_BYTES..trailer_at).step_by(BLOCK_BYTES);
    let Some(footer_at) = starts.rev().find(|at| data[*at..].starts_with(b"HFFT")) else {
        return;
    };
    let footer_bytes = trailer_at - footer_at;
    let head_bytes = u64::from_le_bytes(data[trailer_at + 48..trailer_at + 56].try_into().unwrap());
    let head_end = footer_at + usize::try_from(head_bytes).unwrap_or(0).min(footer_bytes);
    let head_crc = crc32fast::hash(&data[footer_at..head_end]);
    data[trailer_at + 12..trailer_at + 16].copy_from_slice(&head_crc.to_le_bytes());
    data[trailer_at + 40..trailer_at + 48].copy_from_slice(&(footer_at as u64).to_le_bytes());
    data[trailer_at + 56..trailer_at + 64].copy_from_slice(&(footer_bytes as u64).to_le_bytes());
    let end = data.len();
    put_crc(data, trailer_at..end - 4, end - 4);
}

/// The records of a batch, each up to the batch's end.
fn records(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = BATCH_HEADER_BYTES;
    std::iter::from_fn(move || {
        let rest = batch
            .get(at..)
            .filter(|rest| rest.len() >= RECORD_HEAD_BYTES)?;
        at += span_of(rest).ok()?.padded();
        Some(rest)
    })
}
