//! The catalogue's keys: a kind, then big-endian fields, so that they sort by camera, stream and
//! time.

use crate::chunk::{Gap, InitId};
use crate::ids::{CameraId, SegmentId, StreamKind};
use crate::time::Timestamp;
use std::ops::Range;

pub(super) const SEGMENT: &[u8] = b"g";
pub(super) const STREAM: u8 = b'c';
const GAP: u8 = b'p';
pub(super) const INIT: u8 = b'i';
const LENGTH: &[u8] = b"l";

/// Kind, camera, stream.
const PREFIX_BYTES: usize = 6;
const START_END: usize = PREFIX_BYTES + 8;
const GAP_KEY_BYTES: usize = START_END + 8 + 4;

pub(super) fn length_key() -> Vec<u8> {
    LENGTH.to_vec()
}

pub(super) fn segment_key(id: SegmentId) -> [u8; 9] {
    let mut key = [SEGMENT[0]; 9];
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key
}

pub(super) fn init_key(camera: CameraId, id: InitId) -> [u8; 13] {
    let mut key = [INIT; 13];
    key[1..5].copy_from_slice(&camera.0.to_be_bytes());
    key[5..].copy_from_slice(&id.0.to_be_bytes());
    key
}

fn prefix(kind: u8, camera: CameraId, stream: StreamKind) -> [u8; PREFIX_BYTES] {
    let mut key = [kind; PREFIX_BYTES];
    key[1..5].copy_from_slice(&camera.0.to_be_bytes());
    key[5] = stream as u8;
    key
}

/// Sorts like the signed number.
fn time_bytes(time: Timestamp) -> [u8; 8] {
    (time.0 as u64 ^ 1 << 63).to_be_bytes()
}

fn timed(kind: u8, camera: CameraId, stream: StreamKind, start: Timestamp) -> [u8; START_END] {
    let mut key = [0; START_END];
    key[..PREFIX_BYTES].copy_from_slice(&prefix(kind, camera, stream));
    key[PREFIX_BYTES..].copy_from_slice(&time_bytes(start));
    key
}

pub(super) fn stream_prefix(camera: CameraId, stream: StreamKind) -> [u8; PREFIX_BYTES] {
    prefix(STREAM, camera, stream)
}

/// The key of one stream's rows of one hour.
pub(super) type BucketKey = [u8; START_END];

pub(super) fn bucket_key(camera: CameraId, stream: StreamKind, base: Timestamp) -> BucketKey {
    timed(STREAM, camera, stream, base)
}

/// The key as a bucket's key, if it is one.
pub(super) fn as_bucket(key: &[u8]) -> Option<BucketKey> {
    key.try_into()
        .ok()
        .filter(|key: &BucketKey| key[0] == STREAM)
}

pub(super) fn bucket_parts(key: &BucketKey) -> Option<(CameraId, StreamKind, Timestamp)> {
    let camera = CameraId(u32::from_be_bytes(key[1..5].try_into().ok()?));
    Some((camera, StreamKind::try_from(key[5]).ok()?, start_of(key)?))
}

pub(super) fn bucket_range(
    camera: CameraId,
    stream: StreamKind,
    from: Timestamp,
    to: Timestamp,
) -> Range<Vec<u8>> {
    timed(STREAM, camera, stream, from).to_vec()..timed(STREAM, camera, stream, to).to_vec()
}

pub(super) fn gap_key(gap: &Gap, id: SegmentId, number: u32) -> [u8; GAP_KEY_BYTES] {
    let mut key = [0; GAP_KEY_BYTES];
    key[..START_END].copy_from_slice(&timed(GAP, gap.camera, gap.stream, gap.start));
    key[START_END..START_END + 8].copy_from_slice(&id.0.to_be_bytes());
    key[START_END + 8..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn gap_range(
    camera: CameraId,
    stream: StreamKind,
    from: Timestamp,
    to: Timestamp,
) -> Range<Vec<u8>> {
    timed(GAP, camera, stream, from).to_vec()..timed(GAP, camera, stream, to).to_vec()
}

/// The start of a stream's or gap's row.
pub(super) fn start_of(key: &[u8]) -> Option<Timestamp> {
    let bytes: [u8; 8] = key.get(PREFIX_BYTES..START_END)?.try_into().ok()?;
    Some(Timestamp((u64::from_be_bytes(bytes) ^ 1 << 63) as i64))
}

/// The segment that a row belongs to, for all kinds that name it in the key.
/// Of a key of a stream's row.
pub(super) fn camera_of(key: &[u8]) -> Option<CameraId> {
    Some(CameraId(u32::from_be_bytes(
        key.get(1..5)?.try_into().ok()?,
    )))
}

pub(super) fn segment_of(key: &[u8]) -> Option<SegmentId> {
    let at = match key.first() {
        Some(kind) if *kind == SEGMENT[0] => 1,
        Some(&GAP) => START_END,
        _ => return None,
    };
    Some(SegmentId(u64::from_be_bytes(
        key.get(at..at + 8)?.try_into().ok()?,
    )))
}

/// Camera and id of an init segment's row.
pub(super) fn init_of(key: &[u8]) -> Option<(CameraId, InitId)> {
    let (kind, rest) = key.split_first()?;
    let (camera, id) = rest.split_at_checked(4)?;
    let of_init = *kind == INIT;
    of_init.then_some((
        CameraId(u32::from_be_bytes(camera.try_into().ok()?)),
        InitId(u64::from_be_bytes(id.try_into().ok()?)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_time_also_before_1970() {
        let key = |time| bucket_key(CameraId(1), StreamKind::Sub, Timestamp(time));
        assert!(key(-5) < key(-1) && key(-1) < key(0) && key(0) < key(1) && key(1) < key(i64::MAX));
        assert_eq!(
            bucket_parts(&key(-5)),
            Some((CameraId(1), StreamKind::Sub, Timestamp(-5)))
        );
        assert_eq!(
            (as_bucket(&key(3)), segment_of(&key(3))),
            (Some(key(3)), None)
        );
        let id = SegmentId(7);
        assert_eq!(
            (segment_of(&segment_key(id)), as_bucket(&segment_key(id))),
            (Some(id), None)
        );
        assert_eq!(segment_of(&init_key(CameraId(1), InitId(2))), None);
        assert_eq!(
            init_of(&init_key(CameraId(1), InitId(2))),
            Some((CameraId(1), InitId(2)))
        );
    }
}
