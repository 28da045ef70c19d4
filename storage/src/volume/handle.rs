//! The handle of recorders and readers to a volume.

use super::reading::ReadingKeeper;
use crate::chunk::{ChunkEntry, ChunkLocation, Gap, InitId, Record};
use crate::class::ClassId;
use crate::damage::DamagedChunk;
use crate::hold::Holds;
use crate::identity::adoption::Adoption;
use crate::ids::{CameraId, Epoch, Rank, StreamId};
use crate::intake::{Intake, Request};
use crate::locks::{read, write};
use crate::names::{self, CurrentName};
use crate::options::VolumeOptions;
use crate::range::Range;
use crate::retention::{PeerClocks, RetentionOrder, RetentionStatus};
use crate::state::Shared;
use crate::stats::{self, Stats};
use crate::time::Timestamp;
use crate::timeline::Span;
use crate::watermark::Watermark;
use crate::{AppendError, Error};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// Cheap to clone. Dropping all handles abandons the volume without a flush;
/// [`VolumeHandle::close`] is the orderly way.
#[derive(Clone)]
pub struct VolumeHandle {
    shared: Arc<Shared>,
    intake: Intake,
    /// Set for a volume that is read-only.
    keeper: Option<Arc<ReadingKeeper>>,
}

impl VolumeHandle {
    pub(crate) fn new(shared: Arc<Shared>, intake: Intake) -> Self {
        Self {
            shared,
            intake,
            keeper: None,
        }
    }

    pub(super) fn reading(shared: Arc<Shared>, intake: Intake, keeper: ReadingKeeper) -> Self {
        Self {
            shared,
            intake,
            keeper: Some(Arc::new(keeper)),
        }
    }

    #[must_use]
    pub fn options(&self) -> &VolumeOptions {
        &self.shared.options
    }

