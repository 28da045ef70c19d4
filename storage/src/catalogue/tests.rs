//! What is listed is found again.

use super::*;
use crate::chunk::{Access, ChunkMeta};
use crate::format::index::{ChunkRow, InitRow, Row, SegmentIndex, TrackKey};
use crate::format::{Footer, encode_footer};
use crate::ids::{Epoch, NodeId, Rank, SessionId, TrackKind};

const META: ChunkMeta = ChunkMeta {
    camera: CameraId(1),
    stream: StreamKind::Main,
    track: TrackKind::Video,
    node: NodeId(1),
    epoch: Epoch(3),
    rank: Rank::Owner,
    session: SessionId(1),
    sequence: 0,
    init: InitId(1),
    start: Timestamp(0),
    duration_us: 60_000_000,
    frames: 1500,
    access: Some(Access::sync(1)),
    since_access_ms: Some(0),
    after_loss: false,
    damaged: false,
};

const FOOTER: Footer = Footer {
    segment: SegmentId(1),
    volume: Uuid::nil(),
    offset: 8192,
    closed_at: Timestamp(0),
    batches: 1,
    damaged_batches: 0,
};

/// A segment of one minute with two cameras; in every seventh segment another node recorded the
/// first one.
fn sealed(id: u64) -> (Trailer, FooterHead) {
    let mut index = SegmentIndex::default();
    for camera in 1..=2 {
        let node = NodeId(if camera == 1 && id.is_multiple_of(7) {
            2
        } else {
            1
        });
        let meta = ChunkMeta {
            camera: CameraId(camera),
            node,
            start: minute(id),
            ..META
        };
        index.add(Row::Chunk(ChunkRow {
            meta,
            offset: 4096,
            payload_bytes: 15_000_000,
        }));
    }
    let footer = Footer {
        segment: SegmentId(id),
        closed_at: minute(id),
        ..FOOTER
    };
    let (_, head, trailer) = encode_footer(&footer, &index);
    (trailer, head)
}

fn minute(number: u64) -> Timestamp {
    Timestamp(1_790_000_000_000_000 + number as i64 * 60_000_000)
}

#[test]
fn the_highest_camera_is_that_of_any_segment() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path(), Uuid::nil()).unwrap();
    assert_eq!(catalogue.camera_highest().unwrap(), None);
    for (id, camera) in [(1, 70_000), (2, 255), (3, 256)] {
        let mut index = SegmentIndex::default();
        let meta = ChunkMeta {
            camera: CameraId(camera),
            start: minute(id),
            ..META
        };
        index.add(Row::Chunk(ChunkRow {
            meta,
            offset: 4096,
            payload_bytes: 15_000_000,
        }));
        let footer = Footer {
            segment: SegmentId(id),
            closed_at: minute(id),
            ..FOOTER
        };
        let (_, head, trailer) = encode_footer(&footer, &index);
        catalogue.insert("default", &trailer, &head, false).unwrap();
    }
    assert_eq!(catalogue.camera_highest().unwrap(), Some(CameraId(70_000)));
}

#[test]
fn spans_are_those_of_the_rows_whether_written_or_waiting_but_of_segments_that_are_seen_elsewhere()
{
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path(), Uuid::nil()).unwrap();
    for id in 1..=200 {
        let (trailer, head) = sealed(id);
        catalogue
            .insert("default", &trailer, &head, id != 100)
            .unwrap();
    }
    let (from, to) = (minute(20).plus_micros(1), minute(190));
    let seen = BTreeSet::from([SegmentId(50), SegmentId(191)]);
    let spans = catalogue
        .stretches(CameraId(1), StreamKind::Main, (from, to), &seen)
        .unwrap();
    let rows = catalogue
        .rows(CameraId(1), StreamKind::Main, from, to)
        .unwrap();
    assert_eq!(rows.len(), 170);
    let expected = rows
        .iter()
        .filter(|row| row.segment != SegmentId(50))
        .flat_map(|row| row.stretches.iter().copied());
    assert_eq!(spans, expected.collect::<Vec<_>>());
    assert_eq!(
        spans
            .iter()
            .filter(|stretch| stretch.span.node == NodeId(2))
            .count(),
        25
    );
}

/// Both streams of one camera in one segment, a minute apart, and two init segments, of which no
/// chunk needs the second.
fn of_two_streams() -> (Trailer, FooterHead) {
    let key = |camera, stream| TrackKey {
        camera: CameraId(camera),
        stream,
        track: TrackKind::Video,
    };
    let mut index = SegmentIndex::default();
    for (stream, start) in [(StreamKind::Main, minute(5)), (StreamKind::Sub, minute(6))] {
        let meta = ChunkMeta {
            stream,
            start,
            ..META
        };
        index.add(Row::Chunk(ChunkRow {
            meta,
            offset: 4096,
            payload_bytes: 100,
        }));
        let id = InitId(stream as u64);
        index.add(Row::Init(InitRow {
            key: key(1, stream),
            id,
            offset: 4096,
            bytes: 10,
        }));
    }
    index.add(Row::Init(InitRow {
        key: key(2, StreamKind::Main),
        id: InitId(9),
        offset: 4096,
        bytes: 10,
    }));
    let (_, head, trailer) = encode_footer(&FOOTER, &index);
    (trailer, head)
}

/// When the newest place of an init segment is deleted, it is searched for near the end of its own
/// stream's footage, or near the newest footage if no chunk needed it here.
#[test]
fn a_removed_init_segment_is_looked_for_near_its_own_stream() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(dir.path(), Uuid::nil()).unwrap();
    let (trailer, head) = of_two_streams();
    let end = |start: Timestamp| start.plus_micros(META.duration_us.into());
    let of = |camera, stream, id, near| Placeless {
        camera: CameraId(camera),
        stream,
        id: InitId(id),
        near,
    };
    let expected = [
        of(1, StreamKind::Main, 0, end(minute(5))),
        of(1, StreamKind::Sub, 1, end(minute(6))),
        of(2, StreamKind::Main, 9, Timestamp::MAX),
    ];
    for is_head_known in [true, false] {
        catalogue.insert("default", &trailer, &head, false).unwrap();
        let removed = catalogue
            .remove(trailer.segment, is_head_known.then_some(&head))
            .unwrap();
        assert!(
            expected.iter().all(|placeless| removed.contains(placeless)),
            "{removed:?}"
        );
    }
}

#[test]
fn a_catalogue_of_another_segment_format_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    for (format, is_used) in [(FORMAT_VERSION, true), (FORMAT_VERSION + 1, false)] {
        let path = dir.path().join(format.to_string());
        let db = sled::open(&path).unwrap();
        db.insert(
            VERSION_KEY,
            encode(&(CATALOGUE_VERSION, format, Uuid::nil())).unwrap(),
        )
        .unwrap();
        drop(db);
        assert_eq!(
            Catalogue::open(&path, Uuid::nil()).is_ok(),
            is_used,
            "format {format}"
        );
    }
}
