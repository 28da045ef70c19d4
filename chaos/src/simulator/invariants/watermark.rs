//! A watermark never goes back, and never exceeds durable footage.

use super::{Invariant, Seen, Site};
use holdfast_consensus::observe::heartbeat::Progress;
use holdfast_storage::ids::{Epoch, NodeId, Rank, StreamId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

type Recording = (NodeId, StreamId, Epoch, Rank);

#[derive(Default)]
pub(super) struct Watermark {
    reported: BTreeMap<Recording, Timestamp>,
    durable: BTreeMap<Recording, Timestamp>,
}

impl Invariant for Watermark {
    fn name(&self) -> &'static str {
        "watermarks tell what is durable, and never go back"
    }

    fn see(&mut self, _: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Stored { node, meta } => {
                let end = self
                    .durable
                    .entry((*node, meta.stream_id(), meta.epoch, meta.rank))
                    .or_insert(meta.end());
                *end = meta.end().max(*end);
                Ok(())
            }
            Seen::Reported { node, progress } => progress
                .iter()
                .try_for_each(|progress| self.reported(*node, progress)),
            _ => Ok(()),
        }
    }
}

impl Watermark {
    fn reported(&mut self, node: NodeId, progress: &Progress) -> Result<(), String> {
        let Progress {
            stream,
            epoch,
            rank,
            watermark,
            first_keyframe,
            ..
        } = progress;
        let recording = (node, *stream, *epoch, *rank);
        let durable = self.durable.get(&recording).copied();
        let Some(now) = *watermark else { return Ok(()) };
        if durable.is_none_or(|durable| {
            now > durable || first_keyframe.is_some_and(|first| first > durable)
        }) {
            return Err(format!(
                "node {node} reports {progress:?}, and {durable:?} is durable"
            ));
        }
        match self.reported.insert(recording, now) {
            Some(before) if before > now => Err(format!(
                "node {node} reported {before} of stream {stream}, epoch {epoch}, {rank:?}, and \
                 then {now}"
            )),
            _ => Ok(()),
        }
    }
}
