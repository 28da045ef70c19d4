//! How this process is exposed to what a camera sends. Heartbeats carry it, so that other nodes
//! know which camera to blame if the process ends. Pure.

use holdfast_consensus::observe::heartbeat::{Exposure, FRESH_MAX};
use std::time::Instant;

#[derive(Clone, Copy, Debug, Default)]
pub struct Contact {
    opens: bool,
    /// The last attempt opened no session: most likely the camera is away, and does no harm.
    is_away: bool,
    /// When the last session began.
    began: Option<Instant>,
    trial: Trial,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trial {
    #[default]
    None,
    InTurn,
    Proven,
}

impl Contact {
    /// A session is being opened; by a suspect, in its turn.
    pub fn opens(&mut self, in_turn: bool) {
        self.opens = true;
        self.trial = if in_turn { Trial::InTurn } else { Trial::None };
    }

    pub fn opened(&mut self, now: Instant) {
        (self.opens, self.is_away, self.began) = (false, false, Some(now));
    }

    pub fn failed(&mut self) {
        (self.opens, self.is_away) = (false, true);
        self.turn_is_over();
    }

    /// The session was given up because of what the camera may do.
    pub fn left(&mut self) {
        (self.opens, self.began) = (false, None);
        self.turn_is_over();
    }

    pub fn turn_is_over(&mut self) {
        if self.trial == Trial::InTurn {
            self.trial = Trial::Proven;
        }
    }

    #[must_use]
    pub fn exposure(&self, now: Instant) -> Option<Exposure> {
        let is_fresh = self
            .began
            .is_some_and(|began| now.saturating_duration_since(began) < FRESH_MAX);
        let is_opening = self.opens && (!self.is_away || self.trial == Trial::InTurn);
        (is_fresh || is_opening).then_some(match self.trial {
            Trial::None => Exposure::Fresh,
            Trial::InTurn => Exposure::OnTrial,
            Trial::Proven => Exposure::Proven,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "any instant will do: only differences count"
    )]

    use super::*;
    use std::time::Duration;

    #[test]
    fn a_session_is_fresh_from_its_first_attempt_for_a_minute() {
        let (now, mut contact) = (Instant::now(), Contact::default());
        assert_eq!(contact.exposure(now), None, "nothing was tried");
        contact.opens(false);
        assert_eq!(contact.exposure(now), Some(Exposure::Fresh));
        contact.opened(now);
        assert_eq!(
            contact.exposure(now + Duration::from_secs(59)),
            Some(Exposure::Fresh)
        );
        assert_eq!(contact.exposure(now + FRESH_MAX), None);
        contact.opens(false);
        assert_eq!(
            contact.exposure(now + FRESH_MAX),
            Some(Exposure::Fresh),
            "the next one begins"
        );
    }

    #[test]
    fn a_camera_that_is_away_is_not_blamed_for_being_tried() {
        let (now, mut contact) = (Instant::now(), Contact::default());
        contact.opens(false);
        contact.failed();
        contact.opens(false);
        assert_eq!(contact.exposure(now), None);
        contact.opened(now);
        assert_eq!(contact.exposure(now), Some(Exposure::Fresh));
    }

    #[test]
    fn a_suspect_is_on_trial_in_its_turn_only() {
        let (now, mut contact) = (Instant::now(), Contact::default());
        contact.opens(true);
        contact.opened(now);
        assert_eq!(contact.exposure(now), Some(Exposure::OnTrial));
        contact.turn_is_over();
        assert_eq!(contact.exposure(now), Some(Exposure::Proven));
        assert_eq!(contact.exposure(now + FRESH_MAX), None);
    }

    #[test]
    fn a_session_that_was_left_exposes_to_nothing() {
        let (now, mut contact) = (Instant::now(), Contact::default());
        contact.opens(true);
        contact.opened(now);
        contact.left();
        assert_eq!(contact.exposure(now), None);
    }
}
