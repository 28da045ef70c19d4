//! The scrub status of this node's volumes, for its peers and the API.

use crate::volumes::Volumes;
use holdfast_control_api::wire;
use holdfast_storage::ids::NodeId;
use holdfast_storage::{DamagedChunk, ScrubPass, ScrubStatus, VolumeHandle};
use serde::{Deserialize, Serialize};

/// One volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    volume: u16,
    scrub: ScrubStatus,
    damaged: Vec<DamagedChunk>,
    damaged_left_out: u64,
}

/// Of all volumes that are open.
pub(crate) fn status(volumes: &Volumes) -> Vec<Status> {
    volumes.handles().iter().map(status_of).collect()
}

fn status_of(handle: &VolumeHandle) -> Status {
    let (damaged, damaged_left_out) = handle.damaged();
    Status {
        volume: handle.options().index,
        scrub: handle.stats().scrub,
        damaged,
        damaged_left_out,
    }
}

/// Begins a pass on every volume whose scrub is not off.
pub(crate) fn start(volumes: &Volumes) {
    volumes.handles().iter().for_each(VolumeHandle::start_scrub);
}

pub(crate) fn wire_scrub(node: NodeId, status: Status) -> wire::VolumeScrub {
    let Status {
        volume,
        scrub,
        damaged,
        damaged_left_out,
    } = status;
    wire::VolumeScrub {
        node,
        volume,
        bytes_per_second_max: scrub.bytes_per_second_max,
        is_held_back: scrub.is_held_back,
        pass: scrub.pass.map(wire_pass),
        last_started_at: scrub.last_started_at,
        last_ended_at: scrub.last_ended_at,
        failed_segments: scrub.failed_segments,
        damaged_segments: scrub.damaged_segments,
        damaged: damaged.iter().map(wire_damaged).collect(),
        damaged_left_out,
    }
}

fn wire_pass(pass: ScrubPass) -> wire::ScrubPass {
    let ScrubPass {
        started_at,
        done_bytes,
        total_bytes,
        done_segments,
        total_segments,
    } = pass;
    wire::ScrubPass {
        started_at,
        done_bytes,
        total_bytes,
        done_segments,
        total_segments,
    }
}

fn wire_damaged(chunk: &DamagedChunk) -> wire::DamagedChunk {
    let meta = &chunk.meta;
    wire::DamagedChunk {
        camera: meta.camera,
        stream: meta.stream,
        track: meta.track,
        start: meta.start,
        end: meta.end(),
        segment: chunk.segment,
        offset: chunk.offset,
    }
}
