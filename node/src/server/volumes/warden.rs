//! Watches over the volumes: notices which hang, are too slow or have failed, says which cameras have to leave, probes disks and takes them back, and closes
//! volumes that were taken out of the configuration. A probe, an opening and a closing are tasks of their own; nothing here waits for a disk.

use super::choice::{Tenant, leavers};
use super::health::{Health, Sample};
use super::opened::Opened;
use super::probe::probe;
use super::slots::{Place, Role, Slot};
use super::{CLOSE_MAX, Volumes, close_within, lock};
use crate::server::ticks::ticks;
use holdfast_storage::Stats;
use holdfast_storage::ids::CameraId;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

const TICK: Duration = Duration::from_millis(200);
/// What cameras record is counted at this interval.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// How long an idle volume's last lag counts.
const LAG_REMEMBERED: Duration = Duration::from_secs(5);
/// A failed volume whose readers do not let go of its catalogue is asked this often.
const RELEASE_LOOK: Duration = Duration::from_millis(50);
/// And this many times.
const RELEASE_LOOKS_MAX: u32 = 100;

/// What is to be done about one slot, outside the lock.
enum Task {
    Probe(PathBuf),
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
            self.tasks(now).into_iter().for_each(|task| self.begin(task));
        }
    }

    /// Takes in how far every volume is.
    fn look(&self, now: Duration) {
        let figures: Vec<_> = self.opened().into_iter().map(|opened| (opened.handle.stats(), opened)).collect();
        for slot in self.slots_mut().iter_mut() {
            let Some((stats, opened)) = figures.iter().find(|(_, opened)| slot.open() == Some(opened)) else {
                continue;
            };
            if opened.has_failed() {
                slot.put_on_probation(now);
                continue;
            }
            let before = slot.health;
            let sample = sample(slot, opened, stats, now);
            slot.health = slot.watch.observe(self.inner.limits, &sample);
            if let Health::Slow { bandwidth_bps: Some(bps) } = slot.health {
                slot.remember_bandwidth(bps, now);
            }
            if slot.health == Health::Hung {
                slot.put_on_probation(now);
            }
            if std::mem::discriminant(&before) != std::mem::discriminant(&slot.health) {
                tracing::warn!(volume = slot.index, path = %slot.path.display(), health = ?slot.health, lag = ?slot.lag, "a volume's health changed");
            }
        }
    }

    /// Counts what cameras record, and says who leaves the volumes that are too slow.
    fn count(&self, elapsed: Duration) {
        let slots = self.slots();
        let mut homes = lock(&self.inner.homes);
        homes.count(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        for slot in slots.iter() {
            let Some(opened) = slot.open() else { continue };
            let tenants: Vec<Tenant> = homes
                .tenants(opened)
                .map(|(camera, home)| Tenant { camera, priority: home.priority, rate_bps: home.rate_bps() })
                .collect();
            opened.load_bps.store(tenants.iter().map(|tenant| tenant.rate_bps).sum(), Relaxed);
            let leaving = match slot.health {
                Health::Slow { bandwidth_bps: Some(bps) } => leavers(tenants, bps),
                _ => Vec::new(),
            };
            tell_leaving(slot, &leaving);
            homes.set_leaving(opened, &leaving);
        }
    }

    fn tasks(&self, now: Duration) -> Vec<Task> {
        let has_tenants = |opened: &Arc<Opened>| lock(&self.inner.homes).tenants(opened).next().is_some();
        let mut slots = self.slots_mut();
        // One that is not open has nothing to close.
        slots.retain(|slot| slot.role != Role::Detach || !matches!(slot.place, Place::Away(_)));
        let mut tasks = Vec::new();
        for slot in slots.iter_mut() {
            let leaves =
                slot.open().filter(|opened| slot.role == Role::Detach && (opened.has_failed() || !has_tenants(opened)));
            if let Some(opened) = leaves.cloned() {
                slot.place = Place::Closing;
                tasks.push(Task::Close(slot.path.clone(), opened));
            } else if slot.probation.as_ref().is_some_and(|probation| probation.is_due(now))
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
                Task::Reopen(path, before) => volumes.reopen(path, before).await,
                Task::Close(path, opened) => volumes.close_one(path, opened).await,
            }
        });
    }

    /// Takes as long as the disk does: that is the point.
    async fn probe(&self, path: PathBuf) {
        let started = self.inner.clock.elapsed();
        let at = path.clone();
        let probed = spawn_blocking(move || probe(&at)).await;
        let now = self.inner.clock.elapsed();
        let mut slots = self.slots_mut();
        let Some(slot) = slots.iter_mut().find(|slot| slot.path == path) else { return };
        slot.is_probing = false;
        let is_good = match probed {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(volume = slot.index, %error, "a probe of a volume failed");
                false
            }
            Err(error) => {
                tracing::error!(volume = slot.index, %error, "a probe of a volume broke off");
                false
            }
        };
        let Some(probation) = &mut slot.probation else { return };
        if !probation.probed(now, now.saturating_sub(started), is_good) {
            return;
        }
        match slot.open().cloned() {
            // It never failed, and what it had to write is written.
            Some(opened) if !opened.has_failed() => {
                if slot.health != Health::Hung {
                    slot.end_probation(now);
                    tracing::info!(volume = slot.index, path = %slot.path.display(), "the volume is sound again and takes cameras");
                }
            }
            // Its threads may still write: a second writer must not come near.
            Some(opened) if !opened.has_ended() => {}
            before => {
                slot.place = Place::Opening;
                drop(slots);
                self.begin(Task::Reopen(path, before));
            }
        }
    }

    /// Opens a volume anew. The segments that a failed one left open are not written again but for their footers: new ones are begun.
    async fn reopen(&self, path: PathBuf, before: Option<Arc<Opened>>) {
        if let Some(before) = before {
            // Closing a catalogue writes to the disk.
            let_go(before).await;
        }
        if self.open_one(&path).await.is_ok() {
            tracing::info!(path = %path.display(), "the volume is sound again: it was opened anew and takes cameras");
        }
    }

    async fn close_one(&self, path: PathBuf, opened: Arc<Opened>) {
        if let Err(error) = close_within(CLOSE_MAX, opened.path(), opened.handle.close()).await {
            tracing::warn!(%error, "a volume that was taken out of the configuration did not close in order");
        }
        self.slots_mut().retain(|slot| slot.path != path);
        // One that failed has its catalogue open still, and closing that writes to the disk.
        if let Err(error) = spawn_blocking(move || drop(opened)).await {
            tracing::error!(%error, "letting go of a volume broke off");
        }
        tracing::info!(path = %path.display(), "the volume is detached");
    }
}

/// Has a failed volume let go of its catalogue, as soon as its readers do. The one that is opened in its place rebuilds a catalogue that it cannot have.
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
    let is_durable = |(camera, end, _): &(CameraId, _, Duration)| {
        opened.durable_until(*camera).is_some_and(|durable| durable >= *end)
    };
    if let Some(durable) = slot.marker.take_if(|marker| is_durable(marker)) {
        slot.last_lag = now.saturating_sub(durable.2);
    }
    if slot.marker.is_none() {
        slot.marker = opened.take_newest().map(|(camera, end)| (camera, end, now));
    }
    let waiting = slot.marker.map_or(Duration::ZERO, |(_, _, since)| now.saturating_sub(since));
    slot.lag = waiting.max(slot.last_lag);
    // What was long ago says nothing of a disk that has had nothing to do since.
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

fn tell_leaving(slot: &Slot, leaving: &[CameraId]) {
    if !leaving.is_empty() {
        let (cameras, path) = (leaving.len(), slot.path.display());
        tracing::debug!(volume = slot.index, %path, cameras, "the volume is too slow for all of its cameras; the least important leave");
    }
}
