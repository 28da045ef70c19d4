//! Round trips, wrong sizes and flipped bits of stored structures.

use super::batch::*;
use super::record::*;
use super::*;
use crate::chunk::{Access, AccessPoint, Chunk, ChunkMeta, Gap, GapCause, Init, InitId, Record};
use crate::format::index::{Row, SegmentIndex};
use crate::ids::{CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamKind, TrackKind};
use crate::time::Timestamp;
use ::bytes::Bytes;
use crc32fast::Hasher;
use proptest::prelude::*;
use uuid::Uuid;

fn access() -> impl Strategy<Value = Option<Access>> {
    let point = prop_oneof![
        Just(AccessPoint::Sync),
        Just(AccessPoint::Open),
        any::<u16>().prop_map(|frames| AccessPoint::Recovery { frames })
    ];
    proptest::option::of(
        (point, any::<u32>()).prop_map(|(point, slices_crc)| Access { point, slices_crc }),
    )
}

fn meta() -> impl Strategy<Value = ChunkMeta> {
    let names = (
        any::<u32>(),
        0..2_u8,
        0..3_u8,
        0..3_u8,
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
    );
    let rest = (
        any::<u64>(),
        any::<i64>(),
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        access(),
        proptest::option::of(0..u32::MAX),
        any::<[bool; 2]>(),
    );
    (names, rest).prop_map(
        |((camera, stream, track, rank, node, epoch, session), rest)| {
            let (
                init,
                start,
                duration_us,
                frames,
                sequence,
                access,
                since_access_ms,
                [after_loss, damaged],
            ) = rest;
            ChunkMeta {
                camera: CameraId(camera),
                stream: StreamKind::try_from(stream).unwrap(),
                track: TrackKind::try_from(track).unwrap(),
                node: NodeId(node),
                epoch: Epoch(epoch),
                rank: Rank::try_from(rank).unwrap(),
                session: SessionId(session),
                sequence,
                init: InitId(init),
                start: Timestamp(start),
                duration_us,
                frames,
                access,
                since_access_ms,
                after_loss,
                damaged,
            }
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let parts = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4);
    let chunk = (meta(), parts).prop_map(|(meta, parts)| {
        Record::Chunk(Chunk {
            meta,
            parts: parts.into_iter().map(Bytes::from).collect(),
        })
    });
    let init = proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| {
        let (stream, track) = (StreamKind::Sub, TrackKind::Audio);
        Record::Init(Init {
            camera: CameraId(9),
            stream,
            track,
            bytes: Bytes::from(bytes),
        })
    });
    let gap = (
        any::<u32>(),
        1..13_u8,
        any::<i64>(),
        any::<i64>(),
        any::<u16>(),
    );
    let gap = gap.prop_map(|(camera, cause, start, end, frames)| {
        let frames_missing = Some(frames).filter(|frames| *frames > 0);
        let (start, end) = (Timestamp(start), Timestamp(end));
        let cause = GapCause::try_from(cause).unwrap();
        let (node, epoch) = (NodeId(1), Epoch(2));
        Record::Gap(Gap {
            camera: CameraId(camera),
            stream: StreamKind::Main,
            node,
            epoch,
            start,
            end,
            cause,
            frames_missing,
        })
    });
    prop_oneof![3 => chunk, 1 => init, 1 => gap]
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut out = vec![0xff; encoded_bytes(record)];
    assert_eq!(
        encode_record(record, &mut out, &mut Hasher::new()),
        out.len()
    );
    out
}

