//! The scrub of one volume: a thread that slowly rereads every sealed segment, and enters damaged
//! chunks into the register.
//!
//! `plan` decides, `paced` reads, `state` is saved over restarts; this file executes. The scrub
//! reads at a bounded rate and lowest priority, pauses while the writer is behind, and leaves
//! nothing in the page cache. Its memory is one segment's index.

#![expect(clippy::disallowed_methods, reason = "an edge: it waits for the world")]

mod paced;
mod plan;
mod state;

use crate::state::ScrubPass;
pub(crate) use state::Remembered;

use crate::Error;
use crate::damage::DamagedChunk;
use crate::ids::SegmentId;
use crate::intake::Budget;
use crate::locks::{lock, read, write};
use crate::state::Shared;
use crate::time::Timestamp;
use crate::verify::{FooterState, Verified, compare_track, verify_file};
use paced::{Paced, Pacer};
use plan::{Next, Pass, Seen};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often to check for work.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often the state is saved at most: a killed process repeats that much.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// How soon damage is saved.
const SAVE_DAMAGE_INTERVAL: Duration = Duration::from_secs(2);

/// The thread's CPU priority; block layers with priorities derive theirs from it.
const NICE_MAX: i32 = 19;

pub(crate) struct Scrub {
    shared: Arc<Shared>,
    pacer: Arc<Pacer>,
    pass: Option<Pass>,
    /// Start and end of the last pass.
    last: Option<(Timestamp, Timestamp)>,
    /// When the present turn began.
    now: Instant,
    saved_at: Instant,
    saved_damage: u64,
    is_dirty: bool,
}

impl Scrub {
    /// Continues at the place in `remembered`.
    pub(crate) fn new(shared: Arc<Shared>, budget: Arc<Budget>, remembered: &Remembered) -> Self {
        let pacer = Pacer::new(Arc::clone(&shared), budget);
        Self::with(shared, pacer, remembered, Instant::now())
    }

    /// Reads without pauses, for a simulation in its own time.
    #[cfg(feature = "simulation")]
    pub(crate) fn at_once(
        shared: Arc<Shared>,
        budget: Arc<Budget>,
        remembered: &Remembered,
        now: Instant,
    ) -> Self {
        let pacer = Pacer::at_once(Arc::clone(&shared), budget, now);
        Self::with(shared, pacer, remembered, now)
    }

    fn with(shared: Arc<Shared>, pacer: Pacer, remembered: &Remembered, now: Instant) -> Self {
        let saved_damage = read(&shared.damage).version();
        let (pass, last) = (remembered.pass, remembered.last);
        Self {
            shared,
            pacer: Arc::new(pacer),
            pass,
            last,
            now,
            saved_at: now,
            saved_damage,
            is_dirty: false,
        }
    }

    /// Runs until [`Control::stop`].
    pub(crate) fn run(mut self) {
        // Applies to this thread alone (Linux).
        if let Err(error) = rustix::process::setpriority_process(None, NICE_MAX) {
            tracing::debug!(%error, "the scrub runs at normal priority");
        }
        while !self.shared.scrub.is_stopped() {
            if !self.turn(Instant::now()) {
                self.shared.scrub.wait(LOOK_INTERVAL);
            }
        }
        self.save_if_changed();
    }

    /// Does the next piece of work: one segment at most. `false` if there was nothing to do.
    pub(crate) fn turn(&mut self, now: Instant) -> bool {
        self.now = now;
        self.save_if_due();
        let next = self.next();
        match next {
            Next::Suspect(id) | Next::Segment(id) => self.scrub(id),
            Next::Begin => self.begin(),
            Next::End => self.end(),
            Next::Wait => {}
        }
        self.update_status();
        next != Next::Wait
    }

