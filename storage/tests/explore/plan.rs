//! The plan of a seed: the volume's options, the disk's size and faults, the cameras. Drawn once,
//! at the start.

use holdfast_storage::retention::Caution;
use holdfast_storage::simulation::{Faults, Geometry, Lie, Random};
use holdfast_storage::{RetentionClass, ScrubOptions, VolumeOptions};
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

use crate::NODE;

/// More than any run fills.
pub(crate) const CAPACITY_BYTES_MAX: u64 = 1 << 40;

/// Separates the random stream of the newer parts of a plan.
pub(crate) const MORE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Like [`MORE`], for mounts.
pub(crate) const MOUNTS: u64 = 0xd1b5_4a32_d192_ed03;

/// Like [`MORE`], for restored directories.
pub(crate) const OLD: u64 = 0xa076_1d64_78bd_642f;

/// Like [`MORE`], for mistyped limits.
const MISTYPED: u64 = 0xe703_7ed1_a0b4_28db;

/// Slightly longer than the keeper's retention interval.
const RETENTION_INTERVAL: Duration = Duration::from_millis(5_200);

/// One pass, and more on request.
const SCRUB: ScrubOptions = ScrubOptions {
    bytes_per_second_max: u64::MAX,
    pass_interval: Duration::MAX,
};

pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) cameras: u32,
    /// How often the process is started.
    pub(crate) lives: u32,
    /// Simulated time from a start to its end, unless the machine stops earlier.
    pub(crate) life_max: Duration,
    pub(crate) geometry: Geometry,
    pub(crate) faults: Faults,
    /// Bytes change at rest between two lives.
    pub(crate) has_damage: bool,
    pub(crate) chunk_us: u64,
    pub(crate) payload_bytes_max: u64,
    pub(crate) options: VolumeOptions,
    /// Holds are set and removed while the volume runs.
    pub(crate) has_holds: bool,
    /// Everything is scrubbed during recording.
    pub(crate) has_scrub: bool,
    /// The wall clock is set while the volume runs.
    pub(crate) has_jumps: bool,
    /// Records are appended together with others and handed over after the last one, as ingest
    /// does.
    pub(crate) appends_quietly: bool,
    /// `volume.json` is noise after some crashes.
    pub(crate) loses_identity: bool,
    /// In some lives another disk is mounted over the volume's path.
    pub(crate) has_mounts: bool,
    /// The wall clock is wrong when the process starts, by up to ten years, and is corrected soon;
    /// everything stored is younger than its class allows.
    pub(crate) has_wrong_starts: bool,
    /// The directory is restored to its state between two earlier lives.
    pub(crate) is_put_back: bool,
    /// Before the last life all limits are mistyped: almost nothing may stay.
    pub(crate) is_mistyped: bool,
    /// The minimum length of a life, unless the machine stops earlier.
    pub(crate) life_min: Duration,
}

impl Plan {
    pub(crate) fn new(seed: u64, root: &Path) -> (Self, Random) {
        let mut random = Random::new(seed);
        let is_faulty = seed % 4 == 3;
        let is_small = random.one_in(4);
        let cameras = match random.below(40) {
            0 => random.within(100..300),
            1..4 => random.within(30..100),
            _ => random.within(1..16),
        } as u32;
        let mut plan = Self {
            seed,
            cameras,
            lives: random.within(1..4) as u32,
            life_max: Duration::from_millis(random.within(500..7_000)),
            geometry: Geometry {
                capacity_bytes: if is_small {
                    random.within(16..40) << 20
                } else {
                    CAPACITY_BYTES_MAX
                },
                sector_bytes: *random.pick(&[512, 4096]),
            },
            faults: faults(is_faulty, &mut random),
            has_damage: is_faulty && random.one_in(2),
            chunk_us: random.within(100_000..500_000),
            payload_bytes_max: *random.pick(&[200, 2_000, 2_000, 20_000]),
            options: options(root, is_small, &mut random),
            has_holds: false,
            has_scrub: false,
            has_jumps: false,
            appends_quietly: false,
            loses_identity: false,
            has_mounts: Random::new(seed ^ MOUNTS).one_in(5),
            has_wrong_starts: false,
            is_put_back: false,
            is_mistyped: false,
            life_min: Duration::ZERO,
        };
        plan.draw_more(&mut Random::new(seed ^ MORE));
        (plan, random)
    }

    /// Drawn from a separate stream, so that a seed without these is the same run as before they
    /// existed.
    fn draw_more(&mut self, more: &mut Random) {
        self.has_holds = more.one_in(4);
        self.has_scrub = more.one_in(4);
        self.loses_identity = more.one_in(4);
        // The audit distinguishes passes of the scrub by their times.
        self.has_jumps = more.one_in(4) && !self.has_scrub && !self.has_damage;
        self.appends_quietly = self.seed % 2 == 1;
        if self.has_scrub {
            self.options.scrub = SCRUB;
        }
        let is_huge = self.geometry.capacity_bytes == CAPACITY_BYTES_MAX;
        self.has_wrong_starts =
            more.one_in(3) && is_huge && !self.is_faulty() && !self.has_holds && !self.has_jumps;
        if self.has_wrong_starts {
            self.doubt_clocks();
        }
        self.draw_old_directory(&mut Random::new(self.seed ^ OLD));
        self.draw_mistyped(&mut Random::new(self.seed ^ MISTYPED));
        if !self.has_holds {
            return;
        }
        self.cameras = more.within(2..9) as u32;
        self.lives = more.within(1..3) as u32;
        self.life_min = RETENTION_INTERVAL;
        for class in &mut self.options.retention {
            match more.below(3) {
                0 => class.bytes_max = Some(more.within(100_000..1_000_000)),
                1 => class.age_max = Some(Duration::from_millis(more.within(300..3_000))),
                _ => {}
            }
        }
    }

