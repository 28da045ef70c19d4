//! Watches over the volumes: notices which hang, are too slow or have failed, decides which cameras
//! have to leave, probes disks and takes them back, and closes volumes that were taken out of the
//! configuration. A probe, an opening and a closing are tasks of their own; nothing here waits for
//! a disk.

use super::choice::{Tenant, leavers};
use super::health::{Health, Sample};
use super::opened::Opened;
use super::place::{Looked, Refusal, look};
use super::probe::probe;
use super::slots::{LOOK_INTERVAL, Place, Role, Slot};
use super::{CLOSE_MAX, Volumes, close_within, lock};
use crate::member::ticks::ticks;
use holdfast_storage::Stats;
use holdfast_storage::ids::StreamId;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

const TICK: Duration = Duration::from_millis(250);
/// The interval at which the cameras' rates are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// How long an idle volume's last lag counts.
const LAG_REMEMBERED: Duration = Duration::from_secs(5);
/// A failed volume whose readers hold its catalogue is checked this often.
const RELEASE_LOOK: Duration = Duration::from_millis(50);
/// And this many times.
const RELEASE_LOOKS_MAX: u32 = 100;

/// What to do about one slot, outside the lock.
enum Task {
    Probe(PathBuf),
    /// The volume that belongs at the path may be there again.
    Look(PathBuf),
    Reopen(PathBuf, Option<Arc<Opened>>),
    Close(PathBuf, Arc<Opened>),
}

impl Volumes {
    /// Runs as long as the node.
    pub(crate) async fn watch(self) {
        let mut tick = ticks(TICK);
        let mut counted_at = self.inner.clock.elapsed();
        loop {
            tick.tick().await;
            let now = self.inner.clock.elapsed();
            self.look(now);
            let since = now.saturating_sub(counted_at);
            if since >= COUNT_INTERVAL {
                counted_at = now;
                self.count(since);
            }
            self.tasks(now)
                .into_iter()
                .for_each(|task| self.begin(task));
        }
    }

    /// Examines every volume.
    fn look(&self, now: Duration) {
        let figures: Vec<_> = self
            .opened()
            .into_iter()
            .map(|opened| (opened.handle.stats(), opened))
            .collect();
        let mut left = Vec::new();
        for slot in self.slots_mut().iter_mut() {
            slot.note_silence(now);
            let Some((stats, opened)) = figures
                .iter()
                .find(|(_, opened)| slot.open() == Some(opened))
            else {
                continue;
            };
            if opened.has_failed() {
                if !opened.handle.is_left() {
                    slot.put_on_probation(now);
                } else if opened.has_ended() {
                    // Its disk has not failed: what is at its path now is taken up at once.
                    slot.await_disk("its path leads elsewhere", now);
                    slot.look_at = now;
                    left.push(Arc::clone(opened));
                }
                continue;
            }
            let before = slot.health;
            let sample = sample(slot, opened, stats, now);
            slot.health = slot.watch.observe(self.inner.limits, &sample);
            if let Health::Slow {
                bandwidth_bps: Some(bps),
            } = slot.health
            {
                slot.remember_bandwidth(bps, now);
            }
            if slot.health == Health::Hung {
                slot.put_on_probation(now);
            }
            if std::mem::discriminant(&before) != std::mem::discriminant(&slot.health) {
                tracing::warn!(
                    volume = slot.index, path = %slot.path.display(), health = ?slot.health,
                    lag = ?slot.lag,
                    "a volume's health changed"
                );
            }
        }
        for opened in left {
            tokio::spawn(let_go(opened));
        }
    }

