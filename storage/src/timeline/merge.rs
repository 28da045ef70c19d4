//! The splice: turns overlapping recordings of one camera into the continuous list of chunks to
//! play.
//!
//! Recordings are applied in the order of preference. A lower one fills holes of those above it; it
//! is entered and left at keyframes of video. If both recordings have the same keyframe, the cut is
//! exactly there, so that no frame is lost or doubled (provided that the clocks differ by less than
//! the length of a chunk), and a GOP is shown from the recording that has more of it; otherwise the
//! cut is by time.
//!
//! Complete pictures have precedence over all others, whichever node recorded them. Incomplete ones
//! fill the remaining holes, wherever those begin: see [`Class`].

use super::{HOLE_US_MIN, Recorder, sound};
use crate::chunk::ChunkEntry;
use crate::ids::TrackKind;
use crate::pictures::{Decoding, Shown};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// How far apart two recorders may place the same keyframe, in microseconds.
const SHARED_KEYFRAME_US_MAX: i64 = 2_000_000;

/// How far incomplete pictures of two recorders may overlap where one follows the other, in
/// microseconds: less than a frame.
const OVERLAP_US_MAX: i64 = 20_000;

/// The quality of a unit of chunks. It has precedence over the recorder's preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Begins with an access point; all its pictures are complete.
    Whole,
    /// Begins with an access point from which pictures gradually become complete. If another
    /// recording has the same access point, and complete pictures before it, they stay complete.
    Refreshing,
    /// Complete, and continues what was recorded before these entries.
    Continued,
    /// Refers to missing frames.
    Torn,
}

/// Chunks of one recorder without a hole.
pub(super) type Run = Vec<ChunkEntry>;

/// Chooses among overlapping recordings of one stream of one camera. The result is sorted by start;
/// other tracks follow the choice made for video (`sound.rs`).
#[must_use]
pub fn merge(entries: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    let (video, others): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| entry.meta.track == TrackKind::Video);
    if video.is_empty() {
        return sorted(lay(others).into_iter().flatten().collect());
    }
    let view = lay(video);
    let followers = sound::follow(&view, others);
    sorted(view.into_iter().flatten().chain(followers).collect())
}

fn sorted(mut entries: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    entries.sort_by_key(|entry| {
        (
            entry.meta.start,
            entry.meta.track,
            entry.meta.session,
            entry.meta.sequence,
        )
    });
    entries
}

/// The view as runs, by time.
fn lay(entries: Vec<ChunkEntry>) -> Vec<Run> {
    let mut by_preference: BTreeMap<(Class, Recorder, TrackKind), Vec<ChunkEntry>> =
        BTreeMap::new();
    for (class, unit) in units(entries) {
        let Some((recorder, track)) = unit
            .iter()
            .map(|entry| (Recorder::of(&entry.meta), entry.meta.track))
            .min()
        else {
            continue;
        };
        by_preference
            .entry((class, recorder, track))
            .or_default()
            .extend(unit);
    }
    let mut view: Vec<Run> = Vec::new();
    for ((class, ..), recording) in by_preference {
        for run in runs(recording) {
            match class {
                Class::Whole => fill(&mut view, &run, enter_at),
                Class::Refreshing => {
                    fill(&mut view, &run, enter_at_shared);
                    fill_by_time(&mut view, &run);
                }
                Class::Continued | Class::Torn => fill_by_time(&mut view, &run),
            }
        }
    }
    keep_order(&mut view);
    view
}

/// Drops the last chunks of a recorder that, by its clock, lie after what follows them. They are as
/// many as the clocks differ by.
fn keep_order(view: &mut [Run]) {
    for next in 1..view.len() {
        let start = start_of(&view[next]);
        let before = &mut view[next - 1];
        before.truncate(before.partition_point(|entry| entry.meta.start < start));
    }
}

