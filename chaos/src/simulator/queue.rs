//! Simulated time: the next event, and when it happens. Simultaneous events happen in the order in
//! which they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug)]
struct Due<T> {
    at: Duration,
    number: u64,
    what: T,
}

/// Things to come. Its time moves only when one is taken.
#[derive(Debug)]
pub(super) struct Queue<T> {
    now: Duration,
    numbers: u64,
    heap: BinaryHeap<Reverse<Due<T>>>,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            now: Duration::ZERO,
            numbers: 0,
            heap: BinaryHeap::new(),
        }
    }

    /// Time since the simulation began.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn after(&mut self, delay: Duration, what: T) {
        self.numbers += 1;
        self.heap.push(Reverse(Due {
            at: self.now + delay,
            number: self.numbers,
            what,
        }));
    }

    /// The next thing, unless it comes after `end`.
    pub(super) fn next(&mut self, end: Duration) -> Option<T> {
        self.heap.peek().filter(|Reverse(due)| due.at <= end)?;
        let Reverse(due) = self.heap.pop()?;
        self.now = due.at;
        Some(due.what)
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
