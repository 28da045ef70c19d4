//! Progress of a volume's scrub, and requests to it.

use crate::locks::lock;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Progress of the scrub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// 0: off.
    pub bytes_per_second_max: u64,
    /// `None` between passes.
    pub pass: Option<ScrubPass>,
    /// When the last complete pass began and ended.
    pub last_started_at: Option<Timestamp>,
    pub last_ended_at: Option<Timestamp>,
    /// It pauses because the writer is behind.
    pub is_held_back: bool,
    /// Bytes read since the volume was opened.
    pub read_bytes: u64,
    /// Segments that could not be read at all since then.
    pub failed_segments: u64,
    /// Segments whose header, footer or init segments were found damaged since then.
    pub damaged_segments: u64,
}

/// A pass in progress. Segments that retention deletes count as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubPass {
    pub started_at: Timestamp,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub done_segments: u64,
    pub total_segments: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) stop: bool,
    pub(crate) start: bool,
}

/// Other threads' requests to the scrub, and its status.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) asked: Mutex<Asked>,
    pub(crate) changed: Condvar,
    pub(crate) status: Mutex<ScrubStatus>,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) is_held_back: AtomicBool,
}

impl Control {
    pub(crate) fn stop(&self) {
        lock(&self.asked).stop = true;
        self.changed.notify_all();
    }

    /// Begins a pass now, or restarts the one in progress.
    pub(crate) fn start(&self) {
        lock(&self.asked).start = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.asked).stop
    }

    /// Waits; returns `false` if the scrub has to stop.
    pub(crate) fn wait(&self, wait: Duration) -> bool {
        let asked = lock(&self.asked);
        if asked.stop {
            return false;
        }
        let (asked, _) = self
            .changed
            .wait_timeout(asked, wait)
            .unwrap_or_else(PoisonError::into_inner);
        !asked.stop
    }

    pub(crate) fn status(&self) -> ScrubStatus {
        ScrubStatus {
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            is_held_back: self.is_held_back.load(Ordering::Relaxed),
            ..lock(&self.status).clone()
        }
    }
}
