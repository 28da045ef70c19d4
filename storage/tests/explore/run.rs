//! One seed: a few lives, the events between them, and an audit after each.

use crate::audit::Audit;
use crate::cameras::recorders;
use crate::catalogues::Dirs;
use crate::damage::flip_bits;
use crate::life::{Ending, Life};
use crate::mistyped::Before;
use crate::oracle::Oracle;
use crate::plan::{MORE, MOUNTS, OLD, Plan};
use crate::put_back::Backup;
use crate::removed::take_removed;
use crate::{T0, VOLUME};
use holdfast_storage::format::{BLOCK_BYTES, SegmentHeader};
use holdfast_storage::simulation::{End, Lie, Loss, Random, SimulatedDisk, identify, segment_of};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Hold, search};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The outcome of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Of every operation of every life, in order.
    pub(crate) digest: u32,
    pub(crate) lives: u64,
    pub(crate) operations: u64,
    pub(crate) chunks: u64,
    /// Chunks that had been reported as durable.
    pub(crate) promised: u64,
    /// Chunks that had not been reported as durable, and may be gone.
    pub(crate) lost: u64,
    /// Segments that retention deleted.
    pub(crate) deleted: u64,
    /// Lives that ended because the volume failed.
    pub(crate) failed_volumes: u64,
    /// How often bits flipped at rest.
    pub(crate) flipped: u64,
    /// Lives that ended in order.
    pub(crate) closed: u64,
    /// Segments of held footage that were copied.
    pub(crate) copied: u64,
    /// Chunks that a hold kept until the end.
    pub(crate) held: u64,
    /// Chunks that the scrub found damaged in an audit.
    pub(crate) found_damaged: u64,
    /// How often the wall clock was set.
    pub(crate) jumps: u64,
    /// How often the directory lost its identity.
    pub(crate) unnamed: u64,
    /// Lives in which another disk was mounted over the volume's path.
    pub(crate) covered: u64,
    /// Starts with a wrong wall clock.
    pub(crate) wrong_starts: u64,
    /// How often the directory was restored.
    pub(crate) put_back: u64,
    /// Lives whose limits were mistyped.
    pub(crate) mistyped: u64,
}

impl Outcome {
    /// So that seeds that test nothing do not pass.
    pub(crate) fn has_seen_everything(&self) -> bool {
        let Self {
            lost,
            promised,
            deleted,
            failed_volumes,
            flipped,
            closed,
            ..
        } = *self;
        let Self {
            copied,
            held,
            found_damaged,
            jumps,
            unnamed,
            covered,
            wrong_starts,
            put_back,
            mistyped,
            ..
        } = *self;
        let counts = [
            lost,
            promised,
            deleted,
            failed_volumes,
            flipped,
            closed,
            copied,
            held,
            found_damaged,
            jumps,
            unnamed,
            covered,
            wrong_starts,
            put_back,
            mistyped,
        ];
        counts.iter().all(|count| *count > 0)
    }
}

impl search::Outcome for Outcome {
    fn add(&mut self, other: &Self) {
        self.digest ^= other.digest;
        self.lives += other.lives;
        self.operations += other.operations;
        self.chunks += other.chunks;
        self.promised += other.promised;
        self.lost += other.lost;
        self.deleted += other.deleted;
        self.failed_volumes += other.failed_volumes;
        self.flipped += other.flipped;
        self.closed += other.closed;
        self.copied += other.copied;
        self.held += other.held;
        self.found_damaged += other.found_damaged;
        self.jumps += other.jumps;
        self.unnamed += other.unnamed;
        self.covered += other.covered;
        self.wrong_starts += other.wrong_starts;
        self.put_back += other.put_back;
        self.mistyped += other.mistyped;
    }
}

impl Outcome {
    fn count(&mut self, ending: Ending) {
        self.lives += 1;
        self.closed += u64::from(ending == Ending::Closed);
        self.failed_volumes += u64::from(ending == Ending::Failed);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lives,
            operations,
            chunks,
            promised,
            lost,
            deleted,
            failed_volumes,
            flipped,
            closed,
            ..
        } = self;
        let Self {
            copied,
            held,
            found_damaged,
            jumps,
            unnamed,
            covered,
            wrong_starts,
            put_back,
            mistyped,
            ..
        } = self;
        write!(
            f,
            "{lives} lives ({closed} closed, {failed_volumes} failed, {flipped} damaged at rest), \
             {operations} operations, {chunks} chunks ({promised} promised, {lost} not, {held} \
             held, {found_damaged} found damaged), {deleted} segments deleted, {copied} copied, \
             {jumps} clock jumps, {unnamed} identities lost, {covered} covered by another disk, \
             {wrong_starts} starts with a wrong clock, {put_back} directories put back, {mistyped} \
             limits mistyped"
        )
    }
}

