//! Carrying out what retention decides. Held footage is copied before its segment goes, see `hold`.

use super::Keeper;
use super::hold::Verdict;
use crate::catalogue::{Broken, Catalogue, Placeless};
use crate::disk::Space;
use crate::format::FooterHead;
use crate::hold::Holds;
use crate::ids::SegmentId;
use crate::index::InitRow;
use crate::options::RetentionClass;
use crate::retention::{FreeSpace, Plan, Rate, Reason, SegmentFacts, full_in_s, holding, plan_deletions};
use crate::seal::{Sealed, read_sealed};
use crate::shared::{read, write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the writer's need is planned anew because what was picked turned out to be held.
const RECLAIM_PLANS_MAX: usize = 64;

/// Footers before and after a segment that are searched for an init segment whose newest place went with it.
const FOOTERS_SEARCHED_MAX: usize = 128;

/// A copy leaves so much room to the writer.
const COPY_SPARE_BYTES: u64 = 2 * crate::writer::ALLOCATE_BYTES_MIN;

/// The rate is measured over at least this time.
const INFLOW_INTERVAL: Duration = Duration::from_secs(4);

/// What the writer wrote, over time.
pub(super) struct Inflow {
    rate: Rate,
    bytes: u64,
    at: Instant,
}

impl Inflow {
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: Rate::default(), bytes: 0, at: now }
    }

    fn observe(&mut self, bytes: u64, now: Instant) {
        let time = now.saturating_duration_since(self.at);
        if time >= INFLOW_INTERVAL {
            self.rate.observe(bytes - self.bytes, time);
            (self.bytes, self.at) = (bytes, now);
        }
    }
}

impl Keeper {
    /// Deletes what the limits say, once it is known what is held.
    pub(super) fn retain(&mut self) {
        let space = match self.shared.disk.space(&self.shared.layout.root) {
            Ok(space) => space,
            Err(error) => return tracing::warn!(%error, "the filesystem does not tell its free space"),
        };
        if self.shared.is_reading {
            return self.tell_room(space);
        }
        let Some(holds) = self.learn_holds() else { return self.tell_room(space) };
        let free_bytes_min = self.shared.options.free_bytes_min;
        // While older segments may be unknown, age and size would pick the wrong ones.
        let is_complete = self.has_catalogue() && self.to_recover.is_empty();
        if !is_complete && space.free_bytes < free_bytes_min {
            self.recover_oldest();
        }
        let classes: Vec<RetentionClass> = if is_complete { self.shared.options.retention.clone() } else { Vec::new() };
        let room = FreeSpace { free_bytes_min, ..self.room(space.free_bytes) };
        let plan = self.plan(&classes, room);
        self.shared.counters.short_bytes.store(plan.short_bytes, Ordering::Relaxed);
        if self.delete_planned(&plan, &holds).is_held {
            // Others go in place of what turned out to be held.
            self.retain_soon();
        }
        self.tell_room(space);
    }

    /// Makes room for the writer, whatever the limits.
    pub(super) fn reclaim(&mut self) {
        let deleted = self.learn_holds().map_or(0, |holds| {
            self.recover_oldest();
            self.reclaim_beside(&holds)
        });
        self.shared.counters.has_nothing_deletable.store(deleted == 0, Ordering::Relaxed);
        if deleted == 0 && self.holding.is_time_to_complain(self.now) {
            tracing::error!(volume = %self.shared.layout.root.display(), "the disk is full and no segment may be deleted: make room, or remove holds");
        }
    }

    fn reclaim_beside(&mut self, holds: &Holds) -> usize {
        let free_bytes = self.shared.disk.space(&self.shared.layout.root).map_or(0, |space| space.free_bytes);
        for _ in 0..RECLAIM_PLANS_MAX {
            let least = FreeSpace {
                free_bytes: 0,
                free_bytes_min: crate::writer::ALLOCATE_STEP_BYTES,
                ..self.room(free_bytes)
            };
            let plan = self.plan(&[], least);
            let Outcome { deleted, is_held } = self.delete_planned(&plan, holds);
            if deleted > 0 || !is_held {
                return deleted;
            }
        }
        0
    }

    pub(super) fn retain_soon(&mut self) {
        self.retention_at = self.now;
    }

    fn room(&self, free_bytes: u64) -> FreeSpace {
        let copy_bytes_max =
            if self.holding.may_copy(self.now) { free_bytes.saturating_sub(COPY_SPARE_BYTES) } else { 0 };
        FreeSpace { free_bytes, free_bytes_min: 0, copy_bytes_max }
    }

