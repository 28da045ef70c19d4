//! Guards deletion by the limits: trust in the time, and the brake. `retention` decides; this
//! module keeps its state between two checks and over a restart.

use crate::ids::SegmentId;
use crate::locks::read;
use crate::retention::brake::{Brake, Change, Wish};
use crate::retention::file::Remembered;
use crate::retention::{
    Announced, Caution, Marks, Pause, Reading, RetentionAction, RetentionOrder, RetentionStatus,
    Subject, Trust,
};
use crate::state::Shared;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the state is saved if only times have changed: a kill costs this much of a wait.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// An open segment that has not grown for so long, and for twice the time that segments are
/// written, is not written any more: its class is idle, and what comes next goes to another
/// segment.
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// How far an open segment has grown, and since when.
#[derive(Clone, Copy, Debug)]
struct Growth {
    data_end: u64,
    since: Duration,
}

/// How old segments are.
#[derive(Clone, Debug)]
pub(super) struct Ages {
    trusted: Option<Timestamp>,
    marks: Marks,
    /// If false, every stamp is taken to be right.
    is_careful: bool,
}

impl Ages {
    /// The time by which footage may be called old.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.trusted
    }

    /// When a segment was closed, as far as it matters for its age.
    pub(super) fn closed_at(&self, id: SegmentId, closed_at: Timestamp) -> Timestamp {
        let now = self.trusted.filter(|_| self.is_careful);
        now.map_or(closed_at, |now| self.marks.closed_at(id, closed_at, now))
    }
}

/// Footage that begins later than this from now was recorded by a clock that was ahead.
const FUTURE_US_MIN: i64 = 60_000_000;

pub(super) struct Guard {
    shared: Arc<Shared>,
    started: Instant,
    /// The first segment that this process may have written.
    first: SegmentId,
    /// What the previous process knew; used once the newest footage is known.
    remembered: Option<Remembered>,
    /// What was known before this process: if this process never trusts its clock, the next one has
    /// to agree with it, too.
    before: Option<Timestamp>,
    trust: Trust,
    ages: Ages,
    brake: Brake,
    pause: Option<Pause>,
    has_marked: bool,
    /// The last mark is this process's, and it has trusted its clock since.
    is_own: bool,
    open: BTreeMap<SegmentId, Growth>,
    is_refused: bool,
    removes_future: bool,
    /// The state that was logged last.
    shown: Option<&'static str>,
    saved: Remembered,
    saved_at: Instant,
    /// Stamps that counted before do not any more, and that is not saved yet.
    is_doubt_unsaved: bool,
}

impl Guard {
    pub(super) fn new(shared: Arc<Shared>, now: Instant) -> Self {
        let caution = shared.options.caution;
        let is_careful = caution != Caution::NONE;
        let load = || Remembered::load(&*shared.disk, &shared.layout, shared.volume);
        let remembered = if is_careful {
            load()
        } else {
            Remembered::default()
        };
        Self {
            started: now,
            first: shared.next_segment(),
            before: None,
            trust: Trust::new(caution, None),
            ages: Ages {
                trusted: None,
                marks: remembered.marks.clone(),
                is_careful,
            },
            brake: Brake::new(caution.wait, remembered.announced.clone()),
            pause: Some(Pause::Settling),
            has_marked: false,
            is_own: false,
            open: BTreeMap::new(),
            is_refused: remembered.is_refused,
            removes_future: false,
            shown: None,
            saved: remembered.clone(),
            saved_at: now,
            is_doubt_unsaved: false,
            remembered: Some(remembered),
            shared,
        }
    }

