//! Retention by age over days, with every caution on, as the keeper does it: the guard, the marks,
//! the brake and the files together.

use super::super::Job;
use super::*;
use crate::class::RetentionClass;
use crate::clock::Clock;
use crate::disk::simulated::{Geometry, Random, SimulatedDisk};
use crate::disk::{Disk, FileId};
use crate::ids::NodeId;
use crate::layout::Layout;
use crate::options::VolumeOptions;
use crate::retention::Caution;
use crate::state::{OpenSegment, OpenState};
use std::collections::BTreeMap;
use std::sync::RwLock;
use std::sync::atomic::AtomicI64;
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
const YEAR_US: i64 = 365 * 86_400_000_000;
const SEGMENT_BYTES: u64 = 1 << 20;

#[derive(Debug)]
struct Wall(AtomicI64);

impl Wall {
    fn add(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A volume of one class that closes a segment each hour.
struct Days {
    dir: tempfile::TempDir,
    disk: SimulatedDisk,
    wall: Arc<Wall>,
    shared: Arc<Shared>,
    keeper: Keeper,
    now: Instant,
    /// When each segment was closed, in true time since the beginning.
    closed: BTreeMap<SegmentId, Duration>,
    /// True time since the beginning.
    time: Duration,
}

impl Days {
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let geometry = Geometry {
            capacity_bytes: 1 << 40,
            sector_bytes: 512,
        };
        let disk = SimulatedDisk::new(geometry, Random::new(1));
        let wall = Arc::new(Wall(1_795_341_600_000_000.into()));
        let now = Instant::now();
        let (shared, keeper) = process(&dir, &disk, &wall, SegmentId(1), now);
        let layout = &shared.layout;
        let folder = layout.segment("default", SegmentId(1));
        disk.create_dir(folder.parent().unwrap()).unwrap();
        let mut days = Self {
            disk,
            wall,
            shared,
            keeper,
            now,
            closed: BTreeMap::new(),
            time: Duration::ZERO,
            dir,
        };
        days.pass(MINUTE);
        days
    }

    /// The process ends in good order, and another one begins a minute later.
    fn restart(&mut self) {
        assert_eq!(self.keeper.turn(Some(Job::Stop), self.now), None);
        let known = read(&self.shared.known).clone();
        self.time += MINUTE;
        self.now += MINUTE;
        self.wall.add(MINUTE.as_micros() as i64);
        let next = self.shared.next_segment();
        (self.shared, self.keeper) = process(&self.dir, &self.disk, &self.wall, next, self.now);
        *write(&self.shared.known) = known;
        self.pass(MINUTE);
    }

    /// Lets time pass, in which the keeper does all that is due.
    fn pass(&mut self, time: Duration) {
        let end = self.time + time;
        while self.time < end {
            self.time += MINUTE;
            self.now += MINUTE;
            self.wall.add(MINUTE.as_micros() as i64);
            for _ in 0..8 {
                self.keeper.turn(None, self.now).expect("it runs");
            }
        }
    }

    /// Records for so many hours, and checks after each what is stored.
    fn record(&mut self, hours: usize) {
        for _ in 0..hours {
            let id = self.shared.take_segment_id();
            let segment = Arc::new(OpenSegment {
                class: Arc::from("default"),
                file: FileId {
                    device: 0,
                    inode: 0,
                },
                state: RwLock::new(OpenState {
                    data_end: 8192,
                    ..OpenState::default()
                }),
            });
            write(&self.shared.open).insert(id, Arc::clone(&segment));
            let path = self.shared.layout.segment("default", id);
            self.disk.replace(&path, &[0; 4096]).unwrap();
            for _ in 0..12 {
                write(&segment.state).data_end += 4096;
                self.pass(5 * MINUTE);
            }
            write(&self.shared.open).remove(&id);
            let known = Known {
                class: Arc::from("default"),
                bytes: SEGMENT_BYTES,
                closed_at: self.wall.now(),
            };
            write(&self.shared.known).insert(id, known);
            self.keeper.guard.came("default", SEGMENT_BYTES, self.now);
            self.closed.insert(id, self.time);
            self.none_is_deleted_too_soon();
        }
    }

    fn none_is_deleted_too_soon(&self) {
        for (id, closed) in &self.closed {
            let age = self.time - *closed;
            let is_stored = read(&self.shared.known).contains_key(id);
            assert!(is_stored || age >= AGE_MAX, "{id} went after {age:?}");
            let path = self.shared.layout.segment("default", *id);
            assert_eq!(self.disk.contents(&path).is_some(), is_stored, "{id}");
        }
    }

    /// How old the oldest stored segment is.
    fn oldest(&self) -> Duration {
        let known = read(&self.shared.known);
        let oldest = known.keys().next().expect("something is stored");
        self.time - self.closed[oldest]
    }
}

fn process(
    dir: &tempfile::TempDir,
    disk: &SimulatedDisk,
    wall: &Arc<Wall>,
    next: SegmentId,
    now: Instant,
) -> (Arc<Shared>, Keeper) {
    let mut options = VolumeOptions::new(dir.path(), NodeId(1), Uuid::nil());
    assert_eq!(options.caution, Caution::DEFAULT, "as an operator has it");
    options.retention = vec![RetentionClass {
        age_max: Some(AGE_MAX),
        ..options.retention[0].clone()
    }];
    let layout = Layout {
        root: dir.path().to_owned(),
    };
    let shared = Arc::new(Shared::new(
        options,
        layout,
        Uuid::nil(),
        Arc::new(disk.clone()),
        Arc::clone(wall) as Arc<dyn Clock>,
        next,
    ));
    *write(&shared.holds) = Some(Arc::default());
    let keeper = Keeper::new(Arc::clone(&shared), Vec::new(), now);
    (shared, keeper)
}

/// Old footage goes an hour after it may, at most: what an hour's segment and the looks cost.
const LATE_MAX: Duration = Duration::from_secs(2 * 3600);

#[test]
fn each_hour_what_is_too_old_goes_and_nothing_else() {
    let mut days = Days::begin();
    days.record(24);
    assert_eq!(read(&days.shared.known).len(), 24, "nothing is old yet");
    for _ in 0..72 {
        days.record(1);
        assert!(days.oldest() < AGE_MAX + LATE_MAX, "{:?}", days.oldest());
    }
    assert!(days.keeper.shared.retention.status().announced.is_empty());
}

#[test]
fn a_clock_that_is_years_ahead_deletes_nothing_and_age_is_back_after_it() {
    let mut days = Days::begin();
    days.record(36);
    days.wall.add(5 * YEAR_US);
    days.pass(MINUTE);
    let stored = read(&days.shared.known).len();
    // Longer than an announced deletion waits: it was not even announced.
    days.record(30);
    assert_eq!(
        read(&days.shared.known).len(),
        stored + 30,
        "a day of doubt, and a day of waiting"
    );
    days.wall.add(-5 * YEAR_US);
    // A day of doubt again, since the past contradicts. What has become old in the meantime is more
    // than an hour brings: it is announced, waits a day, and goes.
    days.record(24 + 24 + 12);
    assert!(days.oldest() < AGE_MAX + LATE_MAX, "{:?}", days.oldest());
}

#[test]
fn restarts_make_no_footage_older_or_younger() {
    let mut days = Days::begin();
    for _ in 0..12 {
        days.record(6);
        days.restart();
    }
    days.record(30);
    assert!(days.oldest() < AGE_MAX + LATE_MAX, "{:?}", days.oldest());
}
