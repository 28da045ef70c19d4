//! Everything that happened in a run, in order: kept for the judge, and written as it happens, one
//! JSON object a line.

use crate::{Error, Result, io_error};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum events of one run; further ones are counted and dropped. Polling each node every half
/// second makes some hundred thousand a day.
const EVENTS_MAX: usize = 2_000_000;

/// What happened. Times are microseconds since the Unix epoch by this machine's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    Began {
        scenario: String,
        seed: u64,
        place: String,
    },
    /// A fault begins: the `nodes` and `cameras` that it hit, and `affected`, the cameras that
    /// those nodes recorded.
    FaultOn {
        fault: usize,
        action: String,
        nodes: Vec<String>,
        cameras: Vec<String>,
        affected: Vec<String>,
    },
    FaultOff {
        fault: usize,
        action: String,
    },
    /// An action of the runner on a node: `started`, `killed`, `stopped`, `paused`, `resumed`,
    /// `drained`.
    Node {
        node: String,
        now: String,
    },
    /// A node's process ended although the run had not ended it.
    EndedByItself {
        node: String,
    },
    /// `reported_by` did not answer its API, or answers again.
    Answers {
        reported_by: String,
        yes: bool,
    },
    Leader {
        reported_by: String,
        leader: Option<String>,
        term: u64,
    },
    Alive {
        reported_by: String,
        node: String,
        yes: bool,
    },
    Assignment {
        reported_by: String,
        camera: String,
        epoch: u64,
        owner: Option<String>,
        mirror: Option<String>,
        successor: Option<String>,
        moving_to: Option<String>,
    },
    Recorder {
        reported_by: String,
        camera: String,
        node: Option<String>,
        state: Option<String>,
        error: Option<String>,
    },
    /// By camera.
    Watermarks {
        reported_by: String,
        marks: BTreeMap<String, Mark>,
    },
    /// Gaps that `reported_by` reports for the first time, in an answer that all nodes contributed
    /// to.
    Gaps {
        reported_by: String,
        gaps: Vec<LedgerGap>,
    },
    /// Memory and open files of a node's process.
    Process {
        node: String,
        resident_kib: u64,
        descriptors: u64,
    },
    /// A hostile camera was deleted.
    HostileGone {
        camera: String,
        /// Time until its last socket was closed; none if one stayed open.
        closed_after_ms: Option<u64>,
        accepted: u64,
        sent_bytes: u64,
        strayed: u64,
    },
    Load {
        kind: String,
        asked: u64,
        answered: u64,
        first_error: Option<String>,
    },
    Said {
        text: String,
    },
    /// A run of frames that is missing at the end.
    Lost {
        camera: String,
        from_sequence: u64,
        frames: u64,
        from_us: i64,
        to_us: i64,
        gap_ms: u64,
    },
    Check {
        name: String,
        holds: bool,
        text: String,
    },
    Ended {
        verdict: String,
    },
}

/// A camera's watermark as one node reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The recorder.
    pub node: String,
    /// Epoch of the camera's assignment, as the same node reports it.
    pub epoch: u64,
    /// Whether the recorder records; before its first durable chunk it reports how far earlier
    /// recorders came.
    pub is_recording: bool,
    pub watermark_us: i64,
}

/// A gap in the ledger, as observed at one time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LedgerGap {
    pub camera: String,
    pub start_us: i64,
    pub end_us: i64,
    pub cause: GapCause,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at_us: i64,
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// The event as a line of `history.jsonl`.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self)
            .unwrap_or_else(|error| format!("{{\"unwritable\":\"{error}\"}}"))
    }
}

/// The events of a finished run.
///
/// # Errors
/// If the file cannot be read, or has another version.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let text = fs::read_to_string(path).map_err(io_error(format!("read {}", path.display())))?;
    let event = |(at, line): (usize, &str)| {
        let wrong = |error| Error::Usage(format!("{}:{}: {error}", path.display(), at + 1));
        serde_json::from_str(line).map_err(wrong)
    };
    text.lines().enumerate().map(event).collect()
}

/// A cheap handle; all clones write to the same history.
#[derive(Clone, Debug)]
pub struct History {
    shared: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    events: Vec<Event>,
    left_out: u64,
    file: BufWriter<File>,
    broken: Option<String>,
}

impl History {
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(io_error(format!("make {}", path.display())))?;
        let kept = Kept {
            events: Vec::new(),
            left_out: 0,
            file: BufWriter::new(file),
            broken: None,
        };
        Ok(Self {
            shared: Arc::new(Mutex::new(kept)),
        })
    }

    /// Adds an event that happens now.
    pub fn add(&self, what: What) {
        let at_us = wall_now().micros();
        let mut kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.events.len() >= EVENTS_MAX {
            kept.left_out += 1;
            return;
        }
        // The time was taken before the lock, so another thread may be slightly ahead: lines stay
        // in order nevertheless.
        let at_us = kept
            .events
            .last()
            .map_or(at_us, |last| last.at_us.max(at_us));
        let event = Event { at_us, what };
        if let Err(error) = writeln!(kept.file, "{}", event.line()) {
            kept.broken.get_or_insert(error.to_string());
        }
        kept.events.push(event);
    }

    pub fn say(&self, text: impl Into<String>) {
        self.add(What::Said { text: text.into() });
    }

    /// All events so far; also flushes the file.
    ///
    /// # Errors
    /// If the file could not be written, or the run had too many events.
    pub fn events(&self) -> Result<Vec<Event>> {
        let mut kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.file.flush().map_err(io_error("write the history"))?;
        if let Some(why) = &kept.broken {
            return Err(crate::Error::Wrong(format!(
                "the history could not be written: {why}"
            )));
        }
        if kept.left_out > 0 {
            return Err(crate::Error::Wrong(format!(
                "{} events more than {EVENTS_MAX} were left out",
                kept.left_out
            )));
        }
        Ok(kept.events.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_line_that_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let history = History::create(&path).unwrap();
        history.say("a\nb");
        let mark = Mark {
            node: "node1".to_owned(),
            epoch: 2,
            is_recording: true,
            watermark_us: 7,
        };
        let marks = BTreeMap::from([("cam01".to_owned(), mark)]);
        history.add(What::Watermarks {
            reported_by: "node2".to_owned(),
            marks,
        });
        let events = history.events().unwrap();
        let read = read(&path).unwrap();
        assert_eq!((read.len(), &read), (2, &events));
        assert!(events[0].at_us <= events[1].at_us);
    }
}
