//! Counts the frames missing in a recording: compares the frames that a camera captured with the
//! stamps found in the recording.

use crate::history::Sent;
use crate::stamp::Stamp;
use serde::{Deserialize, Serialize};

/// The outcome of [`count`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Frames that the camera captured in the interval.
    pub sent: u64,
    /// How many of them were recorded; each counts once, however often it is found.
    pub recorded: u64,
    /// `sent - recorded`.
    pub lost: u64,
    /// Copies beyond the first.
    pub doubled: u64,
    /// Frames first found after one with a higher sequence number.
    pub reordered: u64,
    /// Stamps of another camera: the recording is mixed up.
    pub foreign: u64,
    /// The longest time between the captures of two consecutive recorded frames, in milliseconds:
    /// one frame interval if none was lost. It includes the time that the camera itself was
    /// frozen.
    pub largest_gap_ms: u64,
    /// Every run of lost frames, in order, including those before the first and after the last
    /// recorded frame.
    pub gaps: Vec<Gap>,
}

/// A run of lost frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// First lost sequence number.
    pub from: u64,
    /// The sequence number after the last lost one.
    pub to: u64,
    /// From the capture of the last recorded frame before the gap to that of the first one after
    /// it; if there is no such frame, from the first or to the last lost frame. Milliseconds.
    pub gap_ms: u64,
}

impl Loss {
    /// The longest gap in which frames were lost, in milliseconds; 0 if none was lost.
    #[must_use]
    pub fn worst_gap_ms(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.gap_ms).max().unwrap_or(0)
    }
}

/// Counts the frames of `sent` (ascending, as a camera's handle returns them) that are in
/// `recorded` (in the order of the recording). Stamps of `camera` that are not in `sent` are
/// outside the interval and do not count.
#[must_use]
pub fn count(camera: u32, sent: &[Sent], recorded: &[Stamp]) -> Loss {
    let mut found = vec![0u64; sent.len()];
    let mut loss = Loss {
        sent: sent.len() as u64,
        ..Loss::default()
    };
    let mut highest = None;
    for stamp in recorded {
        if stamp.camera != camera {
            loss.foreign += 1;
            continue;
        }
        let Ok(at) = sent.binary_search_by_key(&stamp.sequence, |frame| frame.sequence) else {
            continue;
        };
        loss.reordered += u64::from(found[at] == 0 && highest.is_some_and(|highest| at < highest));
        highest = highest.max(Some(at));
        found[at] += 1;
    }
    loss.recorded = found.iter().filter(|&&copies| copies > 0).count() as u64;
    loss.doubled = found.iter().map(|copies| copies.saturating_sub(1)).sum();
    loss.lost = loss.sent - loss.recorded;
    loss.largest_gap_ms = largest_gap_ms(sent, &found);
    loss.gaps = gaps(sent, &found);
    loss
}

fn largest_gap_ms(sent: &[Sent], found: &[u64]) -> u64 {
    let captured: Vec<u64> = sent
        .iter()
        .zip(found)
        .filter(|(_, copies)| **copies > 0)
        .map(|(s, _)| s.captured_us)
        .collect();
    captured
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]) / 1000)
        .max()
        .unwrap_or(0)
}

fn gaps(sent: &[Sent], found: &[u64]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut start = None;
    for at in 0..=sent.len() {
        let lost = found.get(at) == Some(&0);
        match (start, lost) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                gaps.push(gap(sent, from, at));
                start = None;
            }
            _ => {}
        }
    }
    gaps
}

/// The gap of `sent[from..to]`, which is not empty.
fn gap(sent: &[Sent], from: usize, to: usize) -> Gap {
    let before = sent[from.saturating_sub(1)].captured_us;
    let after = sent[to.min(sent.len() - 1)].captured_us;
    Gap {
        from: sent[from].sequence,
        to: sent[to - 1].sequence + 1,
        gap_ms: after.saturating_sub(before) / 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(count: u64) -> Vec<Sent> {
        (0..count)
            .map(|at| Sent {
                sequence: 100 + at,
                captured_us: 5_000_000 + at * 40_000,
            })
            .collect()
    }

    fn stamps(sequences: impl IntoIterator<Item = u64>) -> Vec<Stamp> {
        sequences
            .into_iter()
            .map(|sequence| Stamp {
                camera: 1,
                sequence,
                captured_us: 0,
            })
            .collect()
    }

    #[test]
    fn a_whole_recording_has_no_loss() {
        let loss = count(1, &sent(50), &stamps(90..160));
        assert_eq!(
            (
                loss.sent,
                loss.recorded,
                loss.lost,
                loss.doubled,
                loss.reordered
            ),
            (50, 50, 0, 0, 0)
        );
        assert_eq!((loss.largest_gap_ms, loss.worst_gap_ms()), (40, 0));
    }

    #[test]
    fn a_hole_is_measured_between_its_neighbours() {
        let loss = count(1, &sent(50), &stamps((100..110).chain(120..150)));
        assert_eq!((loss.lost, loss.largest_gap_ms), (10, 440));
        assert_eq!(
            loss.gaps,
            [Gap {
                from: 110,
                to: 120,
                gap_ms: 440
            }]
        );
    }

    #[test]
    fn both_ends_count_too() {
        let loss = count(1, &sent(10), &stamps(102..107));
        assert_eq!(
            loss.gaps,
            [
                Gap {
                    from: 100,
                    to: 102,
                    gap_ms: 80
                },
                Gap {
                    from: 107,
                    to: 110,
                    gap_ms: 120
                }
            ]
        );
        assert_eq!(
            count(1, &sent(10), &[]).gaps,
            [Gap {
                from: 100,
                to: 110,
                gap_ms: 360
            }]
        );
        assert_eq!(count(1, &[], &stamps([1])), Loss::default());
    }

    #[test]
    fn copies_disorder_and_foreign_stamps_are_distinguished() {
        let mut recorded = stamps([100, 102, 101, 102, 103, 103, 100]);
        recorded.push(Stamp {
            camera: 2,
            sequence: 104,
            captured_us: 0,
        });
        let loss = count(1, &sent(5), &recorded);
        assert_eq!(
            (
                loss.recorded,
                loss.doubled,
                loss.reordered,
                loss.foreign,
                loss.lost
            ),
            (4, 3, 1, 1, 1)
        );
    }

    proptest! {
        #[test]
        fn the_sums_agree(kept in prop::collection::vec(0u8..3, 1..200)) {
            let all = sent(kept.len() as u64);
            let copies = kept
                .iter()
                .zip(&all)
                .flat_map(|(&n, s)| std::iter::repeat_n(s.sequence, usize::from(n)));
            let loss = count(1, &all, &stamps(copies));
            prop_assert_eq!(loss.lost, kept.iter().filter(|&&n| n == 0).count() as u64);
            prop_assert_eq!(loss.doubled, kept.iter().filter(|&&n| n == 2).count() as u64);
            prop_assert_eq!(loss.gaps.iter().map(|gap| gap.to - gap.from).sum::<u64>(), loss.lost);
            prop_assert_eq!(loss.reordered, 0);
        }
    }
}