    /// Checks the clocks, and applies operators' orders. Until every segment is known, no segment
    /// counts as old.
    pub(super) fn look(&mut self, is_complete: bool, now: Instant) {
        if !is_complete {
            return;
        }
        let uptime = now.saturating_duration_since(self.started);
        let reading = Reading {
            uptime,
            wall: self.shared.clock.now(),
            peers: self.shared.retention.peers(),
        };
        if let Some(remembered) = self.remembered.take() {
            self.before = remembered.trusted.or_else(|| self.newest_before());
            let trust = Trust::new(self.shared.options.caution, self.before);
            let is_proven = remembered.trusted.is_some() || self.before.is_none();
            let trust = if is_proven { trust } else { trust.unproven() };
            let is_witness = self
                .before
                .is_some_and(|before| self.ages.marks.is_backed(before));
            self.trust = if is_witness {
                trust
            } else {
                trust.unwitnessed()
            };
            if remembered.is_refused {
                self.trust.refuse();
            }
            // The previous process may have opened a segment that held nothing, and its number is
            // assigned again.
            self.is_doubt_unsaved = self.ages.marks.doubt(self.first);
        }
        self.watch_open(uptime);
        while let Some(order) = self.shared.retention.next_order() {
            self.obey(&order, reading);
        }
        match self.trust.judge(reading) {
            Ok(time) => self.trust_in(time, uptime),
            Err(pause) => self.doubt(pause, uptime),
        }
        self.announce_pause();
    }

    /// When the newest segment of former processes was closed, by its own stamp.
    fn newest_before(&self) -> Option<Timestamp> {
        let known = read(&self.shared.known);
        known
            .range(..self.first)
            .next_back()
            .map(|(_, known)| known.closed_at)
    }

