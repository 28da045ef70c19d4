//! Executes what retention decides. Held footage is copied before its segment is deleted, see
//! `hold`.

use super::Keeper;
use super::guard::Ages;
use super::hold::{Holding, Verdict};
use crate::catalogue::{Broken, Catalogue, Placeless};
use crate::class::RetentionClass;
use crate::disk::Space;
use crate::format::FooterHead;
use crate::format::index::InitRow;
use crate::hold::Holds;
use crate::ids::SegmentId;
use crate::locks::{lock, read, write};
use crate::retention::{
    self, Allow, FreeSpace, Plan, Rate, Reason, SegmentFacts, Subject, full_in_s, plan_deletions,
};
use crate::seal::{Sealed, read_sealed};
use crate::segments::Known;
use crate::state::Shared;
use crate::time::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often reclaiming space for the writer is planned again because a selected segment turned out
/// to be held.
const RECLAIM_PLANS_MAX: usize = 64;

/// How many footers before and after a segment are searched for an init segment whose newest place
/// was deleted with it.
const FOOTERS_SEARCHED_MAX: usize = 128;

/// A copy leaves this much space to the writer.
const COPY_SPARE_BYTES: u64 = 2 * crate::room::ALLOCATE_BYTES_MIN;

/// What arrives until a segment is sealed, and for this much longer, stays free whatever is
/// announced.
const FLOOR_TIME: Duration = Duration::from_secs(30);

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
        Self {
            rate: Rate::default(),
            bytes: 0,
            at: now,
        }
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
    /// Deletes what the limits require, once the holds are known.
    pub(super) fn retain(&mut self) {
        let space = match self.shared.disk.space(&self.shared.layout.root) {
            Ok(space) => space,
            Err(error) => {
                return tracing::warn!(%error, "the filesystem does not report its free space");
            }
        };
        if self.shared.is_reading {
            return self.report_room(space);
        }
        let Some(holds) = self.learn_holds() else {
            return self.report_room(space);
        };
        let asked = self.shared.options.free_bytes_min;
        // A limit of more than half the disk is not intended for recording; it is an error.
        let free_bytes_min = asked.min(space.total_bytes / 2);
        // While older segments may be unknown, age and size would select the wrong ones.
        let is_complete = self.has_catalogue() && self.to_recover.is_empty();
        if !is_complete && space.free_bytes < free_bytes_min {
            self.recover_oldest();
        }
        let classes: Vec<RetentionClass> = if is_complete {
            self.shared.options.retention.clone()
        } else {
            Vec::new()
        };
        let room = FreeSpace {
            free_bytes_min,
            ..self.room(space.free_bytes)
        };
        self.guard.look(is_complete, self.now);
        if let Some(from) = self.guard.take_removal() {
            self.remove_beyond(from, &holds);
        }
        let plan = self.plan_braked(&classes, room);
        self.guard
            .show((free_bytes_min < asked).then_some(free_bytes_min));
        self.guard.save(false, self.now);
        self.shared
            .counters
            .short_bytes
            .store(plan.short_bytes, Ordering::Relaxed);
        if self.delete_planned(&plan, &holds).is_held {
            // Other segments are deleted in place of those that turned out to be held.
            self.retain_soon();
        }
        self.report_room(space);
    }

    /// Frees space for the writer, whatever the limits.
    pub(super) fn reclaim(&mut self) {
        let deleted = self.learn_holds().map_or(0, |holds| {
            self.recover_oldest();
            self.reclaim_around(&holds)
        });
        self.shared
            .counters
            .has_nothing_deletable
            .store(deleted == 0, Ordering::Relaxed);
        if deleted == 0 && self.holding.is_time_to_complain(self.now) {
            tracing::error!(
                volume = %self.shared.layout.root.display(),
                "the disk is full and no segment may be deleted: make room, or remove holds"
            );
        }
    }

    fn reclaim_around(&mut self, holds: &Holds) -> usize {
        let free_bytes = self
            .shared
            .disk
            .space(&self.shared.layout.root)
            .map_or(0, |space| space.free_bytes);
        for _ in 0..RECLAIM_PLANS_MAX {
            let least = FreeSpace {
                free_bytes: 0,
                free_bytes_min: self.shared.allocate_step_bytes,
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
        let copy_bytes_max = if self.holding.may_copy(self.now) {
            free_bytes.saturating_sub(COPY_SPARE_BYTES)
        } else {
            0
        };
        FreeSpace {
            free_bytes,
            free_bytes_min: 0,
            copy_bytes_max,
        }
    }

    fn report_room(&mut self, space: Space) {
        let counters = &self.shared.counters;
        counters
            .free_bytes
            .store(space.free_bytes, Ordering::Relaxed);
        counters
            .total_bytes
            .store(space.total_bytes, Ordering::Relaxed);
        self.inflow
            .observe(counters.written_bytes.load(Ordering::Relaxed), self.now);
        let known = read(&self.shared.known);
        let (holding, ages) = (&self.holding, self.guard.ages());
        let bytes = retention::holding(
            known
                .iter()
                .map(|(id, known)| facts(holding, ages, *id, known)),
        );
        counters
            .held_bytes
            .store(bytes.held_bytes, Ordering::Relaxed);
        counters
            .deletable_bytes
            .store(bytes.deletable_bytes, Ordering::Relaxed);
        let full_in_s = full_in_s(space.free_bytes, bytes.deletable_bytes, self.inflow.rate);
        counters
            .full_in_s
            .store(full_in_s.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Before anything is deleted for lack of space, the oldest segment has to be known.
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

    /// Deletes the sealed segments in which everything begins at `from` or later and nothing is
    /// held.
    fn remove_beyond(&mut self, from: Timestamp, holds: &Holds) {
        let Some(catalogue) = self.catalogue() else {
            return;
        };
        let found = match catalogue.segments_beyond(from) {
            Ok(found) => found,
            Err(error) => return self.rebuild_catalogue(&error),
        };
        for id in found {
            let path = self.shared.segment_path(id);
            let head = path.and_then(|path| self.read_head(&path));
            let is_all_ahead = head.is_some_and(|head| {
                let mut tables = head.tracks.iter();
                tables.all(|table| table.start >= from)
                    && head.gaps.iter().all(|gap| gap.start >= from)
            });
            if is_all_ahead && matches!(self.verdict(id, holds), Verdict::Free) {
                self.delete(id, Reason::Ahead);
            }
        }
    }

    /// The part of what the limits require that may be deleted now.
    fn plan_braked(&mut self, classes: &[RetentionClass], space: FreeSpace) -> Plan {
        let floor = self
            .floor_bytes()
            .min(space.free_bytes_min)
            .saturating_sub(space.free_bytes);
        let (ages, now) = (self.guard.ages().clone(), self.now);
        let Self {
            shared,
            holding,
            guard,
            ..
        } = self;
        plan(
            shared,
            holding,
            &ages,
            (classes, space),
            &mut |subject, wish| guard.allow(subject, wish, floor, now),
        )
    }

    /// Free space without which recording would end: for each class its open segment and the one
    /// opened ahead, and what arrives soon.
    fn floor_bytes(&self) -> u64 {
        let options = &self.shared.options;
        let time = options.segment_time_max + FLOOR_TIME;
        let comes = (self.inflow.rate.bytes_per_s() * time.as_secs_f64()) as u64;
        (options.retention.len() as u64 * 2 * self.shared.allocate_step_bytes).saturating_add(comes)
    }

    pub(super) fn plan(&self, classes: &[RetentionClass], space: FreeSpace) -> Plan {
        plan(
            &self.shared,
            &self.holding,
            self.guard.ages(),
            (classes, space),
            &mut |_, wish| wish.bytes,
        )
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

    /// Deletes the file first: a row without a file is cleaned up at the next start, a file without
    /// a row is listed again.
    fn delete(&mut self, id: SegmentId, reason: Reason) -> bool {
        let Some(known) = read(&self.shared.known).get(&id).cloned() else {
            return false;
        };
        let path = self.shared.layout.segment(&known.class, id);
        let head = self.read_head(&path);
        if let Err(error) = self.shared.disk.remove(&path) {
            tracing::error!(path = %path.display(), %error, "a segment cannot be deleted");
            return false;
        }
        tracing::info!(
            segment = %id, class = %known.class, bytes = known.bytes, %reason,
            "deleted a segment"
        );
        write(&self.shared.known).remove(&id);
        self.shared.caches.forget(id);
        write(&self.shared.damage).forget(id);
        lock(&self.shared.rescans).forget(id);
        self.holding.forget_segment(id);
        match reason {
            Reason::Age | Reason::ClassBytes => {
                self.guard.went(
                    &Subject::Class(known.class.to_string()),
                    known.bytes,
                    self.now,
                );
            }
            Reason::FreeSpace => self.guard.went(&Subject::FreeSpace, known.bytes, self.now),
            Reason::Released | Reason::Ahead => {}
        }
        self.shared
            .counters
            .deleted_segments
            .fetch_add(1, Ordering::Relaxed);
        self.shared
            .counters
            .deleted_bytes
            .fetch_add(known.bytes, Ordering::Relaxed);
        self.unlist(id, head.as_ref());
        true
    }

    fn unlist(&mut self, id: SegmentId, head: Option<&FooterHead>) {
        let Some(catalogue) = self.catalogue() else {
            return;
        };
        let unlisted = catalogue
            .remove(id, head)
            .and_then(|placeless| self.place_again(&catalogue, &placeless));
        if let Err(error) = unlisted {
            self.rebuild_catalogue(&error);
        }
    }

    /// The catalogue knows one place of each init segment, the newest. If that is deleted first,
    /// another segment with the init segment has to replace it; otherwise that segment's chunks
    /// could not be decoded.
    pub(super) fn place_again(
        &self,
        catalogue: &Catalogue,
        placeless: &[Placeless],
    ) -> Result<(), Broken> {
        for init in placeless {
            let near = catalogue.near(init.camera, init.stream, init.near, FOOTERS_SEARCHED_MAX)?;
            if let Some((segment, found)) = near
                .into_iter()
                .find_map(|other| self.find_init(other, init))
            {
                catalogue.place_init(&found, segment)?;
            }
        }
        Ok(())
    }

    fn find_init(&self, segment: SegmentId, init: &Placeless) -> Option<(SegmentId, InitRow)> {
        let head = self.read_head(&self.shared.segment_path(segment)?)?;
        let found = head
            .inits
            .into_iter()
            .find(|found| found.key.camera == init.camera && found.id == init.id)?;
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

fn plan(
    shared: &Shared,
    holding: &Holding,
    ages: &Ages,
    (classes, space): (&[RetentionClass], FreeSpace),
    allow: &mut Allow<'_>,
) -> Plan {
    let known = read(&shared.known);
    let open: Vec<_> = read(&shared.open)
        .iter()
        .map(|(id, segment)| {
            (
                *id,
                Arc::clone(&segment.class),
                read(&segment.state).data_end,
            )
        })
        // A segment that holds nothing yet may be removed; the newest one that stays must not be
        // such a segment.
        .filter(|(_, _, bytes)| *bytes > 0)
        .collect();
    let sealed = known
        .iter()
        .map(|(id, known)| facts(holding, ages, *id, known));
    let open = open.iter().map(|(id, class, bytes)| SegmentFacts {
        id: *id,
        class,
        bytes: *bytes,
        closed_at: Timestamp::MAX,
        is_deletable: false,
        held_bytes: None,
    });
    plan_deletions(&sealed.chain(open), classes, space, ages.now(), allow)
}

fn facts<'a>(holding: &Holding, ages: &Ages, id: SegmentId, known: &'a Known) -> SegmentFacts<'a> {
    SegmentFacts {
        id,
        class: &known.class,
        bytes: known.bytes,
        closed_at: ages.closed_at(id, known.closed_at),
        is_deletable: true,
        held_bytes: holding.held_bytes(id),
    }
}

#[derive(Default)]
struct Outcome {
    deleted: usize,
    /// A selected segment turned out to be held, and cannot be copied now.
    is_held: bool,
}

#[cfg(test)]
mod tests;
