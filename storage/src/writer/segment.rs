//! An open segment from the writer's view: its file, once it exists, and how far it is filled.

use super::plan::{Fill, Successor};
use crate::format::{BLOCK, SegmentHeader};
use crate::ids::SegmentId;
use crate::state::Shared;
use crate::time::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) struct Slot<F> {
    pub(super) id: SegmentId,
    pub(super) class_name: Arc<str>,
    /// `None` until the file is created and durable; batches wait.
    pub(super) file: Option<F>,
    pub(super) fill: Fill,
    pub(super) allocated_bytes: u64,
    /// The size of the next reservation; halved when the disk refuses.
    pub(super) allocate_step_bytes: u64,
    /// The file is being created or extended.
    pub(super) is_busy: bool,
    /// Its file is created even if the volume's path leads elsewhere.
    pub(super) is_left: bool,
    /// No batch will be added.
    pub(super) is_retired: bool,
    /// Batches that are not published yet.
    pub(super) unpublished: u32,
}

impl<F> Slot<F> {
    pub(super) fn new(
        id: SegmentId,
        class_name: Arc<str>,
        allocate_step_bytes: u64,
        now: Timestamp,
    ) -> Self {
        let fill = Fill {
            opened_at: now,
            next_offset: BLOCK,
            next_batch: 0,
            chunks: 0,
            inits: HashSet::new(),
        };
        Self {
            id,
            class_name,
            file: None,
            fill,
            allocated_bytes: 0,
            allocate_step_bytes,
            is_busy: false,
            is_left: false,
            is_retired: false,
            unpublished: 0,
        }
    }

    /// The state of a segment opened ahead, for the plan.
    pub(super) fn as_successor(&self) -> Successor {
        match self.file {
            Some(_) => Successor::Ready {
                opened_at: self.fill.opened_at,
            },
            None => Successor::Coming,
        }
    }

    pub(super) fn header(&self, shared: &Shared) -> SegmentHeader {
        SegmentHeader {
            cluster: shared.options.cluster,
            volume: shared.volume,
            node: shared.options.node,
            segment: self.id,
            opened_at: self.fill.opened_at,
            class: self.class_name.to_string(),
        }
    }
}
