//! What may go wrong while the simulated disk runs, and how often.

use crate::random::Random;
use std::io;
use std::time::Duration;

/// A chance of one in so many; 0 is never.
pub type OneIn = u32;

/// Each operation of a kind fails or is late by chance.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Of the writer's and the keeper's writes: `EIO`, with each sector written or not.
    pub write_fails: OneIn,
    /// `EIO`; what was not durable stays visible and never becomes durable by another sync.
    pub sync_fails: OneIn,
    pub read_fails: OneIn,
    /// `EIO` when a segment is created or extended.
    pub allocate_fails: OneIn,
    /// `EIO` of everything that concerns names and lengths: open, cut, replace, remove, list.
    pub name_fails: OneIn,
    /// `ENOSPC` though there is room.
    pub no_space: OneIn,
    /// An operation of the writer's half takes up to so long; never less than a tenth of a
    /// millisecond.
    pub latency_max: Duration,
    /// An operation of the writer's half takes `hang` longer.
    pub hangs: OneIn,
    pub hang: Duration,
    /// How the disk deceives.
    pub lie: Lie,
}

/// What a dishonest disk does. An honest program cannot keep its promises on it: these put known
/// bugs back without touching the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// The writer's syncs do nothing: as if the program had left them out.
    SyncDoesNothing,
    /// The writer's syncs are answered at once and done later: as if the program had published
    /// first.
    SyncIsLate,
    /// The keeper's syncs of copies of held footage do nothing: as if the program had let originals
    /// go before their copies were durable.
    CopySyncDoesNothing,
    /// What concerns names follows the path to what is mounted over it: as if the program had used
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
