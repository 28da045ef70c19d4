//! Lists a segment whose chunk tables cannot be read, from its batches. That reads the whole
//! segment: one reader does it, once for all tracks; the others are answered that it is being done.

use super::medium::answers;
use crate::Error;
use crate::chunk::ChunkEntry;
use crate::disk::{DiskFile, Salvaging};
use crate::format::FormatError;
use crate::format::index::TrackKey;
use crate::ids::SegmentId;
use crate::locks::{lock, write};
use crate::scan::scan;
use crate::state::Shared;
use crate::state::rescans::NotNow;
use std::path::Path;
use std::sync::Arc;

/// Ends a reading, however it ends.
struct UnderWay<'a>(&'a Shared, SegmentId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.rescans).end(self.1);
    }
}

impl Shared {
    /// The chunks of a track of a segment whose table is damaged, for `reason`.
    ///
    /// # Errors
    /// `Catalogue` while another reader is at it; `Damaged` if the batches cannot be read either;
    /// `Io` if the disk reads nothing at all.
    pub(super) fn rescan(
        &self,
        (segment, key): (SegmentId, TrackKey),
        (file, path): (&Arc<dyn DiskFile>, &Path),
        reason: &FormatError,
    ) -> Result<Arc<Vec<ChunkEntry>>, Error> {
        let _under_way = self.begin_rescan(segment, path)?;
        // It may have ended a moment ago.
        if let Some(rows) = self.caches.table(segment, key) {
            return Ok(rows);
        }
        tracing::warn!(
            %segment, %reason,
            "a chunk table is damaged: reading the segment's batches instead"
        );
        write(&self.damage).suspect(segment);
        let around = Salvaging::new(Arc::clone(file), || false);
        let scanned = scan(&around, segment);
        let has_trouble = scanned.is_err() || around.first_unreadable().is_some();
        if has_trouble && !answers(&**file, u64::MAX) {
            let gone = std::io::Error::other("the disk reads nothing of it");
            return Err(Error::io("scan", path)(scanned.err().unwrap_or(gone)));
        }
        let failed = match scanned {
            Ok(Ok(scanned)) => {
                let mut listed = None;
                for (track, rows) in scanned.index.tracks() {
                    let entries = rows
                        .iter()
                        .map(|row| row.entry(self.options.place(), segment));
                    let kept = self.caches.keep_table(segment, *track, entries.collect());
                    listed = listed.or((*track == key).then_some(kept));
                }
                let none = || self.caches.keep_table(segment, key, Vec::new());
                return Ok(listed.unwrap_or_else(none));
            }
            Ok(Err(reason)) => reason,
            Err(error) => FormatError::Unreadable {
                what: "the segment",
                error: error.to_string(),
            },
        };
        lock(&self.rescans).fail(segment, self.clock.now());
        Err(self.damaged(segment, 0, failed))
    }

    fn begin_rescan(&self, segment: SegmentId, path: &Path) -> Result<UnderWay<'_>, Error> {
        match lock(&self.rescans).begin(segment, self.clock.now()) {
            Ok(()) => Ok(UnderWay(self, segment)),
            Err(NotNow::UnderWay) => Err(Error::Catalogue {
                path: path.to_owned(),
                problem: "a chunk table is damaged, and its segment is read instead".to_owned(),
            }),
            Err(NotNow::Failed) => Err(Error::Damaged {
                segment,
                offset: 0,
                reason: FormatError::Unreadable {
                    what: "the segment",
                    error: "neither its tables nor its batches can be read".to_owned(),
                },
            }),
        }
    }
}
