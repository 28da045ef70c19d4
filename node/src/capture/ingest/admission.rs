//! Bounds how many connections are opened at once, so that a node that takes over many cameras is
//! not overrun by them; the highest priority goes first.

use super::turns::Turns;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Connections being opened at once, unless set otherwise.
pub const CONNECTING_MAX: usize = 32;

/// Cheap to clone; all clones share the same bound.
#[derive(Clone, Debug)]
pub struct Admission {
    queue: Arc<Mutex<Queue>>,
    turns: Turns,
}

/// The right to open a connection; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    free: usize,
    arrivals: u64,
    waiting: BinaryHeap<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    priority: u8,
    /// Among equals, first come, first served.
    arrival: std::cmp::Reverse<u64>,
    admit: oneshot::Sender<Permit>,
}

impl Admission {
    #[must_use]
    pub fn new(at_once_max: usize) -> Self {
        let free = at_once_max.max(1);
        let queue = Arc::new(Mutex::new(Queue {
            free,
            arrivals: 0,
            waiting: BinaryHeap::new(),
        }));
        Self {
            queue,
            turns: Turns::default(),
        }
    }

    /// The turns of suspects, who need one before they may connect.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Waits for a permit. The wait is bounded by the waiters ahead, each of which holds a permit
    /// no longer than a session's opening deadlines; dropping the future gives up the place in the
    /// queue. Waiters are as many as recorders, so the queue is bounded by the assignments.
    pub async fn admit(&self, priority: u8) -> Permit {
        let turn = {
            let mut queue = lock(&self.queue);
            if queue.free > 0 {
                queue.free -= 1;
                return Permit(Arc::clone(&self.queue));
            }
            let (admit, turn) = oneshot::channel();
            queue.arrivals += 1;
            let arrival = std::cmp::Reverse(queue.arrivals);
            queue.waiting.push(Waiting {
                priority,
                arrival,
                admit,
            });
            turn
        };
        match turn.await {
            Ok(permit) => permit,
            // The sender sits in the queue, which `self` keeps alive, until it is used.
            Err(_) => unreachable!("a waiter left the queue without a permit"),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = lock(&self.0).release();
        if let Some(waiting) = next {
            // A waiter that gave up returns the permit inside, which is dropped here and goes to
            // the next.
            drop(waiting.admit.send(Permit(Arc::clone(&self.0))));
        }
    }
}

impl Queue {
    /// Which waiter to admit in place of the one that leaves; without one, the place is free.
    fn release(&mut self) -> Option<Waiting> {
        while let Some(waiting) = self.waiting.pop() {
            if !waiting.admit.is_closed() {
                return Some(waiting);
            }
        }
        self.free += 1;
        None
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.priority, self.arrival).cmp(&(other.priority, other.arrival))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn the_highest_priority_goes_first_and_then_the_first_come() {
        let admission = Admission::new(1);
        let first = admission.admit(0).now_or_never().unwrap();
        let mut waiters: Vec<_> = [5, 9, 5]
            .map(|priority| Box::pin(admission.admit(priority)))
            .into();
        assert!(
            waiters
                .iter_mut()
                .all(|waiter| waiter.now_or_never().is_none())
        );
        let mut held = Some(first);
        for expected in [1, 0, 2] {
            drop(held.take());
            held = waiters[expected].as_mut().now_or_never();
            assert!(held.is_some(), "waiter {expected} was passed over");
        }
    }

    #[test]
    fn a_waiter_that_gives_up_blocks_no_other() {
        let admission = Admission::new(1);
        let held = admission.admit(0).now_or_never().unwrap();
        let mut gone = Box::pin(admission.admit(9));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(admission.admit(0).now_or_never().is_some());
    }

    #[test]
    fn a_waiter_that_gives_up_when_its_turn_came_passes_it_on() {
        let admission = Admission::new(1);
        let held = admission.admit(0).now_or_never().unwrap();
        let mut late = Box::pin(admission.admit(9));
        assert!(late.as_mut().now_or_never().is_none());
        drop(held);
        drop(late);
        assert!(admission.admit(0).now_or_never().is_some());
    }
}