    /// Whether it was opened with [`super::Volume::open_reading`].
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.shared.is_reading
    }

    /// Whether another cluster recorded the footage. Nothing is recorded to such a volume.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.shared.adoption.is_some()
    }

    /// The camera's number in the segments; `None` if there is nothing of this camera here.
    fn inward(&self, camera: CameraId) -> Option<CameraId> {
        self.shared
            .adoption
            .as_ref()
            .map_or(Some(camera), |adopted| adopted.theirs(camera))
    }

    fn inward_range(&self, range: Range) -> Option<Range> {
        self.inward(range.camera)
            .map(|camera| Range { camera, ..range })
    }

    /// Translates entries of `camera` to the number that this cluster uses.
    fn outward(&self, camera: CameraId, mut entries: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
        if self.is_adopted() {
            for ChunkEntry { meta, .. } in &mut entries {
                (meta.camera, meta.node) = (camera, Adoption::node(meta.node));
            }
        }
        entries
    }

    fn outward_recorded(
        &self,
        camera: CameraId,
        (mut spans, mut gaps): (Vec<Span>, Vec<Gap>),
    ) -> (Vec<Span>, Vec<Gap>) {
        if self.is_adopted() {
            spans
                .iter_mut()
                .for_each(|span| span.node = Adoption::node(span.node));
            gaps.iter_mut()
                .for_each(|gap| (gap.camera, gap.node) = (camera, Adoption::node(gap.node)));
        }
        (spans, gaps)
    }

    /// Removes the mark of a wanted new volume once the volume is created, see
    /// [`crate::disk::mark_new`].
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn unmark_new(&self) -> std::io::Result<()> {
        self.shared.disk.unmark_new()
    }

    /// Whether it failed because its path leads elsewhere, and not because of its disk.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.shared.is_left.load(Ordering::Relaxed)
    }

    /// The volume's own id, which belongs to its directory.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.shared.volume
    }

    /// Releases the catalogue of a failed volume, so that the directory can be opened again; sealed
    /// segments can no longer be read through this handle. To be called once [`super::Volume::run`]
    /// has returned. `false` while a reader still uses it: call again.
    #[must_use]
    pub fn release(&self) -> bool {
        if let Some(keeper) = &self.keeper {
            keeper.stop();
        }
        let closed = {
            let mut catalogue = write(&self.shared.catalogue);
            match catalogue.take().map(Arc::try_unwrap) {
                Some(Err(held)) => {
                    *catalogue = Some(held);
                    return false;
                }
                Some(Ok(closed)) => Some(closed),
                None => None,
            }
        };
        // Closing it waits for the disk; readers that look at the catalogue in the meantime must
        // not wait for that.
        drop(closed);
        true
    }

    /// The retention class of this name, if the volume has it. Look it up once per recorder.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<ClassId> {
        let index = self
            .shared
            .options
            .retention
            .iter()
            .position(|class| class.name == name)?;
        u16::try_from(index).ok().map(ClassId)
    }

    /// Appends a record, which is then on its way to the disk, but not yet durable. Neither waits
    /// nor locks. A recorder appends its init segment before the first chunk that needs it; the
    /// writer repeats it in later segments.
    ///
    /// # Errors
    /// The buffer is full, the record is too long, or the volume takes no more.
    pub fn append(&self, class: ClassId, record: Record) -> Result<(), AppendError> {
        self.intake.append(class, record)
    }

    /// Like [`Self::append`], for one of several records that arrive together: the writer sleeps
    /// until [`Self::hand_over`] is called, unless 1 MiB has arrived.
    ///
    /// # Errors
    /// Like [`Self::append`].
    pub fn append_quietly(&self, class: ClassId, record: Record) -> Result<(), AppendError> {
        self.intake.append_quietly(class, record)
    }

    /// Appended records need not wait for more: they are passed to the kernel immediately, or
    /// `write_delay` after the last time.
    pub fn hand_over(&self) {
        self.intake.budget.complete.notify_one();
    }

    /// On return, everything appended before is durable and visible. Waits as long as the disk
    /// does: use a deadline.
    ///
    /// # Errors
    /// The volume failed or was closed in the meantime.
    pub async fn flush(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.intake.ask(Request::Flush(answer));
        answered.await.map_err(|_| self.gone())
    }

    /// Makes everything durable, then stops the volume's threads, sealing its segments;
    /// [`super::Volume::run`] returns once that is done. Nothing is lost if the process ends
    /// immediately after this returns. Waits as long as the disk does: use a deadline.
    ///
    /// # Errors
    /// The volume failed before everything was durable, or was already closed.
    pub async fn close(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.intake.ask(Request::Close(answer));
        answered.await.map_err(|_| self.gone())
    }

    fn gone(&self) -> Error {
        let path = self.shared.layout.root.clone();
        match self.intake.budget.failure.get() {
            Some(reason) => Error::Failed {
                path,
                reason: Arc::clone(reason),
            },
            None => Error::Closed { path },
        }
    }

    /// The reason of the volume's failure, once it has failed.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.failed.subscribe()
    }

    /// Changes after each flush, when watermarks may have moved. The value counts durable batches.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    /// How far a stream is durable in the newest epoch. Footage of earlier processes counts too
    /// (looking that up may read the catalogue).
    #[must_use]
    pub fn watermark(&self, stream: StreamId) -> Option<Watermark> {
        // Another cluster's epochs are unrelated to this one's.
        if self.is_adopted() {
            None
        } else {
            self.shared.watermark(stream)
        }
    }

    /// Like [`Self::watermark`], for footage that earlier processes recorded and that begins before
    /// `at`: a clock may have been ahead. Reads the catalogue.
    #[must_use]
    pub fn watermark_before(&self, stream: StreamId, at: Timestamp) -> Option<Watermark> {
        if self.is_adopted() {
            None
        } else {
            self.shared.watermark_before(stream, at)
        }
    }

    /// Like [`Self::watermark`], for one recorder of this process.
    #[must_use]
    pub fn watermark_of(&self, stream: StreamId, epoch: Epoch, rank: Rank) -> Option<Watermark> {
        read(&self.shared.watermarks).of(stream, epoch, rank)
    }

    /// The durable end of what this process recorded of a stream in the newest epoch. Does not
    /// touch the disk.
    #[must_use]
    pub fn durable_until(&self, stream: StreamId) -> Option<Timestamp> {
        read(&self.shared.watermarks).durable_until(stream)
    }

    /// The highest camera number that has footage here, as far as that is listed. May read the
    /// catalogue.
    #[must_use]
    pub fn camera_highest(&self) -> Option<CameraId> {
        match &self.shared.adoption {
            // A recovered node may not know that these numbers were assigned.
            Some(adopted) => adopted.cameras().iter().map(|number| number.ours).max(),
            None => self.shared.camera_highest(),
        }
    }

    /// The durable chunks of all tracks of a stream that overlap the range, by start. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// The catalogue is not open, or a segment cannot be read.
    pub fn entries(&self, range: Range) -> Result<Vec<ChunkEntry>, Error> {
        let Some(inward) = self.inward_range(range) else {
            return Ok(Vec::new());
        };
        Ok(self.outward(range.camera, self.shared.entries(inward)?))
    }

    /// The recorded spans of a stream within the range, clipped to it, one per recorder and
    /// interruption. Blocks on the catalogue.
    ///
    /// # Errors
    /// The catalogue is not open.
    pub fn spans(&self, range: Range) -> Result<Vec<Span>, Error> {
        Ok(self.recorded(range)?.0)
    }

    /// [`Self::spans`] and [`Self::gaps`] from one look at the catalogue. Blocks on it.
    ///
    /// # Errors
    /// The catalogue is not open.
    pub fn recorded(&self, range: Range) -> Result<(Vec<Span>, Vec<Gap>), Error> {
        let Some(inward) = self.inward_range(range) else {
            return Ok((Vec::new(), Vec::new()));
        };
        Ok(self.outward_recorded(range.camera, self.shared.recorded(inward)?))
    }

    /// The gap ledger of a stream within the range, not clipped. Blocks on the catalogue.
    ///
    /// # Errors
    /// The catalogue is not open.
    pub fn gaps(&self, range: Range) -> Result<Vec<Gap>, Error> {
        let Some(inward) = self.inward_range(range) else {
            return Ok(Vec::new());
        };
        Ok(self
            .outward_recorded(range.camera, (Vec::new(), self.shared.gaps(inward)?))
            .1)
    }

    /// The init segment of this id. Blocks on the disk.
    ///
    /// # Errors
    /// It does not exist here, is damaged, or cannot be read.
    pub fn init(&self, camera: CameraId, id: InitId) -> Result<Bytes, Error> {
        let inward = self
            .inward(camera)
            .ok_or(Error::NoInit { camera, id: id.0 })?;
        self.shared.init(inward, id)
    }

    /// The payload of a chunk, with its checksum verified. Blocks on the disk.
    ///
    /// # Errors
    /// The segment was deleted, the chunk is damaged, or it cannot be read.
    pub fn read(&self, location: &ChunkLocation) -> Result<Bytes, Error> {
        self.shared.payload(location)
    }

    /// Like [`Self::read`], for several chunks that are read one after the other; each has its own
    /// result, in their order.
    #[must_use]
    pub fn read_all(&self, locations: &[ChunkLocation]) -> Vec<Result<Bytes, Error>> {
        self.shared.payloads(locations)
    }

    /// Stored chunks that are damaged, by segment and offset, and how many more there are than are
    /// listed.
    #[must_use]
    pub fn damaged(&self) -> (Vec<DamagedChunk>, u64) {
        let damage = read(&self.shared.damage);
        let mut chunks: Vec<DamagedChunk> = damage.chunks().collect();
        if let Some(adopted) = &self.shared.adoption {
            chunks.retain_mut(|chunk| {
                let ours = adopted.ours(chunk.meta.camera);
                (chunk.meta.camera, chunk.meta.node) =
                    (ours.unwrap_or_default(), Adoption::node(chunk.meta.node));
                ours.is_some()
            });
        }
        (chunks, damage.left_out())
    }

    /// Has the scrub begin a pass now; no effect if it is off.
    pub fn start_scrub(&self) {
        self.shared.scrub.start();
    }

    /// Replaces the set of holds, which may not be deleted. Footage that retention selects from now
    /// on is spared.
    pub fn set_holds(&self, holds: Holds) {
        let holds = self
            .shared
            .adoption
            .as_ref()
            .map(|adopted| adopted.holds(&holds))
            .unwrap_or(holds);
        *write(&self.shared.holds) = Some(Arc::new(holds));
    }

    /// Stores the cameras' names with the segments, for people who find the volume without its
    /// cluster. `false` if they are stored already, or nothing may be written here. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// The names cannot be written, or are stored by a newer version.
    pub fn keep_names(&self, current: &[CurrentName], now: Timestamp) -> Result<bool, Error> {
        let Shared {
            is_reading,
            disk,
            layout,
            options,
            ..
        } = &*self.shared;
        if *is_reading || self.is_adopted() {
            return Ok(false);
        }
        names::keep(&**disk, layout, options.cluster, current, now)
    }

    /// How this node's clock compares with those of other members: retention by age uses it from
    /// its next run on.
    pub fn set_peer_clocks(&self, peers: PeerClocks) {
        self.shared.retention.set_peers(peers);
    }

    /// The state of deletion, as of retention's last run. Cheap.
    #[must_use]
    pub fn retention(&self) -> RetentionStatus {
        self.shared.retention.status()
    }

    /// An operator's decision about announced deletions. It takes effect at retention's next run,
    /// within seconds.
    pub fn order_retention(&self, order: RetentionOrder) {
        self.shared.retention.order(order);
    }

    /// Whether the disk refused the last write for lack of space. Cheap.
    #[must_use]
    pub fn has_no_space(&self) -> bool {
        self.intake.budget.has_no_space.load(Ordering::Relaxed)
    }

    /// Bytes that wait in memory, of [`VolumeOptions::buffer_bytes_max`].
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.intake.budget.queued_bytes()
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let budget = &self.intake.budget;
        stats::collect(&self.shared, budget.queued_bytes(), self.has_no_space())
    }
}
