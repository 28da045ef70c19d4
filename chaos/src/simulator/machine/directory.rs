//! A machine's data directory that is copied, and put back.

use super::Machine;
use std::time::Duration;

/// By then a starting process has heard what others have seen of its node.
pub(super) const INTRODUCED_AFTER: Duration = Duration::from_millis(300);

/// Whether a process takes part in Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Asking,
    Member,
    Fenced,
}

impl Standing {
    pub(super) fn of(is_old: bool) -> Self {
        if is_old { Self::Asking } else { Self::Member }
    }

    /// The other nodes have reported what they have seen.
    pub(super) fn introduced(&mut self) {
        if *self == Self::Asking {
            *self = Self::Fenced;
        }
    }
}

impl Machine {
    /// Keeps a copy of the directory as it is.
    pub(in super::super) fn back_up(&mut self) {
        let durable = self
            .process
            .as_ref()
            .map(|process| process.raft.durable().clone());
        self.backup = durable
            .or_else(|| self.durable.clone())
            .map(|durable| (durable, self.signs));
    }

    /// Puts that copy in place of the directory, while no process runs. Returns whether it is
    /// older.
    pub(in super::super) fn put_back(&mut self) -> bool {
        if let (Some((durable, signs)), Some(now)) = (self.backup.take(), self.durable.as_mut()) {
            self.is_old |= durable.is_behind(now);
            (*now, self.signs) = (durable, signs);
        }
        self.is_old
    }
}