/// A run's changes to its plan, to put a known bug back.
#[derive(Clone, Copy, Default)]
pub(crate) struct Twist {
    pub(crate) lie: Lie,
    /// Called with the disk after each crash.
    pub(crate) tamper: Option<fn(&SimulatedDisk, &mut Random)>,
    /// The volume is informed that nothing is held.
    pub(crate) ignores_holds: bool,
    /// The volume trusts its wall clock.
    pub(crate) trusts_clocks: bool,
    /// Nothing is announced, and nothing waits.
    pub(crate) has_no_brake: bool,
}

struct Run {
    plan: Plan,
    random: Random,
    /// For features that not every seed has.
    more: Random,
    mounts: Random,
    old: Random,
    holds: Vec<Hold>,
    dirs: Dirs,
    disk: SimulatedDisk,
    oracle: Oracle,
    outcome: Outcome,
    /// The events of the run, for the analysis of a failure.
    story: Vec<String>,
}

/// Runs a seed. The error describes the failure, and how it came about.
pub(crate) fn run(seed: u64, twist: Twist) -> Result<Outcome, String> {
    let dirs = Dirs::new()?;
    let (mut plan, mut random) = Plan::new(seed, &dirs.root);
    plan.faults.lie = twist.lie;
    let disk = SimulatedDisk::new(plan.geometry, random.fork());
    identify(&disk, &plan.options, VOLUME).map_err(|error| error.to_string())?;
    disk.set_faults(plan.faults.clone());
    let mut run = Run {
        plan,
        random,
        more: Random::new(seed.wrapping_add(MORE)),
        mounts: Random::new(seed.wrapping_add(MOUNTS)),
        old: Random::new(seed.wrapping_add(OLD)),
        holds: Vec::new(),
        dirs,
        disk,
        oracle: Oracle::default(),
        outcome: Outcome::default(),
        story: Vec::new(),
    };
    let result = catch_unwind(AssertUnwindSafe(|| run.lives(twist)));
    let result = result.unwrap_or_else(|panic| Err(format!("panicked: {}", said(&*panic))));
    match result {
        Ok(()) => Ok(run.outcome()),
        Err(problem) => Err(run.explain(&problem)),
    }
}

