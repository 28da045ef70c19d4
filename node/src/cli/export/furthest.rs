//! Whether a transfer makes progress. Each version of a file counts separately: one that begins
//! again has its own progress, not that of an earlier version. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Versions that are tracked; a file with more of them does not settle.
const VERSIONS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Furthest {
    /// Bytes of each version, by its tag.
    versions: BTreeMap<Option<String>, u64>,
    since: Instant,
}

impl Furthest {
    pub(super) fn new(tag: Option<&str>, bytes: u64, now: Instant) -> Self {
        Self {
            versions: BTreeMap::from([(tag.map(str::to_owned), bytes)]),
            since: now,
        }
    }

    /// Records that so many bytes of a version are there now.
    pub(super) fn reached(&mut self, tag: Option<&str>, bytes: u64, now: Instant) {
        let tag = tag.map(str::to_owned);
        let is_counted = self.versions.len() < VERSIONS_MAX || self.versions.contains_key(&tag);
        if is_counted && bytes > self.versions.get(&tag).copied().unwrap_or_default() {
            self.versions.insert(tag, bytes);
            self.since = now;
        }
    }

    /// How long it has made no progress.
    pub(super) fn stuck_for(&self, now: Instant) -> Duration {
        now.duration_since(self.since)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "only times that are apart are compared"
)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_begins_again_comes_further_by_its_own_bytes() {
        let begin = Instant::now();
        let at = |second: u64| begin + Duration::from_secs(second);
        let mut furthest = Furthest::new(Some("a"), 900, begin);
        furthest.reached(Some("b"), 100, at(10));
        assert_eq!(furthest.stuck_for(at(15)), Duration::from_secs(5));
        furthest.reached(Some("b"), 300, at(20));
        assert_eq!(furthest.stuck_for(at(20)), Duration::ZERO);
        furthest.reached(Some("b"), 300, at(30));
        furthest.reached(Some("b"), 0, at(40));
        assert_eq!(furthest.stuck_for(at(40)), Duration::from_secs(20));
    }

    #[test]
    fn versions_that_change_places_or_never_settle_are_no_progress() {
        let begin = Instant::now();
        let at = |second: u64| begin + Duration::from_secs(second);
        let mut furthest = Furthest::new(None, 0, begin);
        for second in 1..10 {
            furthest.reached(
                Some(if second % 2 == 0 { "a" } else { "b" }),
                100,
                at(second),
            );
        }
        assert_eq!(
            furthest.stuck_for(at(10)),
            Duration::from_secs(8),
            "each came as far once"
        );
        for second in 10..200 {
            furthest.reached(Some(&second.to_string()), 100, at(second));
        }
        assert!(furthest.stuck_for(at(200)) > Duration::from_secs(100));
    }
}
