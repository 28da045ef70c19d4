//! Seams between one segment and the next.

use super::*;

/// A camera with one frame every four seconds, whose chunks are in two segments.
fn rare(mut entries: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    for (number, meta) in (0..).zip(entries.iter_mut().map(|entry| &mut entry.meta)) {
        (meta.start, meta.duration_us) = (Timestamp(4_000_000 * number), 40_000);
        (meta.access, meta.since_access_ms) = (Some(Access::sync(1)), Some(0));
    }
    entries
}

/// What is shown of `entries` if a segment ends before each of `begins`.
fn over_segments(entries: &[ChunkEntry], begins: &[usize], ledger: &[Gap]) -> Vec<Span> {
    let bounds: Vec<_> = [&[0], begins, &[entries.len()]].concat();
    let metas = |segment: &[usize]| {
        entries[segment[0]..segment[1]]
            .iter()
            .map(|entry| entry.meta)
            .collect::<Vec<_>>()
    };
    let mut stretches: Vec<_> = bounds
        .windows(2)
        .flat_map(|segment| stretches_of(&metas(segment)))
        .collect();
    close_seams(&mut stretches, ledger);
    join_seams(
        stretches.into_iter().map(|stretch| stretch.span).collect(),
        ledger,
    )
}

#[test]
fn chunks_that_follow_each_other_over_a_seam_are_one_span_however_rare_frames_are() {
    let recorded = rare(OWNER.video(0..6));
    assert_eq!(extents(&over_segments(&recorded, &[3], &[])), [(0, 20_040)]);
    assert_eq!(
        extents(&over_segments(&recorded, &[1, 2, 3, 4, 5], &[])),
        [(0, 20_040)]
    );
    let mut missing = recorded.clone();
    missing.remove(3);
    assert_eq!(
        extents(&over_segments(&missing, &[3], &[])),
        [(0, 8_040), (16_000, 20_040)]
    );
    let mut torn = recorded.clone();
    torn[3].meta.after_loss = true;
    assert_eq!(
        extents(&over_segments(&torn, &[3], &[])),
        [(0, 8_040), (12_000, 20_040)]
    );
    let paused = over_segments(&recorded, &[3], &[lost(8_040, 12_000)]);
    assert_eq!(
        extents(&paused),
        [(0, 8_040), (12_000, 20_040)],
        "the ledger has an entry for it"
    );
    let mut other = recorded.clone();
    other[3..]
        .iter_mut()
        .for_each(|entry| entry.meta.session = SessionId(9));
    assert_eq!(
        extents(&over_segments(&other, &[3], &[])),
        [(0, 8_040), (12_000, 20_040)],
        "another session"
    );
}

#[test]
fn a_span_lasts_until_the_next_chunk_of_another_epoch_or_state() {
    let mut handed = rare(OWNER.video(0..6));
    handed[3..]
        .iter_mut()
        .for_each(|entry| entry.meta.epoch = Epoch(5));
    assert_eq!(extents(&spans_of(&handed)), [(0, 12_000), (12_000, 20_040)]);
    assert_eq!(
        extents(&over_segments(&handed, &[3], &[])),
        [(0, 12_000), (12_000, 20_040)]
    );
    let mut healed = rare(OWNER.video(0..6));
    healed[2].meta.damaged = true;
    (healed[2].meta.access, healed[2].meta.since_access_ms) = (None, Some(4_000));
    let expected = [
        (0, 8_000, false),
        (8_000, 12_000, true),
        (12_000, 20_040, false),
    ];
    assert_eq!(marked(&spans_of(&healed)), expected);
    assert_eq!(marked(&over_segments(&healed, &[2, 3], &[])), expected);
}