/// Replaces `volume.json` with noise if a segment's header has the identity. Returns whether it
/// did.
fn lose_identity(disk: &SimulatedDisk) -> bool {
    let files = disk.files();
    let is_named = |path: &Path| {
        let header = disk
            .contents(path)
            .and_then(|bytes| SegmentHeader::decode(bytes.get(..BLOCK_BYTES)?).ok());
        segment_of(path).is_some() && header.is_some()
    };
    let identity = files
        .iter()
        .find(|(path, _)| path.file_name().is_some_and(|name| name == "volume.json"));
    match identity {
        Some((path, bytes)) if files.iter().any(|(path, _)| is_named(path)) => {
            (0..*bytes).for_each(|offset| disk.damage(path, offset, |byte| byte ^ 0xa5));
            true
        }
        _ => false,
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("?")
}

impl Run {
    fn lives(&mut self, twist: Twist) -> Result<(), String> {
        let mut recorders = recorders(&self.plan, &mut self.random);
        let (mut now, mut backup) = (Timestamp(T0), None);
        for life in 1..=self.plan.lives {
            let before = self.disk.operations();
            // Retention runs only every few seconds.
            let stop_after = self.stop_after().filter(|_| !self.plan.is_mistyped);
            if let Some(operations) = stop_after {
                self.disk.stop_after(operations);
            }
            self.oracle.begin_life();
            let is_mistyped = self.plan.is_mistyped && life == self.plan.lives;
            let (stored, mut gone) = (is_mistyped.then(|| Before::of(&self.disk)), Vec::new());
            self.outcome.mistyped += u64::from(is_mistyped);
            let lived = Life {
                plan: &self.plan,
                disk: &self.disk,
                oracle: &mut self.oracle,
                random: &mut self.random,
                recorders: &mut recorders,
                older: &self.dirs.older,
                more: &mut self.more,
                mounts: &mut self.mounts,
                cover: None,
                holds: &mut self.holds,
                gone: &mut gone,
                is_mistyped,
                ignores_holds: twist.ignores_holds,
                trusts_clocks: twist.trusts_clocks,
                has_no_brake: twist.has_no_brake,
                wrong_us: 0,
                outcome: &mut self.outcome,
                now,
            };
            let (ended_at, ending) = lived.run()?;
            self.disk.mount_over(None);
            self.outcome.count(ending);
            self.dirs.settle()?;
            now = ended_at.plus_micros(self.random.below(3_000_000) as i64);
            let operations = self.disk.operations() - before;
            self.oracle.end_life();
            take_removed(&self.plan, &self.disk, &mut self.oracle, None, &mut gone)?;
            self.outcome.deleted += gone.len() as u64;
            if let Some(stored) = stored {
                stored.check(&self.disk, &gone)?;
            }
            let end = self.end();
            self.disk.restart(end);
            let catalogue = self.dirs.after_crash(&mut self.random)?;
            self.story.push(format!(
                "life {life}: {operations} operations, stop after {stop_after:?}, {ending:?}, \
                 {end:?}, catalogue {catalogue}"
            ));
            if self.plan.has_damage && self.random.one_in(2) {
                self.outcome.flipped += 1;
                flip_bits(&self.disk, &mut self.oracle, &mut self.random);
            }
            if self.plan.loses_identity && self.more.one_in(2) {
                self.outcome.unnamed += u64::from(lose_identity(&self.disk));
            }
            if let Some(tamper) = twist.tamper {
                tamper(&self.disk, &mut self.random);
            }
            self.audit(now)?;
            if self.plan.is_put_back {
                self.put_back(life, &mut backup)?;
            }
        }
        Ok(())
    }

    /// Keeps a copy of the directory after the first life, and restores it after the next, before
    /// another one.
    fn put_back(&mut self, life: u32, backup: &mut Option<Backup>) -> Result<(), String> {
        if let Some(backup) = backup.take() {
            let (disk, oracle, is_newer) =
                backup.put_back(&self.holds, &self.dirs, &mut self.old)?;
            (self.disk, self.oracle) = (disk, oracle);
            self.outcome.put_back += 1;
            self.story.push(format!(
                "the directory is put back, its catalogue is newer: {is_newer}"
            ));
            return Ok(());
        }
        if life + 1 < self.plan.lives {
            *backup = Some(Backup::make(&self.disk, &self.oracle, &self.dirs)?);
        }
        Ok(())
    }

    /// Between two operations: early ones as often as late ones, or at the end of the time.
    fn stop_after(&mut self) -> Option<u64> {
        let scale = *self.random.pick(if self.plan.has_holds {
            &[40, 600, 1_200, 2_400]
        } else {
            &[10, 40, 150, 600]
        });
        (!self.random.one_in(4)).then(|| self.random.below(scale))
    }

    fn end(&mut self) -> End {
        let kept_of_eight = *self.random.pick(&[1, 4, 4, 7]);
        *self.random.pick(&[
            End::Killed,
            End::PowerCut(Loss::Everything),
            End::PowerCut(Loss::Nothing),
            End::PowerCut(Loss::Ordered),
            End::PowerCut(Loss::Scattered { kept_of_eight }),
            End::PowerCut(Loss::Scattered { kept_of_eight }),
        ])
    }

    fn audit(&mut self, now: Timestamp) -> Result<(), String> {
        self.dirs.save()?;
        let audit = Audit {
            plan: &self.plan,
            dirs: &self.dirs,
            oracle: &self.oracle,
            now,
        };
        self.outcome.found_damaged += audit.run(&self.disk)?;
        self.dirs.restore()
    }

    fn outcome(&self) -> Outcome {
        let chunks = self.oracle.chunks.len() as u64;
        let promised = self
            .oracle
            .chunks
            .values()
            .filter(|chunk| chunk.is_promised)
            .count() as u64;
        Outcome {
            digest: self.disk.digest(),
            operations: self.disk.operations(),
            chunks,
            promised,
            lost: chunks - promised,
            held: self.oracle.kept(),
            ..self.outcome
        }
    }

    fn explain(&self, problem: &str) -> String {
        let recent = self.disk.recent();
        let recent = recent[recent.len().saturating_sub(30)..].join("\n  ");
        let Plan {
            seed,
            cameras,
            lives,
            faults,
            has_damage,
            geometry,
            options,
            ..
        } = &self.plan;
        format!(
            "seed {seed}: {problem}\n{}\n{cameras} cameras, {lives} lives, {geometry:?}, damage at \
             rest: {has_damage}, {faults:?}\n{options:?}\n\
             the last operations:\n  {recent}",
            self.story.join("\n"),
        )
    }
}