    fn tell_room(&mut self, space: Space) {
        let counters = &self.shared.counters;
        counters.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        counters.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        self.inflow.observe(counters.written_bytes.load(Ordering::Relaxed), self.now);
        let known = read(&self.shared.known);
        let bytes = holding(known.iter().map(|(id, known)| self.facts(*id, known)));
        counters.held_bytes.store(bytes.held_bytes, Ordering::Relaxed);
        counters.deletable_bytes.store(bytes.deletable_bytes, Ordering::Relaxed);
        let full_in_s = full_in_s(space.free_bytes, bytes.deletable_bytes, self.inflow.rate);
        counters.full_in_s.store(full_in_s.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Before anything is deleted for want of room, the oldest has to be known.
    fn recover_oldest(&mut self) {
        let oldest_known = read(&self.shared.known).keys().next().copied();
        if self.has_catalogue()
            && let Some(found) = self.to_recover.front()
            && oldest_known.is_none_or(|known| found.id < known)
            && let Some(found) = self.to_recover.pop_front()
        {
            self.recover(&found);
        }
    }

    pub(super) fn plan(&self, classes: &[RetentionClass], space: FreeSpace) -> Plan {
        let known = read(&self.shared.known);
        let open: Vec<_> = read(&self.shared.open)
            .iter()
            .map(|(id, segment)| (*id, Arc::clone(&segment.class), read(&segment.state).data_end))
            // One that holds nothing yet may be removed: the newest that stays must be one that does not.
            .filter(|(_, _, bytes)| *bytes > 0)
            .collect();
        let now = self.shared.clock.now();
        let sealed = known.iter().map(|(id, known)| self.facts(*id, known));
        let open = open.iter().map(|(id, class, bytes)| SegmentFacts {
            id: *id,
            class,
            bytes: *bytes,
            closed_at: now,
            is_deletable: false,
            held_bytes: None,
        });
        plan_deletions(&sealed.chain(open), classes, space, now)
    }

    fn facts<'a>(&self, id: SegmentId, known: &'a crate::shared::Known) -> SegmentFacts<'a> {
        SegmentFacts {
            id,
            class: &known.class,
            bytes: known.bytes,
            closed_at: known.closed_at,
            is_deletable: true,
            held_bytes: self.holding.held_bytes(id),
        }
    }

    fn delete_planned(&mut self, plan: &Plan, holds: &Holds) -> Outcome {
        let mut outcome = Outcome::default();
        for (id, reason) in &plan.deletions {
            if self.holding.waits_for_copy(*id) {
                continue;
            }
            match self.verdict(*id, holds) {
                Verdict::Free => outcome.deleted += usize::from(self.delete(*id, *reason)),
                Verdict::Copy(copy) => outcome.is_held |= self.begin_copy(copy),
                Verdict::Keep(held_bytes) => outcome.is_held |= self.holding.keep(*id, held_bytes),
            }
        }
        outcome
    }

    /// Takes the file away first: a row without a file is cleaned up at the next start, a file without a row is listed again.
    fn delete(&mut self, id: SegmentId, reason: Reason) -> bool {
        let Some(known) = read(&self.shared.known).get(&id).cloned() else { return false };
        let path = self.shared.layout.segment(&known.class, id);
        let head = self.read_head(&path);
        if let Err(error) = self.shared.disk.remove(&path) {
            tracing::error!(path = %path.display(), %error, "a segment cannot be deleted");
            return false;
        }
        tracing::info!(segment = %id, class = %known.class, bytes = known.bytes, %reason, "deleted a segment");
        write(&self.shared.known).remove(&id);
        self.shared.caches.forget(id);
        write(&self.shared.damage).forget(id);
        self.holding.forget_segment(id);
        self.shared.counters.deleted_segments.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.deleted_bytes.fetch_add(known.bytes, Ordering::Relaxed);
        self.unlist(id, head.as_ref());
        true
    }

    fn unlist(&mut self, id: SegmentId, head: Option<&FooterHead>) {
        let Some(catalogue) = self.catalogue() else { return };
        let unlisted = catalogue.remove(id, head).and_then(|placeless| self.place_anew(&catalogue, &placeless));
        if let Err(error) = unlisted {
            self.rebuild_catalogue(&error);
        }
    }

    /// The catalogue knows one place of each init segment, the newest. Where that goes first, another segment that has it takes over, or what that one
    /// holds could not be decoded.
    pub(super) fn place_anew(&self, catalogue: &Catalogue, placeless: &[Placeless]) -> Result<(), Broken> {
        for init in placeless {
            let near = catalogue.near(init.camera, init.stream, init.near, FOOTERS_SEARCHED_MAX)?;
            if let Some((segment, found)) = near.into_iter().find_map(|other| self.find_init(other, init)) {
                catalogue.place_init(&found, segment)?;
            }
        }
        Ok(())
    }

    fn find_init(&self, segment: SegmentId, init: &Placeless) -> Option<(SegmentId, InitRow)> {
        let head = self.read_head(&self.shared.segment_path(segment)?)?;
        let found = head.inits.into_iter().find(|found| found.key.camera == init.camera && found.id == init.id)?;
        Some((segment, found))
    }

    fn read_head(&self, path: &Path) -> Option<FooterHead> {
        let file = self.shared.disk.open_read(path).ok()?;
        match read_sealed(&*file, path) {
            Ok(Sealed::Yes(_, head)) => Some(head),
            Ok(Sealed::No(_)) | Err(_) => None,
        }
    }
}

#[derive(Default)]
struct Outcome {
    deleted: usize,
    /// Something that was picked turned out to be held, and cannot be copied now.
    is_held: bool,
}
