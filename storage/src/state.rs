//! The state of one volume, shared by its writer, its keeper and its readers.

pub(crate) mod caches;
mod jobs;
pub(crate) mod rescans;
mod scrubbing;

pub(crate) use jobs::Job;
pub(crate) use scrubbing::Control;
pub use scrubbing::{ScrubPass, ScrubStatus};

use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::damage::Damage;
use crate::disk::{Disk, FileId, IoMode};
use crate::format::index::SegmentIndex;
use crate::hold::Holds;
use crate::identity::adoption::Adoption;
use crate::ids::SegmentId;
use crate::layout::Layout;
use crate::locks::{read, write};
use crate::options::VolumeOptions;
use crate::retention::control;
use crate::room::allocate_step;
use crate::segments::Known;
use crate::time::Timestamp;
use crate::watermark::Watermarks;
use caches::Caches;
use rescans::Rescans;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

/// A segment that this process opened or is recovering, until its footer is catalogued.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) class: Arc<str>,
    /// The written file, even if its name later leads to another one.
    pub(crate) file: FileId,
    pub(crate) state: RwLock<OpenState>,
}

/// The durable part of an open segment.
#[derive(Debug, Default)]
pub(crate) struct OpenState {
    pub(crate) index: SegmentIndex,
    pub(crate) batches: u32,
    /// End of the last durable batch.
    pub(crate) data_end: u64,
    pub(crate) closed_at: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) written_bytes: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_us_last: AtomicU64,
    pub(crate) flush_us_max: AtomicU64,
    pub(crate) flush_us_sum: AtomicU64,
    pub(crate) torn_batches: AtomicU64,
    pub(crate) damaged_batches: AtomicU64,
    pub(crate) damaged_reads: AtomicU64,
    pub(crate) damaged_chunks: AtomicU64,
    pub(crate) refused_segments: AtomicU64,
    pub(crate) deleted_segments: AtomicU64,
    pub(crate) deleted_bytes: AtomicU64,
    pub(crate) chunks_without_init: AtomicU64,
    pub(crate) segments_to_recover: AtomicU64,
    pub(crate) segments_recovered: AtomicU64,
    pub(crate) catalogue_rebuilds: AtomicU32,
    pub(crate) free_bytes: AtomicU64,
    pub(crate) total_bytes: AtomicU64,
    pub(crate) held_bytes: AtomicU64,
    pub(crate) deletable_bytes: AtomicU64,
    pub(crate) short_bytes: AtomicU64,
    /// In seconds; [`u64::MAX`] if nothing arrives.
    pub(crate) full_in_s: AtomicU64,
    pub(crate) copied_segments: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    /// The writer asked for space, and nothing could be deleted.
    pub(crate) has_nothing_deletable: AtomicBool,
}

pub(crate) struct Shared {
    pub(crate) options: VolumeOptions,
    /// The volume is read-only: neither footage nor footers are written.
    pub(crate) is_reading: bool,
    /// The volume's path leads elsewhere.
    pub(crate) is_left: AtomicBool,
    pub(crate) layout: Layout,
    /// The volume's own id.
    pub(crate) volume: Uuid,
    /// For a volume that another cluster recorded to.
    pub(crate) adoption: Option<Adoption>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) open: RwLock<BTreeMap<SegmentId, Arc<OpenSegment>>>,
    /// Space is reserved in steps of this size.
    pub(crate) allocate_step_bytes: u64,
    /// The id of the next segment file; writer and keeper both take ids.
    next_segment: AtomicU64,
    /// `None` until they are known: nothing is deleted before.
    pub(crate) holds: RwLock<Option<Arc<Holds>>>,
    pub(crate) known: RwLock<BTreeMap<SegmentId, Known>>,
    pub(crate) watermarks: RwLock<Watermarks>,
    /// `None` while it is being opened or rebuilt.
    pub(crate) catalogue: RwLock<Option<Arc<Catalogue>>>,
    /// A reader found the catalogue broken.
    pub(crate) is_catalogue_suspect: AtomicBool,
    pub(crate) caches: Caches,
    pub(crate) damage: RwLock<Damage>,
    pub(crate) rescans: Mutex<Rescans>,
    pub(crate) scrub: Control,
    pub(crate) retention: control::Control,
    pub(crate) counters: Counters,
    /// Why the first of the unlisted segments is not listed.
    pub(crate) first_refusal: Mutex<Option<String>>,
    pub(crate) io_mode: Mutex<Option<IoMode>>,
    pub(crate) failed: watch::Sender<Option<Arc<str>>>,
    /// Number of batches that are durable and indexed.
    pub(crate) published: watch::Sender<u64>,
}

