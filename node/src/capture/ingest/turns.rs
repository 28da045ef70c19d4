//! Suspects connect after all other cameras, one at a time: if a suspect ends the process, the
//! others already have their sessions, and no other suspect can be blamed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A suspect has its turn until it has recorded for this long, unless set otherwise.
pub const TURN: Duration = Duration::from_secs(10);
/// If many wait, turns are shorter, so that all together take about this long; but no turn is
/// shorter than a tenth of the set length. The more suspects there are, the less likely each of
/// them is the cause.
const ALL_TURNS: Duration = Duration::from_secs(200);

/// Cheap to clone; all clones share the one turn.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<Queue>>);

/// The right to be the one suspect that is tried; given back when dropped.
#[derive(Debug)]
pub struct Turn(Arc<Mutex<Queue>>);

/// A camera that is no suspect and has not been tried yet. Suspects wait while there is one.
#[derive(Debug)]
pub struct Newcomer(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    newcomers: usize,
    is_taken: bool,
    /// First come, first served. As many as recorders at most.
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

impl Turns {
    /// Counts as tried when it is dropped.
    #[must_use]
    pub fn newcomer(&self) -> Newcomer {
        lock(&self.0).newcomers += 1;
        Newcomer(Arc::clone(&self.0))
    }

    /// Waits for a turn; dropping the future gives it up. The wait is bounded by the first attempts
    /// of the others, each of which has deadlines, and by the turns of those ahead.
    pub async fn turn(&self) -> Turn {
        let turn = {
            let mut queue = lock(&self.0);
            let (admit, turn) = oneshot::channel();
            queue.waiting.push_back(admit);
            turn
        };
        pass_on(&self.0);
        match turn.await {
            Ok(turn) => turn,
            // The sender sits in the queue, which `self` keeps alive, until it is used.
            Err(_) => unreachable!("a suspect left the queue without its turn"),
        }
    }
}

impl Turn {
    /// How long a suspect must record to have proven itself, where `turn` is set.
    #[must_use]
    pub fn lasts(&self, turn: Duration) -> Duration {
        let waiting = lock(&self.0)
            .waiting
            .iter()
            .filter(|waiting| !waiting.is_closed())
            .count();
        lasts(turn, waiting)
    }
}

fn lasts(turn: Duration, waiting: usize) -> Duration {
    let share = ALL_TURNS / u32::try_from(waiting).unwrap_or(u32::MAX).saturating_add(1);
    share.clamp(turn / 10, turn)
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.0).is_taken = false;
        pass_on(&self.0);
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        lock(&self.0).newcomers -= 1;
        pass_on(&self.0);
    }
}

/// Gives a free turn to the suspect that has waited longest.
fn pass_on(turns: &Arc<Mutex<Queue>>) {
    let next = lock(turns).next();
    if let Some(next) = next {
        // One that gave up just now returns the turn inside, which is dropped here and passed on.
        drop(next.send(Turn(Arc::clone(turns))));
    }
}

impl Queue {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        if self.is_taken || self.newcomers > 0 {
            return None;
        }
        let next =
            std::iter::from_fn(|| self.waiting.pop_front()).find(|waiting| !waiting.is_closed())?;
        self.is_taken = true;
        Some(next)
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn one_suspect_at_a_time_after_all_others() {
        let turns = Turns::default();
        let newcomers = [turns.newcomer(), turns.newcomer()];
        let mut waiters: Vec<_> = (0..3).map(|_| Box::pin(turns.turn())).collect();
        assert!(
            waiters
                .iter_mut()
                .all(|waiter| waiter.now_or_never().is_none()),
            "others come first"
        );
        let [first, second] = newcomers;
        drop(first);
        assert!(
            waiters[0].as_mut().now_or_never().is_none(),
            "one of them has not been tried yet"
        );
        drop(second);
        for turn in 0..3 {
            let held = waiters[turn].as_mut().now_or_never().expect("its turn");
            let later = waiters[turn + 1..]
                .iter_mut()
                .all(|waiter| waiter.now_or_never().is_none());
            assert!(later, "two at once");
            drop(held);
        }
    }

    #[test]
    fn suspects_that_give_up_pass_their_turn_on() {
        let turns = Turns::default();
        let held = turns.turn().now_or_never().unwrap();
        let (mut gone, mut late) = (Box::pin(turns.turn()), Box::pin(turns.turn()));
        let mut patient = Box::pin(turns.turn());
        for waiter in [&mut gone, &mut late, &mut patient] {
            assert!(waiter.as_mut().now_or_never().is_none());
        }
        drop(gone);
        drop(held);
        // Its turn came, and it gives up before it sees that.
        drop(late);
        assert!(patient.now_or_never().is_some());
    }

    #[test]
    fn twenty_suspects_take_minutes_and_hundreds_do_not_take_hours() {
        assert_eq!(lasts(TURN, 0), TURN);
        assert_eq!(lasts(TURN, 19), TURN);
        assert_eq!(lasts(TURN, 99), Duration::from_secs(2));
        assert_eq!(lasts(TURN, 100_000), Duration::from_secs(1));
    }
}
