//! How a recorder treats a camera that may have ended processes, as in
//! `node/src/capture/recorder/task`: the real turns, and the real account of what a session exposes
//! its process to. Only the waiting is the simulator's: a waiting recorder checks at each tick.

use futures::FutureExt;
use holdfast_consensus::model::Treatment;
use holdfast_consensus::observe::heartbeat::{Exposure, HEARTBEAT_INTERVAL};
use holdfast_node::capture::ingest::turns::{Newcomer, TURN, Turn, Turns};
use holdfast_node::capture::recorder::contact::Contact;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// By then heartbeats have announced that a suspect has its turn.
pub(super) const ANNOUNCED_AFTER: Duration = HEARTBEAT_INTERVAL.saturating_mul(2);
/// The cluster does not give up a recorder that waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);
/// The turn of a suspect that brings nothing to record, in usual turns.
const VAIN_TURNS: u32 = 3;

/// Whether a session may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Given,
    InTurn,
    /// The session must wait. The wait has just begun, or continues.
    Waits {
        is_new: bool,
    },
}

pub(super) struct Held {
    turns: Turns,
    turn: Option<Turn>,
    waits: Option<Pin<Box<dyn Future<Output = Turn>>>>,
    /// The reason for the wait.
    by: Option<Treatment>,
    /// Until the first attempt is over.
    newcomer: Option<Newcomer>,
    contact: Contact,
}

impl Held {
    pub(super) fn new(turns: Turns, treatment: Treatment) -> Self {
        let newcomer = (treatment == Treatment::Usual).then(|| turns.newcomer());
        Self {
            turns,
            turn: None,
            waits: None,
            by: None,
            newcomer,
            contact: Contact::default(),
        }
    }

    /// Asks for leave to open a session.
    pub(super) fn ask(&mut self, treatment: Treatment) -> Leave {
        if self.by.is_some_and(|by| by != treatment) {
            self.waits = None;
        }
        if treatment == Treatment::Suspect {
            let turns = self.turns.clone();
            let waits = self
                .waits
                .get_or_insert_with(|| Box::pin(async move { turns.turn().await }));
            self.turn = waits.as_mut().now_or_never();
        }
        let leave = match treatment {
            Treatment::Usual => Leave::Given,
            Treatment::Suspect if self.turn.is_some() => Leave::InTurn,
            Treatment::Suspect | Treatment::Quarantined { .. } => Leave::Waits {
                is_new: self.by != Some(treatment),
            },
        };
        if let Leave::Waits { .. } = leave {
            // Suspects wait for newcomers, and this recorder is no longer one.
            (self.by, self.newcomer) = (Some(treatment), None);
        } else {
            (self.by, self.waits) = (None, None);
            self.contact.opens(leave == Leave::InTurn);
        }
        leave
    }

    pub(super) fn opened(&mut self, now: Instant) {
        self.contact.opened(now);
        self.newcomer = None;
    }

    /// No session could be opened, or the one that was open is over.
    pub(super) fn failed(&mut self, was_open: bool) {
        if was_open {
            self.contact.turn_is_over()
        } else {
            self.contact.failed()
        }
        (self.newcomer, self.turn) = (None, None);
    }

    /// The session was given up, because the camera is held back from now on.
    pub(super) fn left(&mut self) {
        self.contact.left();
        self.turn = None;
    }

    /// Gives the turn back once the session, which has lasted for `age`, has proven itself, or
    /// brought nothing for too long.
    pub(super) fn keep_turn(&mut self, is_recording: bool, age: Duration) {
        let Some(turn) = &self.turn else { return };
        let lasts = turn.lasts(TURN);
        if (is_recording && age >= lasts) || age >= lasts * VAIN_TURNS {
            self.turn = None;
            self.contact.turn_is_over();
        }
    }

    pub(super) fn exposure(&self, now: Instant) -> Option<Exposure> {
        self.contact.exposure(now)
    }
}
