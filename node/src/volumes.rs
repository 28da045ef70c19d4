//! This node's volumes as one store. All recordings of a stream on this node go to one volume,
//! until that volume fails, hangs, fills up, becomes too slow for all of its streams, or is
//! retired.
//!
//! `choice`, `health`, `homes`, `probation` and `register` decide, `place` examines what is at a
//! path, `warden` watches over the volumes and reopens them, `reading` queries them all. Functions
//! here do not wait for a disk unless their comment says so.

mod choice;
mod health;
mod homes;
mod names;
mod opened;
mod place;
mod probation;
mod probe;
mod reading;
mod register;
pub(crate) mod report;
mod retention;
pub(crate) mod sink;
mod slots;
mod status;
mod warden;

use crate::capture::ingest::wall::AHEAD_US_MAX;
use crate::capture::recorder::sink::SinkError;
use crate::clock::Clock;
use crate::config::{self, Config};
use choice::{Standing, choose};
use health::Limits;
use holdfast_storage::chunk::{ChunkMeta, Gap, Init, Record};
use holdfast_storage::ids::{CameraId, NodeId, StreamId, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Error, Holds, VolumeHandle, Watermark};
use homes::Homes;
pub(crate) use names::Names;
pub(crate) use opened::Opened;
use opened::{Settings, open_blocking, spare_dir, watch_over};
use place::Refusal;
pub(crate) use reading::ReadError;
use register::Register;
pub(crate) use retention::VolumeRetention;
use slots::{Place, Role, Slot};
pub(crate) use status::VolumeStatus;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use uuid::Uuid;

/// How long the start waits for volumes to open; a volume whose disk hangs is attached later.
const OPEN_WAIT_MAX: Duration = Duration::from_millis(1500);
/// How long a closing volume may take to make its last records durable. A disk that hangs takes
/// forever.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// What could not be made durable when the node stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseError {
    #[error("{0}")]
    Store(#[from] Error),
    #[error(
        "volume {path} did not make its last records durable within {wait_max:?}: its disk hangs; \
         what came after its last flush may be missing"
    )]
    Hangs { path: PathBuf, wait_max: Duration },
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    limits: Limits,
    clock: Clock,
    slots: RwLock<Vec<Slot>>,
    homes: Mutex<Homes<Arc<Opened>>>,
    /// The volume to which a former process recorded each stream.
    before: Mutex<HashMap<StreamId, u16>>,
    /// The last watermark that the heartbeat reported: it never goes back, whatever becomes of a
    /// volume.
    reported: Mutex<HashMap<StreamId, Watermark>>,
    register: Arc<Mutex<Register>>,
    /// The holds that were set last, which retention may not delete; `None` before the first.
    holds: Mutex<Option<Holds>>,
}

impl PartialEq for Opened {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Volumes {
    /// Opens every configured volume; recording can begin when this returns. Waits for some
    /// milliseconds per volume, and no longer than [`OPEN_WAIT_MAX`]. A volume that cannot be
    /// opened (yet) is logged and delays nothing, even if it is the only one: the warden tries it
    /// again, and the node votes and serves until then.
    ///
    /// # Errors
    /// A volume is in use or belongs to another cluster, or an option is wrong.
    pub(crate) async fn open(
        config: &Config,
        node: NodeId,
        cluster: Uuid,
        clock: Clock,
    ) -> Result<Self, Error> {
        let settings = Settings {
            node,
            cluster,
            data_dir: config.data_dir.clone(),
            storage: config.storage.clone(),
            retention: config.retention.clone(),
        };
        forget_spare_catalogues(&config.data_dir);
        let mut register = Register::load(&config.data_dir);
        let numbered = config
            .volumes()
            .into_iter()
            .map(|volume| (register.at(&volume.path), volume));
        let slots = numbered
            .map(|(index, volume)| Slot::new(volume.path, index, role(volume.retire)))
            .collect();
        let limits = Limits {
            hang_after: Duration::from_millis(config.storage.hang_after_ms),
            lag_max: Duration::from_millis(config.storage.lag_max_ms),
        };
        let volumes = Self {
            inner: Arc::new(Inner {
                settings,
                limits,
                clock,
                slots: RwLock::new(slots),
                homes: Mutex::default(),
                before: Mutex::default(),
                reported: Mutex::default(),
                register: Arc::new(Mutex::new(register)),
                holds: Mutex::default(),
            }),
        };
        volumes.open_all().await?;
        Ok(volumes)
    }