    fn trust_in(&mut self, time: Timestamp, uptime: Duration) {
        let was_trusted = self.ages.trusted.replace(time).is_some();
        (self.pause, self.is_refused) = (None, false);
        let (open, next) = (self.oldest_written(uptime), self.shared.next_segment());
        let is_vouched = self.trust.is_vouched();
        let is_first = !std::mem::replace(&mut self.has_marked, true);
        if is_first {
            let started_at =
                time.plus_micros(-i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX));
            self.is_own = self.ages.marks.begin(self.first, started_at, is_vouched);
        }
        if !was_trusted {
            // What this process closed before is as old as it, at most, and its stamps are of a
            // clock in doubt.
            let has_closed = open > self.first;
            let is_own = self.ages.marks.begin(open, time, is_vouched);
            self.is_own = is_own || self.is_own && is_first && !has_closed;
        }
        let trust = (is_vouched, self.is_own);
        self.is_own = self.ages.marks.extend((open, next), time, trust);
    }

    fn doubt(&mut self, pause: Pause, uptime: Duration) {
        if self.ages.trusted.is_some() {
            let open = self.oldest_written(uptime);
            self.is_doubt_unsaved |= self.ages.marks.doubt(open);
            self.is_own = false;
        }
        (self.ages.trusted, self.pause) = (None, Some(pause));
    }

    /// Looks which open segments grow. One that did not for long, and does again, was not closed.
    fn watch_open(&mut self, uptime: Duration) {
        let idle_after = self.idle_after();
        let mut woken = None;
        let open = read(&self.shared.open);
        self.open.retain(|id, _| open.contains_key(id));
        for (id, segment) in open.iter() {
            let now = Growth {
                data_end: read(&segment.state).data_end,
                since: uptime,
            };
            let known = self.open.entry(*id).or_insert(now);
            if known.data_end != now.data_end {
                let was_idle = uptime.saturating_sub(known.since) >= idle_after;
                woken = woken.or(was_idle.then_some(*id));
                *known = now;
            }
        }
        drop(open);
        if let Some(id) = woken {
            self.is_doubt_unsaved |= self.ages.marks.reopen(id);
            self.is_own = false;
        }
    }

    fn idle_after(&self) -> Duration {
        IDLE_AFTER.max(2 * self.shared.options.segment_time_max)
    }

    /// The oldest open segment that is still written; the next one where there is none.
    fn oldest_written(&self, uptime: Duration) -> SegmentId {
        let idle_after = self.idle_after();
        let is_written = |growth: &Growth| uptime.saturating_sub(growth.since) < idle_after;
        let mut written = self.open.iter().filter(|(_, growth)| is_written(growth));
        let oldest = written.next().map(|(id, _)| *id);
        oldest.unwrap_or_else(|| self.shared.next_segment())
    }

    fn obey(&mut self, order: &RetentionOrder, reading: Reading) {
        let root = self.shared.layout.root.display();
        let is_meant =
            |subject: &Subject| order.subject.as_ref().is_none_or(|meant| meant == subject);
        let is_in_doubt = order.subject.is_none() && self.pause.is_some_and(Pause::is_notable);
        match order.action {
            RetentionAction::Release => {
                let announced = self.brake.release(is_meant);
                if is_in_doubt {
                    self.trust.accept(reading);
                }
                tracing::warn!(
                    volume = %root, announced, clock = is_in_doubt,
                    "announced deletions were released"
                );
            }
            RetentionAction::RemoveFuture => self.removes_future = true,
            RetentionAction::Cancel => {
                let announced = self.brake.cancel(is_meant);
                if is_in_doubt {
                    self.trust.refuse();
                    self.is_refused = true;
                }
                tracing::warn!(
                    volume = %root, announced, clock = is_in_doubt,
                    "announced deletions were cancelled"
                );
            }
        }
    }

    /// The time from which footage is to be removed, if an operator has requested that.
    pub(super) fn take_removal(&mut self) -> Option<Timestamp> {
        if !std::mem::take(&mut self.removes_future) {
            return None;
        }
        let now = self.ages.trusted;
        if now.is_none() {
            tracing::error!(
                volume = %self.shared.layout.root.display(),
                "no footage is removed as recorded ahead of time: the time is not certain now"
            );
        }
        now.map(|now| now.plus_micros(FUTURE_US_MIN))
    }

    pub(super) fn ages(&self) -> &Ages {
        &self.ages
    }

    /// How many of the bytes that the limits would delete may go now. `floor_bytes` is the free
    /// space without which recording would end.
    pub(super) fn allow(
        &mut self,
        subject: &Subject,
        wish: Wish,
        floor_bytes: u64,
        now: Instant,
    ) -> u64 {
        let uptime = now.saturating_duration_since(self.started);
        if self.is_frozen(subject) {
            self.brake.skip(subject, uptime);
            return 0;
        }
        let (allowed, change) = self.brake.allow(subject, wish, uptime);
        if let Some(change) = change {
            self.announce(subject, change);
        }
        if *subject == Subject::FreeSpace {
            allowed.max(floor_bytes)
        } else {
            allowed
        }
    }

    /// An announced deletion of a class with a limit of age cannot be judged without a trusted
    /// time.
    fn is_frozen(&self, subject: &Subject) -> bool {
        let Subject::Class(name) = subject else {
            return false;
        };
        let mut classes = self.shared.options.retention.iter();
        let has_age = classes.any(|class| class.name == *name && class.age_max.is_some());
        has_age && self.ages.trusted.is_none() && self.brake.has_announced(subject)
    }

    pub(super) fn came(&mut self, class: &str, bytes: u64, now: Instant) {
        let uptime = now.saturating_duration_since(self.started);
        self.brake
            .came(&Subject::Class(class.to_owned()), bytes, uptime);
        self.brake.came(&Subject::FreeSpace, bytes, uptime);
    }

    pub(super) fn went(&mut self, subject: &Subject, bytes: u64, now: Instant) {
        self.brake
            .went(subject, bytes, now.saturating_duration_since(self.started));
    }

    fn announce_pause(&mut self) {
        let notable = self
            .pause
            .filter(|pause| self.has_age() && pause.is_notable());
        let reason = notable.map(Pause::reason);
        if std::mem::replace(&mut self.shown, reason) == reason {
            return;
        }
        let volume = self.shared.layout.root.display();
        match notable {
            Some(pause) => {
                tracing::warn!(
                    %volume, %pause,
                    "nothing is deleted for its age until the time is certain"
                )
            }
            None => tracing::info!(%volume, "the time is certain again: retention by age is back"),
        }
    }

    fn has_age(&self) -> bool {
        self.shared
            .options
            .retention
            .iter()
            .any(|class| class.age_max.is_some())
    }

    fn announce(&self, subject: &Subject, change: Change) {
        let volume = self.shared.layout.root.display();
        let class = class_of(subject).unwrap_or("(free space)");
        let announcement = self
            .brake
            .announced()
            .find(|(announced, _)| *announced == subject);
        let (bytes, begins_in_s) = announcement.map_or((0, None), |(_, announced)| {
            (
                announced.bytes,
                self.brake.begins_in(announced).map(|left| left.as_secs()),
            )
        });
        match change {
            Change::Announced => {
                tracing::warn!(
                    %volume, class, bytes, begins_in_s,
                    "the limits would delete much at once; `holdfast retention release` begins it \
                     now, `holdfast retention cancel` drops it"
                );
            }
            Change::Begun => tracing::warn!(%volume, class, bytes, "an announced deletion begins"),
            Change::Ended => {
                tracing::info!(
                    %volume, class,
                    "an announced deletion is over, or its reason has gone"
                )
            }
        }
    }

    pub(super) fn show(&self, clamped_free_bytes_min: Option<u64>) {
        let announced = self
            .brake
            .announced()
            .map(|(subject, announced)| Announced {
                class: class_of(subject).map(ToOwned::to_owned),
                bytes: announced.bytes,
                stored_bytes: announced.stored_bytes,
                state: announced.state,
                begins_in_s: self.brake.begins_in(announced).map(|left| left.as_secs()),
            });
        self.shared.retention.show(RetentionStatus {
            is_time_trusted: self.ages.trusted.is_some(),
            is_time_likely: self.ages.trusted.is_some()
                || matches!(self.pause, Some(Pause::Unproven { .. })),
            may_vouch: self.ages.trusted.is_some() && self.trust.may_vouch(),
            paused: self.pause.filter(|_| self.has_age()),
            announced: announced.collect(),
            clamped_free_bytes_min,
        });
    }

    /// Saves the state for a restart: at once if a deletion was announced or decided, otherwise
    /// periodically.
    pub(super) fn save(&mut self, is_last: bool, now: Instant) {
        // Before the first check, the file already has everything that is known.
        if self.shared.options.caution == Caution::NONE || self.remembered.is_some() {
            return;
        }
        let state = Remembered {
            trusted: self.ages.trusted.or(self.saved.trusted).or(self.before),
            is_refused: self.is_refused,
            marks: self.ages.marks.clone(),
            announced: self
                .brake
                .announced()
                .map(|(subject, announced)| (subject.clone(), *announced))
                .collect(),
        };
        let is_due = is_last
            || std::mem::take(&mut self.is_doubt_unsaved)
            || now.saturating_duration_since(self.saved_at) >= SAVE_INTERVAL;
        if state == self.saved || !(is_due || is_decided(&state, &self.saved)) {
            return;
        }
        match state.save(&*self.shared.disk, &self.shared.layout, self.shared.volume) {
            Ok(()) => self.saved = state,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "what retention remembers is not saved; after a restart announced deletions \
                     wait again"
                )
            }
        }
        self.saved_at = now;
    }
}

