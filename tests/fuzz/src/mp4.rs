//! Fuzz targets for MP4 that is read back: hostile boxes never panic, and nothing outside of them
//! is read or written.

#![allow(dead_code, reason = "each fuzzer uses one target")]
#![allow(clippy::unwrap_used, reason = "a panic is a finding")]

use bytes::Bytes;
use holdfast_storage::chunk::InitId;
use holdfast_storage::cmaf::merge::{merge_inits, parse_init};
use holdfast_storage::cmaf::patch::{Placement, patch_chunk, prefix_first_sample};
use holdfast_storage::cmaf::probe;

/// Longer than any parameter sets that precede a keyframe.
const PREFIX: &[u8] = &[0xa5; 40];

pub(crate) fn chunk(data: &[u8]) {
    if let Ok(samples) = probe::samples(data) {
        assert!(
            samples
                .iter()
                .all(|sample| sample.offset + sample.size <= data.len())
        );
        let info = probe::chunk_info(data);
        assert!(info.is_ok_and(|info| info.samples == samples.len()));
    }
    for range in probe::chunk_ranges(data).map_while(Result::ok) {
        assert!(range.start < range.end && range.end <= data.len());
    }
    patch(data);
    if let Ok(longer) = prefix_first_sample(data, PREFIX) {
        let (before, after) = (probe::samples(data).unwrap()[0], probe::samples(&longer));
        if let Ok(after) = after {
            assert_eq!(
                (after[0].offset, after[0].size),
                (before.offset, before.size + PREFIX.len())
            );
        }
    }
}

fn patch(data: &[u8]) {
    let placement = Placement {
        decode_time: 77,
        moof_sequence: 5,
        sample_description_index: 3,
    };
    let mut patched = data.to_vec();
    if patch_chunk(&mut patched, &placement).is_err() {
        return;
    }
    assert_eq!(patched.len(), data.len());
    if let (Ok(before), Ok(after)) = (probe::chunk_info(data), probe::chunk_info(&patched)) {
        assert_eq!(
            (after.samples, after.duration),
            (before.samples, before.duration)
        );
    }
}

/// Two init segments, preceded by the length of the first, to be merged into one presentation.
pub(crate) fn init(data: &[u8]) {
    let Some((length, data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let (first, second) = data.split_at(usize::from(u16::from_le_bytes(*length)).min(data.len()));
    let inits = [first, second].map(|init| (InitId::of(init), Bytes::copy_from_slice(init)));
    if let Ok(info) = parse_init(first) {
        assert!(info.timescale > 0);
    }
    for (video, audio) in [
        (&inits[..], &[][..]),
        (&inits[..1], &inits[1..]),
        (&[], &inits),
    ] {
        if let Ok(merged) = merge_inits(video, audio) {
            assert!(
                merged
                    .sample_description_index
                    .values()
                    .all(|index| *index >= 1)
            );
        }
    }
}
