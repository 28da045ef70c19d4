//! A node's volume, as recorders see it: takes records without waiting, makes them durable one
//! flush after the other, fails, and comes back.
//!
//! The code that it stands in for (`node/src/volumes.rs` over `storage`) has tests of its own. It
//! keeps the same promises: only what is durable counts, a watermark never goes back within an
//! epoch and rank, and the loss of a failed volume is reported to the recorder once, when there is
//! a volume again.

use super::recorder::frames_of;
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_node::capture::recorder::sink::{RecordSink, SinkError};
use holdfast_node::capture::recorder::status::Status;
use holdfast_storage::chunk::{ChunkMeta, Gap, Record};
use holdfast_storage::ids::{Epoch, Rank, StreamId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records that may wait for the disk.
const QUEUE_MAX: usize = 200;

/// The durable part of one recording: its chunks, and which of the camera's frames are in them.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) meta: ChunkMeta,
    pub(super) frames: Range<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    first_keyframe: Option<Timestamp>,
    durable_end: Timestamp,
}

/// The volume as one process has it open.
#[derive(Debug, Default)]
pub(super) struct Volume(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    failed: bool,
    queue: Vec<Record>,
    /// The records being flushed.
    flushing: Option<Vec<Record>>,
    /// Gaps that were accepted and lost with the volume; they are written again when it is back.
    gaps_lost: Vec<Gap>,
    /// Records that were accepted and lost with the volume, by stream, until their recorder knows
    /// of it.
    lost: BTreeMap<StreamId, Option<(Timestamp, Timestamp)>>,
    marks: BTreeMap<(StreamId, Epoch, Rank), Mark>,
    /// Streams that have records here.
    homes: BTreeMap<StreamId, ()>,
}

impl RecordSink for Volume {
    fn append(&self, _: &str, record: Record) -> Result<(), SinkError> {
        let mut inner = self.inner();
        if inner.failed {
            return Err(SinkError::Failed("the disk does not answer".to_owned()));
        }
        let stream = record.stream_id();
        if let Some(lost) = inner.lost.remove(&stream) {
            return Err(SinkError::Moved { lost });
        }
        if inner.queue.len() >= QUEUE_MAX {
            return Err(SinkError::Full);
        }
        inner.homes.insert(stream, ());
        inner.queue.push(record);
        Ok(())
    }
}

impl Volume {
    /// Gives the disk all waiting records. Returns whether there were any.
    pub(super) fn begin_flush(&self) -> bool {
        let mut inner = self.inner();
        if inner.failed || inner.flushing.is_some() || inner.queue.is_empty() {
            return false;
        }
        inner.flushing = Some(std::mem::take(&mut inner.queue));
        true
    }

    /// The disk has made the flushed records durable, unless it failed in the meantime.
    pub(super) fn end_flush(&self) -> (Vec<Stored>, Vec<Gap>) {
        let mut inner = self.inner();
        let records = inner.flushing.take().unwrap_or_default();
        let (mut chunks, mut gaps) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Chunk(chunk) => {
                    inner.mark(&chunk.meta);
                    chunks.push(Stored {
                        meta: chunk.meta,
                        frames: frames_of(&chunk),
                    });
                }
                Record::Gap(gap) => gaps.push(gap),
                Record::Init(_) => {}
            }
        }
        (chunks, gaps)
    }

    pub(super) fn fail(&self) {
        let mut inner = self.inner();
        inner.failed = true;
        let flushing = inner.flushing.take().unwrap_or_default();
        let queue = std::mem::take(&mut inner.queue);
        let Inner {
            lost,
            gaps_lost,
            homes,
            ..
        } = &mut *inner;
        // An earlier loss that was not reported yet is kept.
        homes
            .keys()
            .for_each(|stream| _ = lost.entry(*stream).or_default());
        for record in flushing.into_iter().chain(queue) {
            match record {
                Record::Chunk(chunk) => {
                    let interval = lost.entry(chunk.meta.stream_id()).or_default();
                    let (start, end) = interval.unwrap_or((chunk.meta.start, chunk.meta.end()));
                    *interval = Some((start.min(chunk.meta.start), end.max(chunk.meta.end())));
                }
                Record::Gap(gap) => gaps_lost.push(gap),
                Record::Init(_) => {}
            }
        }
    }

    pub(super) fn mend(&self) {
        let mut inner = self.inner();
        inner.failed = false;
        let again: Vec<Record> = inner.gaps_lost.drain(..).map(Record::Gap).collect();
        inner.queue.extend(again);
    }

    pub(super) fn is_writable(&self) -> bool {
        !self.inner().failed
    }

    /// As a real node's volumes report it: only what is durable counts.
    pub(super) fn progress(&self, status: Status) -> Progress {
        let inner = self.inner();
        let mark = inner
            .marks
            .get(&(status.stream, status.identity.epoch, status.identity.rank))
            .copied();
        let state = match status.state {
            _ if inner.failed => RecorderState::Failing,
            RecorderState::Recording if mark.is_none() => RecorderState::Starting,
            state => state,
        };
        Progress {
            stream: status.stream,
            epoch: status.identity.epoch,
            rank: status.identity.rank,
            state,
            watermark: mark.map(|mark| mark.durable_end),
            first_keyframe: mark.and_then(|mark| mark.first_keyframe),
            error: inner
                .failed
                .then(|| "the volume has failed".to_owned())
                .or(status.error),
            bitrate_bps: None,
            patience_ms: status
                .patience
                .map(|patience| u32::try_from(patience.as_millis()).unwrap_or(u32::MAX)),
            exposure: status.exposure,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn mark(&mut self, meta: &ChunkMeta) {
        let fresh = Mark {
            first_keyframe: None,
            durable_end: meta.end(),
        };
        let mark = self
            .marks
            .entry((meta.stream_id(), meta.epoch, meta.rank))
            .or_insert(fresh);
        mark.durable_end = mark.durable_end.max(meta.end());
        if meta.is_access_point() {
            mark.first_keyframe = Some(
                mark.first_keyframe
                    .map_or(meta.start, |first| first.min(meta.start)),
            );
        }
    }
}
