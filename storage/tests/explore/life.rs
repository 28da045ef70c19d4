//! One life of the process: it opens the volume, records and reads, and ends in order, by a kill,
//! or when the machine stops.

#![expect(clippy::disallowed_methods, reason = "the time of the simulation")]

use crate::cameras::Recorder;
use crate::mounts::Cover;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::removed::{Gone, take_removed};
use crate::run::Outcome;
use holdfast_storage::clock::Clock;
use holdfast_storage::ids::StreamId;
use holdfast_storage::retention::Caution;
use holdfast_storage::simulation::{Lie, Random, SimulatedClock, SimulatedDisk, SimulatedVolume};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{AppendError, Hold, Holds, Range, VolumeHandle, VolumeOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::sleep;

/// How often cameras deliver and the watermarks are checked.
const TICK: Duration = Duration::from_millis(20);

/// The longest orderly stop, unless the disk is full or hangs: one minute.
const CLOSE_TICKS_MAX: u32 = 3_000;

const DAY_US: u64 = 86_400_000_000;

/// The most that the clock may be off at a start: ten years.
const WRONG_US_MAX: u64 = 10 * 365 * 86_400_000_000;

/// The most that the wall clock is set: two hours.
const JUMP_US_MAX: u64 = 7_200_000_000;

pub(crate) struct Life<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) disk: &'a SimulatedDisk,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) random: &'a mut Random,
    pub(crate) recorders: &'a mut Vec<Recorder>,
    /// Where an older state of the catalogue is stored.
    pub(crate) older: &'a Path,
    /// For features that not every seed has.
    pub(crate) more: &'a mut Random,
    /// For mounts.
    pub(crate) mounts: &'a mut Random,
    pub(crate) cover: Option<Cover>,
    pub(crate) holds: &'a mut Vec<Hold>,
    /// The segments that this life removed.
    pub(crate) gone: &'a mut Vec<Gone>,
    /// The limits say that almost nothing may stay.
    pub(crate) is_mistyped: bool,
    pub(crate) ignores_holds: bool,
    pub(crate) trusts_clocks: bool,
    pub(crate) has_no_brake: bool,
    pub(crate) outcome: &'a mut Outcome,
    /// How far the wall clock is off.
    pub(crate) wrong_us: i64,
    pub(crate) now: Timestamp,
}

/// Runs `body` on this thread in its own runtime with paused time. What still runs at its end is
/// dropped, as in a crash.
pub(crate) fn simulate<T>(body: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    Ok(LocalSet::new().block_on(&runtime, body))
}

/// How a life ended, as far as the process knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In the middle.
    Stopped,
    /// The volume could not be opened, or failed.
    Failed,
    Closed,
}

