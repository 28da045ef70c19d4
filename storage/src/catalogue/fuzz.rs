//! Reads one row of the catalogue as each of its readers would, for the fuzz targets.

use super::keys::{self, segment_of, start_of};
use super::{Broken, InitPlace, Longest, SegmentRow, bucket, decode, encode};
use crate::chunk::Gap;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An accepted row must be the same after it is written and read again.
pub(crate) fn read_row(key: &[u8], value: &[u8]) {
    if let (Some(segment), Some(start)) = (segment_of(key), start_of(key)) {
        assert!(
            key.len() >= 22 || key[0] == keys::SEGMENT[0],
            "segment {segment} at {start} of a key that is too short"
        );
    }
    match key.first() {
        Some(b'g') => round_trip::<SegmentRow>(value),
        Some(b'c') => round_trip_bucket(key, value),
        Some(b'p') => round_trip::<Gap>(value),
        Some(&keys::INIT) => round_trip::<InitPlace>(value),
        _ => round_trip::<Longest>(value),
    }
}

fn round_trip<T: Serialize + DeserializeOwned>(value: &[u8]) {
    let again = |row: &T| -> Result<Vec<u8>, Broken> { encode(&decode::<T>(&encode(row)?)?) };
    if let Ok(row) = decode::<T>(value) {
        let (first, second) = (encode(&row), again(&row));
        assert!(
            matches!((first, second), (Ok(first), Ok(second)) if first == second),
            "a row changes when it is written"
        );
    }
}

fn round_trip_bucket(key: &[u8], value: &[u8]) {
    let parts = keys::as_bucket(key).and_then(|key| keys::bucket_parts(&key));
    let Some((camera, stream, base)) = parts else {
        return;
    };
    let read = |value: &[u8]| bucket::decode(camera, stream, base, value);
    if let Ok(rows) = read(value) {
        let again = read(&bucket::encode(base, &rows));
        assert!(
            again.is_ok_and(|again| again == rows),
            "a bucket changes when it is written"
        );
        let (mut stretches, of_rows) = (
            Vec::new(),
            rows.iter().flat_map(|row| row.stretches.iter().copied()),
        );
        let read = bucket::stretches(base, value, |_, _, _| true, &mut stretches);
        assert!(
            read.is_ok() && stretches.into_iter().eq(of_rows),
            "stretches are other than those of the rows"
        );
    }
}
