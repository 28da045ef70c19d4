//! The frames that a camera has captured, with their times: the truth that recordings are compared
//! with.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// One frame that a camera captured. Includes frames that a fault dropped, which no recorder can
/// have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub sequence: u64,
    /// Microseconds since the Unix epoch.
    pub captured_us: u64,
}

/// The most frames remembered of one camera: over an hour at 25 fps, at 8 bytes each.
const HISTORY_FRAMES_MAX: usize = 100_000;

/// The most frames of sound remembered of one camera: over half an hour of G.711.
const SOUNDS_MAX: usize = 50_000;

/// The latest frames of sound that were sent to any client. Their numbers may have holes: a
/// microphone without a listener uses none.
#[derive(Debug, Default)]
pub(crate) struct SoundHistory(VecDeque<Sent>);

impl SoundHistory {
    pub(crate) fn extend(&mut self, heard: &[Sent]) {
        self.0.extend(heard);
        let beyond = self.0.len().saturating_sub(SOUNDS_MAX);
        self.0.drain(..beyond);
    }

    /// The remembered frames that begin at or after `from_us` and before `to_us`.
    pub(crate) fn between(&self, from_us: u64, to_us: u64) -> Vec<Sent> {
        let start = self.0.partition_point(|sent| sent.captured_us < from_us);
        self.0
            .iter()
            .skip(start)
            .take_while(|sent| sent.captured_us < to_us)
            .copied()
            .collect()
    }
}

/// The capture times of the latest frames.
#[derive(Debug, Default)]
pub(crate) struct History {
    first: u64,
    captured_us: VecDeque<u64>,
    /// Numbers of frames that the camera itself spoiled.
    hurt: BTreeSet<u64>,
}

impl History {
    /// The sequence number of the next frame.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.captured_us.len() as u64
    }

    /// The oldest remembered sequence number.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Remembers a frame and returns its number.
    pub(crate) fn push(&mut self, captured_us: u64) -> u64 {
        let sequence = self.next();
        if self.captured_us.len() == HISTORY_FRAMES_MAX {
            self.captured_us.pop_front();
            self.first += 1;
            self.hurt = self.hurt.split_off(&self.first);
        }
        self.captured_us.push_back(captured_us);
        sequence
    }

    /// Marks a frame as one that cannot be whole.
    pub(crate) fn hurt(&mut self, sequence: u64) {
        self.hurt.insert(sequence);
    }

    pub(crate) fn is_hurt(&self, sequence: u64) -> bool {
        self.hurt.contains(&sequence)
    }

    pub(crate) fn captured_us(&self, sequence: u64) -> Option<u64> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.captured_us.get(at).copied()
    }

    /// The remembered frames captured at or after `from_us` and before `to_us`.
    pub(crate) fn between(&self, from_us: u64, to_us: u64) -> Vec<Sent> {
        let start = self
            .captured_us
            .partition_point(|&captured| captured < from_us);
        let all = self.captured_us.iter().enumerate().skip(start);
        all.take_while(|(_, captured)| **captured < to_us)
            .map(|(at, &captured_us)| Sent {
                sequence: self.first + at as u64,
                captured_us,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_frames_are_forgotten_and_numbers_go_on() {
        let mut history = History::default();
        for at in 0..HISTORY_FRAMES_MAX as u64 + 10 {
            assert_eq!(history.push(at * 40), at);
        }
        assert_eq!(
            (history.first(), history.next()),
            (10, HISTORY_FRAMES_MAX as u64 + 10)
        );
        assert_eq!(
            (history.captured_us(9), history.captured_us(10)),
            (None, Some(400))
        );
        assert_eq!(history.captured_us(history.next()), None);
    }

    #[test]
    fn the_oldest_sound_is_forgotten() {
        let mut sounds = SoundHistory::default();
        for sequence in 0..SOUNDS_MAX as u64 + 10 {
            sounds.extend(&[Sent {
                sequence,
                captured_us: sequence * 40,
            }]);
        }
        let found: Vec<u64> = sounds
            .between(0, 480)
            .iter()
            .map(|sent| sent.sequence)
            .collect();
        assert_eq!(found, [10, 11]);
    }

    #[test]
    fn an_interval_includes_its_start_and_not_its_end() {
        let mut history = History::default();
        for at in [10, 20, 30] {
            history.push(at);
        }
        let found: Vec<u64> = history
            .between(10, 30)
            .iter()
            .map(|sent| sent.sequence)
            .collect();
        assert_eq!(found, [0, 1]);
        assert!(history.between(31, 99).is_empty());
    }
}
