//! The state of the fake node's only volume.

use super::fake::{State, T0};
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_control_api::wire;
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::ids::NodeId;

pub(super) fn scrubbed(state: &State) -> wire::VolumeScrub {
    let chunk = |entry: &ChunkEntry| wire::DamagedChunk {
        camera: entry.meta.camera,
        stream: entry.meta.stream,
        track: entry.meta.track,
        start: entry.meta.start,
        end: entry.meta.end(),
        segment: entry.location.segment,
        offset: entry.location.offset,
    };
    let is_damaged = |entry: &&ChunkEntry| state.damaged.contains(&entry.location.offset);
    wire::VolumeScrub {
        node: NodeId(1),
        volume: 0,
        bytes_per_second_max: 8 << 20,
        is_held_back: false,
        pass: None,
        last_started_at: Some(T0),
        last_ended_at: Some(T0),
        failed_segments: 0,
        damaged_segments: 0,
        damaged: state.entries.iter().filter(is_damaged).map(chunk).collect(),
        damaged_left_out: 0,
    }
}

pub(super) fn retention() -> wire::VolumeRetention {
    let announced = wire::AnnouncedDeletion {
        class: Some("default".to_owned()),
        bytes: 900,
        stored_bytes: 1000,
        state: "waiting".to_owned(),
        begins_in_s: Some(86_400),
    };
    wire::VolumeRetention {
        node: NodeId(1),
        volume: 0,
        path: "/srv/disk0".to_owned(),
        time_is_certain: true,
        paused: None,
        announced: vec![announced],
        clamped_free_bytes_min: None,
    }
}

pub(super) fn report() -> VolumeReport {
    VolumeReport {
        index: 0,
        path: "/srv/disk0".to_owned(),
        state: "active".to_owned(),
        error: None,
        cameras: 1,
        lag_seconds: 0.1,
        free_bytes: 1 << 40,
        size_bytes: 4 << 40,
        failures: 0,
        reattachments: 0,
        full_in_s: None,
        id: None,
    }
}
