//! The brake on deletion: how much of what the limits would delete may go now. Pure: bytes and
//! times are passed in as values.
//!
//! Each hour, as much may go at once as came in, plus a tenth of what is stored. A larger deletion,
//! after a start, a changed limit or a clock's step, is announced and waits. After the wait, or
//! when an operator releases it, it proceeds at a bounded rate; if an operator cancels it, the
//! footage stays for as long as the limits are the same. A disk that fills up does not wait: for
//! free space, as much goes as comes in, and as recording needs.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The part of what is stored that may go within [`PACE_TIME`] beyond what came in.
const SHARE: u64 = 10;
const PACE_TIME: Duration = Duration::from_secs(3600);
/// A deletion of no more than comes in within this part of [`PACE_TIME`] is never announced.
const SOON: u64 = 6;
/// The steps in which the last hour is counted.
const STEP: Duration = Duration::from_secs(60);
/// An announced deletion proceeds at a rate at which everything stored would take this long.
const RUN_TIME: Duration = Duration::from_secs(2 * 3600);

/// The subject of a limit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Age and bytes of a class.
    Class(String),
    /// The room that is to stay free.
    FreeSpace,
}

/// The deletion that the limits ask for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub bytes: u64,
    pub stored_bytes: u64,
    /// Of the largest segment: less cannot be deleted.
    pub largest_bytes: u64,
    /// The limits, as one number: another one means that they were changed.
    pub limits: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    Running,
    Cancelled,
}

/// A deletion beyond the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// How much would go in all by the present limits.
    pub bytes: u64,
    pub stored_bytes: u64,
    pub state: State,
    /// Over all processes; the time in which none ran does not count.
    pub waited: Duration,
    limits: u64,
}

/// A change to show to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Announced,
    Begun,
    /// Done, or the reason has gone.
    Ended,
}

/// Of all classes of a volume.
#[derive(Clone, Debug, Default)]
pub struct Brake {
    wait: Duration,
    ledgers: BTreeMap<Subject, Ledger>,
}

#[derive(Clone, Debug, Default)]
struct Ledger {
    came: Window,
    went: Window,
    announcement: Option<Announcement>,
    looked_at: Duration,
    /// How much of the announced deletion may go; negative if the last segment was larger.
    credit: i64,
}

impl Brake {
    /// With a `wait` of zero nothing waits. `announced` is what the previous process had announced.
    #[must_use]
    pub fn new(wait: Duration, announced: Vec<(Subject, Announcement)>) -> Self {
        let ledger = |announcement| Ledger {
            announcement: Some(announcement),
            ..Ledger::default()
        };
        let ledgers = announced
            .into_iter()
            .map(|(subject, announcement)| (subject, ledger(announcement)))
            .collect();
        Self { wait, ledgers }
    }

    /// How many bytes may go now, `uptime` after the start. Call it at each check, even if the wish
    /// is zero.
    pub fn allow(
        &mut self,
        subject: &Subject,
        wish: Wish,
        uptime: Duration,
    ) -> (u64, Option<Change>) {
        if self.wait.is_zero() {
            return (wish.bytes, None);
        }
        let ledger = self.ledgers.entry(subject.clone()).or_default();
        let passed = uptime.saturating_sub(std::mem::replace(&mut ledger.looked_at, uptime));
        let usual = ledger.usual(wish, uptime);
        let is_changed = ledger
            .announcement
            .is_some_and(|announced| announced.limits != wish.limits);
        let had_one = ledger.announcement.is_some();
        if is_changed || wish.bytes <= usual {
            ledger.announcement = None;
        }
        if wish.bytes <= usual {
            return (wish.bytes, had_one.then_some(Change::Ended));
        }
        let is_new = ledger.announcement.is_none();
        let change = ledger.advance(wish, passed, self.wait);
        if is_new {
            ledger.credit = 0;
        }
        (
            u64::try_from(ledger.credit).unwrap_or(0),
            if is_new {
                Some(Change::Announced)
            } else {
                change
            },
        )
    }

    /// The limits cannot be judged now: an announced deletion stays as it is, and its wait pauses.
    pub fn skip(&mut self, subject: &Subject, uptime: Duration) {
        if let Some(ledger) = self.ledgers.get_mut(subject) {
            ledger.looked_at = uptime;
        }
    }

    #[must_use]
    pub fn has_announced(&self, subject: &Subject) -> bool {
        self.ledgers
            .get(subject)
            .is_some_and(|ledger| ledger.announcement.is_some())
    }

