//! What retention shows of itself.

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
    /// Whether the wall clock counts.
    pub is_time_trusted: bool,
    /// Nothing contradicts the wall clock, though it may have to prove itself still.
    pub is_time_likely: bool,
    /// And by more than itself: other members may go by it.
    pub may_vouch: bool,
    /// Why nothing is deleted for its age, where a class has a limit of age.
    pub paused: Option<Pause>,
    pub announced: Vec<Announced>,
    /// What stays free where that is less than was asked for, because the volume is small.
    pub clamped_free_bytes_min: Option<u64>,
}