impl Life<'_> {
    /// Returns the wall time at its end.
    pub(crate) fn run(mut self) -> Result<(Timestamp, Ending), String> {
        let start = self.now;
        let (took, ending) = simulate(async {
            let started = tokio::time::Instant::now();
            let ending = self.live().await?;
            Ok::<_, String>((started.elapsed(), ending))
        })??;
        Ok((start.plus(took), ending))
    }

    async fn live(&mut self) -> Result<Ending, String> {
        let clock = Arc::new(SimulatedClock::new(
            self.now.plus_micros(self.draw_wrong_us()),
        ));
        let opened = SimulatedVolume::open(
            self.options(),
            self.disk,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let (volume, handle) = match opened {
            Ok(opened) => opened,
            Err(_) if self.disk.is_stopped() => return Ok(Ending::Stopped),
            Err(_) if self.plan.is_faulty() => return Ok(Ending::Failed),
            Err(error) => return Err(format!("the volume does not open: {error}")),
        };
        if handle.id() != crate::VOLUME && !self.plan.is_faulty() {
            return Err(format!("the volume has another id: {}", handle.id()));
        }
        for recorder in self.recorders.iter_mut() {
            recorder.begin_session(self.now, self.plan, self.random);
        }
        self.record(&volume, &handle, &clock).await?;
        self.end_covered(&volume, &handle).await?;
        take_removed(self.plan, self.disk, self.oracle, Some(&handle), self.gone)?;
        self.outcome.copied += handle.stats().copied_segments;
        let has_failed = handle.failed().borrow().is_some();
        let ending = if has_failed {
            Ending::Failed
        } else if volume.is_ended() {
            return Err(format!(
                "writer or keeper ended by themselves: {:?}",
                volume.run().await
            ));
        } else if !self.disk.is_stopped() && self.random.one_in(3) {
            self.close(volume, &handle).await?
        } else {
            Ending::Stopped
        };
        self.observe(&handle)?;
        if has_failed && !self.plan.is_faulty() && self.cover.is_none() {
            return Err(format!(
                "the volume failed on a sound disk: {:?}",
                handle.stats().failed
            ));
        }
        Ok(ending)
    }

    /// How far the clock is off at this start.
    fn draw_wrong_us(&mut self) -> i64 {
        self.wrong_us = match self.plan.has_wrong_starts.then(|| self.more.below(3)) {
            None | Some(0) => 0,
            Some(1) => self.more.below(WRONG_US_MAX) as i64,
            // As after the loss of its battery.
            Some(_) if self.more.one_in(3) => self.more.below(DAY_US) as i64 - self.now.micros(),
            Some(_) => -(self.more.below(WRONG_US_MAX) as i64),
        };
        self.outcome.wrong_starts += u64::from(self.wrong_us != 0);
        self.wrong_us
    }

    /// Holds that are already set are known at once, or a little later.
    fn options(&mut self) -> VolumeOptions {
        let are_holds_known = !self.plan.has_holds || !self.more.one_in(3);
        let holds = are_holds_known.then(|| self.current_holds());
        let options = self.plan.options.clone();
        let caution = match options.caution {
            _ if self.trusts_clocks => Caution::NONE,
            caution if self.has_no_brake => Caution {
                wait: Duration::ZERO,
                ..caution
            },
            caution => caution,
        };
        let mut options = VolumeOptions {
            holds,
            caution,
            ..options
        };
        if self.is_mistyped {
            options
                .retention
                .iter_mut()
                .for_each(|class| class.bytes_max = Some(1));
        }
        options
    }

    fn current_holds(&self) -> Holds {
        if self.ignores_holds {
            Holds::default()
        } else {
            self.holds.iter().copied().collect()
        }
    }

    /// The disk mounted over the volume is not touched, and the volume is given up: accepted
    /// records become durable and are sealed where the volume is.
    async fn end_covered(
        &self,
        volume: &SimulatedVolume,
        handle: &VolumeHandle,
    ) -> Result<(), String> {
        let Some(cover) = &self.cover else {
            return Ok(());
        };
        for _ in 0..CLOSE_TICKS_MAX {
            if volume.is_ended() || self.disk.is_stopped() || self.plan.faults.lie != Lie::None {
                break;
            }
            sleep(TICK).await;
        }
        cover.check()?;
        let is_left = self.disk.is_stopped() || handle.failed().borrow().is_some();
        if is_left || self.plan.faults.lie != Lie::None {
            Ok(())
        } else {
            Err("a volume is recorded to though its path leads elsewhere".to_owned())
        }
    }

    async fn record(
        &mut self,
        volume: &SimulatedVolume,
        handle: &VolumeHandle,
        clock: &SimulatedClock,
    ) -> Result<(), String> {
        let mut flush: Option<(u64, JoinHandle<bool>)> = None;
        let mut progress = handle.progress();
        let started = tokio::time::Instant::now();
        let life = Duration::from_micros(self.random.below(self.plan.life_max.as_micros() as u64));
        let life = life.max(self.plan.life_min);
        while started.elapsed() < life && !self.disk.is_stopped() && !volume.is_ended() {
            if self.append(self.now.plus(started.elapsed()), handle)? {
                return Ok(());
            }
            if progress.has_changed().unwrap_or(false) {
                progress.borrow_and_update();
                self.observe(handle)?;
            }
            match &mut flush {
                Some((below, asked)) if asked.is_finished() => {
                    if asked.await.unwrap_or(false) {
                        self.oracle.flushed(*below);
                    }
                    flush = None;
                }
                None if self.random.one_in(30) => {
                    let asking = handle.clone();
                    let asked =
                        tokio::task::spawn_local(async move { asking.flush().await.is_ok() });
                    flush = Some((self.oracle.order(), asked));
                }
                _ => {}
            }
            self.do_more(self.now.plus(started.elapsed()), handle, clock)?;
            if self.random.one_in(25) && !self.is_deceived() {
                self.read(handle)?;
            }
            if self.random.one_in(60) {
                self.keep_older(handle)?;
            }
            sleep(TICK).await;
        }
        Ok(())
    }

    /// If names lead to another disk, reads there prove nothing about writes there.
    fn is_deceived(&self) -> bool {
        self.cover.is_some() && self.plan.faults.lie != Lie::None
    }

    /// Features that not every seed has: holds that come and go, passes of the scrub, a clock that
    /// is set.
    fn do_more(
        &mut self,
        now: Timestamp,
        handle: &VolumeHandle,
        clock: &SimulatedClock,
    ) -> Result<(), String> {
        if self.plan.has_holds {
            take_removed(self.plan, self.disk, self.oracle, Some(handle), self.gone)?;
            if self.more.one_in(50) {
                self.change_holds(now);
                handle.set_holds(self.current_holds());
                self.oracle.hold(self.holds);
            }
        }
        if self.plan.has_mounts && self.cover.is_none() && self.mounts.one_in(40) {
            self.cover = Some(Cover::mount(self.disk));
            self.outcome.covered += 1;
        }
        if self.plan.has_scrub && self.more.one_in(80) {
            handle.start_scrub();
        }
        // Not every life corrects it.
        if self.wrong_us != 0 && self.more.one_in(400) {
            clock.jump(-std::mem::take(&mut self.wrong_us));
        }
        if self.plan.has_jumps && self.more.one_in(60) {
            let jump_us = self.more.below(JUMP_US_MAX) as i64;
            clock.jump(if self.more.one_in(2) {
                jump_us
            } else {
                -jump_us
            });
            self.outcome.jumps += 1;
        }
        Ok(())
    }

    /// Adds a hold, of some seconds or without end, or removes one.
    fn change_holds(&mut self, now: Timestamp) {
        if self.more.one_in(3) && !self.holds.is_empty() {
            let lifted = self.more.below(self.holds.len() as u64) as usize;
            self.holds.swap_remove(lifted);
            return;
        }
        let camera = self.more.pick(self.recorders).camera;
        let from = now.plus_micros(-(self.more.below(6_000_000) as i64));
        let to = if self.more.one_in(4) {
            Timestamp::MAX
        } else {
            from.plus_micros(self.more.within(1..4_000_000) as i64)
        };
        self.holds.push(Hold { camera, from, to });
    }

    /// Returns `true` if the volume takes no more.
    fn append(&mut self, now: Timestamp, handle: &VolumeHandle) -> Result<bool, String> {
        for recorder in self.recorders.iter_mut() {
            match recorder.append_until(now, self.plan, handle, self.oracle, self.random) {
                Ok(()) => {}
                Err(AppendError::Failed(_)) if self.plan.is_faulty() || self.cover.is_some() => {
                    return Ok(true);
                }
                Err(AppendError::Full { .. } | AppendError::NoSpace) => {}
                Err(error) => return Err(format!("a record is refused: {error}")),
            }
        }
        if self.plan.appends_quietly {
            handle.hand_over();
        }
        Ok(false)
    }

    /// Every reported watermark counts from now on.
    fn observe(&mut self, handle: &VolumeHandle) -> Result<(), String> {
        for recorder in self.recorders.iter() {
            let stream = StreamId {
                camera: recorder.camera,
                kind: recorder.stream,
            };
            if let Some(mark) = handle.watermark_of(stream, recorder.epoch, recorder.rank) {
                self.oracle.reported(stream, mark)?;
            }
        }
        Ok(())
    }

    /// Reads a stream as a viewer does: what is listed was recorded, and stays.
    fn read(&mut self, handle: &VolumeHandle) -> Result<(), String> {
        let recorder = self.random.pick(self.recorders);
        let listed = handle.entries(Range::all(recorder.camera, recorder.stream));
        let entries = match listed {
            Ok(entries) => entries,
            Err(holdfast_storage::Error::Catalogue { .. }) => return Ok(()),
            Err(_) if self.disk.is_stopped() || self.plan.is_faulty() => return Ok(()),
            Err(error) => {
                return Err(format!(
                    "{recorder_camera} is not listed: {error}",
                    recorder_camera = recorder.camera
                ));
            }
        };
        for entry in &entries {
            self.oracle.listed(entry)?;
        }
        if !entries.is_empty() {
            let entry = self.random.pick(&entries);
            match self.oracle.check_bytes(handle, entry) {
                Err(problem)
                    if !problem.starts_with("listed and not readable")
                        || !self.plan.is_faulty() =>
                {
                    return Err(problem);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps a copy of the present catalogue, for a later life to find.
    fn keep_older(&mut self, handle: &VolumeHandle) -> Result<(), String> {
        if handle.stats().is_catalogue_open {
            let from = holdfast_storage::simulation::catalogue_of(&self.plan.options.path);
            crate::catalogues::copy(&from, self.older)?;
        }
        Ok(())
    }

    /// The orderly stop: everything accepted is durable once it answers.
    async fn close(
        &mut self,
        volume: SimulatedVolume,
        handle: &VolumeHandle,
    ) -> Result<Ending, String> {
        let below = self.oracle.order();
        let closing = handle.clone();
        let closed = tokio::task::spawn_local(async move { closing.close().await });
        for _ in 0..CLOSE_TICKS_MAX {
            if closed.is_finished() || self.disk.is_stopped() {
                break;
            }
            sleep(TICK).await;
        }
        if self.disk.is_stopped() {
            return Ok(Ending::Stopped);
        }
        if !closed.is_finished() {
            // A full disk is waited for, and retention may not be able to help.
            let has_reason = handle.stats().has_no_space || self.plan.is_faulty();
            return if has_reason {
                Ok(Ending::Stopped)
            } else {
                Err("the volume does not close".to_owned())
            };
        }
        match closed.await {
            Ok(Ok(())) => self.oracle.flushed(below),
            Ok(Err(_)) if self.plan.is_faulty() => return Ok(Ending::Failed),
            other => return Err(format!("the volume does not close: {other:?}")),
        }
        let is_patient = self.random.one_in(2);
        for _ in 0..CLOSE_TICKS_MAX {
            if !is_patient || volume.is_ended() || self.disk.is_stopped() {
                break;
            }
            sleep(TICK).await;
        }
        Ok(Ending::Closed)
    }
}