    async fn open_all(&self) -> Result<(), Error> {
        let paths: Vec<PathBuf> = self.slots().iter().map(|slot| slot.path.clone()).collect();
        let (sender, mut results) = mpsc::channel(paths.len().max(1));
        for path in &paths {
            let (volumes, path, sender) = (self.clone(), path.clone(), sender.clone());
            // The caller may have given up; the volume is attached all the same.
            tokio::spawn(async move { drop(sender.send(volumes.open_one(&path).await).await) });
        }
        drop(sender);
        let opening = async {
            while let Some(result) = results.recv().await {
                match result {
                    Err(Refusal::Store(error)) if error.is_configuration() => return Err(error),
                    // The failure is logged, and shown in the volume's status.
                    Err(_) | Ok(()) => {}
                }
            }
            Ok(())
        };
        if let Ok(opened) = timeout(OPEN_WAIT_MAX, opening).await {
            opened?;
        } else {
            tracing::error!("a volume does not open: its disk hangs. The node starts without it");
        }
        if let Err(trouble) = self.writable() {
            tracing::error!(
                %trouble,
                "nothing can be recorded on this node; it votes, and serves what it can read"
            );
        }
        Ok(())
    }

    /// Opens what the configuration names at `path`. Takes as long as its disk does.
    async fn open_one(&self, path: &Path) -> Result<(), Refusal> {
        let (inner, at, others) = (
            Arc::clone(&self.inner),
            path.to_owned(),
            self.open_elsewhere(path),
        );
        let opening =
            spawn_blocking(move || open_blocking(&inner.settings, &at, &inner.register, &others));
        let crashed = |error| Error::Failed {
            path: path.to_owned(),
            reason: Arc::from(format!("opening it: {error}")),
        };
        let opened = match opening.await {
            Ok(Ok((volume, handle))) => watch_over(volume, handle).map_err(Refusal::from),
            Ok(Err(refusal)) => Err(refusal),
            Err(error) => Err(crashed(error).into()),
        };
        let now = self.inner.clock.elapsed();
        let mut slots = self.slots_mut();
        let Some(slot) = slots
            .iter_mut()
            .find(|slot| slot.path == path && matches!(slot.place, Place::Opening))
        else {
            // It was taken out of the configuration in the meantime. Nothing was appended, and
            // dropping its handle abandons it.
            return Ok(());
        };
        match opened {
            Ok(opened) => {
                if let Some(holds) = lock(&self.inner.holds).clone() {
                    opened.handle.set_holds(holds);
                }
                slot.welcome(opened, now);
                Ok(())
            }
            Err(Refusal::Awaited(why)) => {
                slot.await_disk(&why, now);
                Err(Refusal::Awaited(why))
            }
            Err(Refusal::Store(error)) => {
                tracing::error!(
                    volume = slot.index, %error,
                    "a volume cannot be opened; it is tried again"
                );
                slot.is_awaited = false;
                slot.place = Place::Away(Arc::from(error.to_string()));
                slot.put_on_probation(now);
                slot.probation
                    .iter_mut()
                    .for_each(|probation| probation.refused(now));
                Err(error.into())
            }
        }
    }

    /// Applies the configuration as it is now: new volumes are opened, removed ones are closed once
    /// their cameras have moved.
    pub(crate) fn reconfigure(&self, config: &Config) {
        let wanted = config.volumes();
        for volume in &wanted {
            self.want(volume);
        }
        for slot in self.slots_mut().iter_mut() {
            if !wanted.iter().any(|volume| volume.path == slot.path) && slot.role != Role::Detach {
                tracing::info!(
                    volume = slot.index, path = %slot.path.display(),
                    "taken out of the configuration; closing it once its cameras are elsewhere"
                );
                slot.role = Role::Detach;
            }
        }
    }

