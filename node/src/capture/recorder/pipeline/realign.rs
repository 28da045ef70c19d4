//! Returns recorded time to true time. Time never goes back within an epoch, so after the wall
//! clock was ahead for a moment, recorded time stays ahead. Once the node is certain of its clock
//! it requests a new epoch, which readers prefer and which begins at true time. Footage that was
//! recorded ahead keeps its times.

use super::{Now, Pipeline, STEP_PATIENCE};
use crate::capture::ingest::media::MediaFrame;
use crate::capture::ingest::wall::AHEAD_US_MAX;
use crate::capture::recorder::gaps::Ledger;
use crate::capture::recorder::status::Identity;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;

impl Pipeline {
    /// Whether `identity` is a new epoch that waits for a keyframe and begins at true time.
    pub(super) fn begins_at_true_time(&mut self, identity: Identity) -> bool {
        let is_ahead = self.wall.ahead_us() > AHEAD_US_MAX && self.context.wall.is_certain();
        let is_due = identity.epoch > self.identity.epoch && is_ahead;
        self.realigns_to = is_due.then_some((identity, self.latest));
        is_due
    }

    /// A session continues in the new epoch from a keyframe on, so that no frame is lost.
    pub(super) fn realign_at(&mut self, frame: &MediaFrame) {
        let Some((_, since)) = self.realigns_to else {
            return;
        };
        let is_late = frame.received.saturating_duration_since(since) >= STEP_PATIENCE;
        if (frame.track == TrackKind::Video && frame.access.is_some()) || is_late {
            self.realign(Now {
                instant: frame.received,
                wall: frame.received_wall,
            });
        }
    }

    /// Begins the new epoch, if one waits.
    pub(super) fn realign(&mut self, now: Now) {
        let Some((identity, _)) = self.realigns_to.take() else {
            return;
        };
        self.flush();
        let before = self.wall.time_of(now.instant);
        let late_us = self.late_us(before);
        self.wall.restart(now.instant, now.wall, Timestamp::MIN);
        let restarted = self.wall.time_of(now.instant);
        tracing::warn!(
            stream = %self.context.stream,
            ahead_s = before.micros_since(restarted) / 1_000_000,
            "recorded time had run ahead; a new epoch begins at true time, what was recorded ahead \
             keeps its times"
        );
        self.ledger.write_until(before);
        self.ledger.rebase(restarted);
        self.write_gaps();
        for track in [&mut self.video, &mut self.audio].into_iter().flatten() {
            track.shift_clock(restarted.micros_since(before), Timestamp::MIN);
        }
        self.identity = identity;
        (self.recorded_until, self.began, self.stepped_at) = (None, restarted, None);
        self.context.status.realign(identity);
        self.count(|counters| &counters.clock_steps, 1);
        if self.session.is_some() {
            self.begin_session(restarted.plus_micros(-late_us));
            self.tear(TrackKind::Video, GapCause::Unknown);
        }
        // Entries that no sink has taken by now end with the epoch.
        if !self.ledger.is_open() {
            self.ledger = Ledger::default();
        }
    }
}
