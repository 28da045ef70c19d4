//! Hands chunks and gap ledger entries to the sink. A chunk that the sink rejects becomes a gap.

use super::{Cut, NotStored, Pipeline, SinkError};
use holdfast_storage::chunk::{Gap, GapCause, Record};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::pictures::Shown;
use holdfast_storage::time::Timestamp;

impl Pipeline {
    /// Hands over a chunk, preceded by its init segment if that is new. If the sink rejects it, it
    /// becomes a gap.
    pub(super) fn emit(&mut self, kind: TrackKind, cut: Option<Cut>) {
        let Some(cut) = cut.filter(|_| self.session.is_some()) else {
            return;
        };
        let (start, end, frames) = (cut.start, cut.end(), u32::try_from(cut.frames.len()).ok());
        let mut outcome = self.store(kind, &cut);
        if let Err(NotStored::Sink(SinkError::Moved { lost })) = outcome {
            self.moved(lost);
            outcome = self.store(kind, &cut);
        }
        if kind == TrackKind::Video {
            self.recorded_until = self.recorded_until.max(Some(end));
            self.reached = self.recorded_until;
        }
        match outcome {
            Ok(shown) => {
                self.count(|counters| &counters.chunks, 1);
                if kind == TrackKind::Video {
                    self.context
                        .status
                        .recorded(start, end, cut.access.is_some());
                    if let Some(cause) = self.torn_by(shown) {
                        self.ledger.note(start, end, cause, frames);
                    }
                }
            }
            Err(error) => self.shed(kind, (start, end, frames), &error),
        }
        self.write_gaps();
    }

    /// Why no picture of a stored chunk can be decoded, which is as good as not recorded. Footage
    /// that is only damaged counts as recorded.
    fn torn_by(&mut self, shown: Shown) -> Option<GapCause> {
        match shown {
            Shown::Nothing => Some(self.torn_by.unwrap_or(GapCause::Unknown)),
            Shown::Whole | Shown::Damaged => {
                self.torn_by = None;
                None
            }
        }
    }

    /// The video that follows may lack an access point. The first cause stays.
    pub(super) fn tear(&mut self, kind: TrackKind, cause: GapCause) {
        if kind == TrackKind::Video {
            self.torn_by.get_or_insert(cause);
        }
    }

    fn store(&mut self, kind: TrackKind, cut: &Cut) -> Result<Shown, NotStored> {
        if self.awaits_keyframe {
            if kind != TrackKind::Video || cut.access.is_none() {
                return Err(NotStored::AwaitsKeyframe);
            }
            self.begin_session(cut.start);
        }
        let slot = if kind == TrackKind::Video {
            &mut self.video
        } else {
            &mut self.audio
        };
        match slot.as_mut().zip(self.session) {
            Some((track, session)) => track.store(&self.context, self.identity, session, cut),
            // A cut comes from its track, within a session.
            None => Err(NotStored::AwaitsKeyframe),
        }
    }

    /// The camera has moved to another volume, which has nothing of this session.
    fn moved(&mut self, lost: Option<(Timestamp, Timestamp)>) {
        if let Some((start, end)) = lost {
            self.ledger.note(start, end, GapCause::VolumeFailed, None);
        }
        // Without a session, the next one begins at a keyframe anyway.
        if let Some(session) = self.session.filter(|_| !self.awaits_keyframe) {
            self.awaits_keyframe = true;
            let began = Timestamp(i64::try_from(session.0).unwrap_or(i64::MAX));
            let since = self.recorded_until.map_or(began, |until| until.max(began));
            self.ledger.open(since, since, GapCause::VolumeFailed);
        }
    }

    fn shed(
        &mut self,
        kind: TrackKind,
        (start, end, frames): (Timestamp, Timestamp, Option<u32>),
        error: &NotStored,
    ) {
        self.count(|counters| &counters.shed_chunks, 1);
        if let Some(track) = self.track(kind) {
            track.chunker.mark_loss();
        }
        let cause = match error {
            // An outage is open for it.
            NotStored::AwaitsKeyframe => return,
            NotStored::Sink(SinkError::Moved { lost }) => {
                self.moved(*lost);
                return;
            }
            NotStored::Sink(SinkError::Full) => GapCause::Overload,
            NotStored::Sink(SinkError::Failed(_) | SinkError::NoSpace) => GapCause::VolumeFailed,
            NotStored::Mux(_) => GapCause::Unknown,
        };
        self.context.status.failing(error.to_string());
        self.tear(kind, cause);
        if kind == TrackKind::Video {
            self.ledger.note(start, end, cause, frames);
        }
    }

    /// Writes the ledger's entries as far as the sink takes them.
    pub(super) fn write_gaps(&mut self) {
        while let Some(interval) = self.ledger.next() {
            let gap = Gap {
                camera: self.context.stream.camera,
                stream: self.context.stream.kind,
                node: self.context.node,
                epoch: self.identity.epoch,
                start: interval.start,
                end: interval.end,
                cause: interval.cause,
                frames_missing: interval
                    .frames
                    .and_then(|frames| u16::try_from(frames).ok())
                    .filter(|frames| *frames > 0),
            };
            match self
                .context
                .sink
                .append(&self.context.retention_class, Record::Gap(gap))
            {
                Ok(()) => {
                    self.ledger.written();
                    self.context.status.accounted(interval.end);
                }
                // Returned once for each volume that fails.
                Err(SinkError::Moved { lost }) => self.moved(lost),
                // It stays in the ledger for the next time; the failed write of the chunk already
                // reported the sink's error.
                Err(SinkError::Full | SinkError::NoSpace | SinkError::Failed(_)) => return,
            }
        }
    }
}
