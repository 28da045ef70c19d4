//! What a machine knows of the time, and which segments it therefore deletes for their age. Real
//! are the trust in the clock (`Trust`), the age of a segment (`Marks`), the limits' deletions, the
//! comparison with others' clocks, and the choice of cameras that need a new epoch. The simulator
//! keeps what the volume remembers between two processes, and has no brake, which would hide the
//! effects of the clock.

use super::EPOCH;
use super::twist::Twist;
use holdfast_node::capture::ingest::wall::WallTrust;
use holdfast_node::parts::certainty::Steady;
use holdfast_storage::RetentionClass;
use holdfast_storage::ids::SegmentId;
use holdfast_storage::retention::{
    Caution, FreeSpace, Marks, Reading, SegmentFacts, Trust, plan_deletions,
};
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// How long footage is kept: longer than any clock may be wrong without a witness.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const CLASS: &str = "default";
/// A segment is sealed after this time.
const SEGMENT_TIME: Duration = Duration::from_secs(10);
/// How long volumes have been in use when a simulation begins, in microseconds.
const IN_USE_US: i64 = 2 * 24 * 3_600_000_000;
/// How often this knowledge is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// What the volume stores about time and age.
#[derive(Debug)]
pub(super) struct Shelf {
    /// When the time was certain last.
    trusted: Option<Timestamp>,
    marks: Marks,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    /// By the process that wrote it, and by when it began.
    process: u64,
    begun: Duration,
    /// By the wall clock as it was.
    closed_at: Timestamp,
}

/// A segment that was deleted for its age, though no footage is that old.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deleted {
    pub(super) stamped: Timestamp,
    pub(super) now: Timestamp,
}

impl Default for Shelf {
    /// A volume that has been in use: on one without a past stamps do not count for a day.
    fn default() -> Self {
        let mut marks = Marks::default();
        marks.begin(SegmentId(0), EPOCH.plus_micros(-IN_USE_US), false);
        Self {
            trusted: None,
            marks,
            segments: Vec::new(),
        }
    }
}

impl Shelf {
    /// Footage was written by process number `process`, at `now`, which its wall clock calls
    /// `wall`.
    pub(super) fn took(&mut self, process: u64, now: Duration, wall: Timestamp) {
        match self.segments.last_mut() {
            Some(last) if last.process == process && now < last.begun + SEGMENT_TIME => {
                last.closed_at = wall
            }
            _ => self.segments.push(Segment {
                process,
                begun: now,
                closed_at: wall,
            }),
        }
    }

    fn next(&self) -> SegmentId {
        SegmentId(self.segments.len() as u64)
    }
}

/// The knowledge of one process since it opened the volume.
pub(super) struct Certainty {
    opened: Duration,
    trust: Trust,
    /// The first segment that this process may have written.
    first: SegmentId,
    has_marked: bool,
    /// The last mark is this process's, and it has trusted its clock since.
    is_own: bool,
    pub(super) is_trusted: bool,
    saved_at: Option<Duration>,
}

impl Certainty {
    pub(super) fn new(shelf: &Shelf, now: Duration) -> Self {
        let newest = shelf.segments.last().map(|segment| segment.closed_at);
        let before = shelf.trusted.or(newest);
        let trust = Trust::new(Caution::DEFAULT, before);
        let is_proven = shelf.trusted.is_some() || before.is_none();
        let trust = if is_proven { trust } else { trust.unproven() };
        let is_witness = before.is_some_and(|before| shelf.marks.is_backed(before));
        Self {
            opened: now,
            trust: if is_witness {
                trust
            } else {
                trust.unwitnessed()
            },
            first: shelf.next(),
            has_marked: false,
            is_own: false,
            is_trusted: false,
            saved_at: None,
        }
    }

    /// Checks the clocks, and returns what is deleted because of them.
    pub(super) fn look(
        &mut self,
        shelf: &mut Shelf,
        reading: Reading,
        now: Duration,
        twist: Twist,
    ) -> Option<Deleted> {
        let uptime = now.saturating_sub(self.opened);
        let judged = match twist {
            Twist::ClocksAreBelieved => Ok(reading.wall),
            _ => self.trust.judge(Reading { uptime, ..reading }),
        };
        let was_trusted = std::mem::replace(&mut self.is_trusted, judged.is_ok());
        let open = SegmentId(shelf.next().0.saturating_sub(1)).max(self.first);
        if was_trusted && !self.is_trusted {
            shelf.marks.doubt(open);
            self.is_own = false;
        }
        let time = judged.ok()?;
        let mut is_first = false;
        if !std::mem::replace(&mut self.has_marked, true) {
            let started_at =
                time.plus_micros(-i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX));
            let is_vouched = self.trust.is_vouched();
            self.is_own = shelf.marks.begin(self.first, started_at, is_vouched);
            is_first = true;
        }
        if !was_trusted {
            let is_own = shelf.marks.begin(open, time, self.trust.is_vouched());
            self.is_own = is_own || self.is_own && is_first && open == self.first;
        }
        let trust = (self.trust.is_vouched(), self.is_own);
        self.is_own = shelf.marks.extend((open, shelf.next()), time, trust);
        if self
            .saved_at
            .is_none_or(|saved| now >= saved + SAVE_INTERVAL)
        {
            (self.saved_at, shelf.trusted) = (Some(now), Some(time));
        }
        shelf.delete(time)
    }

    pub(super) fn may_vouch(&self) -> bool {
        self.is_trusted && self.trust.may_vouch()
    }
}

impl Shelf {
    /// The first segment that is too old at `now`.
    fn delete(&self, now: Timestamp) -> Option<Deleted> {
        let facts = self.segments.iter().enumerate().map(|(id, segment)| {
            let id = SegmentId(id as u64);
            SegmentFacts {
                id,
                class: CLASS,
                bytes: 1,
                closed_at: self.marks.closed_at(id, segment.closed_at, now),
                is_deletable: true,
                held_bytes: None,
            }
        });
        let class = RetentionClass {
            name: CLASS.to_owned(),
            age_max: Some(AGE_MAX),
            bytes_max: None,
        };
        let plan = plan_deletions(
            &facts,
            &[class],
            FreeSpace::default(),
            Some(now),
            &mut |_, wish| wish.bytes,
        );
        let (first, _) = plan.deletions.first()?;
        let stamped = self.segments.get(usize::try_from(first.0).ok()?)?.closed_at;
        Some(Deleted { stamped, now })
    }
}

/// What recorders may know of the time.
#[derive(Default)]
pub(super) struct Known {
    steady: Steady,
    pub(super) wall: WallTrust,
    /// Since when the time has been certain without a break.
    pub(super) certain_since: Option<Duration>,
}

impl Known {
    /// Whether the time is certain.
    pub(super) fn look(
        &mut self,
        uptime: Duration,
        wall: Timestamp,
        is_trusted: bool,
        now: Duration,
    ) -> bool {
        let is_certain = self.steady.look(uptime, wall) && is_trusted;
        self.wall.set(is_certain);
        self.certain_since = is_certain.then(|| self.certain_since.unwrap_or(now));
        is_certain
    }
}
