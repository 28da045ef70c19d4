//! One stream's rows of one hour, packed into one value: sled keeps some hundred bytes in memory for each 16 keys or so, which one key per segment
//! and camera would make too many. Pure.

use super::Broken;
use crate::format::TrackTable;
use crate::ids::{CameraId, Epoch, NodeId, Rank, SegmentId, StreamKind, TrackKind};
use crate::index::TrackKey;
use crate::time::Timestamp;
use crate::timeline::Span;
use serde::{Deserialize, Serialize};

/// A row is in the bucket that its start lies in, in microseconds. Sixty rows at the default length of segments.
const BUCKET_US: i64 = 3_600_000_000;

/// One stream's part of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamRow {
    pub(crate) segment: SegmentId,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) spans: Vec<Span>,
    pub(crate) tables: Vec<TrackTable>,
}

/// Where the bucket of an instant begins.
pub(super) fn bucket_of(time: Timestamp) -> Timestamp {
    Timestamp(time.0.div_euclid(BUCKET_US).saturating_mul(BUCKET_US))
}

/// Times are relative, so that most take one to five bytes.
#[derive(Serialize, Deserialize)]
struct Packed {
    segment: u64,
    start_us: i64,
    length_us: i64,
    spans: Vec<PackedSpan>,
    tables: Vec<PackedTable>,
}

#[derive(Serialize, Deserialize)]
struct PackedSpan {
    start_us: i64,
    length_us: i64,
    node: u64,
    epoch: u64,
    rank: Rank,
}

#[derive(Serialize, Deserialize)]
struct PackedTable {
    track: TrackKind,
    rows: u32,
    crc: u32,
    offset: u64,
    start_us: i64,
    length_us: i64,
    payload_bytes: u64,
}

/// The value of the bucket that begins at `base`.
///
/// # Errors
/// None that a caller could cause.
pub(super) fn encode(base: Timestamp, rows: &[StreamRow]) -> Result<Vec<u8>, Broken> {
    let rows: Vec<Packed> = rows.iter().map(|row| pack(base, row)).collect();
    super::encode(&rows)
}

/// # Errors
/// The value is damaged.
pub(super) fn decode(
    camera: CameraId,
    stream: StreamKind,
    base: Timestamp,
    value: &[u8],
) -> Result<Vec<StreamRow>, Broken> {
    let rows: Vec<Packed> = super::decode(value)?;
    Ok(rows.iter().map(|row| unpack(camera, stream, base, row)).collect())
}

fn pack(base: Timestamp, row: &StreamRow) -> Packed {
    let span = |span: &Span| PackedSpan {
        start_us: span.start.0.wrapping_sub(row.start.0),
        length_us: span.end.0.wrapping_sub(span.start.0),
        node: span.node.0,
        epoch: span.epoch.0,
        rank: span.rank,
    };
    let table = |table: &TrackTable| PackedTable {
        track: table.key.track,
        rows: table.rows,
        crc: table.crc,
        offset: table.offset,
        start_us: table.start.0.wrapping_sub(row.start.0),
        length_us: table.end.0.wrapping_sub(table.start.0),
        payload_bytes: table.payload_bytes,
    };
    Packed {
        segment: row.segment.0,
        start_us: row.start.0.wrapping_sub(base.0),
        length_us: row.end.0.wrapping_sub(row.start.0),
        spans: row.spans.iter().map(span).collect(),
        tables: row.tables.iter().map(table).collect(),
    }
}

fn unpack(camera: CameraId, stream: StreamKind, base: Timestamp, row: &Packed) -> StreamRow {
    let after = |from: Timestamp, micros: i64| Timestamp(from.0.wrapping_add(micros));
    let start = after(base, row.start_us);
    let span = |span: &PackedSpan| {
        let start = after(start, span.start_us);
        let (node, epoch, rank) = (NodeId(span.node), Epoch(span.epoch), span.rank);
        Span { start, end: after(start, span.length_us), node, epoch, rank }
    };
    let table = |table: &PackedTable| {
        let start = after(start, table.start_us);
        TrackTable {
            key: TrackKey { camera, stream, track: table.track },
            rows: table.rows,
            crc: table.crc,
            offset: table.offset,
            start,
            end: after(start, table.length_us),
            payload_bytes: table.payload_bytes,
        }
    };
    StreamRow {
        segment: SegmentId(row.segment),
        start,
        end: after(start, row.length_us),
        spans: row.spans.iter().map(span).collect(),
        tables: row.tables.iter().map(table).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(segment: u64, start: i64, length: i64, rows: u32) -> StreamRow {
        let (start, end) = (Timestamp(start), Timestamp(start.wrapping_add(length)));
        let key = TrackKey { camera: CameraId(7), stream: StreamKind::Sub, track: TrackKind::Audio };
        let span = Span { start, end, node: NodeId(3), epoch: Epoch(9), rank: Rank::Mirror };
        let table =
            TrackTable { key, rows, crc: rows ^ 77, offset: 4096, start, end, payload_bytes: u64::from(rows) * 1000 };
        StreamRow { segment: SegmentId(segment), start, end, spans: vec![span, span], tables: vec![table] }
    }

    proptest! {
        #[test]
        fn rows_come_back(rows in proptest::collection::vec((any::<u64>(), any::<i64>(), any::<i64>(), any::<u32>()), 0..5)) {
            let rows: Vec<_> = rows.into_iter().map(|(segment, start, length, count)| row(segment, start, length, count)).collect();
            let base = bucket_of(rows.first().map_or(Timestamp(0), |row| row.start));
            let value = encode(base, &rows).unwrap();
            prop_assert_eq!(decode(CameraId(7), StreamKind::Sub, base, &value).unwrap(), rows);
        }
    }

    #[test]
    fn buckets_are_hours_also_before_1970_and_a_usual_row_is_small() {
        assert_eq!(bucket_of(Timestamp(-1)), Timestamp(-BUCKET_US));
        assert_eq!(bucket_of(Timestamp(BUCKET_US)), Timestamp(BUCKET_US));
        let hour: Vec<_> = (0..60).map(|at| row(100_000 + at as u64, at * 60_000_000, 60_000_000, 150)).collect();
        let bytes = encode(Timestamp(0), &hour).unwrap().len() / 60;
        assert!(bytes <= 64, "{bytes} bytes a row");
    }
}