impl Shared {
    /// Gives the volume up because its path leads elsewhere: recording has to continue where the
    /// next start will look for it. Records that were accepted become durable and are sealed where
    /// the volume is, unless that has no room, or something lies over the directory of a class.
    pub(crate) fn leave(&self, why: &std::io::Error) {
        if self.is_left.swap(true, Ordering::Relaxed) {
            return;
        }
        let path = self.layout.root.display();
        tracing::error!(volume = %path, error = %why, "the volume is left");
        // The first reason is kept.
        let reason = Arc::from(format!("volume {path} is left: {why}"));
        self.failed
            .send_if_modified(|failed| failed.is_none() && failed.replace(reason).is_none());
    }

    pub(crate) fn new(
        options: VolumeOptions,
        layout: Layout,
        volume: Uuid,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        next_segment: SegmentId,
    ) -> Self {
        let holds = options.holds.clone().map(Arc::new);
        // If the disk does not report its size, the keeper soon logs that.
        let total_bytes = disk
            .space(&layout.root)
            .map_or(u64::MAX, |space| space.total_bytes);
        let allocate_step_bytes = allocate_step(total_bytes, options.retention.len());
        Self {
            options,
            is_reading: false,
            is_left: false.into(),
            layout,
            volume,
            adoption: None,
            disk,
            clock,
            allocate_step_bytes,
            open: RwLock::default(),
            next_segment: next_segment.0.into(),
            holds: RwLock::new(holds),
            known: RwLock::default(),
            watermarks: RwLock::default(),
            catalogue: RwLock::default(),
            is_catalogue_suspect: false.into(),
            caches: Caches::default(),
            damage: RwLock::default(),
            rescans: Mutex::default(),
            scrub: Control::default(),
            retention: control::Control::default(),
            counters: Counters {
                full_in_s: u64::MAX.into(),
                ..Counters::default()
            },
            first_refusal: Mutex::default(),
            io_mode: Mutex::default(),
            failed: watch::Sender::new(None),
            published: watch::Sender::new(0),
        }
    }

    /// Translates the holds to the numbers in the segments.
    pub(crate) fn take_over(&mut self, adoption: Option<Adoption>) {
        if let Some(adopted) = &adoption {
            let holds = read(&self.holds)
                .as_ref()
                .map(|holds| Arc::new(adopted.holds(holds)));
            *write(&self.holds) = holds;
        }
        self.adoption = adoption;
    }

    pub(crate) fn take_segment_id(&self) -> SegmentId {
        SegmentId(self.next_segment.fetch_add(1, Ordering::Relaxed))
    }

    /// The id that [`Self::take_segment_id`] returns next.
    pub(crate) fn next_segment(&self) -> SegmentId {
        SegmentId(self.next_segment.load(Ordering::Relaxed))
    }

    pub(crate) fn class_name(&self, class: usize) -> &str {
        &self.options.retention[class].name
    }

    /// The path of a segment, if it is known.
    pub(crate) fn segment_path(&self, id: SegmentId) -> Option<PathBuf> {
        let open = read(&self.open)
            .get(&id)
            .map(|segment| Arc::clone(&segment.class));
        let class = open.or_else(|| {
            read(&self.known)
                .get(&id)
                .map(|known| Arc::clone(&known.class))
        })?;
        Some(self.layout.segment(&class, id))
    }

    /// Like [`Self::segment_path`], for sealed segments only.
    pub(crate) fn sealed_path(&self, id: SegmentId) -> Option<PathBuf> {
        let class = read(&self.known)
            .get(&id)
            .map(|known| Arc::clone(&known.class))?;
        Some(self.layout.segment(&class, id))
    }

    /// Whether every segment of earlier processes is listed or refused.
    pub(crate) fn is_listed(&self) -> bool {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let done =
            count(&self.counters.segments_recovered) + count(&self.counters.refused_segments);
        read(&self.catalogue).is_some() && done >= count(&self.counters.segments_to_recover)
    }
}