    fn want(&self, volume: &config::Volume) {
        let role = role(volume.retire);
        {
            let mut slots = self.slots_mut();
            if let Some(slot) = slots.iter_mut().find(|slot| slot.path == volume.path) {
                if slot.role != role {
                    tracing::info!(
                        volume = slot.index, path = %slot.path.display(), ?role,
                        "a volume's role changed"
                    );
                    slot.role = role;
                }
                return;
            }
            let index = lock(&self.inner.register).at(&volume.path);
            tracing::info!(volume = index, path = %volume.path.display(), "a volume was added");
            slots.push(Slot::new(volume.path.clone(), index, role));
        }
        let (volumes, path) = (self.clone(), volume.path.clone());
        // The error is logged, and shown in the volume's status.
        tokio::spawn(async move { drop(volumes.open_one(&path).await) });
    }

    /// The volume for the stream's next record. Neither waits nor touches a disk.
    ///
    /// # Errors
    /// The former volume has failed and another one continues, which is reported once; or there is
    /// none.
    pub(crate) fn enter(&self, class: &str, record: &Record) -> Result<Arc<Opened>, SinkError> {
        let stream = record.stream_id();
        let slots = self.slots();
        let mut homes = lock(&self.inner.homes);
        let Some(home) = homes.get(stream) else {
            let before = lock(&self.inner.before).get(&stream).copied();
            let volume = self
                .choose(&slots, homes::RATE_UNKNOWN_BPS, before)
                .or_else(|| any_open(&slots));
            let volume = volume.ok_or_else(|| SinkError::Failed(troubles(&slots)))?;
            // Until it is counted: many come at once.
            volume.load_bps.fetch_add(homes::RATE_UNKNOWN_BPS, Relaxed);
            homes.settle(stream, Arc::clone(&volume), |_| None);
            return Ok(volume);
        };
        let standing = standing_of(&slots, &home.volume);
        if matches!(standing, Standing::Failed | Standing::Away) {
            return self.fail_over(&slots, &mut homes, (stream, class));
        }
        let leaves = home.leaves || !(standing.takes() || standing == Standing::Slow);
        if leaves && is_keyframe(record) {
            self.relocate(&slots, &mut homes, stream, class);
        }
        let Some(home) = homes.get(stream) else {
            return Err(SinkError::Failed(troubles(&slots)));
        };
        Ok(Arc::clone(&home.volume))
    }

    /// Another volume for a record that its own volume would shed, because that one is too slow or
    /// hangs. The recording continues there in the middle of a GOP, which can be decoded once the
    /// former volume has caught up.
    pub(crate) fn leave_at_once(&self, class: &str, stream: StreamId) -> Option<Arc<Opened>> {
        let slots = self.slots();
        let mut homes = lock(&self.inner.homes);
        let standing = standing_of(&slots, &homes.get(stream)?.volume);
        let moved = !standing.takes() && self.relocate(&slots, &mut homes, stream, class);
        homes
            .get(stream)
            .filter(|_| moved)
            .map(|home| Arc::clone(&home.volume))
    }

    /// Why a record of the stream was refused: its volume's buffer is full.
    pub(crate) fn shed(&self, stream: StreamId) -> SinkError {
        let slots = self.slots();
        let homes = lock(&self.inner.homes);
        let slot = homes
            .get(stream)
            .and_then(|home| slots.iter().find(|slot| slot.open() == Some(&home.volume)));
        if slot
            .and_then(Slot::open)
            .is_some_and(|opened| opened.handle.has_no_space())
        {
            return SinkError::NoSpace;
        }
        let hung = slot
            .filter(|slot| slot.standing() == Standing::Hung)
            .and_then(Slot::trouble);
        hung.map_or(SinkError::Full, SinkError::Failed)
    }

