//! The splice: of overlapping recordings of one camera, the one continuous list of chunks to play.
//!
//! Recordings are laid over each other in the order of preference. A lower one fills holes of those above it; it is entered and left at keyframes of video.
//! Where both recordings hold the same keyframe, the cut is exactly there, so that no frame is lost or doubled; else it is by time.

use super::{HOLE_US_MIN, Recorder};
use crate::chunk::ChunkEntry;
use crate::ids::{NodeId, SessionId, TrackKind};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// How far apart two recorders may place the same keyframe, in microseconds.
const SHARED_KEYFRAME_US_MAX: i64 = 2_000_000;

/// Chunks of one recorder without a hole.
type Run = Vec<ChunkEntry>;

/// Chooses among overlapping recordings of one stream of one camera. The answer is sorted by start; other tracks follow the choice made for video.
#[must_use]
pub fn merge(entries: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    let (video, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.meta.track == TrackKind::Video);
    if video.is_empty() {
        return sorted(lay(others).into_iter().flatten().collect());
    }
    let view = lay(video);
    let owners = Owners::of(&view);
    let followers = others.into_iter().filter(|entry| owners.has(entry));
    sorted(view.iter().flatten().copied().chain(followers).collect())
}

fn sorted(mut entries: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    entries.sort_by_key(|entry| (entry.meta.start, entry.meta.track, entry.meta.session, entry.meta.sequence));
    entries
}

/// The view as runs in the order of time.
fn lay(entries: Vec<ChunkEntry>) -> Vec<Run> {
    let known: BTreeSet<Place> = entries.iter().map(place).collect();
    let mut by_recorder: BTreeMap<(Recorder, TrackKind), Vec<ChunkEntry>> = BTreeMap::new();
    for entry in entries {
        by_recorder.entry((Recorder::of(&entry.meta), entry.meta.track)).or_default().push(entry);
    }
    let mut view: Vec<Run> = Vec::new();
    for recording in by_recorder.into_values() {
        for run in runs(recording) {
            let goes_on = run.first().is_some_and(|first| follows_one_of(&known, first));
            fill(&mut view, &run, goes_on);
        }
    }
    view
}

/// Where a chunk lies in its session.
type Place = (NodeId, SessionId, TrackKind, u32);

fn place(entry: &ChunkEntry) -> Place {
    (entry.meta.node, entry.meta.session, entry.meta.track, entry.meta.sequence)
}

/// Whether the chunk before this one in its session is known, under whatever epoch and rank: a recorder that is confirmed, or handed its
/// camera's next epoch, goes on within the GOP.
fn follows_one_of(known: &BTreeSet<Place>, entry: &ChunkEntry) -> bool {
    let (node, session, track, sequence) = place(entry);
    let before = sequence.checked_sub(1).map(|before| (node, session, track, before));
    !entry.meta.after_loss && before.is_some_and(|before| known.contains(&before))
}

/// Splits one recording at its holes; a loss within the session counts as one, however short.
fn runs(mut recording: Vec<ChunkEntry>) -> Vec<Run> {
    recording.sort_by_key(|entry| (entry.meta.start, entry.meta.session, entry.meta.sequence));
    recording.dedup_by_key(|entry| (entry.meta.session, entry.meta.sequence, entry.meta.start));
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
    last.meta.is_followed_by(&next.meta) || (!next.meta.after_loss && gap_us <= HOLE_US_MIN)
}

fn start_of(run: &[ChunkEntry]) -> Timestamp {
    run.first().map_or(Timestamp::MAX, |entry| entry.meta.start)
}

fn end_of(run: &[ChunkEntry]) -> Timestamp {
    run.iter().map(|entry| entry.meta.end()).max().unwrap_or(Timestamp::MIN)
}

/// Lays `run` into every hole of `view` that it reaches. One that goes on what was recorded before it needs no keyframe to begin with.
fn fill(view: &mut Vec<Run>, run: &[ChunkEntry], goes_on: bool) {
    let (run_start, run_end) = (start_of(run), end_of(run));
    let mut at = view.partition_point(|before| end_of(before) <= run_start);
    loop {
        let hole_start = at.checked_sub(1).map_or(Timestamp::MIN, |before| end_of(&view[before]));
        let hole_end = view.get(at).map_or(Timestamp::MAX, |after| start_of(after));
        // Without it what comes after could not be decoded before its first keyframe, however short the hole is.
        let leads_on = view.get(at).is_some_and(|after| leads_on_to(run, after));
        if hole_start >= run_end && !leads_on {
            return;
        }
        // Clocks differ: what sticks out by less than a hole adds nothing.
        let adds = run_start.plus_micros(HOLE_US_MIN) < hole_end && hole_start.plus_micros(HOLE_US_MIN) < run_end;
        if leads_on || (adds && hole_start < hole_end) {
            at += splice(view, at, run, goes_on);
        }
        at += 1;
        if at > view.len() {
            return;
        }
    }
}

/// Whether `after` begins within the GOP that `run` ends with, in the same session: a recorder that got its next epoch or rank there.
fn leads_on_to(run: &[ChunkEntry], after: &[ChunkEntry]) -> bool {
    let (Some(last), Some(first)) = (run.last(), after.first()) else { return false };
    last.meta.is_followed_by(&first.meta) && !is_entry(first)
}

