//! The status of retention.

use super::{Pause, State};
use serde::{Deserialize, Serialize};

/// A deletion that is larger than usual, and waits or goes at a bounded rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The retention class; `None`: room that is to stay free.
    pub class: Option<String>,
    pub bytes: u64,
    pub stored_bytes: u64,
    pub state: State,
    /// `None`: cancelled.
    pub begins_in_s: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionStatus {
    /// Whether the wall clock is trusted.
    pub is_time_trusted: bool,
    /// Nothing contradicts the wall clock, though it may still have to prove itself.
    pub is_time_likely: bool,
    /// More than the clock itself confirms it: other members may rely on it.
    pub may_vouch: bool,
    /// Why nothing is deleted for its age, if a class has a limit of age.
    pub paused: Option<Pause>,
    pub announced: Vec<Announced>,
    /// The room that stays free, if it is less than was configured, because the volume is small.
    pub clamped_free_bytes_min: Option<u64>,
}