/// More has changed than times.
fn is_decided(new: &Remembered, old: &Remembered) -> bool {
    let decisions = |remembered: &Remembered| {
        let announced = remembered
            .announced
            .iter()
            .map(|(subject, announced)| (subject.clone(), announced.state));
        (
            remembered.is_refused,
            remembered.trusted.is_some(),
            announced.collect::<Vec<_>>(),
        )
    };
    decisions(new) != decisions(old)
}

fn class_of(subject: &Subject) -> Option<&str> {
    match subject {
        Subject::Class(name) => Some(name),
        Subject::FreeSpace => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::disk::{FileId, IoChoice, RealDisk};
    use crate::ids::NodeId;
    use crate::layout::Layout;
    use crate::locks::write;
    use crate::options::VolumeOptions;
    use crate::state::{OpenSegment, OpenState};
    use std::sync::RwLock;
    use std::sync::atomic::{AtomicI64, Ordering};
    use uuid::Uuid;

    const HOUR: Duration = Duration::from_secs(3600);

    #[derive(Debug)]
    struct Wall(AtomicI64);

    impl Clock for Wall {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::Relaxed))
        }
    }

    /// A volume that runs for days, with a segment an hour.
    struct Story {
        _dir: tempfile::TempDir,
        wall: Arc<Wall>,
        shared: Arc<Shared>,
        guard: Guard,
        now: Instant,
    }

    impl Story {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let wall = Arc::new(Wall(1_795_341_600_000_000.into()));
            let shared = Arc::new(Shared::new(
                VolumeOptions::new(dir.path(), NodeId(1), Uuid::nil()),
                Layout {
                    root: dir.path().to_owned(),
                },
                Uuid::nil(),
                Arc::new(RealDisk::new(IoChoice::Plain, dir.path()).unwrap()),
                wall.clone(),
                SegmentId(1),
            ));
            let now = Instant::now();
            let guard = Guard::new(Arc::clone(&shared), now);
            Self {
                _dir: dir,
                wall,
                shared,
                guard,
                now,
            }
        }

        fn open(&self) -> SegmentId {
            let id = self.shared.take_segment_id();
            let state = OpenState {
                data_end: 8192,
                ..OpenState::default()
            };
            let file = FileId {
                device: 0,
                inode: 0,
            };
            let segment = OpenSegment {
                class: Arc::from("default"),
                file,
                state: RwLock::new(state),
            };
            write(&self.shared.open).insert(id, Arc::new(segment));
            id
        }

        fn pass(&mut self, time: Duration) {
            self.wall
                .0
                .fetch_add(time.as_micros() as i64, Ordering::Relaxed);
            self.now += time;
            self.guard.look(true, self.now);
        }

        /// Records for so many hours. Returns each segment with its stamp.
        fn record(&mut self, hours: usize) -> Vec<(SegmentId, Timestamp)> {
            let mut closed = Vec::new();
            for _ in 0..hours {
                let id = self.open();
                self.pass(HOUR / 2);
                self.pass(HOUR / 2);
                write(&self.shared.open).remove(&id);
                closed.push((id, self.wall.now()));
            }
            closed
        }
    }

    #[test]
    fn an_idle_class_and_a_clock_in_doubt_make_no_footage_of_others_younger() {
        let mut story = Story::new();
        story.pass(Duration::from_secs(60));
        // A class whose only camera is off from now on.
        let idle = story.open();
        let closed = story.record(72);
        assert!(read(&story.shared.open).contains_key(&idle));
        // The clock steps by an hour, and is set right again two hours later.
        story
            .wall
            .0
            .fetch_add(HOUR.as_micros() as i64, Ordering::Relaxed);
        story.pass(Duration::from_secs(1));
        assert!(story.guard.ages().now().is_none(), "it is in doubt");
        let in_doubt = story.record(2);
        story
            .wall
            .0
            .fetch_sub(HOUR.as_micros() as i64, Ordering::Relaxed);
        story.pass(Duration::from_secs(1));
        story.pass(Duration::from_secs(60));
        let now = story.guard.ages().now().expect("it is trusted again");
        for (id, stamp) in &closed {
            assert_eq!(story.guard.ages().closed_at(*id, *stamp), *stamp, "{id}");
        }
        let (id, stamp) = in_doubt[0];
        let shown = story
            .guard
            .ages()
            .closed_at(id, stamp.plus_micros(-1_000_000_000_000));
        assert!(
            shown > closed[71].1 && shown <= now,
            "what was stamped in doubt is young"
        );
    }

    #[test]
    fn an_idle_segment_that_is_written_again_was_not_closed() {
        let mut story = Story::new();
        story.pass(Duration::from_secs(60));
        let idle = story.open();
        let closed = story.record(48);
        let segment = read(&story.shared.open)[&idle].clone();
        write(&segment.state).data_end += 4096;
        story.pass(Duration::from_secs(60));
        let now = story.guard.ages().now().expect("the clock is right");
        let shown = |(id, stamp): (SegmentId, Timestamp)| story.guard.ages().closed_at(id, stamp);
        assert_eq!(shown((idle, closed[0].1)), now, "its stamp says nothing");
    }
}