/// Fills the hole before `view[at]` from `run`. Returns how many runs `view` grew by.
fn splice(view: &mut Vec<Run>, at: usize, run: &[ChunkEntry], goes_on: bool) -> usize {
    let before = at.checked_sub(1).map(|index| &view[index]);
    let is_free = before.is_none_or(|before| end_of(before) <= start_of(run));
    let (cut_before, enter) = if goes_on && is_free { (None, 0) } else { enter_at(before.map(Vec::as_slice), run) };
    let (leave, cut_after) = leave_at(run, view.get(at).map(Vec::as_slice));
    if enter >= leave {
        return 0;
    }
    if cut_after > 0 {
        view[at].drain(..cut_after);
    }
    view.insert(at, run[enter..leave].to_vec());
    match cut_before {
        Some(0) => {
            view.remove(at - 1);
            0
        }
        Some(cut) => {
            view[at - 1].truncate(cut);
            1
        }
        None => 1,
    }
}

fn is_entry(entry: &ChunkEntry) -> bool {
    entry.meta.is_keyframe() || entry.meta.track != TrackKind::Video
}

fn is_same_keyframe(a: &ChunkEntry, b: &ChunkEntry) -> bool {
    let apart_us = a.meta.start.micros_since(b.meta.start);
    a.meta.is_keyframe()
        && a.meta.keyframe_crc == b.meta.keyframe_crc
        && apart_us.unsigned_abs() <= SHARED_KEYFRAME_US_MAX.unsigned_abs()
}

/// Where to leave `before` (its new length) and where to enter `run`.
fn enter_at(before: Option<&[ChunkEntry]>, run: &[ChunkEntry]) -> (Option<usize>, usize) {
    let Some(before) = before else { return (None, run.iter().position(is_entry).unwrap_or(continued_at(run))) };
    if let Some((cut, enter)) = last_shared(before, run) {
        return (Some(cut), enter);
    }
    let hole_start = end_of(before);
    let reach = run.partition_point(|entry| entry.meta.start <= hole_start);
    let covered = run[..reach].iter().rposition(is_entry).filter(|enter| {
        // Leaving earlier than the run before was entered would throw away all of it.
        run[*enter].meta.start > start_of(before)
    });
    match covered {
        Some(enter) => (Some(leave_by_time(before, run[enter].meta.start)), enter),
        None => (None, (reach..run.len()).find(|index| is_entry(&run[*index])).unwrap_or(run.len())),
    }
}

/// Where to enter a run without any keyframe: it goes on what was recorded before these entries, unless that is known to be torn.
fn continued_at(run: &[ChunkEntry]) -> usize {
    if run.first().is_some_and(|first| first.meta.after_loss) { run.len() } else { 0 }
}

/// The latest keyframe that both hold: its index in each.
fn last_shared(before: &[ChunkEntry], run: &[ChunkEntry]) -> Option<(usize, usize)> {
    let window = SHARED_KEYFRAME_US_MAX;
    (0..before.len()).rev().filter(|index| before[*index].meta.is_keyframe()).find_map(|index| {
        let near = before[index].meta.start;
        let first = run.partition_point(|entry| entry.meta.start < near.plus_micros(-window));
        let same = run[first..]
            .iter()
            .take_while(|entry| entry.meta.start <= near.plus_micros(window))
            .position(|entry| is_same_keyframe(&before[index], entry))?;
        Some((index, first + same))
    })
}

/// Where to leave `run`, and how many chunks of `after` to drop.
fn leave_at(run: &[ChunkEntry], after: Option<&[ChunkEntry]>) -> (usize, usize) {
    let Some(after) = after else { return (run.len(), 0) };
    let keyframe = after.iter().position(is_entry).unwrap_or(0);
    // A run that begins within a GOP cannot be decoded before its first keyframe: stay with what can, if it lasts so long.
    let entry = if end_of(run) >= after[keyframe].meta.start { keyframe } else { 0 };
    let shared = run.iter().position(|candidate| is_same_keyframe(candidate, &after[entry]));
    (shared.unwrap_or_else(|| leave_by_time(run, after[entry].meta.start)), entry)
}

/// Keeps the chunks that lie before `end` with at least their first half.
fn leave_by_time(run: &[ChunkEntry], end: Timestamp) -> usize {
    run.partition_point(|entry| entry.meta.start.plus_micros(i64::from(entry.meta.duration_us) / 2) < end)
}

/// Whose video is shown when; an edge that no other piece touches is moved outward a little, for audio that sticks out.
struct Owners {
    pieces: Vec<(Timestamp, Timestamp, Recorder)>,
}

impl Owners {
    fn of(view: &[Run]) -> Self {
        let mut pieces: Vec<(Timestamp, Timestamp, Recorder)> = view
            .iter()
            .filter_map(|run| Some((start_of(run), end_of(run), Recorder::of(&run.first()?.meta))))
            .collect();
        for after in 1..pieces.len() {
            let (end, start) = (pieces[after - 1].1, pieces[after].0);
            let middle = end.plus_micros(start.micros_since(end) / 2);
            pieces[after - 1].1 = middle.min(end.plus_micros(HOLE_US_MIN)).min(start);
            pieces[after].0 = middle.max(start.plus_micros(-HOLE_US_MIN)).min(start);
        }
        if let Some(first) = pieces.first_mut() {
            first.0 = first.0.plus_micros(-HOLE_US_MIN);
        }
        if let Some(last) = pieces.last_mut() {
            last.1 = last.1.plus_micros(HOLE_US_MIN);
        }
        Self { pieces }
    }

    /// Whether the middle of `entry` lies where its recorder's video is shown.
    fn has(&self, entry: &ChunkEntry) -> bool {
        let middle = entry.meta.start.plus_micros(i64::from(entry.meta.duration_us) / 2);
        let after = self.pieces.partition_point(|piece| piece.0 <= middle);
        let piece = after.checked_sub(1).map(|index| &self.pieces[index]);
        piece.is_some_and(|(_, end, recorder)| middle < *end && *recorder == Recorder::of(&entry.meta))
    }
}
