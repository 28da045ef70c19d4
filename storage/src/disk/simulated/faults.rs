//! Which faults the simulated disk injects, and how often.

use crate::random::Random;
use std::io;
use std::time::Duration;

/// A probability of one in this many; 0 is never.
pub type OneIn = u32;

/// Each operation of a kind may fail or be late by chance.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Writes of the writer and the keeper: `EIO`, with each sector written or not.
    pub write_fails: OneIn,
    /// `EIO`; data that was not durable stays visible, and no later sync makes it durable.
    pub sync_fails: OneIn,
    pub read_fails: OneIn,
    /// `EIO` when a segment is created or extended.
    pub allocate_fails: OneIn,
    /// `EIO` of operations on names and lengths: open, truncate, replace, remove, list.
    pub name_fails: OneIn,
    /// `ENOSPC` although there is space.
    pub no_space: OneIn,
    /// The longest duration of an operation of the writer's half; the shortest is a tenth of a
    /// millisecond.
    pub latency_max: Duration,
    /// An operation of the writer's half takes `hang` longer.
    pub hangs: OneIn,
    pub hang: Duration,
    /// How the disk lies.
    pub lie: Lie,
}

/// What a dishonest disk does. A correct program cannot keep its promises on it: this restores
/// known bugs without changing the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// The writer's syncs do nothing, as if the program had left them out.
    SyncDoesNothing,
    /// The writer's syncs are acknowledged immediately and done later, as if the program had
    /// published first.
    SyncIsLate,
    /// The keeper's syncs of copies of held footage do nothing, as if the program had deleted
    /// originals before their copies were durable.
    CopySyncDoesNothing,
    /// Name operations follow the path to what is mounted over it, as if the program had used
    /// paths.
    NamesFollowMounts,
}

/// The kinds of operation that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Sync,
    Read,
    Allocate,
    Name,
}

impl Faults {
    /// Whether this operation fails.
    pub(super) fn check(&self, kind: Kind, random: &mut Random) -> io::Result<()> {
        let chance = match kind {
            Kind::Write => self.write_fails,
            Kind::Sync => self.sync_fails,
            Kind::Read => self.read_fails,
            Kind::Allocate => self.allocate_fails,
            Kind::Name => self.name_fails,
        };
        if random.one_in(chance) {
            return Err(input_output_error());
        }
        let takes_room = matches!(kind, Kind::Write | Kind::Allocate);
        if takes_room && random.one_in(self.no_space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn latency(&self, random: &mut Random) -> Duration {
        let max_us = u64::try_from(self.latency_max.as_micros()).unwrap_or(u64::MAX);
        let usual = Duration::from_micros(random.within(100..max_us.max(101)));
        if random.one_in(self.hangs) {
            usual + self.hang
        } else {
            usual
        }
    }
}

pub(super) fn input_output_error() -> io::Error {
    rustix::io::Errno::IO.into()
}
