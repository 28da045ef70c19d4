//! What is listed is found again.

use super::*;
use crate::chunk::ChunkMeta;
use crate::format::{Footer, encode_footer};
use crate::ids::{Epoch, NodeId, Rank, SessionId, TrackKind};
use crate::index::{ChunkRow, Row, SegmentIndex};

/// A segment of a minute with two cameras, the first of which was recorded by another node in every seventh.
fn sealed(id: u64) -> (Trailer, FooterHead) {
    let mut index = SegmentIndex::default();
    for camera in 1..=2 {
        let meta = ChunkMeta {
            camera: CameraId(camera),
            stream: StreamKind::Main,
            track: TrackKind::Video,
            node: NodeId(if camera == 1 && id.is_multiple_of(7) { 2 } else { 1 }),
            epoch: Epoch(3),
            rank: Rank::Owner,
            session: SessionId(1),
            sequence: 0,
            init: InitId(1),
            start: minute(id),
            duration_us: 60_000_000,
            frames: 1500,
            keyframe_crc: Some(1),
            after_loss: false,
        };
        index.add(Row::Chunk(ChunkRow { meta, offset: 4096, payload_bytes: 15_000_000 }));
    }
    let segment = SegmentId(id);
    let footer =
        Footer { segment, volume: Uuid::nil(), offset: 8192, closed_at: minute(id), batches: 1, damaged_batches: 0 };
    let (_, head, trailer) = encode_footer(&footer, &index);
    (trailer, head)
}

fn minute(number: u64) -> Timestamp {
    Timestamp(1_790_000_000_000_000 + number as i64 * 60_000_000)
}

#[test]
fn spans_are_those_of_the_rows_whether_written_or_waiting_but_of_segments_that_are_seen_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path(), Uuid::nil()).unwrap();
    for id in 1..=200 {
        let (trailer, head) = sealed(id);
        catalogue.insert("default", &trailer, &head, id != 100).unwrap();
    }
    let (from, to) = (minute(20).plus_micros(1), minute(190));
    let seen = BTreeSet::from([SegmentId(50), SegmentId(191)]);
    let spans = catalogue.spans(CameraId(1), StreamKind::Main, (from, to), &seen).unwrap();
    let rows = catalogue.rows(CameraId(1), StreamKind::Main, from, to).unwrap();
    assert_eq!(rows.len(), 170);
    let expected = rows.iter().filter(|row| row.segment != SegmentId(50)).flat_map(|row| row.spans.iter().copied());
    assert_eq!(spans, expected.collect::<Vec<_>>());
    assert_eq!(spans.iter().filter(|span| span.node == NodeId(2)).count(), 25);
}

#[test]
fn a_catalogue_from_beside_another_segment_format_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    for (format, is_used) in [(FORMAT_VERSION, true), (FORMAT_VERSION + 1, false)] {
        let path = dir.path().join(format.to_string());
        let db = sled::open(&path).unwrap();
        db.insert(VERSION_KEY, encode(&(CATALOGUE_VERSION, format, Uuid::nil())).unwrap()).unwrap();
        drop(db);
        assert_eq!(Catalogue::open(&path, Uuid::nil()).is_ok(), is_used, "format {format}");
    }
}
