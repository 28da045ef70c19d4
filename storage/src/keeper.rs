//! The keeper of one volume: a thread that seals segments, catalogues those of earlier processes,
//! and deletes what retention allows.
//!
//! Recording never waits for it. `turn` does one bounded piece of work (sealing first, then space,
//! then recovery) and returns when the next one is due; it reads no clock and never waits, so a
//! simulation can drive it. `keep` is the thread's loop, which does both.

mod copy;
mod guard;
mod hold;
mod place;
mod retain;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::catalogue::{Broken, Catalogue, is_held, is_writable};
use crate::disk::{DirEntry, DiskFile, FileId, Salvaging};
use crate::format::{Footer, FooterHead, Trailer};
use crate::ids::SegmentId;
use crate::layout::parse_file_name;
use crate::locks::{lock, read, write};
use crate::scan::{Scan, scan};
use crate::seal::{Sealed, read_sealed, seal};
use crate::segments::Found;
use crate::segments::Known;
use crate::state::Job;
use crate::state::{OpenSegment, OpenState, Shared};
use crate::verify::ends_like_a_seal;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often retention runs.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5);

/// How often the keeper checks that the volume's path still leads to it.
const PLACE_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait after a catalogue could not be opened, or a footer could not be written.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often a catalogue that is still open elsewhere is checked, and how long before it is
/// replaced.
const HELD_INTERVAL: Duration = Duration::from_millis(50);
const HELD_MAX: Duration = Duration::from_secs(2);
/// How often a long listing logs its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// Runs `keeper` on this thread until the writer has stopped and its segments are sealed.
#[expect(
    clippy::disallowed_methods,
    reason = "an edge: the thread's loop gives the keeper its time"
)]
pub(crate) fn keep(mut keeper: Keeper, jobs: &Receiver<Job>) {
    let mut wait = Duration::ZERO;
    loop {
        let job = match jobs.recv_timeout(wait) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Job::Stop),
        };
        match keeper.turn(job, Instant::now()) {
            Some(next) => wait = next,
            None => return,
        }
    }
}

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    /// When the present turn began.
    now: Instant,
    /// By id, oldest first.
    to_recover: VecDeque<Found>,
    to_seal: VecDeque<SegmentId>,
    seal_at: Instant,
    open_catalogue_at: Instant,
    /// Since when another volume has had the catalogue open.
    held_since: Option<Instant>,
    retention_at: Instant,
    place_at: Instant,
    recover_at: Instant,
    is_first_listing: bool,
    progress_at: Instant,
    /// Work was done since the last line of progress.
    is_progress_due: bool,
    holding: hold::Holding,
    inflow: retain::Inflow,
    guard: guard::Guard,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, mut found: Vec<Found>, now: Instant) -> Self {
        found.sort_by_key(|found| found.id);
        shared
            .counters
            .segments_to_recover
            .store(found.len() as u64, Ordering::Relaxed);
        let guard = guard::Guard::new(Arc::clone(&shared), now);
        Self {
            shared,
            now,
            to_recover: found.into(),
            to_seal: VecDeque::new(),
            seal_at: now,
            open_catalogue_at: now,
            held_since: None,
            retention_at: now,
            place_at: now + PLACE_INTERVAL,
            recover_at: now,
            is_first_listing: true,
            progress_at: now + PROGRESS_INTERVAL,
            is_progress_due: false,
            holding: hold::Holding::new(now),
            inflow: retain::Inflow::new(now),
            guard,
        }
    }

    /// Does `job`, or else the next piece of work that is due at `now`. Returns how long to wait
    /// for a job before the next turn; `None` once it has stopped.
    pub(crate) fn turn(&mut self, job: Option<Job>, now: Instant) -> Option<Duration> {
        self.now = now;
        if self.place_at <= now {
            self.place_at = now + PLACE_INTERVAL;
            self.look_at_place();
        }
        match job {
            Some(Job::Seal(id)) => self.to_seal.push_back(id),
            Some(Job::Reclaim) => self.reclaim(),
            Some(Job::Stop) => {
                self.finish();
                return None;
            }
            None => self.step(),
        }
        Some(self.wait())
    }

    /// Time until the next piece of work is due.
    fn wait(&self) -> Duration {
        if self.holding.is_copying() {
            return Duration::ZERO;
        }
        let mut due_at = self.retention_at.min(self.place_at);
        if !self.has_catalogue() {
            due_at = due_at.min(self.open_catalogue_at);
        } else if !self.to_recover.is_empty() {
            due_at = due_at.min(self.recover_at);
        }
        if !self.to_seal.is_empty() {
            due_at = due_at.min(self.seal_at);
        }
        due_at.saturating_duration_since(self.now)
    }

    fn step(&mut self) {
        let now = self.now;
        if self
            .shared
            .is_catalogue_suspect
            .swap(false, Ordering::Relaxed)
        {
            self.rebuild_catalogue(&Broken("a reader found it damaged".to_owned()));
        }
        if self.seal_at <= now && self.seal_next() {
            return;
        }
        if self.copy_some() {
            return;
        }
        if self.retention_at <= now {
            self.retention_at = now + RETENTION_INTERVAL;
            self.retain();
        } else if !self.has_catalogue() && self.open_catalogue_at <= now {
            self.open_catalogue();
        } else if self.has_catalogue()
            && self.recover_at <= now
            && let Some(found) = self.to_recover.pop_back()
        {
            if self.to_recover.is_empty() {
                self.to_recover.shrink_to_fit();
            }
            self.recover(&found);
            self.log_progress(now);
        }
    }

    /// Logs the progress of the listing.
    fn log_progress(&mut self, now: Instant) {
        let waiting = self.to_recover.len();
        let is_due = if waiting > 0 {
            now >= self.progress_at
        } else {
            self.is_progress_due
        };
        if !is_due {
            return;
        }
        self.progress_at = now + PROGRESS_INTERVAL;
        self.is_progress_due = waiting > 0;
        let listed = self
            .shared
            .counters
            .segments_recovered
            .load(Ordering::Relaxed);
        tracing::info!(
            volume = %self.shared.layout.root.display(), listed, waiting,
            "listing segments of former processes; recording continues"
        );
    }

    fn finish(&mut self) {
        while !self.to_seal.is_empty() && self.seal_next() {}
        self.give_up_copy();
        // Whatever the writer failed of: its disk may be gone from the path already.
        if self.shared.failed.borrow().is_some() {
            self.look_at_place();
        }
        self.guard.save(true, self.now);
        if let Some(catalogue) = self.catalogue()
            && let Err(error) = catalogue.flush()
        {
            tracing::warn!(%error, "the catalogue was not flushed; it is rebuilt if need be");
        }
        // A failed volume's durable footage can still be read.
        if self.shared.failed.borrow().is_none() {
            self.close_catalogue();
        }
    }

    /// Closing the catalogue waits for the disk; readers that look at the catalogue in the meantime
    /// must not wait for that.
    fn close_catalogue(&self) {
        let closed = write(&self.shared.catalogue).take();
        drop(closed);
    }

    fn catalogue(&self) -> Option<Arc<Catalogue>> {
        read(&self.shared.catalogue).clone()
    }

    fn has_catalogue(&self) -> bool {
        read(&self.shared.catalogue).is_some()
    }

    /// Opens the catalogue, deleting it first if it is damaged, and removes from the work list the
    /// segments that it already lists.
    fn open_catalogue(&mut self) {
        self.open_catalogue_at = self.now + RETRY_INTERVAL;
        let path = self
            .shared
            .disk
            .stable_path(&self.shared.layout.catalogue());
        if self.shared.is_reading || !is_writable(&path) {
            return self.open_spare_catalogue();
        }
        if self.waits_for_holder(&path) {
            return;
        }
        let open = || {
            let catalogue = Catalogue::open(&path, self.shared.volume)?;
            let listed = catalogue.segments()?;
            Ok::<_, Broken>((catalogue, listed))
        };
        let opened = open().or_else(|error| {
            tracing::warn!(
                path = %path.display(), %error,
                "the catalogue is damaged: rebuilding it from the segments"
            );
            self.shared
                .counters
                .catalogue_rebuilds
                .fetch_add(1, Ordering::Relaxed);
            delete_dir(&path)?;
            open()
        });
        match opened {
            Ok((catalogue, listed)) => self.use_catalogue(catalogue, listed),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the catalogue cannot be opened")
            }
        }
    }

    /// Whether to wait with the catalogue because the volume that was open here before has not
    /// released it yet. The lock guarantees that no other process has the directory. If a failed
    /// volume is still being read, its catalogue's files are replaced after a while, which does it
    /// no harm.
    fn waits_for_holder(&mut self, path: &Path) -> bool {
        if !is_held(path) {
            self.held_since = None;
            return false;
        }
        let held_since = *self.held_since.get_or_insert(self.now);
        let is_waiting = self.now.saturating_duration_since(held_since) < HELD_MAX;
        if is_waiting {
            self.open_catalogue_at = self.now + HELD_INTERVAL;
        }
        is_waiting
    }

    fn use_catalogue(&mut self, catalogue: Catalogue, mut listed: BTreeMap<SegmentId, Known>) {
        if self.is_first_listing {
            self.is_first_listing = false;
            self.measure();
            self.drop_listed(&mut listed);
        }
        let gone: BTreeSet<SegmentId> = listed.into_keys().collect();
        let removed = catalogue
            .remove_searched(&gone)
            .and_then(|placeless| self.place_again(&catalogue, &placeless));
        if let Err(error) = removed {
            return tracing::error!(%error, "the catalogue cannot be changed; opening it again");
        }
        *write(&self.shared.catalogue) = Some(Arc::new(catalogue));
        self.holding.forget();
        self.retention_at = self.now;
    }

    /// Lengths are not read when the volume is opened: reading them one by one takes long, and
    /// recording waits for it.
    fn measure(&mut self) {
        let found = self.to_recover.make_contiguous();
        found.sort_by_key(|found| found.id);
        let classes: BTreeSet<Arc<str>> =
            found.iter().map(|found| Arc::clone(&found.class)).collect();
        for class in classes {
            let path = self.shared.layout.class(&class);
            let mut note = |file: DirEntry| {
                let at = parse_file_name(&file.name)
                    .and_then(|id| found.binary_search_by_key(&id, |found| found.id).ok());
                if let Some(found) = at
                    .map(|at| &mut found[at])
                    .filter(|found| found.class == class)
                {
                    found.bytes = file.bytes;
                }
            };
            if let Err(error) = self.shared.disk.each_entry(&path, &mut note) {
                tracing::warn!(
                    path = %path.display(), %error,
                    "segments cannot be measured; they are listed again"
                );
            }
        }
    }

    /// Files that are listed with their present length need no recovery. Leaves in `listed` the
    /// segments that have no such file.
    fn drop_listed(&mut self, listed: &mut BTreeMap<SegmentId, Known>) {
        let mut known = write(&self.shared.known);
        self.to_recover.retain(|found| {
            let is_same = |known: &Known| known.bytes == found.bytes && known.class == found.class;
            if !listed.get(&found.id).is_some_and(is_same) {
                return true;
            }
            known.extend(listed.remove_entry(&found.id));
            false
        });
        drop(known);
        self.to_recover.shrink_to_fit();
        self.count_pending();
    }

    /// Makes the reported recovery end when no segment waits any more, even if some were put back
    /// on the list in the meantime.
    fn count_pending(&self) {
        let counters = &self.shared.counters;
        let done = counters.segments_recovered.load(Ordering::Relaxed)
            + counters.refused_segments.load(Ordering::Relaxed);
        counters
            .segments_to_recover
            .store(done + self.to_recover.len() as u64, Ordering::Relaxed);
    }

    /// Deletes the catalogue; every segment that it listed is read again.
    fn rebuild_catalogue(&mut self, error: &Broken) {
        tracing::warn!(%error, "rebuilding the catalogue from the segments");
        self.shared
            .counters
            .catalogue_rebuilds
            .fetch_add(1, Ordering::Relaxed);
        self.close_catalogue();
        self.open_catalogue_at = self.now + RETRY_INTERVAL;
        let path = self
            .shared
            .disk
            .stable_path(&self.shared.layout.catalogue());
        if !self.shared.is_reading
            && let Err(error) = delete_dir(&path)
        {
            tracing::error!(%error, "the damaged catalogue cannot be deleted");
        }
        let known = std::mem::take(&mut *write(&self.shared.known));
        let again = known.into_iter().map(|(id, known)| Found {
            id,
            class: known.class,
            bytes: known.bytes,
        });
        self.to_recover.extend(again);
        self.to_recover
            .make_contiguous()
            .sort_by_key(|found| found.id);
        self.count_pending();
    }

    /// Seals the next segment. `false` if there is none, or it has to wait.
    fn seal_next(&mut self) -> bool {
        let Some(id) = self.to_seal.front().copied() else {
            return false;
        };
        let Some(segment) = read(&self.shared.open).get(&id).cloned() else {
            self.to_seal.pop_front();
            return true;
        };
        if read(&segment.state).batches == 0 {
            self.to_seal.pop_front();
            write(&self.shared.open).remove(&id);
            self.remove_empty(id, &segment.class);
            return true;
        }
        match self.seal_open(id, &segment) {
            Ok((trailer, head)) => {
                self.to_seal.pop_front();
                self.guard
                    .came(&segment.class, trailer.file_bytes(), self.now);
                self.list(&segment.class, &trailer, &head);
                write(&self.shared.open).remove(&id);
                true
            }
            Err(error) => {
                tracing::warn!(segment = %id, %error, "the segment is not sealed yet");
                self.seal_at = self.now + RETRY_INTERVAL;
                if matches!(error, Error::NoSpace { .. }) {
                    self.reclaim();
                }
                false
            }
        }
    }

    /// Removes a segment that was opened ahead and never got a batch. If that fails, the next start
    /// tries again.
    fn remove_empty(&self, id: SegmentId, class: &str) {
        let path = self.shared.layout.segment(class, id);
        match self.shared.disk.remove(&path) {
            Ok(()) => tracing::info!(segment = %id, "removed a segment that holds nothing"),
            Err(error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "a segment that holds nothing stays behind"
                )
            }
        }
    }

    fn seal_open(
        &self,
        id: SegmentId,
        segment: &OpenSegment,
    ) -> Result<(Trailer, FooterHead), Error> {
        let path = self.shared.layout.segment(&segment.class, id);
        let state = read(&segment.state);
        let footer = Footer {
            segment: id,
            volume: self.shared.volume,
            offset: state.data_end,
            closed_at: state.closed_at,
            batches: state.batches,
            damaged_batches: 0,
        };
        let (head, trailer) = seal(
            &*self.shared.disk,
            &path,
            segment.file,
            &footer,
            &state.index,
        )?;
        Ok((trailer, head))
    }

    /// Lists a sealed segment. If the catalogue is closed, the segment is read again once it is
    /// open.
    fn list(&mut self, class: &Arc<str>, trailer: &Trailer, head: &FooterHead) {
        let id = trailer.segment;
        let bytes = trailer.file_bytes();
        let more = !self.to_recover.is_empty();
        match self
            .catalogue()
            .map(|catalogue| catalogue.insert(class, trailer, head, more))
        {
            Some(Ok(())) => {
                let known = Known {
                    class: Arc::clone(class),
                    bytes,
                    closed_at: trailer.closed_at,
                };
                write(&self.shared.known).insert(id, known);
                self.holding.note(id, head);
            }
            Some(Err(error)) => {
                self.rebuild_catalogue(&error);
                self.to_recover.push_back(Found {
                    id,
                    class: Arc::clone(class),
                    bytes,
                });
            }
            None => self.to_recover.push_back(Found {
                id,
                class: Arc::clone(class),
                bytes,
            }),
        }
        self.count_pending();
    }

    /// Lists one segment of an earlier process, sealing it first if necessary.
    fn recover(&mut self, found: &Found) {
        let path = self.shared.layout.segment(&found.class, found.id);
        match self.read_or_seal(found, &path) {
            Ok(sealed) => {
                match sealed {
                    Recovered::Sealed(trailer, head) => self.list(&found.class, &trailer, &head),
                    Recovered::Open(segment) => {
                        _ = write(&self.shared.open).insert(found.id, Arc::new(segment))
                    }
                    Recovered::Blank if self.shared.is_reading => {}
                    Recovered::Blank => self.remove_empty(found.id, &found.class),
                }
                self.shared
                    .counters
                    .segments_recovered
                    .fetch_add(1, Ordering::Relaxed);
                self.count_pending();
            }
            Err(error @ Error::NoSpace { .. }) => {
                tracing::warn!(
                    segment = %found.id, %error,
                    "no room to close a recovered segment; trying again"
                );
                self.recover_at = self.now + RETRY_INTERVAL;
                self.to_recover.push_back(found.clone());
            }
            Err(error) => {
                self.shared
                    .counters
                    .refused_segments
                    .fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "a segment is left untouched and not listed");
                lock(&self.shared.first_refusal).get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn read_or_seal(&self, found: &Found, path: &Path) -> Result<Recovered, Error> {
        let medium = self
            .shared
            .disk
            .open_read(path)
            .map_err(Error::io("open", path))?;
        let file = Salvaging::new(Arc::clone(&medium), || false);
        check_header_version(&file, path)?;
        let settled = settle(&*medium, path);
        if !self.shared.is_reading {
            settled?;
        }
        let reason = match read_sealed(&file, path)? {
            Sealed::Yes(trailer, head) if trailer.segment == found.id => {
                return Ok(Recovered::Sealed(trailer, head));
            }
            Sealed::Yes(trailer, _) => format!("its footer is that of segment {}", trailer.segment),
            Sealed::No(reason) => reason.to_string(),
        };
        let scan = scan(&file, found.id)
            .map_err(Error::io("scan", path))?
            .map_err(Error::format(path))?;
        if scan.is_blank {
            return Ok(Recovered::Blank);
        }
        let id = medium.id().map_err(Error::io("look at", path))?;
        if self.shared.is_reading {
            return Ok(Recovered::Open(open_again(&found.class, id, scan)));
        }
        // A crash neither tears what was flushed or sealed, nor makes a sector unreadable.
        let may_be_torn = file.first_unreadable().is_none() && !ends_like_a_seal(&file, path)?;
        let torn = if may_be_torn { scan.torn_batches } else { 0 };
        let damaged = scan.damaged_batches - torn;
        self.shared
            .counters
            .torn_batches
            .fetch_add(u64::from(torn), Ordering::Relaxed);
        self.shared
            .counters
            .damaged_batches
            .fetch_add(u64::from(damaged), Ordering::Relaxed);
        tracing::info!(
            segment = %found.id, chunks = scan.index.chunks(), torn, damaged, %reason,
            "recovered a segment that was not closed"
        );
        if let Some(offset) = file.first_unreadable() {
            tracing::error!(
                segment = %found.id, offset,
                "the disk does not give parts of a segment back: look at it (dmesg, smartctl -a)"
            );
        }
        let footer = Footer {
            segment: found.id,
            volume: self.shared.volume,
            offset: scan.data_end,
            closed_at: scan.closed_at,
            batches: scan.batches,
            damaged_batches: scan.damaged_batches,
        };
        let (head, trailer) = seal(&*self.shared.disk, path, id, &footer, &scan.index)?;
        Ok(Recovered::Sealed(trailer, head))
    }
}

/// The result of recovering a segment of an earlier process.
enum Recovered {
    Sealed(Trailer, FooterHead),
    /// It has no footer, and gets none because the volume is read-only.
    Open(OpenSegment),
    /// Nothing was written after the header: it was opened ahead before a crash.
    Blank,
}

/// The result of a scan, as an open segment.
fn open_again(class: &Arc<str>, file: FileId, scan: Scan) -> OpenSegment {
    let Scan {
        index,
        batches,
        data_end,
        closed_at,
        ..
    } = scan;
    let state = OpenState {
        index,
        batches,
        data_end,
        closed_at,
    };
    OpenSegment {
        class: Arc::clone(class),
        file,
        state: state.into(),
    }
}

/// The contents of a recovered file are listed and served, so they have to be on the medium, and
/// not only in the memory of a machine whose last process was killed or gave up the volume after a
/// failed sync. That applies to a footer, too: a power cut may keep the list and tear the footer.
/// The second attempt does not claim as durable what the first could not make durable: it reads
/// what is there.
fn settle(file: &dyn DiskFile, path: &Path) -> Result<(), Error> {
    let settled = file.settle().or_else(|error| {
        tracing::warn!(
            path = %path.display(), %error,
            "a segment's last writes failed; keeping what reached the disk"
        );
        file.settle()
    });
    settled.map_err(Error::io("sync", path))
}

/// A header of a newer version means that the file must not be touched. A damaged header does not:
/// its batches may be sound.
fn check_header_version(file: &dyn DiskFile, path: &Path) -> Result<(), Error> {
    use crate::format::{BLOCK_BYTES, FormatError, SegmentHeader};
    let mut block = vec![0; BLOCK_BYTES];
    match file.read_exact_at(&mut block, 0) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
        other => other.map_err(Error::io("read", path))?,
    }
    match SegmentHeader::decode(&block) {
        Err(source @ FormatError::Version { .. }) => Err(Error::Format {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn delete_dir(path: &Path) -> Result<(), Broken> {
    let deleted = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match deleted {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Broken(error.to_string()))
        }
        _ => Ok(()),
    }
}
