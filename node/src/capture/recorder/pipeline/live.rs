//! Publishes what is recorded: after the store has had its turn, and as the open chunks have it.

use super::Pipeline;
use crate::capture::hub::{Frame, Origin, Publisher};
use crate::capture::recorder::chunker::TimedFrame;
use crate::capture::recorder::track::Track;
use holdfast_storage::ids::TrackKind;

impl Pipeline {
    /// Publishes the track's last frame; `lost`: frames right before it were lost. If it is the
    /// first one that subscribers receive, all frames of the open chunks come with it: everything
    /// before them has been handed to the store.
    pub(super) fn publish(&mut self, kind: TrackKind, lost: bool) {
        if !self.publisher.is_kept() {
            return;
        }
        let Some(session) = self.session else { return };
        let origin = Origin {
            node: self.context.node,
            epoch: self.identity.epoch,
            rank: self.identity.rank,
            session,
        };
        let tracks = [
            (TrackKind::Video, self.video.as_ref()),
            (TrackKind::Audio, self.audio.as_ref()),
        ];
        let inits = tracks.map(|(_, track)| track.map(Track::init));
        self.publisher.describe(origin, inits);
        if self.publisher.begins() {
            for (kind, track) in tracks {
                let Some(chunker) = track.map(|track| &track.chunker) else {
                    continue;
                };
                for (at, timed) in chunker.open().iter().enumerate() {
                    let after_loss = at == 0 && chunker.opens_after_loss();
                    send(
                        &mut self.publisher,
                        (kind, chunker.timescale()),
                        timed,
                        after_loss,
                    );
                }
            }
            return;
        }
        let track = tracks.into_iter().find(|track| track.0 == kind);
        if let Some(chunker) = track.and_then(|track| track.1).map(|track| &track.chunker)
            && let Some(last) = chunker.open().last()
        {
            send(&mut self.publisher, (kind, chunker.timescale()), last, lost);
        }
    }
}

fn send(
    publisher: &mut Publisher,
    (track, timescale): (TrackKind, u32),
    timed: &TimedFrame,
    after_loss: bool,
) {
    publisher.frame(Frame {
        track,
        data: timed.data.clone(),
        decode: timed.decode,
        composition_us: timed.composition_us,
        timescale,
        access: timed.access,
        length_us: timed.length_us,
        after_loss,
    });
}