    fn fail_over(
        &self,
        slots: &[Slot],
        homes: &mut Homes<Arc<Opened>>,
        (stream, class): (StreamId, &str),
    ) -> Result<Arc<Opened>, SinkError> {
        let gone = || SinkError::Failed(troubles(slots));
        let (before, rate_bps) = homes
            .get(stream)
            .map(|home| (Arc::clone(&home.volume), home.rate_bps()))
            .ok_or_else(gone)?;
        let Some(volume) = self
            .choose(slots, rate_bps, None)
            .or_else(|| any_storing(slots))
        else {
            return Err(before
                .failure()
                .map_or_else(gone, |reason| SinkError::Failed(reason.to_string())));
        };
        let to = volume.index();
        volume.load_bps.fetch_add(rate_bps, Relaxed);
        count_move(slots, &before);
        let gaps = homes.gaps(stream, |before| before.durable_until(stream));
        let lost = homes.settle(stream, Arc::clone(&volume), |before| {
            before.durable_until(stream)
        });
        self.repeat_gaps(homes, &volume, class, &gaps);
        tracing::warn!(
            %stream, from = before.index(), to, ?lost,
            "recording continues on another volume"
        );
        Err(SinkError::Moved { lost })
    }

    /// Moves a stream in order, if there is a volume for it: the session continues there. Returns
    /// whether it moved.
    fn relocate(
        &self,
        slots: &[Slot],
        homes: &mut Homes<Arc<Opened>>,
        stream: StreamId,
        class: &str,
    ) -> bool {
        let Some(home) = homes.get(stream) else {
            return false;
        };
        let Some(volume) = self
            .choose(slots, home.rate_bps(), None)
            .filter(|volume| *volume != home.volume)
        else {
            return false;
        };
        let inits = home.inits().iter().cloned().map(Record::Init);
        let taken: Result<Vec<()>, _> = inits.map(|init| volume.append(class, init)).collect();
        if let Err(error) = taken {
            tracing::warn!(
                %stream, to = volume.index(), %error,
                "a volume does not take a stream; it stays where it is"
            );
            return false;
        }
        let (from, rate_bps) = (Arc::clone(&home.volume), home.rate_bps());
        volume.load_bps.fetch_add(rate_bps, Relaxed);
        tracing::info!(
            %stream, from = from.index(), to = volume.index(),
            "recording continues on another volume, at a keyframe or before"
        );
        count_move(slots, &from);
        let gaps = homes.gaps(stream, |before| before.durable_until(stream));
        homes.move_to(stream, Arc::clone(&volume));
        self.repeat_gaps(homes, &volume, class, &gaps);
        true
    }

    /// Repeats the gaps that the former volume took and may not have made durable. Readers merge a
    /// gap that is recorded twice.
    fn repeat_gaps(
        &self,
        homes: &mut Homes<Arc<Opened>>,
        volume: &Arc<Opened>,
        class: &str,
        gaps: &[Gap],
    ) {
        for gap in gaps {
            match volume.append(class, Record::Gap(*gap)) {
                Ok(()) => homes.took_gap(gap, |volume| volume.durable_until(gap.stream_id())),
                // The gap is kept, for the volume after this one.
                Err(error) => {
                    tracing::warn!(
                        stream = %gap.stream_id(), start = %gap.start, end = %gap.end, %error,
                        "the cause of a gap may be shown as unknown"
                    )
                }
            }
        }
    }

    fn choose(&self, slots: &[Slot], rate_bps: u64, before: Option<u16>) -> Option<Arc<Opened>> {
        let now = self.inner.clock.elapsed();
        let seats: Vec<_> = slots.iter().filter_map(|slot| slot.seat(now)).collect();
        let chosen = choose(&seats, rate_bps, before)?;
        slots
            .iter()
            .find(|slot| slot.index == chosen)?
            .open()
            .cloned()
    }

    /// `volume` has taken an init segment: the stream's next volume gets it first.
    pub(crate) fn took_init(&self, init: &Init) {
        lock(&self.inner.homes).took_init(init);
    }

    /// The stream's volume has taken a gap.
    pub(crate) fn took_gap(&self, gap: &Gap) {
        lock(&self.inner.homes).took_gap(gap, |volume| volume.durable_until(gap.stream_id()));
    }

