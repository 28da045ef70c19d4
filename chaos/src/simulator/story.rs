//! The log of a run, for diagnosing a failure, and a digest of it, by which two runs are compared.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Lines before a failure that are kept, and lines after it.
const BEFORE_MAX: usize = 60;
const AFTER_MAX: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Story {
    lines: VecDeque<String>,
    hasher: DefaultHasher,
    /// The first failure, with the lines before it and after it.
    failed: Option<(String, Vec<String>)>,
}

impl Story {
    pub(super) fn count(&mut self, what: impl Hash) {
        what.hash(&mut self.hasher);
    }

    pub(super) fn say(&mut self, now: Duration, what: &str) {
        self.count(what);
        self.lines.push_back(line(now, what));
        if self.lines.len() > BEFORE_MAX {
            self.lines.pop_front();
        }
    }

    /// The first failure is the one that counts.
    pub(super) fn fail(&mut self, now: Duration, invariant: &str, why: &str) {
        if self.failed.is_none() {
            let before = self.lines.drain(..).collect();
            self.failed = Some((line(now, &format!("{invariant}: {why}")), before));
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn digest(&self) -> u64 {
        self.hasher.finish()
    }

    /// The failure with the events around it.
    pub(super) fn failure(&self) -> Option<String> {
        let (what, before) = self.failed.as_ref()?;
        let after: Vec<&str> = self
            .lines
            .iter()
            .take(AFTER_MAX)
            .map(String::as_str)
            .collect();
        Some(format!(
            "{}\n  {}\nfailed: {what}\nand then\n  {}",
            "before",
            before.join("\n  "),
            after.join("\n  ")
        ))
    }

    /// The failure alone.
    pub(super) fn what_failed(&self) -> Option<&str> {
        self.failed.as_ref().map(|(what, _)| what.as_str())
    }
}

fn line(now: Duration, what: &str) -> String {
    format!("{:>8.3} s  {what}", now.as_secs_f64())
}
