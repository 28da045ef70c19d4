//! The volumes of the configuration: what is known of each, whether it is open, and its state.

use super::choice::{Seat, Standing};
use super::health::{Health, Watch};
use super::opened::Opened;
use super::probation::Probation;
use holdfast_storage::ids::StreamId;
use holdfast_storage::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// For how long a disk that was too slow gets no more than it took then.
const BANDWIDTH_REMEMBERED: Duration = Duration::from_secs(600);

/// How often to look for a volume that is away.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The operator's intention for a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Record,
    /// Nothing new is recorded; existing footage is served.
    Retire,
    /// It is not in the configuration any more: closed once its cameras have left.
    Detach,
}

pub(super) enum Place {
    /// A thread is opening it; a disk that hangs takes as long as it hangs.
    Opening,
    /// It could not be opened.
    Away(Arc<str>),
    Open(Arc<Opened>),
    /// It is being closed for good.
    Closing,
}

/// A volume that hangs, or is being opened, for longer is away: what it holds is not expected in a
/// moment any more.
const AWAITED_MAX: Duration = Duration::from_secs(60);

/// Counts since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Times that it failed, hung or could not be opened.
    pub(super) failures: u64,
    /// Times that it was taken back.
    pub(super) reattachments: u64,
}

pub(super) struct Slot {
    pub(super) path: PathBuf,
    /// While it is not open, the number of the volume that was there last.
    pub(super) index: u16,
    pub(super) role: Role,
    pub(super) place: Place,
    pub(super) watch: Watch,
    pub(super) health: Health,
    /// The record whose durability is awaited, and since when.
    pub(super) marker: Option<(StreamId, Timestamp, Duration)>,
    /// How long the last marker took, or the present one has waited.
    pub(super) lag: Duration,
    pub(super) last_lag: Duration,
    /// Present while it failed, hangs or is away.
    pub(super) probation: Option<Probation>,
    /// The last probation, and when it ended.
    pub(super) last_probation: Option<(Probation, Duration)>,
    pub(super) is_probing: bool,
    /// The volume that belongs at its path is missing: the path is examined, without writing.
    pub(super) is_awaited: bool,
    pub(super) look_at: Duration,
    /// What the disk took when it was too slow, and until when that counts.
    bandwidth: Option<(u64, Duration)>,
    pub(super) counts: Counts,
    /// Times that a camera left it for another volume of this node.
    pub(super) moved_cameras: AtomicU64,
    /// Since when it is not asked for what it holds: it is being opened, or hangs.
    silent_since: Option<Duration>,
    /// Since when it has had nothing to write.
    pub(super) idle_since: Option<Duration>,
}

impl Slot {
    pub(super) fn new(path: PathBuf, index: u16, role: Role) -> Self {
        Self {
            path,
            index,
            role,
            place: Place::Opening,
            watch: Watch::default(),
            health: Health::Well,
            marker: None,
            lag: Duration::ZERO,
            last_lag: Duration::ZERO,
            probation: None,
            last_probation: None,
            is_probing: false,
            is_awaited: false,
            look_at: Duration::ZERO,
            bandwidth: None,
            counts: Counts::default(),
            moved_cameras: 0.into(),
            silent_since: None,
            idle_since: None,
        }
    }

    pub(super) fn open(&self) -> Option<&Arc<Opened>> {
        if let Place::Open(opened) = &self.place {
            Some(opened)
        } else {
            None
        }
    }

    /// Whether it is not asked for what it holds, and may be again.
    fn is_silent(&self) -> bool {
        matches!(self.place, Place::Opening) || self.standing() == Standing::Hung
    }

    /// Notes since when it is not asked for what it holds.
    pub(super) fn note_silence(&mut self, now: Duration) {
        let is_silent = self.is_silent();
        self.silent_since = self
            .silent_since
            .filter(|_| is_silent)
            .or(is_silent.then_some(now));
    }

    /// Whether it is not asked for what it holds, and has not been for only a moment.
    pub(super) fn may_answer_soon(&self, now: Duration) -> bool {
        let since = self.silent_since.unwrap_or(now);
        self.is_silent() && now.saturating_sub(since) < AWAITED_MAX
    }

    pub(super) fn standing(&self) -> Standing {
        let Some(opened) = self.open() else {
            return Standing::Away;
        };
        match self.health {
            _ if opened.has_failed() => Standing::Failed,
            Health::Hung => Standing::Hung,
            // It continues, and has yet to prove itself.
            _ if self.probation.is_some() => Standing::Hung,
            _ if opened.handle.is_adopted() => Standing::Adopted,
            _ if self.role != Role::Record => Standing::Retiring,
            Health::Full => Standing::Full,
            Health::Slow { .. } => Standing::Slow,
            Health::Well => Standing::Takes,
        }
    }

