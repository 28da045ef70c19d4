//! The nodes' actions in order: passed to the invariants, written to the story, counted.

#![expect(clippy::disallowed_methods, reason = "simulated time")]

use super::Outcome;
use super::invariants::{self, Entry, Invariant, Seen};
use super::numbered::number_of;
use super::story::Story;
use holdfast_consensus::simulation::{Applied, SavedVote, Witness};
use holdfast_consensus::state::ClusterState;
use serde::Serialize;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Clones share one history.
#[derive(Clone)]
pub(super) struct History(Arc<Mutex<Inner>>);

struct Inner {
    began: Instant,
    story: Story,
    invariants: Vec<Box<dyn Invariant>>,
    outcome: Outcome,
}

impl History {
    pub(super) fn new() -> Self {
        let (story, outcome) = (Story::default(), Outcome::default());
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            story,
            invariants: invariants::all(),
            outcome,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn see(&self, seen: &Seen) {
        let mut inner = self.lock();
        let Inner {
            began,
            story,
            invariants,
            outcome,
        } = &mut *inner;
        story.say(began.elapsed(), &format!("{seen:?}"));
        match seen {
            Seen::Applied { entry, .. } => outcome.entries = outcome.entries.max(entry.index + 1),
            Seen::Acknowledged { .. } => outcome.acknowledged += 1,
            Seen::Installed { .. } => outcome.snapshots += 1,
            Seen::Started { .. } => outcome.starts += 1,
            Seen::Fenced { .. } => outcome.fenced += 1,
            _ => {}
        }
        for invariant in invariants {
            if let Err(why) = invariant.see(seen) {
                story.fail(began.elapsed(), invariant.name(), &why);
            }
        }
    }

    pub(super) fn fault(&self, what: &str) {
        let mut inner = self.lock();
        let now = inner.began.elapsed();
        inner.outcome.faults += 1;

        inner.story.say(now, what);
    }

    pub(super) fn fail(&self, invariant: &str, why: &str) {
        let mut inner = self.lock();
        let now = inner.began.elapsed();
        inner.story.fail(now, invariant, why);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lock().story.has_failed()
    }

    /// # Errors
    /// The violation, with the story before it.
    pub(super) fn outcome(&self) -> Result<Outcome, String> {
        let inner = self.lock();
        match inner.story.failure() {
            Some(story) => Err(format!(
                "{}\n{story}",
                inner.story.what_failed().unwrap_or_default()
            )),
            None => {
                let seconds = inner.began.elapsed().as_secs();
                Ok(Outcome {
                    digest: inner.story.digest(),
                    seconds,
                    ..inner.outcome
                })
            }
        }
    }
}

/// Observes one process of a node.
pub(super) struct LifeWitness {
    pub(super) node: u64,
    /// Actions of a dead process do not count.
    pub(super) is_alive: Arc<AtomicBool>,
    pub(super) history: History,
}

impl LifeWitness {
    fn see(&self, seen: &Seen) {
        if self.is_alive.load(Ordering::Relaxed) {
            self.history.see(seen);
        }
    }
}

impl Witness for LifeWitness {
    fn applied(&self, applied: Applied<'_>) {
        let epochs = applied
            .state
            .assignments
            .iter()
            .map(|(camera, assignment)| (camera, assignment.epoch));
        let entry = Entry {
            term: applied.term,
            index: applied.index,
            command: digest(&applied.entry),
            number: applied.entry.and_then(number_of),
            state: digest(applied.state),
            epochs: epochs.collect(),
            cameras: applied.state.cameras.keys().collect(),
        };
        self.see(&Seen::Applied {
            node: self.node,
            entry,
        });
    }

    fn installed(&self, index: u64, state: &ClusterState) {
        self.see(&Seen::Installed {
            node: self.node,
            index,
            state: digest(state),
        });
    }

    fn saved_vote(&self, vote: SavedVote) {
        self.see(&Seen::VoteSaved {
            node: self.node,
            vote,
        });
    }

    fn found_vote(&self, vote: Option<SavedVote>) {
        self.see(&Seen::VoteFound {
            node: self.node,
            vote,
        });
    }
}

fn digest(what: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    match postcard::to_allocvec(what) {
        Ok(bytes) => hasher.write(&bytes),
        Err(error) => hasher.write(error.to_string().as_bytes()),
    }
    hasher.finish()
}
