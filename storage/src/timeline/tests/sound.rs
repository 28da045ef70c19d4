//! Audio where one recorder gives way to another: each of its frames is shown once.

use super::*;

/// Audio frames are 64 ms long, as in AAC at 16 kHz.
const SOUND_US: i64 = 64_000;

/// One recorder's audio, chunk by chunk.
#[derive(Clone, Debug)]
struct Heard {
    of: Recording,
    /// The frames with which chunks begin, and the one before which the last ends.
    cuts: Vec<u32>,
    /// How far its recorder places audio after its video.
    off_us: i64,
    is_silence: bool,
}

impl Heard {
    fn of(of: Recording, cuts: impl IntoIterator<Item = u32>) -> Self {
        Self {
            of,
            cuts: cuts.into_iter().collect(),
            off_us: 0,
            is_silence: false,
        }
    }

    /// Identified by their first frames, in `location.offset`.
    fn chunks(&self) -> Vec<ChunkEntry> {
        let chunk = |(sequence, frames): (u32, &[u32])| {
            let [from, until] = [frames[0], frames[1]];
            let mut entry = self.of.chunk(sequence, 0, TrackKind::Audio);
            let meta = &mut entry.meta;
            meta.start = Timestamp(i64::from(from) * SOUND_US + self.of.skew_us + self.off_us);
            (meta.frames, meta.duration_us) = (until - from, (until - from) * SOUND_US as u32);
            let first_frame = if self.is_silence { 0 } else { from };
            meta.access = Some(Access::of_sound(&first_frame.to_be_bytes()));
            entry.location.offset = u64::from(from);
            entry
        };
        (0..).zip(self.cuts.windows(2)).map(chunk).collect()
    }
}

/// The shown audio frames, in order.
fn heard(entries: Vec<ChunkEntry>) -> Vec<u64> {
    let shown = merge(entries)
        .into_iter()
        .filter(|entry| entry.meta.track == TrackKind::Audio);
    shown
        .flat_map(|entry| {
            entry.location.offset..entry.location.offset + u64::from(entry.meta.frames)
        })
        .collect()
}

/// Video of both in GOPs of one second: the next owner begins at 6 s, between audio frames 93 and
/// 94, and is shown from there on; the previous one ends at 8.5 s.
fn video() -> Vec<ChunkEntry> {
    [OWNER.video(0..17), NEXT.video(12..24)].concat()
}

#[test]
fn it_changes_at_a_frame_that_both_begin_a_chunk_with_wherever_that_is() {
    let before = Heard::of(OWNER, [0, 30, 63, 78, 84, 89, 94, 100, 105]);
    let after = |cuts: &[u32]| Heard::of(NEXT, cuts.iter().copied());
    for (what, cuts) in [
        ("there", vec![63, 78, 94, 110, 180]),
        ("there, where the next one's begins", vec![94, 110, 180]),
        ("a frame late, and after", vec![95, 100, 110, 180]),
        (
            "a frame off there, and before",
            vec![63, 78, 89, 93, 110, 180],
        ),
        (
            "a frame off there, and after",
            vec![63, 79, 93, 95, 100, 110, 180],
        ),
    ] {
        for off_us in [-60_000, 0, 100_000] {
            let after = Heard {
                off_us,
                ..after(&cuts)
            };
            let entries = [video(), before.chunks(), after.chunks()].concat();
            assert_eq!(
                heard(entries),
                (0..180).collect::<Vec<_>>(),
                "{what}, {off_us} us off"
            );
        }
    }
}

#[test]
fn without_a_shared_frame_it_changes_where_least_is_lost_or_doubled() {
    let before = Heard::of(OWNER, [0, 30, 63, 78, 84, 89, 96, 100]);
    let after = Heard::of(NEXT, [62, 80, 88, 101, 120, 180]);
    let shown = heard([video(), before.chunks(), after.chunks()].concat());
    let missing: Vec<u64> = (0..180).filter(|frame| !shown.contains(frame)).collect();
    let doubled = shown.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(
        missing.len() + doubled <= 1,
        "{missing:?} is missing of {shown:?}"
    );
}