    fn draw_old_directory(&mut self, old: &mut Random) {
        self.is_put_back = old.one_in(6);
        if self.is_put_back {
            self.lives = self.lives.max(3);
        }
    }

    /// Only the brake keeps what the limits would delete.
    fn draw_mistyped(&mut self, mistyped: &mut Random) {
        let is_huge = self.geometry.capacity_bytes == CAPACITY_BYTES_MAX;
        let is_free = is_huge
            && !self.is_faulty()
            && !self.has_holds
            && !self.has_jumps
            && !self.has_wrong_starts;
        self.is_mistyped = mistyped.one_in(2) && is_free && !self.is_put_back && !self.has_scrub;
        if self.is_mistyped {
            (self.lives, self.life_min) = (2, 2 * RETENTION_INTERVAL);
            self.options.caution = Caution {
                clock_settle: Duration::from_millis(300),
                ..Caution::DEFAULT
            };
            for class in &mut self.options.retention {
                (class.age_max, class.bytes_max) = (None, None);
            }
        }
    }

    fn doubt_clocks(&mut self) {
        (self.life_min, self.has_scrub) = (2 * RETENTION_INTERVAL, false);
        self.lives = self.lives.max(2);
        self.options.scrub = ScrubOptions::OFF;
        self.options.caution = Caution {
            clock_settle: Duration::from_millis(300),
            ..Caution::DEFAULT
        };
        for class in &mut self.options.retention {
            (class.age_max, class.bytes_max) = (Some(Duration::from_secs(24 * 3600)), None);
        }
    }

    /// Without limits: nothing is deleted.
    pub(crate) fn options_for_audit(&self) -> VolumeOptions {
        // While holds are not known nothing is deleted, not even a copy that is no longer needed.
        let mut options = VolumeOptions {
            free_bytes_min: 0,
            holds: None,
            caution: Caution::NONE,
            scrub: ScrubOptions::OFF,
            ..self.options.clone()
        };
        for class in &mut options.retention {
            class.age_max = None;
            class.bytes_max = None;
        }
        options
    }

    /// Like [`Self::options_for_audit`], with the scrub.
    pub(crate) fn options_for_scrub(&self) -> VolumeOptions {
        VolumeOptions {
            scrub: SCRUB,
            ..self.options_for_audit()
        }
    }

    /// Whether retention may delete anything.
    pub(crate) fn may_delete(&self) -> bool {
        let has_limit =
            |class: &RetentionClass| class.age_max.is_some() || class.bytes_max.is_some();
        if self.has_wrong_starts {
            return false;
        }
        self.geometry.capacity_bytes < CAPACITY_BYTES_MAX
            || self.faults.no_space != 0
            || self.has_holds
            || self.is_mistyped
            || self.options.retention.iter().any(has_limit)
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.has_damage || has_errors(&self.faults)
    }
}

fn has_errors(faults: &Faults) -> bool {
    let Faults {
        write_fails,
        sync_fails,
        read_fails,
        allocate_fails,
        name_fails,
        no_space,
        ..
    } = faults;
    [
        write_fails,
        sync_fails,
        read_fails,
        allocate_fails,
        name_fails,
        no_space,
    ]
    .iter()
    .any(|chance| **chance != 0)
}

/// A clean disk is only late. A faulty one has each fault or not.
fn faults(is_faulty: bool, random: &mut Random) -> Faults {
    let mut latent = random.fork();
    let mut chance = |one_in: u64| {
        if is_faulty && random.one_in(2) {
            random.within(one_in / 4..one_in) as u32
        } else {
            0
        }
    };
    Faults {
        write_fails: chance(400),
        sync_fails: chance(200),
        read_fails: chance(2_000),
        allocate_fails: chance(40),
        name_fails: chance(400),
        no_space: chance(100),
        latency_max: Duration::from_millis(*latent.pick(&[1, 5, 20, 200])),
        hangs: chance(200),
        hang: Duration::from_secs(latent.within(1..12)),
        lie: Lie::None,
    }
}

fn options(root: &Path, is_small: bool, random: &mut Random) -> VolumeOptions {
    let classes = 0..random.within(1..4);
    let retention = classes.map(|class| retention(class, random)).collect();
    VolumeOptions {
        flush_interval: Duration::from_millis(random.within(50..600)),
        write_delay: Duration::from_millis(random.within(1..60)),
        segment_time_max: Duration::from_millis(random.within(200..3_000)),
        segment_bytes_max: random.within(2..5) << 20,
        buffer_bytes_max: 20 << 20,
        retention,
        caution: Caution::NONE,
        free_bytes_min: if is_small {
            random.within(0..8) << 20
        } else {
            0
        },
        ..VolumeOptions::new(root, NODE, Uuid::from_u128(1))
    }
}

fn retention(class: u64, random: &mut Random) -> RetentionClass {
    RetentionClass {
        name: format!("class-{class}"),
        age_max: random
            .one_in(4)
            .then(|| Duration::from_millis(random.within(500..5_000))),
        bytes_max: random.one_in(4).then(|| random.within(100_000..2_000_000)),
    }
}
