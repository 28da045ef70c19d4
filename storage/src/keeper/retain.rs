//! Carrying out what retention decides.

use super::Keeper;
use crate::format::FooterHead;
use crate::ids::SegmentId;
use crate::options::RetentionClass;
use crate::retention::{FreeSpace, Reason, SegmentFacts, plan_deletions};
use crate::seal::{Sealed, read_sealed};
use crate::shared::{read, write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Keeper {
    /// Deletes what the limits say.
    pub(super) fn retain(&mut self) {
        let space = match self.shared.disk.space(&self.shared.layout.root) {
            Ok(space) => space,
            Err(error) => return tracing::warn!(%error, "the filesystem does not tell its free space"),
        };
        self.shared.counters.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        self.shared.counters.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        let free = FreeSpace { free_bytes: space.free_bytes, free_bytes_min: self.shared.options.free_bytes_min };
        // While older segments may be unknown, age and size would pick the wrong ones.
        let is_complete = self.has_catalogue() && self.to_recover.is_empty();
        if !is_complete && free.free_bytes < free.free_bytes_min {
            self.recover_oldest();
        }
        let classes: &[RetentionClass] = if is_complete { &self.shared.options.retention } else { &[] };
        let plan = self.plan(classes, free);
        self.delete_planned(&plan);
    }

    /// Makes room for the writer, whatever the limits.
    pub(super) fn reclaim(&mut self) {
        self.recover_oldest();
        let least = FreeSpace { free_bytes: 0, free_bytes_min: crate::writer::ALLOCATE_STEP_BYTES };
        let plan = self.plan(&[], least);
        if self.delete_planned(&plan) == 0 {
            tracing::error!(volume = %self.shared.layout.root.display(), "the disk is full and no segment may be deleted: make room");
        }
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

    fn plan(&self, classes: &[RetentionClass], space: FreeSpace) -> Vec<(SegmentId, Reason)> {
        let known = read(&self.shared.known);
        let open: Vec<_> = read(&self.shared.open)
            .iter()
            .map(|(id, segment)| (*id, Arc::clone(&segment.class), read(&segment.state).data_end))
            .collect();
        let now = self.shared.clock.now();
        let sealed = known.iter().map(|(id, known)| SegmentFacts {
            id: *id,
            class: &known.class,
            bytes: known.bytes,
            closed_at: known.closed_at,
            is_deletable: true,
        });
        let open = open.iter().map(|(id, class, bytes)| SegmentFacts {
            id: *id,
            class,
            bytes: *bytes,
            closed_at: now,
            is_deletable: false,
        });
        plan_deletions(&sealed.chain(open).collect::<Vec<_>>(), classes, space, now)
    }

    fn delete_planned(&mut self, plan: &[(SegmentId, Reason)]) -> usize {
        plan.iter().filter(|(id, reason)| self.delete(*id, *reason)).count()
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
        self.shared.counters.deleted_segments.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.deleted_bytes.fetch_add(known.bytes, Ordering::Relaxed);
        if let Some(Err(error)) = self.catalogue().map(|catalogue| self.unlist(&catalogue, id, head.as_ref())) {
            self.rebuild_catalogue(&error);
        }
        true
    }

    fn read_head(&self, path: &Path) -> Option<FooterHead> {
        let file = self.shared.disk.open_read(path).ok()?;
        match read_sealed(&*file, path) {
            Ok(Sealed::Yes(_, head)) => Some(head),
            Ok(Sealed::No(_)) | Err(_) => None,
        }
    }
}