fn is_same(record: &Record, decoded: &Decoded<'_>) -> bool {
    match (record, decoded) {
        (Record::Chunk(chunk), Decoded::Chunk { meta, payload }) => {
            chunk.meta == *meta && chunk.parts.concat() == *payload
        }
        (Record::Init(init), Decoded::Init { id, payload, .. }) => {
            init.id() == *id && init.bytes == *payload
        }
        (Record::Gap(gap), Decoded::Gap(found)) => gap == found,
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_record_comes_back(record in record()) {
        let bytes = encoded(&record);
        let (decoded, span) = decode_record(&bytes).unwrap();
        prop_assert!(is_same(&record, &decoded));
        prop_assert_eq!(span.padded(), bytes.len());
    }

    #[test]
    fn a_kind_of_access_point_that_is_not_known_is_refused(meta in meta()) {
        let mut head = ChunkHead::encode(&meta);
        head[7] |= 0x31;
        prop_assert!(ChunkHead::decode(&head).is_err());
    }

    #[test]
    fn a_record_of_the_wrong_size_is_refused(
        record in record(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let bytes = encoded(&record);
        let (_, span) = decode_record(&bytes).unwrap();
        prop_assert!(decode_record(&bytes[..cut.index(span.bytes())]).is_err());
    }

    #[test]
    fn a_flipped_bit_in_a_record_is_noticed(
        record in record(),
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = encoded(&record);
        let (_, span) = decode_record(&bytes).unwrap();
        bytes[at.index(span.bytes())] ^= 1 << bit;
        prop_assert!(decode_record(&bytes).is_err());
    }

    #[test]
    fn noise_is_never_a_record_nor_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
    ) {
        prop_assert!(decode_record(&bytes).is_err());
        prop_assert!(decode_batch_head(&bytes).is_err());
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
        prop_assert!(Trailer::decode(&bytes, bytes.len() as u64).is_err());
    }

    /// A batch's checksum is combined from those of its records while they are copied; it must
    /// equal the checksum of the bytes.
    #[test]
    fn a_batch_comes_back_and_any_flipped_bit_is_noticed(
        records in proptest::collection::vec(record(), 1..6),
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut out = vec![0xff; 1 << 16];
        let mut builder = BatchBuilder::default();
        let offsets: Vec<usize> = records
            .iter()
            .map(|record| builder.push(record, &mut out))
            .collect();
        let bytes = builder.finish(SegmentId(1), Uuid::from_u128(2), 3, Timestamp(4), &mut out);
        let head = decode_batch_head(&out).unwrap();
        prop_assert_eq!((head.records as usize, head.padded_bytes()), (records.len(), bytes));
        prop_assert_eq!(verify_body(&head, &out), Ok(()));
        for (record, offset) in records.iter().zip(offsets) {
            prop_assert!(is_same(record, &decode_record(&out[offset..]).unwrap().0));
        }
        prop_assert!(out[head.bytes as usize..bytes].iter().all(|byte| *byte == 0));
        out[at.index(head.bytes as usize)] ^= 1 << bit;
        prop_assert!(decode_batch_head(&out).and_then(|head| verify_body(&head, &out)).is_err());
    }

    #[test]
    fn a_footer_comes_back(records in proptest::collection::vec(record(), 0..30)) {
        let mut index = SegmentIndex::default();
        for (number, record) in (0..).zip(&records) {
            let bytes = encoded(record);
            let (decoded, _) = decode_record(&bytes).unwrap();
            index.add(Row::of(&decoded, number * 8).unwrap());
        }
        let offset = 8 * BLOCK;
        let closed_at = Timestamp(5);
        let footer = Footer {
            segment: SegmentId(1),
            volume: Uuid::from_u128(2),
            offset,
            closed_at,
            batches: 1,
            damaged_batches: 0,
        };
        let (bytes, head, trailer) = encode_footer(&footer, &index);
        prop_assert_eq!(offset + bytes.len() as u64, trailer.file_bytes());
        let tail = &bytes[bytes.len() - BLOCK_BYTES..];
        prop_assert_eq!(Trailer::decode(tail, trailer.file_bytes()), Ok(trailer));
        prop_assert_eq!(
            decode_head(&trailer, &bytes[..trailer.head_bytes as usize]),
            Ok(head.clone())
        );
        for table in &head.tracks {
            let at = (table.offset - offset) as usize;
            let rows = decode_table(table, &bytes[at..at + table.bytes()]).unwrap();
            prop_assert_eq!(&rows, &index.tracks()[&table.key]);
            prop_assert!(decode_table(table, &bytes[at..at + table.bytes() - 1]).is_err());
        }
    }
}
