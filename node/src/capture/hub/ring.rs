//! The newest frames of one stream, within bounds. Pure.
//!
//! A ring holds the last GOP, and the one before it until the keyframe of the last one is
//! [`LAG_US`] old: a reader that is no further behind misses nothing when a GOP begins. If a GOP
//! does not fit, its oldest frames are dropped, and readers cannot begin before the next keyframe.
//!
//! Frames are counted. A reader receives a frame if it has received the one before, or if it is a
//! keyframe.

use super::event::{Frame, Heading, Mark};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// How far a reader may be behind without missing a frame, in microseconds of the stream, if the
/// ring's bounds allow it.
pub(super) const LAG_US: i64 = 1_000_000;
/// Frames and marks of a ring, however small.
const ENTRIES_MAX: usize = 4096;

#[derive(Clone, Debug)]
pub(super) enum Item {
    Frame(Frame, Arc<Heading>),
    Mark(Mark),
}

#[derive(Debug)]
struct Entry {
    /// Frames of the stream before it.
    frames: u64,
    item: Item,
}

/// Entries have consecutive numbers.
#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the oldest entry.
    oldest: u64,
    /// Frames of the stream so far, also those that the ring never held.
    frames: u64,
    bytes: usize,
    /// The numbers of the keyframes in the ring.
    keyframes: VecDeque<u64>,
}

/// How far a reader has come.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The number of the next entry.
    next: u64,
    /// Frames of the stream before the next one that it is to receive; `None` before the first.
    frames: Option<u64>,
    may_begin_anywhere: bool,
}

/// What a reader receives.
#[derive(Debug)]
pub(super) enum Read {
    Item(Item),
    /// The reader has missed frames; the next item is a keyframe.
    Skipped(u64),
}

impl Ring {
    /// Adds an item, and drops frames that are too old.
    pub(super) fn push(&mut self, item: Item) {
        let (number, frames) = (self.end(), self.frames);
        self.bytes += cost(&item);
        let mut video = None;
        if let Item::Frame(frame, _) = &item {
            self.frames += 1;
            if frame.is_keyframe() {
                self.keyframes.push_back(number);
            }
            video = (frame.track == TrackKind::Video).then_some(frame.decode);
        }
        self.entries.push_back(Entry { frames, item });
        if let Some(newest) = video {
            self.drop_old(newest);
        }
    }

    /// Drops the oldest entries beyond these bytes, and beyond [`ENTRIES_MAX`]. Returns whether
    /// that took the last GOP's beginning.
    pub(super) fn fit(&mut self, bytes_max: usize) -> bool {
        let had_keyframe = !self.keyframes.is_empty();
        while !self.entries.is_empty()
            && (self.bytes > bytes_max || self.entries.len() > ENTRIES_MAX)
        {
            self.drop_oldest();
        }
        had_keyframe && self.keyframes.is_empty()
    }

    /// Counts frames that the ring does not get.
    pub(super) fn leave_out(&mut self, frames: u64) {
        self.frames += frames;
    }

    /// Drops everything, and the memory for it.
    pub(super) fn clear(&mut self) {
        self.oldest = self.end();
        (self.entries, self.keyframes, self.bytes) = (VecDeque::new(), VecDeque::new(), 0);
    }

    /// With what is not in the frames themselves.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where a new reader begins: with the newest keyframe; without one, with the next keyframe, or
    /// with the oldest frame.
    pub(super) fn cursor(&self, may_begin_anywhere: bool) -> Cursor {
        let otherwise = if may_begin_anywhere {
            self.oldest
        } else {
            self.end()
        };
        Cursor {
            next: self.keyframes.back().copied().unwrap_or(otherwise),
            frames: None,
            may_begin_anywhere,
        }
    }

    /// Whether a reader has received everything.
    pub(super) fn is_read(&self, cursor: &Cursor) -> bool {
        cursor.next >= self.end()
    }

    pub(super) fn read(&self, cursor: &mut Cursor) -> Option<Read> {
        if cursor.next < self.oldest {
            cursor.next = self.keyframes.back().copied().unwrap_or(self.oldest);
        }
        loop {
            let at = usize::try_from(cursor.next - self.oldest).ok()?;
            let entry = self.entries.get(at)?;
            if let Item::Frame(frame, _) = &entry.item {
                let follows = match cursor.frames {
                    Some(frames) => frames == entry.frames,
                    None => cursor.may_begin_anywhere,
                };
                if !follows && !frame.is_keyframe() {
                    cursor.next += 1;
                    continue;
                }
                let missed = cursor.frames.map_or(0, |frames| entry.frames - frames);
                if missed > 0 {
                    cursor.frames = Some(entry.frames);
                    return Some(Read::Skipped(missed));
                }
                cursor.frames = Some(entry.frames + 1);
            }
            cursor.next += 1;
            return Some(Read::Item(entry.item.clone()));
        }
    }

    /// The number of the next entry.
    fn end(&self) -> u64 {
        self.oldest + self.entries.len() as u64
    }

    /// Drops GOPs that are followed by one old enough for every reader.
    fn drop_old(&mut self, newest: Timestamp) {
        loop {
            let next = self.keyframes.iter().find(|number| **number > self.oldest);
            let Some(next) = next.copied().filter(|next| self.is_old(*next, newest)) else {
                return;
            };
            while self.oldest < next {
                self.drop_oldest();
            }
        }
    }

    /// A keyframe of later time than the newest frame precedes a step of the clock.
    fn is_old(&self, keyframe: u64, newest: Timestamp) -> bool {
        let at = usize::try_from(keyframe - self.oldest).ok();
        match at
            .and_then(|at| self.entries.get(at))
            .map(|entry| &entry.item)
        {
            Some(Item::Frame(frame, _)) => {
                !(0..LAG_US).contains(&newest.micros_since(frame.decode))
            }
            Some(Item::Mark(_)) | None => false,
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            return;
        };
        self.bytes -= cost(&entry.item);
        if self.keyframes.front() == Some(&self.oldest) {
            self.keyframes.pop_front();
        }
        self.oldest += 1;
    }
}

fn cost(item: &Item) -> usize {
    let data = match item {
        Item::Frame(frame, _) => frame.data.len(),
        Item::Mark(_) => 0,
    };
    size_of::<Entry>() + data
}

#[cfg(test)]
mod tests;
