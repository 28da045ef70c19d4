//! Lines that openraft repeats several times a second, for as long as a peer is dead, are shown
//! once a minute.

use crate::terminal::clock::monotonic_now;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The shortest interval between two lines from the same place in the source.
const INTERVAL: Duration = Duration::from_secs(60);

/// Places in the source that are remembered; a program has a limited number of them.
const LINES_MAX: usize = 1024;

/// By file and line: when it was last shown.
#[derive(Debug, Default)]
pub(super) struct Sparing(Mutex<BTreeMap<(&'static str, u32), Instant>>);

impl Sparing {
    fn shows(&self, line: (&'static str, u32), now: Instant) -> bool {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = shown
            .get(&line)
            .is_none_or(|at| now.saturating_duration_since(*at) >= INTERVAL);
        if is_due && (shown.len() < LINES_MAX || shown.contains_key(&line)) {
            shown.insert(line, now);
        }
        is_due
    }
}

impl<S: Subscriber> Layer<S> for Sparing {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let source = event.metadata();
        if *source.level() != Level::WARN || !source.target().starts_with("openraft") {
            return true;
        }
        let line = (
            source.file().unwrap_or_default(),
            source.line().unwrap_or_default(),
        );
        self.shows(line, monotonic_now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn what_openraft_repeats_is_shown_once_and_what_others_log_always() {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .with_ansi(false);
        let log = tracing_subscriber::registry()
            .with(Sparing::default())
            .with(layer);
        tracing::subscriber::with_default(log, || {
            for _ in 0..50 {
                tracing::warn!(target: "openraft::replication", "cannot reach node 2");
                tracing::warn!(target: "holdfast_node", "ours");
                tracing::error!(target: "openraft::core", "worse");
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(
            (count("cannot reach"), count("ours"), count("worse")),
            (1, 50, 50),
            "{text}"
        );
    }

    #[test]
    fn it_is_shown_again_after_a_minute() {
        let (sparing, now) = (Sparing::default(), monotonic_now());
        assert!(sparing.shows(("a.rs", 1), now) && !sparing.shows(("a.rs", 1), now + INTERVAL / 2));
        assert!(sparing.shows(("a.rs", 2), now) && sparing.shows(("a.rs", 1), now + INTERVAL));
    }
}