#[test]
fn silence_changes_where_it_is_nearest() {
    let cuts = [0, 30, 63, 78, 84, 89, 94, 100, 105];
    let before = Heard {
        is_silence: true,
        ..Heard::of(OWNER, cuts)
    };
    let after = Heard {
        is_silence: true,
        off_us: 20_000,
        ..Heard::of(NEXT, [63, 78, 94, 110, 180])
    };
    assert_eq!(
        heard([video(), before.chunks(), after.chunks()].concat()),
        (0..180).collect::<Vec<_>>()
    );
}

#[test]
fn where_no_node_recorded_a_hole_stays_and_everything_stored_is_shown() {
    // The owner died at 4 s, its audio slightly before its video; the next one began at 6 s.
    let entries = |before: &[u32]| {
        let (before, after) = (
            Heard::of(OWNER, before.iter().copied()),
            Heard::of(NEXT, [94, 110, 180]),
        );
        heard(
            [
                OWNER.video(0..8),
                NEXT.video(12..24),
                before.chunks(),
                after.chunks(),
            ]
            .concat(),
        )
    };
    assert_eq!(
        entries(&[0, 30, 58, 61]),
        (0..61).chain(94..180).collect::<Vec<_>>()
    );
    assert_eq!(
        entries(&[0, 30, 58, 63]),
        (0..63).chain(94..180).collect::<Vec<_>>(),
        "a little after it"
    );
}

#[test]
fn a_chunk_that_lies_in_two_places_is_shown_once() {
    let mut copied = Heard::of(OWNER, [0, 30, 63]).chunks();
    copied.extend_from_within(..);
    assert_eq!(
        heard([OWNER.video(0..8), copied].concat()),
        (0..63).collect::<Vec<_>>()
    );
}

/// Beginnings of chunks from `from` to `until`, none longer than 7 frames, including those in
/// `shared`.
fn cuts((from, until): (u32, u32), own: &BTreeSet<u32>, shared: &BTreeSet<u32>) -> Vec<u32> {
    let inside = own
        .union(shared)
        .copied()
        .filter(|cut| (from + 1..until).contains(cut));
    let mut cuts = vec![from];
    for cut in inside.chain([until]) {
        while cut - cuts[cuts.len() - 1] > 7 {
            cuts.push(cuts[cuts.len() - 1] + 7);
        }
        cuts.push(cut);
    }
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_the_cuts_no_more_is_lost_or_doubled_than_they_leave(
        own in (
            proptest::collection::btree_set(60..110_u32, 0..6),
            proptest::collection::btree_set(60..110_u32, 0..6),
        ),
        shared in proptest::collection::btree_set(70..105_u32, 0..2),
        // With the difference of the clocks, less than a frame: a chunk may be as short.
        off_us in -33_000..93_000_i64,
    ) {
        let before = Heard::of(OWNER, cuts((0, 106), &own.0, &shared));
        let after = Heard { off_us, ..Heard::of(NEXT, cuts((62, 180), &own.1, &shared)) };
        let shown = heard([video(), before.chunks(), after.chunks()].concat());
        let doubled = shown.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        let missing: Vec<u64> = (0..180).filter(|frame| !shown.contains(frame)).collect();
        let both: BTreeSet<u32> = before
            .cuts
            .iter()
            .copied()
            .filter(|cut| after.cuts.contains(cut))
            .collect();
        if both.iter().any(|cut| (70..106).contains(cut)) {
            prop_assert_eq!(
                (missing, doubled),
                (vec![], 0),
                "{:?} and {:?}",
                before.cuts,
                after.cuts
            );
        } else {
            // Seven frames of a chunk, cut in the middle, plus the recorder's offset.
            prop_assert!(missing.len() <= 5 && doubled <= 1, "{missing:?} of {shown:?}");
        }
    }
}
