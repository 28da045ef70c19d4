//! Tests of when a segment ends, when the next one is opened, and how much space is reserved.

use super::*;
use crate::room::{ALLOCATE_STEP_BYTES, allocate_step};

const MIB: u64 = 1 << 20;
const LIMITS: SegmentLimits = SegmentLimits {
    time_us_max: 60_000_000,
    bytes_max: 1 << 30,
    chunks_max: SEGMENT_CHUNKS_MAX,
};
const BATCH: usize = 1 << 20;
const READY: Successor = Successor::Ready {
    opened_at: Timestamp(0),
};

fn fill() -> Fill {
    Fill {
        opened_at: Timestamp(0),
        next_offset: 4096,
        next_batch: 1,
        chunks: 0,
        inits: HashSet::new(),
    }
}

fn at_offset(next_offset: u64) -> Fill {
    Fill {
        next_offset,
        ..fill()
    }
}

/// The decision about `fill` with the next segment ready, coming, and missing.
fn rotations(fill: &Fill, now_us: i64) -> [Rotation; 3] {
    let rotation = |successor| fill.rotation(BATCH, LIMITS, successor, Timestamp(now_us));
    [
        rotation(READY),
        rotation(Successor::Coming),
        rotation(Successor::None),
    ]
}

#[test]
fn the_next_segment_is_opened_once_near_the_end_and_takes_over_at_the_end() {
    use Rotation::{Prepare, Stay, TakeOver};
    for (near, full) in [
        ((fill(), 58_000_000), (fill(), 60_000_000)),
        (
            (at_offset(1007 * MIB + 1), 0),
            (at_offset(1023 * MIB + 1), 0),
        ),
        (
            (
                Fill {
                    chunks: 175_000,
                    ..fill()
                },
                0,
            ),
            (
                Fill {
                    chunks: 200_000,
                    ..fill()
                },
                0,
            ),
        ),
    ] {
        assert_eq!(
            rotations(&near.0, near.1),
            [Stay, Stay, Prepare],
            "{near:?}"
        );
        assert_eq!(
            rotations(&full.0, full.1),
            [TakeOver, Stay, Prepare],
            "{full:?}"
        );
    }
    for (fill, now_us) in [
        (fill(), 57_999_999),
        (at_offset(1007 * MIB), 0),
        (
            Fill {
                chunks: 174_999,
                ..fill()
            },
            0,
        ),
    ] {
        assert_eq!(rotations(&fill, now_us), [Stay; 3], "{fill:?}");
    }
}

#[test]
fn batches_wait_for_a_file_only_once_the_segment_would_grow_beyond_its_overrun() {
    use Rotation::{Open, Prepare, Stay, TakeOver};
    let overrun = 1023 * MIB + OVERRUN_BYTES_MAX;
    assert_eq!(
        rotations(&at_offset(overrun), 1 << 40)[1..],
        [Stay, Prepare],
        "time alone does no harm"
    );
    assert_eq!(rotations(&at_offset(overrun + 1), 0)[1..], [TakeOver, Open]);
    assert_eq!(
        rotations(
            &Fill {
                chunks: 225_000,
                ..fill()
            },
            0
        )[1..],
        [TakeOver, Open]
    );
}

#[test]
fn a_segment_opened_ahead_long_ago_is_given_up() {
    let late = Timestamp(60_000_001);
    assert_eq!(fill().rotation(BATCH, LIMITS, READY, late), Rotation::Open);
    let ready = Successor::Ready {
        opened_at: Timestamp(1),
    };
    assert_eq!(
        fill().rotation(BATCH, LIMITS, ready, late),
        Rotation::TakeOver
    );
}

#[test]
fn short_segments_have_short_margins() {
    let limits = SegmentLimits {
        time_us_max: 800_000,
        bytes_max: 2 * MIB,
        chunks_max: SEGMENT_CHUNKS_MAX,
    };
    let rotation =
        |fill: Fill, now_us| fill.rotation(BATCH, limits, Successor::None, Timestamp(now_us));
    assert_eq!(
        (rotation(fill(), 699_999), rotation(fill(), 700_000)),
        (Rotation::Stay, Rotation::Prepare)
    );
    assert_eq!(rotation(at_offset(3 * MIB / 4), 0), Rotation::Stay);
    assert_eq!(rotation(at_offset(3 * MIB / 4 + 1), 0), Rotation::Prepare);
    assert_eq!(rotation(at_offset(2 * MIB), 0), Rotation::Prepare);
    assert_eq!(rotation(at_offset(2 * MIB + 1), 0), Rotation::Open);
}

#[test]
fn an_empty_segment_takes_even_a_batch_that_is_too_long() {
    let empty = Fill {
        next_batch: 0,
        ..fill()
    };
    for successor in [READY, Successor::Coming, Successor::None] {
        assert_eq!(
            empty.rotation(2 << 30, LIMITS, successor, Timestamp(0)),
            Rotation::Stay
        );
    }
}

#[test]
fn a_clock_that_jumped_far_back_ends_the_segment() {
    assert_eq!(rotations(&fill(), -1), [Rotation::Stay; 3]);
    assert_eq!(
        rotations(&fill(), -60_000_001),
        [Rotation::Open, Rotation::Stay, Rotation::Prepare]
    );
}

#[test]
fn room_is_reserved_ahead_and_for_a_long_batch_at_once() {
    let step = ALLOCATE_STEP_BYTES;
    assert_eq!(allocate_next(step, 4096, step, step), None);
    assert_eq!(allocate_next(step, step - 1, step, step), Some(step));
    assert_eq!(allocate_next(0, 3 * step, step, step), Some(3 * step));
}

#[test]
fn a_small_volume_is_not_filled_by_what_is_reserved() {
    assert_eq!(allocate_step(1 << 40, 3), ALLOCATE_STEP_BYTES);
    assert_eq!(allocate_step(150 << 20, 1), (150 << 20) / 8);
    assert_eq!(allocate_step(150 << 20, 16), ALLOCATE_BYTES_MIN);
    assert_eq!(
        allocate_step(0, 1),
        ALLOCATE_BYTES_MIN,
        "a filesystem that does not say"
    );
    let step = allocate_step(150 << 20, 1);
    assert_eq!(
        allocate_next(step, 4096, step, step),
        None,
        "one step is enough for a while"
    );
}