    /// `volume` has taken a chunk of `bytes`, of a stream of this priority.
    pub(crate) fn took(
        &self,
        class: &str,
        volume: &Arc<Opened>,
        meta: &ChunkMeta,
        bytes: u64,
        priority: u8,
    ) {
        let stream = meta.stream_id();
        if meta.track == TrackKind::Video {
            volume.note_newest(stream, meta.end());
        }
        let slots = self.slots();
        let mut homes = lock(&self.inner.homes);
        homes.took(meta, bytes, priority, |home| home.durable_until(stream));
        let stores = |former: &Arc<Opened>| standing_of(&slots, former).stores();
        let Some(gap) = homes.review(stream, |former| former.durable_until(stream), stores) else {
            return;
        };
        // Behind the chunk: so the stream's watermark covers both at the next flush.
        if volume.append(class, Record::Gap(gap)).is_ok() {
            homes.took_gap(&gap, |home| home.durable_until(stream));
            tracing::warn!(
                %stream, start = %gap.start, end = %gap.end,
                "what a volume accepted is not durable, and shown as a gap until it is"
            );
            homes.reported(&gap);
        }
    }

    /// Whether every volume knows how far former processes recorded: none is away, or has yet to
    /// open its catalogue.
    pub(crate) fn are_all_read(&self) -> bool {
        self.slots().iter().all(|slot| {
            slot.open()
                .is_some_and(|opened| opened.handle.stats().is_catalogue_open)
        })
    }

    /// How far any process on this node recorded the stream. May read a catalogue.
    pub(crate) fn recorded_until(&self, stream: StreamId) -> Option<Timestamp> {
        let opened = self.opened();
        let open = opened
            .iter()
            .filter(|volume| volume.handle.stats().is_catalogue_open);
        let soon = self.inner.clock.now().plus_micros(AHEAD_US_MAX);
        let marks = open.filter_map(|volume| {
            Some((former_mark(&volume.handle, stream, soon)?, volume.index()))
        });
        let (mark, index) = marks.max_by_key(|(mark, _)| (mark.epoch, mark.durable_end))?;
        lock(&self.inner.before).insert(stream, index);
        Some(mark.durable_end)
    }

    /// The highest number of a camera with footage here. May read catalogues.
    pub(crate) fn camera_highest(&self) -> Option<CameraId> {
        self.handles()
            .iter()
            .filter_map(VolumeHandle::camera_highest)
            .max()
    }

    /// Whether every volume has room, or can make some; if not, which one has none.
    pub(crate) fn room(&self) -> Result<(), String> {
        let opened = self.opened();
        let stuck = opened
            .iter()
            .filter(|volume| volume.handle.stats().is_stuck);
        let problems: Vec<String> = stuck.map(|volume| no_room(volume.path())).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("; "))
        }
    }

    /// Sets what retention may not delete, on every volume; a volume that is opened later gets it
    /// then.
    pub(crate) fn set_holds(&self, holds: &Holds) {
        *lock(&self.inner.holds) = Some(holds.clone());
        self.handles()
            .iter()
            .for_each(|handle| handle.set_holds(holds.clone()));
    }

    /// Makes everything durable that was appended, and ends the writers.
    ///
    /// # Errors
    /// The first volume that failed or hangs; the others are closed all the same.
    pub(crate) async fn close(&self) -> Result<(), CloseError> {
        let opened = self.opened();
        let closings = opened
            .iter()
            .map(|volume| close_within(CLOSE_MAX, volume.path(), volume.handle.close()));
        futures::future::join_all(closings)
            .await
            .into_iter()
            .collect()
    }

    /// The handles of all open volumes.
    pub(crate) fn handles(&self) -> Vec<VolumeHandle> {
        self.opened()
            .iter()
            .map(|volume| volume.handle.clone())
            .collect()
    }

    /// The volumes that are open at other paths than this one: path and id.
    fn open_elsewhere(&self, path: &Path) -> Vec<(PathBuf, Uuid)> {
        let slots = self.slots();
        let others = slots.iter().filter(|slot| slot.path != path);
        let open = others.filter_map(|slot| {
            slot.open()
                .filter(|opened| !opened.has_failed() || opened.is_reading())
        });
        open.map(|opened| (opened.path().to_owned(), opened.handle.id()))
            .collect()
    }

    fn opened(&self) -> Vec<Arc<Opened>> {
        self.slots()
            .iter()
            .filter_map(Slot::open)
            .cloned()
            .collect()
    }

    fn slots(&self) -> RwLockReadGuard<'_, Vec<Slot>> {
        self.inner
            .slots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn slots_mut(&self) -> RwLockWriteGuard<'_, Vec<Slot>> {
        self.inner
            .slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes catalogues that a killed process left behind.
