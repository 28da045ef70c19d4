//! The order of batches from written to durable to published. Pure.
//!
//! Writes finish in any order. Batches are published in the order in which they were pushed, across
//! segments, and only after the success of a sync that began after their write had finished. So
//! whatever a camera's watermark covers is durable.

use crate::ids::SegmentId;
use std::collections::VecDeque;

#[derive(Debug)]
struct Batch<T> {
    sequence: u64,
    segment: SegmentId,
    is_written: bool,
    contents: T,
}

/// Batches that are not published yet, oldest first, with what to publish of each.
#[derive(Debug)]
pub(crate) struct Ledger<T> {
    batches: VecDeque<Batch<T>>,
    next: u64,
    /// A sync is in progress for everything below.
    syncing_below: Option<u64>,
    /// A flush was requested for everything below.
    wanted_below: Option<u64>,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            next: 0,
            syncing_below: None,
            wanted_below: None,
        }
    }
}

impl<T> Ledger<T> {
    /// Adds a finished batch that is about to be written. Returns its number.
    pub(crate) fn push(&mut self, segment: SegmentId, contents: T) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.batches.push_back(Batch {
            sequence,
            segment,
            is_written: false,
            contents,
        });
        sequence
    }

    pub(crate) fn written(&mut self, sequence: u64) {
        let index = sequence
            .checked_sub(self.published_below())
            .and_then(|index| usize::try_from(index).ok());
        if let Some(batch) = index.and_then(|index| self.batches.get_mut(index)) {
            batch.is_written = true;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The number of the next batch; everything pushed so far is below.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Everything below is published.
    pub(crate) fn published_below(&self) -> u64 {
        self.batches
            .front()
            .map_or(self.next, |batch| batch.sequence)
    }

    /// Requests that everything pushed so far becomes durable.
    pub(crate) fn want_flush(&mut self) {
        self.wanted_below = (!self.is_empty()).then_some(self.next);
    }

    /// The segments to sync, if a sync should begin now. One sync is in progress at a time, and it
    /// waits for the writes that it has to cover.
    pub(crate) fn begin_sync(&mut self) -> Option<Vec<SegmentId>> {
        let wanted_below = self.wanted_below.filter(|_| self.syncing_below.is_none())?;
        let written_below = self
            .batches
            .iter()
            .find(|batch| !batch.is_written)
            .map_or(self.next, |batch| batch.sequence);
        if written_below < wanted_below {
            return None;
        }
        self.wanted_below = None;
        self.syncing_below = Some(written_below);
        let mut segments: Vec<SegmentId> = self
            .below(written_below)
            .map(|batch| batch.segment)
            .collect();
        segments.sort_unstable();
        segments.dedup();
        Some(segments)
    }

    /// The sync succeeded: returns what to publish, in order.
    pub(crate) fn end_sync(&mut self) -> Vec<(SegmentId, T)> {
        let below = self.syncing_below.take().unwrap_or(0);
        let count = self.below(below).count();
        self.batches
            .drain(..count)
            .map(|batch| (batch.segment, batch.contents))
            .collect()
    }

    fn below(&self, below: u64) -> impl Iterator<Item = &Batch<T>> {
        self.batches
            .iter()
            .take_while(move |batch| batch.sequence < below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_sync_waits_for_the_writes_that_it_was_asked_to_cover() {
        let mut ledger = Ledger::default();
        let (a, b) = (
            ledger.push(SegmentId(1), 'a'),
            ledger.push(SegmentId(2), 'b'),
        );
        ledger.written(b);
        ledger.want_flush();
        assert_eq!(ledger.begin_sync(), None);
        ledger.written(a);
        assert_eq!(ledger.begin_sync(), Some(vec![SegmentId(1), SegmentId(2)]));
        let late = ledger.push(SegmentId(1), 'c');
        ledger.written(late);
        assert_eq!(
            ledger.end_sync(),
            [(SegmentId(1), 'a'), (SegmentId(2), 'b')]
        );
        assert_eq!(ledger.published_below(), late);
    }

    proptest! {
        /// Random steps: publication is in order, and never includes a batch whose write ended
        /// after the sync began.
        #[test]
        fn publishes_in_order_only_what_a_later_sync_covered(
            steps in proptest::collection::vec((0..5_u8, 0..8_usize), 1..200),
        ) {
            let mut ledger = Ledger::default();
            let (mut unwritten, mut written) = (Vec::new(), BTreeSet::new());
            let (mut covered, mut published): (BTreeSet<u64>, Vec<u64>) =
                (BTreeSet::new(), Vec::new());
            for (step, pick) in steps {
                match step {
                    0 => {
                        let number = ledger.next();
                        unwritten.push(ledger.push(SegmentId(pick as u64), number));
                    }
                    1 if !unwritten.is_empty() => {
                        let sequence = unwritten.remove(pick % unwritten.len());
                        ledger.written(sequence);
                        written.insert(sequence);
                    }
                    2 => ledger.want_flush(),
                    3 if ledger.begin_sync().is_some() => covered = written.clone(),
                    4 => for (_, number) in ledger.end_sync() {
                        prop_assert!(covered.contains(&number));
                        published.push(number);
                    },
                    _ => {}
                }
            }
            prop_assert!(published.iter().copied().eq(0..published.len() as u64));
        }
    }
}