    fn next(&mut self) -> Next {
        let options = self.shared.options.scrub;
        if options.bytes_per_second_max == 0 {
            return Next::Wait;
        }
        let known = read(&self.shared.known);
        let seen = Seen {
            now: self.shared.clock.now(),
            pass_interval: options.pass_interval,
            is_asked: std::mem::take(&mut lock(&self.shared.scrub.asked).start),
            // Segments that are not listed yet would be left out of the pass.
            is_listed: self.shared.is_listed(),
            suspect: write(&self.shared.damage).take_suspect(),
            last_started_at: self.last.map(|(started_at, _)| started_at),
            newest: known.last_key_value().map(|(id, _)| *id),
        };
        let next_of = |pass: &Pass| {
            known
                .range(pass.next..)
                .next()
                .map(|(id, _)| *id)
                .filter(|id| *id <= pass.newest)
        };
        plan::next(&seen, self.pass.as_ref(), next_of)
    }

    fn begin(&mut self) {
        let known = read(&self.shared.known);
        let Some((newest, _)) = known.last_key_value() else {
            return;
        };
        let pass = Pass {
            started_at: self.shared.clock.now(),
            next: SegmentId(0),
            newest: *newest,
            done_bytes: 0,
            done_segments: 0,
        };
        tracing::info!(
            volume = %self.shared.layout.root.display(), segments = known.len(),
            "the scrub begins a pass"
        );
        drop(known);
        self.pass = Some(pass);
        self.is_dirty = true;
    }

    fn end(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        let damaged = read(&self.shared.damage).chunks().count();
        tracing::info!(
            volume = %self.shared.layout.root.display(), segments = pass.done_segments,
            bytes = pass.done_bytes, damaged,
            "the scrub has ended a pass"
        );
        self.last = Some((pass.started_at, self.shared.clock.now()));
        self.is_dirty = true;
        self.save_if_changed();
    }

    /// Reads one segment. If the volume is closed in the meantime, the segment remains to be done.
    fn scrub(&mut self, id: SegmentId) {
        let Some(path) = self.shared.sealed_path(id) else {
            return self.done(id, 0);
        };
        let (bytes, verified) = match self.verify(id, &path) {
            Ok(verified) => verified,
            Err(_) if self.shared.scrub.is_stopped() => return,
            // Retention deleted it in the meantime.
            Err(_) if self.shared.sealed_path(id).is_none() => return self.done(id, 0),
            Err(error) => {
                tracing::error!(
                    segment = %id, %error,
                    "the scrub cannot read a segment; its footage may be lost"
                );
                lock(&self.shared.scrub.status).failed_segments += 1;
                return self.done(id, 0);
            }
        };
        self.take_down(id, &path, &verified);
        self.done(id, bytes);
    }

    fn verify(&self, id: SegmentId, path: &Path) -> Result<(u64, Verified), Error> {
        let file = self
            .shared
            .disk
            .open_read(path)
            .map_err(Error::io("open", path))?;
        let file = Paced::new(file, Arc::clone(&self.pacer));
        let mut verified = verify_file(&file, path, id, |_| {})?;
        if verified.footer == FooterState::Damaged {
            self.compare_with_the_catalogue(id, &file, path, &mut verified)?;
        }
        if let Some(offset) = file.first_unreadable() {
            tracing::error!(
                segment = %id, offset,
                "the disk does not give parts of a segment back: look at it (dmesg, smartctl -a)"
            );
        }
        Ok((file.read_bytes(), verified))
    }

    /// If the footer does not list the segment's contents, the catalogue does: exactly what readers
    /// list must be there.
    fn compare_with_the_catalogue(
        &self,
        id: SegmentId,
        file: &Paced,
        path: &Path,
        verified: &mut Verified,
    ) -> Result<(), Error> {
        let listed = match self.shared.listed_in(id) {
            // The catalogue is being rebuilt: the next pass will know.
            Err(error @ Error::Catalogue { .. }) => {
                tracing::warn!(
                    segment = %id, %error,
                    "whose the damaged chunks of a segment without a footer are is not known now"
                );
                return Ok(());
            }
            listed => listed?,
        };
        verified.lost.clear();
        for (key, rows) in listed {
            compare_track(file, path, id, (key, &rows), verified)?;
        }
        verified.lost.sort_by_key(|chunk| chunk.offset);
        Ok(())
    }

