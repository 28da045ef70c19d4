//! Logs corrections of RTP clocks that do not run as they should: each kind once a session, then at
//! most once in [`AGAIN`]. Reads no clock.

use super::status::{Counters, StatusCell};
use crate::capture::ingest::clock::Correction;
use holdfast_storage::ids::{StreamId, TrackKind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a kind of correction is not logged again within a session.
const AGAIN: Duration = Duration::from_secs(600);

/// A kind of correction, as the metric names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jumped,
    StoodStill,
    Rate,
    Arrivals,
}

/// When each kind was logged, for video and audio.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    logged: [[Option<Instant>; 4]; 2],
}

impl Kind {
    fn of(correction: Correction) -> Self {
        match correction {
            Correction::Jumped => Self::Jumped,
            Correction::StoodStill { .. } => Self::StoodStill,
            Correction::Rate { .. } => Self::Rate,
            Correction::Arrivals => Self::Arrivals,
        }
    }

    fn counter(self, counters: &Counters) -> &AtomicU64 {
        match self {
            Self::Jumped => &counters.clock_jumps,
            Self::StoodStill => &counters.clock_standstills,
            Self::Rate => &counters.clock_rates,
            Self::Arrivals => &counters.clock_arrivals,
        }
    }
}

impl Corrections {
    /// Counts a correction of a track's clock at `now`, keeps how the clock is followed, and logs
    /// the correction if that is due.
    pub(super) fn note(
        &mut self,
        stream: StreamId,
        track: TrackKind,
        correction: Correction,
        now: Instant,
        (status, totals): (&StatusCell, &Counters),
    ) {
        let kind = Kind::of(correction);
        for counters in [&status.counters, totals] {
            kind.counter(counters).fetch_add(1, Relaxed);
        }
        if track == TrackKind::Video {
            match correction {
                Correction::Rate { ppb } => status.set_clock_rate(Some(ppb)),
                Correction::Arrivals => status.set_clock_rate(None),
                Correction::Jumped | Correction::StoodStill { .. } => {}
            }
        }
        if self.is_due(track, kind, now) {
            log(stream, track, correction);
        }
    }

    fn is_due(&mut self, track: TrackKind, kind: Kind, now: Instant) -> bool {
        let logged = &mut self.logged[usize::from(track != TrackKind::Video)][kind as usize];
        let is_due = logged.is_none_or(|logged| now.saturating_duration_since(logged) >= AGAIN);
        if is_due {
            *logged = Some(now);
        }
        is_due
    }
}

fn log(stream: StreamId, track: TrackKind, correction: Correction) {
    match correction {
        Correction::Jumped => {
            tracing::warn!(
                %stream, ?track,
                "the camera's RTP time jumped; recorded times continue with the arrivals"
            );
        }
        Correction::StoodStill { by_us } => {
            let behind_ms = by_us / 1000;
            tracing::warn!(
                %stream, ?track, behind_ms,
                "the camera's RTP time stood still; recorded times catch up"
            );
        }
        Correction::Rate { ppb } => {
            let runs_at = format!("{:.4}", 1e9 / ppb as f64);
            tracing::warn!(
                %stream, ?track, runs_at,
                "the camera's RTP time runs at a rate of its own; it is corrected"
            );
        }
        Correction::Arrivals => {
            tracing::warn!(
                %stream, ?track,
                "the camera's RTP time is of no use; recorded times are those of arrival"
            );
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as an origin"
)]
mod tests {
    use super::*;
    use crate::capture::recorder::status::Identity;
    use holdfast_storage::ids::{CameraId, Epoch, Rank};

    #[test]
    fn each_kind_and_track_is_logged_once_and_again_after_ten_minutes() {
        let (mut corrections, now) = (Corrections::default(), Instant::now());
        assert!(corrections.is_due(TrackKind::Video, Kind::Rate, now));
        assert!(!corrections.is_due(TrackKind::Video, Kind::Rate, now + AGAIN / 2));
        assert!(corrections.is_due(TrackKind::Video, Kind::Jumped, now));
        assert!(corrections.is_due(TrackKind::Audio, Kind::Rate, now));
        assert!(corrections.is_due(TrackKind::Video, Kind::Rate, now + AGAIN));
    }

    #[test]
    fn every_correction_is_counted_and_the_rate_of_video_is_kept() {
        let stream = StreamId::main(CameraId(1));
        let identity = Identity {
            epoch: Epoch(1),
            rank: Rank::Owner,
        };
        let (status, totals) = (StatusCell::new(stream, identity), Counters::default());
        let (mut corrections, now) = (Corrections::default(), Instant::now());
        let mut note = |track, correction| {
            corrections.note(stream, track, correction, now, (&status, &totals))
        };
        note(TrackKind::Video, Correction::Rate { ppb: 1_190_000_000 });
        note(TrackKind::Audio, Correction::Rate { ppb: 500_000_000 });
        note(TrackKind::Video, Correction::Jumped);
        assert_eq!(
            (totals.read().clock_rates, totals.read().clock_jumps),
            (2, 1)
        );
        assert_eq!(status.read().clock_rate_ppb, Some(1_190_000_000));
        note(TrackKind::Video, Correction::Arrivals);
        assert_eq!(
            (
                status.read().clock_rate_ppb,
                status.read().counts.clock_arrivals
            ),
            (None, 1)
        );
    }
}
