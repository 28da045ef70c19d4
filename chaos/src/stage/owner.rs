//! Distinguishes resources of this process from those of a process that is gone. Names contain the
//! process's id and start time, because ids are reused.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

static GIVEN: AtomicU64 = AtomicU64::new(0);

/// `<tag>-<number>`, unique for each call: one process may have several runs in parallel.
#[must_use]
pub(super) fn unique() -> String {
    format!("{}-{}", tag(), GIVEN.fetch_add(1, Ordering::Relaxed))
}

/// `<pid>-<start>`, part of every name that this process gives.
fn tag() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", started(pid).unwrap_or(0))
}

/// The tag in a name that begins with `prefix`: its first two numbers.
#[must_use]
pub(super) fn tag_in<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    let second = rest.find('-')? + 1;
    let length = rest[second..]
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len() - second);
    let tag = &rest[..second + length];
    parse(tag).map(|_| tag)
}

/// Whether the process with this tag is still running.
#[must_use]
pub(super) fn is_alive(tag: &str) -> bool {
    parse(tag).is_some_and(|(pid, start)| started(pid) == Some(start))
}

fn parse(tag: &str) -> Option<(u32, u64)> {
    let (pid, start) = tag.split_once('-')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// Field 22 of `/proc/PID/stat` (proc(5)): the process's start time, in ticks since boot.
fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain any character, but ends with the last parenthesis.
    let after_name = &text[text.rfind(')')? + 1..];
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_others_are_not() {
        let mine = tag();
        assert!(is_alive(&mine));
        let name = format!("hfc-{}-n1", unique());
        assert_eq!(tag_in(&name, "hfc-"), Some(&*mine));
        assert_ne!(unique(), unique());
        assert_eq!(tag_in("hfc-mine", "hfc-"), None);
        assert!(!is_alive(&format!("{}-1", std::process::id())));
        assert!(!is_alive("4194305-7"));
    }
}