    /// Why it does not record as it should, in words.
    pub(super) fn trouble(&self) -> Option<String> {
        let path = self.path.display();
        match (self.standing(), &self.place) {
            (Standing::Takes | Standing::Retiring | Standing::Adopted, _) => None,
            (_, Place::Opening) => Some(format!("volume {path} does not open: its disk hangs")),
            (_, Place::Closing) => Some(format!("volume {path} is being closed")),
            (_, Place::Away(reason)) if self.is_awaited => {
                Some(format!("volume {path} is away: {reason}"))
            }
            (_, Place::Away(reason)) => Some(format!("volume {path} cannot be opened: {reason}")),
            (Standing::Failed, Place::Open(opened)) => Some(opened.failure().map_or_else(
                || format!("volume {path} has failed"),
                |reason| reason.to_string(),
            )),
            (Standing::Full, _) => Some(format!(
                "volume {path} is full, and nothing on it may be deleted"
            )),
            (Standing::Slow, _) => {
                Some(format!("volume {path} is too slow for all of its cameras"))
            }
            (_, _) => Some(format!(
                "volume {path} hangs, or has not been sound again for long enough"
            )),
        }
    }

    pub(super) fn seat(&self, now: Duration) -> Option<Seat> {
        let opened = self.open()?;
        Some(Seat {
            index: self.index,
            standing: self.standing(),
            room_bytes: opened.room_bytes.load(Relaxed),
            load_bps: opened.load_bps.load(Relaxed),
            bandwidth_bps: self
                .bandwidth
                .filter(|(_, until)| now < *until)
                .map(|(bps, _)| bps),
        })
    }

    pub(super) fn remember_bandwidth(&mut self, bps: u64, now: Duration) {
        self.bandwidth = Some((bps, now + BANDWIDTH_REMEMBERED));
    }

    /// It has to prove itself before it is given cameras again.
    pub(super) fn put_on_probation(&mut self, now: Duration) {
        if self.probation.is_none() {
            let last = self
                .last_probation
                .as_ref()
                .map(|(last, ended)| (last, now.saturating_sub(*ended)));
            self.probation = Some(Probation::begin(now, last));
            self.counts.failures += 1;
        }
    }

    pub(super) fn end_probation(&mut self, now: Duration) {
        if let Some(probation) = self.probation.take() {
            self.last_probation = Some((probation, now));
            self.counts.reattachments += 1;
        }
    }

    /// The volume that belongs at its path is missing.
    pub(super) fn await_disk(&mut self, reason: &str, now: Duration) {
        if !self.is_awaited {
            // A volume that failed before is counted already.
            self.counts.failures += u64::from(self.probation.is_none());
            tracing::error!(
                volume = self.index, path = %self.path.display(), reason,
                "the volume is away: nothing is written at its path until it is back"
            );
        }
        self.place = Place::Away(Arc::from(reason));
        (self.is_awaited, self.probation, self.look_at) = (true, None, now + LOOK_INTERVAL);
    }

    /// A volume that was opened, or reopened, takes the place. A read-only one stays on probation.
    pub(super) fn welcome(&mut self, opened: Arc<Opened>, now: Duration) {
        let is_reading = opened.handle.is_reading();
        self.attach(opened);
        if is_reading {
            self.put_on_probation(now);
        } else if std::mem::take(&mut self.is_awaited) {
            self.counts.reattachments += 1;
            self.probation = None;
        } else {
            self.end_probation(now);
        }
        self.is_awaited = false;
    }

    /// A volume that was opened, or reopened, takes the place.
    pub(super) fn attach(&mut self, opened: Arc<Opened>) {
        self.index = opened.index();
        self.place = Place::Open(opened);
        (self.watch, self.health) = (Watch::default(), Health::Well);
        (self.marker, self.lag, self.last_lag) = (None, Duration::ZERO, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot::new("/v".into(), 3, Role::Record)
    }

    #[test]
    fn a_volume_that_opens_or_hangs_is_awaited_for_a_minute() {
        let mut slot = slot();
        let second = Duration::from_secs;
        slot.place = Place::Opening;
        assert!(
            slot.may_answer_soon(second(5)),
            "the warden has not seen it"
        );
        slot.note_silence(second(10));
        slot.note_silence(second(11));
        assert!(slot.may_answer_soon(second(69)));
        assert!(!slot.may_answer_soon(second(70)));
        slot.place = Place::Away("no disk".into());
        slot.note_silence(second(71));
        assert!(!slot.may_answer_soon(second(72)));
        slot.place = Place::Opening;
        slot.note_silence(second(80));
        assert!(slot.may_answer_soon(second(139)), "it is another time");
    }

    #[test]
    fn one_that_is_not_open_takes_nothing_and_says_why() {
        let mut slot = slot();
        assert_eq!(slot.standing(), Standing::Away);
        assert!(slot.seat(Duration::ZERO).is_none());
        assert!(
            slot.trouble()
                .unwrap()
                .contains("/v does not open: its disk hangs")
        );
        slot.place = Place::Away("no such disk".into());
        assert!(
            slot.trouble()
                .unwrap()
                .ends_with("cannot be opened: no such disk")
        );
    }

    #[test]
    fn failures_and_returns_are_counted_once_each() {
        let mut slot = slot();
        let s = Duration::from_secs;
        for round in 0..2 {
            (0..3).for_each(|n| slot.put_on_probation(s(100 * round + n)));
            (0..2).for_each(|n| slot.end_probation(s(100 * round + 50 + n)));
        }
        assert_eq!((slot.counts.failures, slot.counts.reattachments), (2, 2));
        slot.put_on_probation(s(200));
        assert!(
            !slot.probation.unwrap().is_due(s(203)),
            "the third failure within minutes begins with 4 s"
        );
    }
}