    /// Counts the streams' rates, and decides which streams leave the volumes that are too slow.
    fn count(&self, elapsed: Duration) {
        let slots = self.slots();
        let mut homes = lock(&self.inner.homes);
        homes.count(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        for slot in slots.iter() {
            let Some(opened) = slot.open() else { continue };
            let tenants: Vec<Tenant> = homes
                .tenants(opened)
                .map(|(stream, home)| Tenant {
                    stream,
                    priority: home.priority,
                    rate_bps: home.rate_bps(),
                })
                .collect();
            opened
                .load_bps
                .store(tenants.iter().map(|tenant| tenant.rate_bps).sum(), Relaxed);
            let leaving = match slot.health {
                Health::Slow {
                    bandwidth_bps: Some(bps),
                } => leavers(tenants, bps),
                _ => Vec::new(),
            };
            log_leaving(slot, &leaving);
            homes.set_leaving(opened, &leaving);
        }
    }

    fn tasks(&self, now: Duration) -> Vec<Task> {
        let has_tenants =
            |opened: &Arc<Opened>| lock(&self.inner.homes).tenants(opened).next().is_some();
        let mut slots = self.slots_mut();
        // A slot that is not open has nothing to close.
        slots.retain(|slot| slot.role != Role::Detach || !matches!(slot.place, Place::Away(_)));
        let mut tasks = Vec::new();
        for slot in slots.iter_mut() {
            let leaves = slot.open().filter(|opened| {
                slot.role == Role::Detach && (opened.has_failed() || !has_tenants(opened))
            });
            if let Some(opened) = leaves.cloned() {
                slot.place = Place::Closing;
                tasks.push(Task::Close(slot.path.clone(), opened));
            } else if matches!(slot.place, Place::Away(_)) && slot.is_awaited {
                if !slot.is_probing && slot.look_at <= now {
                    slot.is_probing = true;
                    tasks.push(Task::Look(slot.path.clone()));
                }
            } else if slot
                .probation
                .as_ref()
                .is_some_and(|probation| probation.is_due(now))
                && !slot.is_probing
                && !matches!(slot.place, Place::Opening | Place::Closing)
            {
                slot.is_probing = true;
                tasks.push(Task::Probe(slot.path.clone()));
            }
        }
        tasks
    }

    fn begin(&self, task: Task) {
        let volumes = self.clone();
        tokio::spawn(async move {
            match task {
                Task::Probe(path) => volumes.probe(path).await,
                Task::Look(path) => volumes.look_for(path).await,
                Task::Reopen(path, before) => volumes.reopen(path, before).await,
                Task::Close(path, opened) => volumes.close_one(path, opened).await,
            }
        });
    }

    /// Opens a volume that was away as soon as it is there.
    async fn look_for(&self, path: PathBuf) {
        let (inner, at, others) = (
            Arc::clone(&self.inner),
            path.clone(),
            self.open_elsewhere(&path),
        );
        let looked = spawn_blocking(move || look(&at, &inner.register, &others).map(drop)).await;
        let now = self.inner.clock.elapsed();
        let mut slots = self.slots_mut();
        let Some(slot) = slots.iter_mut().find(|slot| slot.path == path) else {
            return;
        };
        slot.is_probing = false;
        if !slot.is_awaited || !matches!(slot.place, Place::Away(_)) {
            return;
        }
        let trouble = match looked {
            Ok(Ok(())) => {
                slot.place = Place::Opening;
                drop(slots);
                return self.begin(Task::Reopen(path, None));
            }
            Ok(Err(Refusal::Awaited(why))) => why,
            Ok(Err(Refusal::Store(error))) => error.to_string(),
            Err(error) => format!("looking for it broke off: {error}"),
        };
        slot.place = Place::Away(Arc::from(trouble));
        slot.look_at = now + LOOK_INTERVAL;
    }

    /// Takes as long as the disk does: that is what it measures.
    async fn probe(&self, path: PathBuf) {
        let started = self.inner.clock.elapsed();
        let (inner, at, others) = (
            Arc::clone(&self.inner),
            path.clone(),
            self.open_elsewhere(&path),
        );
        let probed =
            spawn_blocking(move || probe_at(&at, |at| look(at, &inner.register, &others))).await;
        let probed = probed.unwrap_or_else(|error| Probed::Bad(format!("it broke off: {error}")));
        match self.judge(&path, probed, started) {
            After::Wait => {}
            After::Release(before) => let_go(before).await,
            After::Reopen(before) => self.begin(Task::Reopen(path, before)),
        }
    }

    /// The consequence of a probe that began at `started`.
    fn judge(&self, path: &Path, probed: Probed, started: Duration) -> After {
        let now = self.inner.clock.elapsed();
        let mut slots = self.slots_mut();
        let Some(slot) = slots.iter_mut().find(|slot| slot.path == path) else {
            return After::Wait;
        };
        slot.is_probing = false;
        if let Probed::Bad(error) | Probed::ReadOnly(error) = &probed {
            tracing::debug!(volume = slot.index, %error, "a probe of a volume failed");
        }
        let Some(probation) = &mut slot.probation else {
            return After::Wait;
        };
        let is_proven = probation.probed(
            now,
            now.saturating_sub(started),
            matches!(probed, Probed::Good),
        );
        let before = slot.open().cloned();
        let has_failed = before.as_ref().is_some_and(|opened| opened.has_failed());
        // Its threads may still write: a second writer must not come near.
        if has_failed && !before.as_ref().is_some_and(|opened| opened.has_ended()) {
            return After::Wait;
        }
        let is_over = has_failed || before.is_none();
        let is_writing = before.as_ref().is_some_and(|opened| !opened.is_reading());
        match probed {
            // It never failed, and all its records are written.
            Probed::Good if is_proven && !is_over => {
                if slot.health != Health::Hung {
                    slot.end_probation(now);
                    tracing::info!(
                        volume = slot.index, path = %slot.path.display(),
                        "the volume is sound again and takes cameras"
                    );
                }
                After::Wait
            }
            Probed::Awaited(why) if is_over => {
                slot.await_disk(&why, now);
                before.map_or(After::Wait, After::Release)
            }
            Probed::Good if is_proven => {
                slot.place = Place::Opening;
                After::Reopen(before)
            }
            // A volume that cannot be written any more can still be read.
            Probed::ReadOnly(_) if is_writing && is_over => {
                slot.place = Place::Opening;
                After::Reopen(before)
            }
            _ => After::Wait,
        }
    }

    /// Reopens a volume. The segments that a failed one left open get their footers and nothing
    /// else: new ones are begun.
    async fn reopen(&self, path: PathBuf, before: Option<Arc<Opened>>) {
        if let Some(before) = before {
            // Closing a catalogue writes to the disk.
            let_go(before).await;
        }
        if self.open_one(&path).await.is_ok() {
            tracing::info!(path = %path.display(), "the volume was opened again");
        }
    }

    async fn close_one(&self, path: PathBuf, opened: Arc<Opened>) {
        if let Err(error) = close_within(CLOSE_MAX, opened.path(), opened.handle.close()).await {
            tracing::warn!(
                %error,
                "a volume that was taken out of the configuration did not close in order"
            );
        }
        self.slots_mut().retain(|slot| slot.path != path);
        // A failed volume still has its catalogue open, and closing that writes to the disk:
        // recorders hold it, too, and must not be the ones that close it.
        let_go(Arc::clone(&opened)).await;
        if let Err(error) = spawn_blocking(move || drop(opened)).await {
            tracing::error!(%error, "letting go of a volume broke off");
        }
        tracing::info!(path = %path.display(), "the volume is detached");
    }
}

/// What to do after a probe.
enum After {
    Wait,
    /// The volume that was open is not used any more.
    Release(Arc<Opened>),
    Reopen(Option<Arc<Opened>>),
}

/// The outcome of a probe of a path.
enum Probed {
    Good,
    Awaited(String),
    ReadOnly(String),
    Bad(String),
}

/// Probes the volume at a path, if it may be used.
fn probe_at(path: &Path, look: impl FnOnce(&Path) -> Result<Looked, Refusal>) -> Probed {
    let looked = match look(path) {
        Ok(looked) => looked,
        Err(Refusal::Awaited(why)) => return Probed::Awaited(why),
        Err(Refusal::Store(error)) => return Probed::Bad(error.to_string()),
    };
    match probe(&looked.root) {
        Ok(()) => Probed::Good,
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            Probed::ReadOnly(error.to_string())
        }
        Err(error) => Probed::Bad(error.to_string()),
    }
}

