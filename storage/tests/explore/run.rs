//! One seed: a few lives with what lies between them, and an audit after each.

use crate::audit::Audit;
use crate::cameras::recorders;
use crate::catalogues::Dirs;
use crate::damage::flip_bits;
use crate::life::{Ending, Life};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::{T0, VOLUME};
use holdfast_storage::format::BLOCK_BYTES;
use holdfast_storage::simulation::{End, Lie, Loss, Random, SimulatedDisk, identify, scan, segment_of};
use holdfast_storage::time::Timestamp;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Of every operation of every life, in order.
    pub(crate) digest: u32,
    pub(crate) lives: u64,
    pub(crate) operations: u64,
    pub(crate) chunks: u64,
    /// Chunks that had been reported as durable.
    pub(crate) promised: u64,
    /// Chunks that had not, and may be gone.
    pub(crate) lost: u64,
    /// Segments that retention deleted.
    pub(crate) deleted: u64,
    /// Lives that ended because the volume failed.
    pub(crate) failed_volumes: u64,
    /// Times that bits flipped at rest.
    pub(crate) flipped: u64,
    /// Lives that ended in order.
    pub(crate) closed: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
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
        let Self { lives, operations, chunks, promised, lost, deleted, failed_volumes, flipped, closed, .. } = self;
        write!(
            f,
            "{lives} lives ({closed} closed, {failed_volumes} failed, {flipped} damaged at rest), {operations} operations, \
             {chunks} chunks ({promised} promised, {lost} not), {deleted} segments deleted"
        )
    }
}

/// What a run changes of its plan, to put a known bug back.
#[derive(Clone, Copy, Default)]
pub(crate) struct Twist {
    pub(crate) lie: Lie,
    /// Called with the disk after each crash.
    pub(crate) tamper: Option<fn(&SimulatedDisk, &mut Random)>,
}

struct Run {
    plan: Plan,
    random: Random,
    dirs: Dirs,
    disk: SimulatedDisk,
    oracle: Oracle,
    outcome: Outcome,
    /// What happened, for whoever looks into a failure.
    story: Vec<String>,
}

/// Runs a seed. The error says what did not hold, and how it came to that.
pub(crate) fn run(seed: u64, twist: Twist) -> Result<Outcome, String> {
    let dirs = Dirs::new()?;
    let (mut plan, mut random) = Plan::new(seed, &dirs.root);
    plan.faults.lie = twist.lie;
    let disk = SimulatedDisk::new(plan.geometry, random.fork());
    identify(&disk, &plan.options, VOLUME).map_err(|error| error.to_string())?;
    disk.set_faults(plan.faults.clone());
    let mut run =
        Run { plan, random, dirs, disk, oracle: Oracle::default(), outcome: Outcome::default(), story: Vec::new() };
    let result = catch_unwind(AssertUnwindSafe(|| run.lives(twist)));
    let result = result.unwrap_or_else(|panic| Err(format!("panicked: {}", said(&*panic))));
    match result {
        Ok(()) => Ok(run.outcome()),
        Err(problem) => Err(run.explain(&problem)),
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}

impl Run {
    fn lives(&mut self, twist: Twist) -> Result<(), String> {
        let mut recorders = recorders(&self.plan, &mut self.random);
        let mut now = Timestamp(T0);
        for life in 1..=self.plan.lives {
            let before = self.disk.operations();
            let stop_after = self.stop_after();
            if let Some(operations) = stop_after {
                self.disk.stop_after(operations);
            }
            self.oracle.begin_life();
            let lived = Life {
                plan: &self.plan,
                disk: &self.disk,
                oracle: &mut self.oracle,
                random: &mut self.random,
                recorders: &mut recorders,
                older: &self.dirs.older,
                now,
            };
            let (ended_at, ending) = lived.run()?;
            self.outcome.count(ending);
            self.dirs.settle()?;
            now = ended_at.plus_micros(self.random.below(3_000_000) as i64);
            let operations = self.disk.operations() - before;
            self.oracle.end_life();
            self.take_removed()?;
            let end = self.end();
            self.disk.restart(end);
            let catalogue = self.dirs.after_crash(&mut self.random)?;
            self.story.push(format!(
                "life {life}: {operations} operations, stop after {stop_after:?}, {ending:?}, {end:?}, catalogue {catalogue}"
            ));
            if self.plan.has_damage && self.random.one_in(2) {
                self.outcome.flipped += 1;
                flip_bits(&self.disk, &mut self.oracle, &mut self.random);
            }
            if let Some(tamper) = twist.tamper {
                tamper(&self.disk, &mut self.random);
            }
            self.audit(now)?;
        }
        Ok(())
    }

    /// Between two operations: early ones as often as late ones, or at the end of the time.
    fn stop_after(&mut self) -> Option<u64> {
        let scale = *self.random.pick(&[10, 40, 150, 600]);
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

    /// Segments that retention deleted need not be there any more.
    fn take_removed(&mut self) -> Result<(), String> {
        for (path, contents) in self.disk.take_removed() {
            // Opened ahead, or nothing reached it: there is nothing behind its header.
            let is_blank = contents.iter().skip(BLOCK_BYTES).all(|byte| *byte == 0);
            if !is_blank && !self.plan.may_delete() {
                return Err(format!("{} was deleted without a reason", path.display()));
            }
            let id = segment_of(&path).ok_or_else(|| format!("{} was deleted", path.display()))?;
            let scan = scan(contents, id).map_err(|error| error.to_string())?;
            self.oracle.excuse_all(&scan);
            self.outcome.deleted += 1;
        }
        Ok(())
    }

    fn audit(&mut self, now: Timestamp) -> Result<(), String> {
        self.dirs.save()?;
        Audit { plan: &self.plan, dirs: &self.dirs, oracle: &self.oracle, now }.run(&self.disk)?;
        self.dirs.restore()
    }

    fn outcome(&self) -> Outcome {
        let chunks = self.oracle.chunks.len() as u64;
        let promised = self.oracle.chunks.values().filter(|chunk| chunk.is_promised).count() as u64;
        Outcome {
            digest: self.disk.digest(),
            operations: self.disk.operations(),
            chunks,
            promised,
            lost: chunks - promised,
            ..self.outcome
        }
    }

    fn explain(&self, problem: &str) -> String {
        let recent = self.disk.recent();
        let recent = recent[recent.len().saturating_sub(30)..].join("\n  ");
        let Plan { seed, cameras, lives, faults, has_damage, geometry, options, .. } = &self.plan;
        format!(
            "seed {seed}: {problem}\n{}\n{cameras} cameras, {lives} lives, {geometry:?}, damage at rest: {has_damage}, {faults:?}\n{options:?}\n\
             the last operations:\n  {recent}",
            self.story.join("\n"),
        )
    }
}