/// Groups chunks that cannot be decoded without their beginning: for video a GOP, as far as it was
/// recorded without a loss, and its rest after a loss. A recorder that is confirmed, or receives
/// its camera's next epoch, continues within the GOP, which then counts as recorded under the
/// preferred of both. Chunks with no access point before them are dropped.
fn units(mut entries: Vec<ChunkEntry>) -> Vec<(Class, Vec<ChunkEntry>)> {
    let place = |entry: &ChunkEntry| {
        (
            entry.meta.node,
            entry.meta.session,
            entry.meta.track,
            entry.meta.sequence,
        )
    };
    entries.sort_by_key(place);
    entries.dedup_by_key(|entry| place(entry));
    let mut units: Vec<(Class, Vec<ChunkEntry>)> = Vec::new();
    let (mut decoding, mut previous) = (Decoding::default(), None::<ChunkEntry>);
    for entry in entries {
        let shown = if entry.meta.track == TrackKind::Video {
            decoding.next(&entry.meta)
        } else {
            Shown::Whole
        };
        let continues =
            !is_entry(&entry) && previous.is_some_and(|last| last.meta.is_followed_by(&entry.meta));
        previous = Some(entry);
        let class = match (shown, is_entry(&entry)) {
            (Shown::Nothing, _) => {
                previous = None;
                continue;
            }
            (Shown::Whole, true) => Class::Whole,
            (Shown::Damaged, true) => Class::Refreshing,
            (Shown::Whole, false) => Class::Continued,
            (Shown::Damaged, false) => Class::Torn,
        };
        match units.last_mut() {
            Some((of, unit)) if continues && holds(*of, class) => unit.push(entry),
            _ => units.push((class, vec![entry])),
        }
    }
    units
}

/// Whether a unit of class `of` can continue with a chunk that on its own would be of class
/// `class`.
fn holds(of: Class, class: Class) -> bool {
    match of {
        Class::Whole => class == Class::Continued,
        Class::Refreshing => true,
        Class::Continued | Class::Torn => class == of,
    }
}

/// Splits one recording at its holes; a loss within the session counts as one, however short, and
/// so does the interval between two sessions.
fn runs(mut recording: Vec<ChunkEntry>) -> Vec<Run> {
    recording.sort_by_key(|entry| (entry.meta.start, entry.meta.session, entry.meta.sequence));
    let mut runs: Vec<Run> = Vec::new();
    for entry in recording {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| joins(last, &entry)) => run.push(entry),
            _ => runs.push(vec![entry]),
        }
    }
    runs
}

fn joins(last: &ChunkEntry, next: &ChunkEntry) -> bool {
    let gap_us = next.meta.start.micros_since(last.meta.end());
    let continues =
        last.meta.session == next.meta.session && !next.meta.after_loss && gap_us <= HOLE_US_MIN;
    last.meta.is_followed_by(&next.meta) || (continues && next.meta.track != TrackKind::Video)
}

pub(super) fn start_of(run: &[ChunkEntry]) -> Timestamp {
    run.first().map_or(Timestamp::MAX, |entry| entry.meta.start)
}

/// The end of a run sorted by start. Called often, so it does not search for the latest end: chunks
/// of one recorder overlap only by jitter.
pub(super) fn end_of(run: &[ChunkEntry]) -> Timestamp {
    run.last().map_or(Timestamp::MIN, |entry| entry.meta.end())
}

/// Inserts `run` into every hole of `view` that it reaches.
fn fill(view: &mut Vec<Run>, run: &[ChunkEntry], enter: EnterAt) {
    let mut at = view.partition_point(|before| end_of(before) <= start_of(run));
    while at <= view.len()
        && at
            .checked_sub(1)
            .is_none_or(|before| start_of(&view[before]) < end_of(run))
    {
        at += 1 + splice(view, at, run, enter);
    }
}

/// Inserts the parts of `run` that lie in holes of `view`, wherever they begin.
fn fill_by_time(view: &mut Vec<Run>, mut run: &[ChunkEntry]) {
    while let Some(first) = run.first() {
        let at = view.partition_point(|shown| start_of(shown) <= first.meta.start);
        let hole_start = at
            .checked_sub(1)
            .map_or(Timestamp::MIN, |before| end_of(&view[before]));
        let hole_end = view.get(at).map_or(Timestamp::MAX, |after| start_of(after));
        let is_entered = view
            .get(at)
            .and_then(|after| after.first())
            .is_none_or(is_entry);
        let ends_before =
            |entry: &ChunkEntry| entry.meta.end() <= hole_end.plus_micros(OVERLAP_US_MAX);
        let until = if is_entered {
            leave_by_time(run, hole_end)
        } else {
            run.partition_point(ends_before)
        };
        let from =
            run.partition_point(|entry| entry.meta.start.plus_micros(OVERLAP_US_MAX) < hole_start);
        if from < until {
            view.insert(at, run[from..until].to_vec());
        }
        run = &run[from.max(until).max(1)..];
    }
}

