//! The cameras' names on each volume, for people who find a disk without its cluster. Recording
//! does not depend on them: a failure to write them is shown, and tried again.

use super::{Opened, Volumes, lock};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{CurrentName, Error};
use std::sync::{Arc, Mutex};
use tokio::task::spawn_blocking;

/// The names of all cameras at one time; the same `Arc` as long as they do not change.
pub(crate) type Names = Arc<Vec<CurrentName>>;

/// After a failure so many looks pass without an attempt.
const LOOKS_APART: u32 = 15;

/// The state of a volume's names.
#[derive(Default)]
pub(super) struct Keeping(Mutex<State>);

#[derive(Default)]
struct State {
    kept: Option<Names>,
    /// A thread is writing; a disk that hangs keeps it as long as it hangs.
    is_writing: bool,
    problem: Option<String>,
    looks_to_wait: u32,
}

impl Keeping {
    /// Whether to write `names` now.
    fn begin(&self, names: &Names) -> bool {
        let mut state = lock(&self.0);
        let is_kept = state
            .kept
            .as_ref()
            .is_some_and(|kept| Arc::ptr_eq(kept, names));
        if is_kept || state.is_writing {
            return false;
        }
        if state.looks_to_wait > 0 {
            state.looks_to_wait -= 1;
            return false;
        }
        state.is_writing = true;
        true
    }

    /// Records the outcome. Returns the error to log: only the first of several failures.
    fn end(&self, names: Names, written: Result<bool, Error>) -> Option<String> {
        let mut state = lock(&self.0);
        state.is_writing = false;
        match written {
            Ok(_) => {
                (state.kept, state.problem) = (Some(names), None);
                None
            }
            Err(error) => {
                state.looks_to_wait = LOOKS_APART;
                let was_well = state.problem.is_none();
                let problem = state.problem.insert(error.to_string());
                was_well.then(|| problem.clone())
            }
        }
    }

    /// For the volume's status.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = lock(&self.0).problem.clone()?;
        Some(format!(
            "the names of cameras are not kept on it ({problem}); it is tried again, and recording \
             does not need them"
        ))
    }
}

impl Volumes {
    /// Has every open volume keep the names that it does not have yet. Waits for no disk.
    pub(crate) fn keep_names(&self, names: &Names, now: Timestamp) {
        for volume in self
            .opened()
            .into_iter()
            .filter(|volume| !volume.has_failed() && !volume.is_reading())
        {
            if volume.names.begin(names) {
                let names = Arc::clone(names);
                spawn_blocking(move || write(&volume, names, now));
            }
        }
    }
}

fn write(volume: &Opened, names: Names, now: Timestamp) {
    let written = volume.handle.keep_names(&names, now);
    if let Some(problem) = volume.names.end(names, written) {
        tracing::warn!(
            volume = volume.index(),
            problem,
            "the names of cameras are not kept on a volume; it is tried again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_once_and_again_after_a_failure() {
        let (keeping, names) = (Keeping::default(), Names::default());
        assert!(
            keeping.begin(&names) && !keeping.begin(&names),
            "one thread at a time"
        );
        let failed = || Err(Error::Closed { path: "/v".into() });
        assert!(
            keeping.end(Arc::clone(&names), failed()).is_some()
                && keeping.problem().unwrap().contains("/v")
        );
        let tries = (0..=LOOKS_APART).filter(|_| keeping.begin(&names)).count();
        assert_eq!(tries, 1, "after a while");
        assert!(
            keeping.end(Arc::clone(&names), failed()).is_none(),
            "it is said already"
        );
        (0..LOOKS_APART).for_each(|_| assert!(!keeping.begin(&names)));
        assert!(keeping.begin(&names) && keeping.end(Arc::clone(&names), Ok(true)).is_none());
        assert!(
            keeping.problem().is_none() && !keeping.begin(&names),
            "they are kept"
        );
        assert!(keeping.begin(&Names::default()), "others are not");
    }
}