fn forget_spare_catalogues(data_dir: &Path) {
    let path = spare_dir(data_dir);
    if let Err(error) = std::fs::remove_dir_all(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(
            path = %path.display(), %error,
            "old catalogues stay behind; they may be removed"
        );
    }
}

/// How far a volume has footage of a stream by former processes. If that lies beyond `soon`, the
/// newest epoch may have come back to true time.
fn former_mark(handle: &VolumeHandle, stream: StreamId, soon: Timestamp) -> Option<Watermark> {
    let last = handle.watermark(stream)?;
    if last.durable_end <= soon {
        return Some(last);
    }
    let newest = [soon, Timestamp::MAX].map(|at| handle.watermark_before(stream, at));
    newest
        .into_iter()
        .flatten()
        .max_by_key(|mark| (mark.epoch, mark.durable_end))
        .or(Some(last))
}

fn no_room(path: &Path) -> String {
    let path = path.display();
    format!(
        "volume {path} is full and nothing on it may be deleted: make room there, or remove holds; \
         recording continues by itself then"
    )
}

fn role(retire: bool) -> Role {
    if retire { Role::Retire } else { Role::Record }
}

fn is_keyframe(record: &Record) -> bool {
    matches!(
        record,
        Record::Chunk(chunk)
            if chunk.meta.track == TrackKind::Video && chunk.meta.is_access_point()
    )
}

/// A volume that was replaced or detached counts as away.
fn standing_of(slots: &[Slot], volume: &Arc<Opened>) -> Standing {
    let slot = slots.iter().find(|slot| slot.open() == Some(volume));
    slot.map_or(Standing::Away, Slot::standing)
}

fn count_move(slots: &[Slot], from: &Arc<Opened>) {
    let slot = slots.iter().find(|slot| slot.index == from.index());
    slot.into_iter()
        .for_each(|slot| _ = slot.moved_cameras.fetch_add(1, Relaxed));
}

/// If there is no good volume: one that will store what it is given sooner or later.
fn any_storing(slots: &[Slot]) -> Option<Arc<Opened>> {
    let storing = slots
        .iter()
        .filter(|slot| slot.standing().stores())
        .find_map(Slot::open);
    let hoping = || {
        own(slots)
            .filter(|slot| slot.standing() != Standing::Failed)
            .find_map(Slot::open)
    };
    storing.or_else(hoping).cloned()
}

fn any_open(slots: &[Slot]) -> Option<Arc<Opened>> {
    any_storing(slots).or_else(|| own(slots).find_map(Slot::open).cloned())
}

/// Without adopted volumes: nothing is recorded to them, whatever happens.
fn own(slots: &[Slot]) -> impl Iterator<Item = &Slot> {
    slots
        .iter()
        .filter(|slot| slot.open().is_none_or(|opened| !opened.handle.is_adopted()))
}

fn troubles(slots: &[Slot]) -> String {
    let all: Vec<_> = slots.iter().filter_map(Slot::trouble).collect();
    if all.is_empty() {
        "no volume takes records".to_owned()
    } else {
        all.join("; ")
    }
}

async fn close_within(
    wait_max: Duration,
    path: &Path,
    closing: impl Future<Output = Result<(), Error>>,
) -> Result<(), CloseError> {
    match timeout(wait_max, closing).await {
        Ok(closed) => Ok(closed?),
        Err(_) => Err(CloseError::Hangs {
            path: path.to_owned(),
            wait_max,
        }),
    }
}

/// A holder that panicked has left plain data behind, which is still valid.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