/// Fills the hole before `view[at]` from `run`, if that adds anything. Returns how many runs `view`
/// grew by.
fn splice(view: &mut Vec<Run>, at: usize, run: &[ChunkEntry], enter_at: EnterAt) -> usize {
    let before = at.checked_sub(1).map(|index| view[index].as_slice());
    let after = view.get(at).map(Vec::as_slice);
    let (enter, leave) = (enter_at(before, run), leave_at(run, after));
    if enter.run_from >= leave.run_until || !adds(before, after, run, enter, leave) {
        return 0;
    }
    if leave.after_from > 0 {
        view[at].drain(..leave.after_from);
    }
    view.insert(at, run[enter.run_from..leave.run_until].to_vec());
    match enter.before_until {
        Some(0) => {
            view.remove(at - 1);
            0
        }
        Some(until) => {
            view[at - 1].truncate(until);
            1
        }
        None => 1,
    }
}

/// Whether the result shows anything that was not shown before. Clocks differ: an overhang of less
/// than a hole adds nothing, unless shared keyframes prove otherwise.
fn adds(
    before: Option<&[ChunkEntry]>,
    after: Option<&[ChunkEntry]>,
    run: &[ChunkEntry],
    enter: Enter,
    leave: Leave,
) -> bool {
    let (hole_start, hole_end) = (
        before.map_or(Timestamp::MIN, end_of),
        after.map_or(Timestamp::MAX, start_of),
    );
    let begins_early = leave.is_shared || start_of(run).plus_micros(HOLE_US_MIN) < hole_end;
    let first = &run[enter.run_from].meta;
    let dropped = before
        .zip(enter.before_until)
        .map_or(&[][..], |(before, until)| &before[until..]);
    let has_more = frames(&run[enter.run_from..leave.run_until]) > frames(dropped);
    let begins_late = first.is_access_point() && first.start.plus_micros(HOLE_US_MIN) > hole_start;
    let ends_late = hole_start.plus_micros(HOLE_US_MIN) < end_of(run);
    let lasts = if enter.is_shared {
        has_more
    } else {
        ends_late || (begins_late && has_more)
    };
    let is_hole = hole_start < hole_end || (enter.is_shared && leave.is_shared);
    is_hole && begins_early && lasts
}

fn frames(entries: &[ChunkEntry]) -> u64 {
    entries
        .iter()
        .map(|entry| u64::from(entry.meta.frames))
        .sum()
}

fn is_entry(entry: &ChunkEntry) -> bool {
    entry.meta.is_access_point() || entry.meta.track != TrackKind::Video
}

fn slices_crc(entry: &ChunkEntry) -> Option<u32> {
    entry.meta.access.map(|access| access.slices_crc)
}

/// The index of `keyframe` in `run`, if both have it. No node records a keyframe twice: two of one
/// node are the same picture at two times.
fn find(run: &[ChunkEntry], keyframe: &ChunkEntry) -> Option<usize> {
    let is_of_one_node = run
        .first()
        .is_some_and(|first| first.meta.node == keyframe.meta.node);
    if is_of_one_node || !keyframe.meta.is_access_point() {
        return None;
    }
    let near = keyframe.meta.start;
    let first =
        run.partition_point(|entry| entry.meta.start < near.plus_micros(-SHARED_KEYFRAME_US_MAX));
    let last =
        run.partition_point(|entry| entry.meta.start <= near.plus_micros(SHARED_KEYFRAME_US_MAX));
    // All pictures of a camera that shows nothing are identical.
    (first..last)
        .filter(|index| slices_crc(&run[*index]) == slices_crc(keyframe))
        .min_by_key(|index| run[*index].meta.start.micros_since(near).unsigned_abs())
}