    /// Footage came in.
    pub fn came(&mut self, subject: &Subject, bytes: u64, uptime: Duration) {
        let ledger = self.ledgers.entry(subject.clone()).or_default();
        ledger.came.add(bytes, uptime);
        // The required free space must not shrink while a deletion waits.
        if *subject == Subject::FreeSpace && ledger.announcement.is_some() {
            ledger.credit = ledger.credit.saturating_add(signed(bytes));
        }
    }

    /// Footage was deleted.
    pub fn went(&mut self, subject: &Subject, bytes: u64, uptime: Duration) {
        let ledger = self.ledgers.entry(subject.clone()).or_default();
        if ledger.announcement.is_some() {
            ledger.credit = ledger.credit.saturating_sub(signed(bytes));
        } else {
            ledger.went.add(bytes, uptime);
        }
    }

    /// Releases announced deletions. Returns how many.
    pub fn release(&mut self, is_meant: impl Fn(&Subject) -> bool) -> usize {
        self.set(State::Running, is_meant)
    }

    /// Cancels announced deletions, for as long as the limits are the same.
    pub fn cancel(&mut self, is_meant: impl Fn(&Subject) -> bool) -> usize {
        self.set(State::Cancelled, is_meant)
    }

    fn set(&mut self, state: State, is_meant: impl Fn(&Subject) -> bool) -> usize {
        let meant = self
            .ledgers
            .iter_mut()
            .filter(|(subject, _)| is_meant(subject));
        let announced = meant.filter_map(|(_, ledger)| ledger.announcement.as_mut());
        announced
            .map(|announcement| announcement.state = state)
            .count()
    }

    pub fn announced(&self) -> impl Iterator<Item = (&Subject, &Announcement)> {
        self.ledgers
            .iter()
            .filter_map(|(subject, ledger)| Some((subject, ledger.announcement.as_ref()?)))
    }

    /// How long until it begins; `None` if it was cancelled.
    #[must_use]
    pub fn begins_in(&self, announcement: &Announcement) -> Option<Duration> {
        match announcement.state {
            State::Waiting => Some(self.wait.saturating_sub(announcement.waited)),
            State::Running => Some(Duration::ZERO),
            State::Cancelled => None,
        }
    }
}

impl Ledger {
    /// How much may go without announcement.
    fn usual(&mut self, wish: Wish, uptime: Duration) -> u64 {
        let came = self.came.sum(uptime);
        let may_go = came.saturating_add(wish.stored_bytes / SHARE);
        // A ring whose tenth is used up continues: a deletion of no more than comes in soon is
        // never announced.
        may_go
            .saturating_sub(self.went.sum(uptime))
            .max(2 * wish.largest_bytes)
            .max(came / SOON)
    }

    fn advance(&mut self, wish: Wish, passed: Duration, wait: Duration) -> Option<Change> {
        let Wish {
            bytes,
            stored_bytes,
            limits,
            ..
        } = wish;
        let new = Announcement {
            bytes,
            stored_bytes,
            state: State::Waiting,
            waited: Duration::ZERO,
            limits,
        };
        let is_new = self.announcement.is_none();
        let announcement = self.announcement.get_or_insert(new);
        announcement.bytes = bytes;
        match announcement.state {
            State::Waiting if !is_new => {
                announcement.waited += passed;
                if announcement.waited < wait {
                    return None;
                }
                announcement.state = State::Running;
                Some(Change::Begun)
            }
            State::Running => {
                let earned = u128::from(announcement.stored_bytes) * passed.as_millis()
                    / RUN_TIME.as_millis();
                let most = signed(wish.stored_bytes / SHARE).max(signed(wish.largest_bytes));
                self.credit = self
                    .credit
                    .saturating_add(i64::try_from(earned).unwrap_or(i64::MAX))
                    .min(most);
                None
            }
            State::Waiting | State::Cancelled => None,
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Bytes of the last hour, in steps.
#[derive(Clone, Debug, Default)]
struct Window(VecDeque<(u64, u64)>);

impl Window {
    fn step(uptime: Duration) -> u64 {
        uptime.as_secs() / STEP.as_secs()
    }

    fn add(&mut self, bytes: u64, uptime: Duration) {
        let step = Self::step(uptime);
        match self.0.back_mut() {
            Some((last, sum)) if *last == step => *sum += bytes,
            _ => self.0.push_back((step, bytes)),
        }
        self.forget(uptime);
    }

    fn forget(&mut self, uptime: Duration) {
        let oldest = Self::step(uptime).saturating_sub(PACE_TIME.as_secs() / STEP.as_secs());
        while self.0.front().is_some_and(|(step, _)| *step < oldest) {
            self.0.pop_front();
        }
    }

    fn sum(&mut self, uptime: Duration) -> u64 {
        self.forget(uptime);
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests;