/// Has a failed volume release its catalogue as soon as its readers do. If the catalogue is still
/// held, the volume that is opened in its place rebuilds one.
async fn let_go(before: Arc<Opened>) {
    for _ in 0..RELEASE_LOOKS_MAX {
        let handle = before.handle.clone();
        match spawn_blocking(move || handle.release()).await {
            Ok(false) => sleep(RELEASE_LOOK).await,
            Ok(true) => return,
            Err(error) => return tracing::error!(%error, "letting go of a catalogue broke off"),
        }
    }
}

/// Moves the marker on, and gathers the volume's figures.
fn sample(slot: &mut Slot, opened: &Opened, stats: &Stats, now: Duration) -> Sample {
    let is_durable = |(stream, end, _): &(StreamId, _, Duration)| {
        opened
            .durable_until(*stream)
            .is_some_and(|durable| durable >= *end)
    };
    if let Some(durable) = slot.marker.take_if(|marker| is_durable(marker)) {
        slot.last_lag = now.saturating_sub(durable.2);
    }
    if slot.marker.is_none() {
        slot.marker = opened.take_newest().map(|(stream, end)| (stream, end, now));
    }
    let waiting = slot
        .marker
        .map_or(Duration::ZERO, |(_, _, since)| now.saturating_sub(since));
    slot.lag = waiting.max(slot.last_lag);
    // After a rest, an old lag says nothing about the disk.
    if slot.marker.is_some() {
        slot.idle_since = None;
    } else if now.saturating_sub(*slot.idle_since.get_or_insert(now)) >= LAG_REMEMBERED {
        slot.last_lag = Duration::ZERO;
    }
    opened.count_room(stats.free_bytes, stats.sealed_bytes);
    Sample {
        now,
        waiting,
        lag: slot.last_lag,
        written_bytes: stats.written_bytes,
        flushes: stats.flushes,
        queued_bytes: stats.queued_bytes,
        queued_bytes_max: stats.queued_bytes_max,
        has_no_space: stats.has_no_space,
    }
}

fn log_leaving(slot: &Slot, leaving: &[StreamId]) {
    if !leaving.is_empty() {
        let (cameras, path) = (leaving.len(), slot.path.display());
        tracing::debug!(
            volume = slot.index, %path, cameras,
            "the volume is too slow for all of its cameras; the least important leave"
        );
    }
}