#[derive(Clone, Copy, Debug)]
struct Enter {
    /// How many chunks of the run before it to keep; `None` for all.
    before_until: Option<usize>,
    run_from: usize,
    /// Both have the keyframe there.
    is_shared: bool,
}

type EnterAt = fn(Option<&[ChunkEntry]>, &[ChunkEntry]) -> Enter;

/// Where to enter a run whose pictures are complete only if the pictures before it are, and
/// continue with the same access point.
fn enter_at_shared(before: Option<&[ChunkEntry]>, run: &[ChunkEntry]) -> Enter {
    let shared = before.and_then(|before| last_shared(before, run));
    let nowhere = Enter {
        before_until: None,
        run_from: run.len(),
        is_shared: false,
    };
    shared.map_or(nowhere, |(until, run_from)| Enter {
        before_until: Some(until),
        run_from,
        is_shared: true,
    })
}

/// Where to enter `run`.
fn enter_at(before: Option<&[ChunkEntry]>, run: &[ChunkEntry]) -> Enter {
    let by_time = |before_until, run_from| Enter {
        before_until,
        run_from,
        is_shared: false,
    };
    let Some(before) = before else {
        return by_time(None, run.iter().position(is_entry).unwrap_or(run.len()));
    };
    if let Some((until, run_from)) = last_shared(before, run) {
        return Enter {
            before_until: Some(until),
            run_from,
            is_shared: true,
        };
    }
    let hole_start = end_of(before);
    let reach = run.partition_point(|entry| entry.meta.start <= hole_start);
    let covered = run[..reach].iter().rposition(is_entry).filter(|enter| {
        // Leaving the run before earlier than where it was entered would drop all of it.
        run[*enter].meta.start > start_of(before)
    });
    match covered {
        Some(enter) => by_time(Some(leave_by_time(before, run[enter].meta.start)), enter),
        None => by_time(
            None,
            (reach..run.len())
                .find(|index| is_entry(&run[*index]))
                .unwrap_or(run.len()),
        ),
    }
}

/// The latest keyframe that both have: its index in each.
fn last_shared(before: &[ChunkEntry], run: &[ChunkEntry]) -> Option<(usize, usize)> {
    let earliest = start_of(run).plus_micros(-SHARED_KEYFRAME_US_MAX);
    let latest = end_of(run).plus_micros(SHARED_KEYFRAME_US_MAX);
    let from = before.partition_point(|entry| entry.meta.start < earliest);
    let until = before.partition_point(|entry| entry.meta.start <= latest);
    (from..until)
        .rev()
        .find_map(|index| Some((index, find(run, &before[index])?)))
}

#[derive(Clone, Copy, Debug)]
struct Leave {
    run_until: usize,
    /// How many chunks of the run after it to drop.
    after_from: usize,
    /// Both have the keyframe there.
    is_shared: bool,
}

/// Where to leave `run`.
fn leave_at(run: &[ChunkEntry], after: Option<&[ChunkEntry]>) -> Leave {
    let Some(after) = after else {
        return Leave {
            run_until: run.len(),
            after_from: 0,
            is_shared: false,
        };
    };
    let keyframe = after.iter().position(is_entry).unwrap_or(0);
    // A run that begins within a GOP cannot be decoded before its first keyframe: keep the
    // decodable one, if it is long enough.
    let after_from = if end_of(run) >= after[keyframe].meta.start {
        keyframe
    } else {
        0
    };
    let shared = find(run, &after[after_from]);
    let run_until = shared.unwrap_or_else(|| leave_by_time(run, after[after_from].meta.start));
    Leave {
        run_until,
        after_from,
        is_shared: shared.is_some(),
    }
}

/// Keeps the chunks of which at least the first half lies before `end`.
fn leave_by_time(run: &[ChunkEntry], end: Timestamp) -> usize {
    run.partition_point(|entry| {
        entry
            .meta
            .start
            .plus_micros(i64::from(entry.meta.duration_us) / 2)
            < end
    })
}