    fn take_down(&self, id: SegmentId, path: &Path, verified: &Verified) {
        if self.shared.sealed_path(id).is_none() {
            return;
        }
        let new = write(&self.shared.damage).settle(id, &verified.lost);
        for chunk in &new {
            self.shared.report_damage(chunk, "the scrub");
        }
        for init in &verified.lost_inits {
            let (camera, stream) = (init.key.camera, init.key.stream);
            tracing::error!(
                segment = %id, %camera, ?stream, offset = init.offset,
                "an init segment is damaged; copies of it in other segments serve"
            );
        }
        let is_rest_sound = verified.is_header_sound
            && verified.footer == FooterState::Sound
            && verified.lost_inits.is_empty();
        if !is_rest_sound {
            tracing::error!(
                path = %path.display(), header_is_sound = verified.is_header_sound,
                footer = ?verified.footer,
                "the scrub found a segment's header, footer or init segment damaged"
            );
            lock(&self.shared.scrub.status).damaged_segments += 1;
        }
    }

    /// A segment that is read out of turn does not advance the pass.
    fn done(&mut self, id: SegmentId, bytes: u64) {
        if let Some(pass) = &mut self.pass
            && pass.next <= id
            && id <= pass.newest
            && read(&self.shared.known)
                .range(pass.next..id)
                .next()
                .is_none()
        {
            pass.next = SegmentId(id.0 + 1);
            pass.done_bytes += bytes;
            pass.done_segments += 1;
            self.is_dirty = true;
        }
    }

    /// Updates the status.
    fn update_status(&self) {
        // Segments that are not listed yet cannot be counted.
        let pass = self
            .pass
            .as_ref()
            .filter(|_| self.shared.is_listed())
            .map(|pass| {
                let known = read(&self.shared.known);
                let left = known
                    .range(pass.next..)
                    .take_while(|(id, _)| **id <= pass.newest);
                let (segments, bytes) = left.fold((0, 0), |(count, bytes), (_, known)| {
                    (count + 1, bytes + known.bytes)
                });
                ScrubPass {
                    started_at: pass.started_at,
                    done_bytes: pass.done_bytes,
                    total_bytes: pass.done_bytes + bytes,
                    done_segments: pass.done_segments,
                    total_segments: pass.done_segments + segments,
                }
            });
        let mut status = lock(&self.shared.scrub.status);
        status.bytes_per_second_max = self.shared.options.scrub.bytes_per_second_max;
        status.pass = pass;
        status.last_started_at = self.last.map(|(started_at, _)| started_at);
        status.last_ended_at = self.last.map(|(_, ended_at)| ended_at);
    }

    fn save_if_due(&mut self) {
        let age = self.now.saturating_duration_since(self.saved_at);
        let has_new_damage = read(&self.shared.damage).version() != self.saved_damage;
        if (self.is_dirty && age >= SAVE_INTERVAL)
            || (has_new_damage && age >= SAVE_DAMAGE_INTERVAL)
        {
            self.save_if_changed();
        }
    }

    pub(crate) fn save_if_changed(&mut self) {
        let damage = read(&self.shared.damage);
        if !self.is_dirty && damage.version() == self.saved_damage {
            return;
        }
        let version = damage.version();
        let damaged: Vec<DamagedChunk> = damage.chunks().collect();
        drop(damage);
        self.saved_at = self.now;
        let remembered = Remembered {
            pass: self.pass,
            last: self.last,
            damaged,
        };
        match state::save(
            &*self.shared.disk,
            &self.shared.layout,
            self.shared.volume,
            &remembered,
        ) {
            Ok(()) => (self.saved_damage, self.is_dirty) = (version, false),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the scrub's state is not saved; after a restart it begins again"
                )
            }
        }
    }
}
