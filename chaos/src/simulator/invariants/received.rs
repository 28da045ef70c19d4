//! Everything that a recorder without trouble receives becomes durable: no handoff, change of
//! identity or orderly stop costs a frame.

use super::{Invariant, Seen, Site};
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::VecDeque;
use std::time::Duration;

/// From the camera to the disk: a chunk, a flush, and the backlog of a slow disk.
const DURABLE_WITHIN: Duration = Duration::from_secs(4);
/// The time within which a node's trouble has its effects.
const ECHO: Duration = Duration::from_secs(15);

struct Frame {
    camera: CameraId,
    number: u64,
    sent_at: Duration,
    recording: Vec<NodeId>,
}

#[derive(Default)]
pub(super) struct Received {
    frames: VecDeque<Frame>,
}

impl Invariant for Received {
    fn name(&self) -> &'static str {
        "what is received becomes durable"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if let Seen::Sent {
            camera,
            number,
            recording,
        } = seen
        {
            let (recording, sent_at) = (recording.to_vec(), site.now());
            self.frames.push_back(Frame {
                camera: *camera,
                number: *number,
                sent_at,
                recording,
            });
            while let Some(due) = self
                .frames
                .pop_front_if(|first| site.now() >= first.sent_at + DURABLE_WITHIN)
            {
                is_durable(site, &due)?;
            }
        }
        Ok(())
    }
}

fn is_durable(site: &Site<'_>, frame: &Frame) -> Result<(), String> {
    let Frame {
        camera,
        number,
        sent_at,
        recording,
    } = frame;
    if site
        .world
        .stored(*camera)
        .is_some_and(|stored| stored.contains(number))
    {
        return Ok(());
    }
    let since = sent_at.saturating_sub(ECHO);
    let is_well = |node: &&NodeId| {
        !site.world.trouble.of_node(**node, since)
            && !site.world.trouble.of_sight(**node, *camera, since)
    };
    match recording.iter().find(is_well) {
        Some(node) => Err(format!(
            "frame {number} of camera {camera}, which node {node} received at {:.3} s, is not \
             durable",
            sent_at.as_secs_f64()
        )),
        None => Ok(()),
    }
}
