//! An in-memory node: cameras, a leader or none, and chunks that can be damaged or out of reach.

use super::clip::{Clip, chunked};
use super::{former, volume};
use bytes::Bytes;
use holdfast_consensus::model::{CameraSpec, Duty, Role, Secret};
use holdfast_control_api::ports::{Listed, Lost, Payload, Result};
use holdfast_control_api::{ApiError, Backend, ErrorKind, wire};
use holdfast_storage::chunk::{Access, ChunkEntry, ChunkLocation, ChunkMeta, Gap, InitId};
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::ids::{
    CameraId, DrillId, Epoch, ExportId, HoldId, NodeId, Rank, SegmentId, SessionId, StreamKind,
    TrackKind,
};
use holdfast_storage::retention::RetentionAction;
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::merge;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// 2026-11-22T10:00:00Z, when every recording in these tests begins.
pub(crate) const T0: Timestamp = Timestamp(1_795_341_600_000_000);

/// The camera whose chunks the node has.
pub(crate) const CAMERA: CameraId = CameraId(7);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) initialised: bool,
    /// The error of every write.
    pub(crate) writes_fail: Option<ErrorKind>,
    pub(crate) stands_still: bool,
    pub(crate) not_ready: Option<String>,
    pub(crate) cameras: BTreeMap<CameraId, CameraSpec>,
    pub(crate) former: BTreeMap<CameraId, CameraSpec>,
    pub(crate) holds: BTreeMap<HoldId, wire::Hold>,
    pub(crate) exports: BTreeMap<ExportId, wire::Export>,
    pub(crate) drills: Vec<wire::Drill>,
    pub(crate) draining: bool,
    rebalancing: bool,
    failback_after_s: u32,
    pub(crate) entries: Vec<ChunkEntry>,
    /// Who may list more of them in a moment.
    pub(crate) late: Option<String>,
    payloads: BTreeMap<u64, Bytes>,
    inits: BTreeMap<InitId, Bytes>,
    pub(crate) gaps: Vec<Gap>,
    /// Gaps in the timelines, by camera.
    pub(crate) holes: BTreeMap<CameraId, Vec<wire::Gap>>,
    /// By index among all recorded chunks.
    pub(crate) damaged: BTreeSet<u64>,
    pub(crate) deleted: BTreeSet<u64>,
    pub(crate) unreachable: BTreeSet<u64>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    registry: prometheus::Registry,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                initialised: true,
                ..State::default()
            })),
            registry: prometheus::Registry::new(),
        }
    }

    /// The same node after a restart: its process's knowledge is gone.
    pub(crate) fn restarted(&self) -> Self {
        Self {
            state: self.state.clone(),
            registry: prometheus::Registry::new(),
        }
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Records a clip as one session of `node`, from `start_ms` after [`T0`], in chunks of up to
    /// 500 ms that end at keyframes.
    pub(crate) fn record(&self, node: u64, start_ms: i64, clip: &Clip) {
        let start = T0.plus_micros(start_ms * 1000);
        self.with(|state| {
            let init = InitId::of(&clip.init);
            state.inits.insert(init, clip.init.clone());
            for (sequence, frames) in chunked(clip).into_iter().enumerate() {
                state.store(node, start, sequence as u32, init, clip, frames);
            }
            state
                .entries
                .sort_by_key(|entry| (entry.meta.track, entry.meta.start));
        });
    }

    /// As if the chunk of video that starts then was never stored.
    pub(crate) fn lose(&self, start: Timestamp) {
        self.with(|state| {
            let is_lost = |entry: &ChunkEntry| {
                entry.meta.track == TrackKind::Video && entry.meta.start == start
            };
            let before = state.entries.len();
            state.entries.retain(|entry| !is_lost(entry));
            assert_eq!(
                state.entries.len() + 1,
                before,
                "there is one chunk that starts then"
            );
        });
    }

    pub(crate) fn chunks(&self, track: TrackKind) -> Vec<ChunkEntry> {
        self.with(|state| {
            state
                .entries
                .iter()
                .filter(|entry| entry.meta.track == track)
                .copied()
                .collect()
        })
    }

    async fn write<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.reach().await;
        self.with(|state| match state.writes_fail {
            Some(kind) => Err(ApiError::new(kind, "as the test asked")),
            None => change(state),
        })
    }

    async fn reach(&self) {
        if self.with(|state| state.stands_still) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    }
}

/// A checksum of a picture, so that no two are equal.
fn checksum(data: &[u8]) -> u32 {
    data.iter().fold(7, |sum: u32, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
    })
}

impl State {
    /// The number of recorded chunks of all tracks.
    pub(crate) fn chunk_count(&self) -> u64 {
        self.payloads.len() as u64
    }

    fn store(
        &mut self,
        node: u64,
        session_start: Timestamp,
        sequence: u32,
        init: InitId,
        clip: &Clip,
        frames: &[Frame],
    ) {
        // Rounded up, so that the wall time gives the same ticks again, as a recorder's does.
        let ticks_micros =
            |ticks: u64| (ticks * 1_000_000).div_ceil(u64::from(clip.timescale)) as i64;
        let start = session_start.plus_micros(ticks_micros(frames[0].decode_time));
        let base = session_start.ticks(clip.timescale);
        let stamped: Vec<_> = frames
            .iter()
            .cloned()
            .map(|frame| Frame {
                decode_time: base + frame.decode_time,
                ..frame
            })
            .collect();
        let payload: Bytes = build_chunk(clip.track, sequence, start, &stamped)
            .unwrap()
            .concat()
            .into();
        let last = &frames[frames.len() - 1];
        let end =
            session_start.plus_micros(ticks_micros(last.decode_time + u64::from(last.duration)));
        let meta = ChunkMeta {
            camera: CAMERA,
            stream: StreamKind::Main,
            track: clip.track,
            node: NodeId(node),
            epoch: Epoch(node),
            rank: Rank::Owner,
            session: SessionId(session_start.micros() as u64),
            sequence,
            init,
            start,
            duration_us: end.micros_since(start) as u32,
            frames: frames.len() as u32,
            access: frames[0].access.map(|point| Access {
                point,
                slices_crc: checksum(&frames[0].data),
            }),
            since_access_ms: self.since_access_ms(clip.track, session_start, start, &frames[0]),
            after_loss: false,
            damaged: false,
        };
        let offset = self.payloads.len() as u64;
        let (segment, payload_bytes, holder) = (SegmentId(1), payload.len() as u32, NodeId(node));
        let location = ChunkLocation {
            volume: 0,
            segment,
            offset,
            payload_bytes,
            holder,
        };
        self.payloads.insert(offset, payload);
        self.entries.push(ChunkEntry { meta, location });
    }

    fn since_access_ms(
        &self,
        track: TrackKind,
        session: Timestamp,
        start: Timestamp,
        first: &Frame,
    ) -> Option<u32> {
        let session = SessionId(session.micros() as u64);
        let is_before = |meta: &&ChunkMeta| {
            (meta.track, meta.session) == (track, session) && meta.access.is_some()
        };
        let mut before = self
            .entries
            .iter()
            .rev()
            .map(|entry| &entry.meta)
            .filter(is_before);
        let access = if first.access.is_some() {
            Some(start)
        } else {
            before.next().map(|meta| meta.start)
        };
        access
            .filter(|_| track == TrackKind::Video)
            .map(|access| (start.micros_since(access) as u32).div_ceil(1000))
    }

    fn camera(&self, id: CameraId) -> Result<wire::Camera> {
        let spec = self
            .cameras
            .get(&id)
            .ok_or_else(|| ApiError::not_found(format!("camera {id}")))?
            .clone();
        Ok(wire::Camera {
            id,
            name: spec.name.to_string(),
            source: wire::Source::of(&spec.source),
            protection: spec.protection,
            priority: spec.priority,
            retention_class: spec.retention_class.to_string(),
            labels: spec.labels.as_map().clone(),
            node_labels: Default::default(),
            preferred_node: None,
            last_drill: None,
            held_back: None,
            warnings: Vec::new(),
            assignment: wire::Assignment {
                epoch: Epoch(1),
                owner: Some(NodeId(1)),
                mirror: None,
                successor: None,
                moving_to: None,
            },
            recording: wire::Recording {
                state: None,
                node: None,
                watermark: None,
                error: None,
                waits_for: None,
            },
        })
    }

    fn timeline(&self, camera: CameraId, from: Timestamp, to: Timestamp) -> wire::Timeline {
        let holes = self.holes.get(&camera).into_iter().flatten();
        let overlapping = holes.filter(|gap| gap.start < to && gap.end > from);
        let cut = overlapping.map(|gap| wire::Gap {
            start: gap.start.max(from),
            end: gap.end.min(to),
            ..gap.clone()
        });
        wire::Timeline {
            camera,
            from,
            to,
            spans: vec![],
            gaps: cut.collect(),
            nodes_left_out: vec![NodeId(2)],
        }
    }

    fn node(&self) -> wire::Node {
        wire::Node {
            id: NodeId(1),
            name: "one".to_owned(),
            role: Role::Recorder,
            duty: if self.draining {
                Duty::Draining
            } else {
                Duty::Active
            },
            voter: true,
            alive: true,
            peer_addr: "127.0.0.1:1".to_owned(),
            api_addr: "127.0.0.1:2".to_owned(),
            failure_domain: "a".to_owned(),
            camera_capacity: 10,
            bitrate_capacity_bps: None,
            labels: Default::default(),
            bitrate_bps: 0,
            cameras: self.cameras.len(),
            cameras_recorded: 0,
            clock_offset_ms: None,
            version: 1,
            refused: None,
        }
    }

    fn cluster(&self) -> wire::Cluster {
        wire::Cluster {
            id: self.initialised.then(|| "c".to_owned()),
            this_node: Some(NodeId(1)),
            leader: Some(NodeId(1)),
            term: 1,
            voters: vec![NodeId(1)],
            nodes: vec![self.node()],
            cameras: self.cameras.len(),
            cameras_recording: 0,
            failover_headroom: None,
            rebalancing: self.rebalancing,
            version: 1,
            no_part: None,
            generation: 1,
        }
    }

    fn enter(&mut self) -> Result<wire::Cluster> {
        if std::mem::replace(&mut self.initialised, true) {
            return Err(ApiError::new(
                ErrorKind::Conflict,
                "this node is a member already",
            ));
        }
        Ok(self.cluster())
    }
}

impl Backend for Fake {
    async fn status(&self) -> Result<wire::Status> {
        Ok(wire::Status {
            at: T0,
            state: wire::StatusState::Degraded,
            verdict: "degraded: no camera is recorded".to_owned(),
            mode: wire::Mode::Single,
            cameras: 0,
            cameras_recorded: 0,
            nodes: 1,
            nodes_alive: 1,
            findings: Vec::new(),
            findings_left_out: 0,
            disks: Vec::new(),
            next_failure: Vec::new(),
        })
    }

    async fn cluster(&self) -> Result<wire::Cluster> {
        self.reach().await;
        Ok(self.with(|state| state.cluster()))
    }

    async fn init_cluster(&self) -> Result<wire::Cluster> {
        self.write(State::enter).await
    }

    async fn join_cluster(&self, _peer: String) -> Result<wire::Cluster> {
        self.write(State::enter).await
    }

    async fn finalize(&self) -> Result<wire::Cluster> {
        Ok(self.with(|state| state.cluster()))
    }

    async fn rebalance(&self) -> Result<wire::Cluster> {
        self.write(|state| {
            state.rebalancing = true;
            Ok(state.cluster())
        })
        .await
    }

    async fn settings(&self) -> Result<wire::Settings> {
        let failback_after_s = self.with(|state| state.failback_after_s);
        let (headroom, failback) = Default::default();
        Ok(wire::Settings {
            headroom,
            headroom_over_domains: false,
            failback,
            failback_after_s,
            drill_every_s: 0,
        })
    }

    async fn patch_settings(&self, patch: wire::SettingsPatch) -> Result<wire::Settings> {
        self.write(|state| {
            state.failback_after_s = patch.failback_after_s.unwrap_or(state.failback_after_s);
            Ok(())
        })
        .await?;
        self.settings().await
    }

    /// Returns the length of the passphrase.
    async fn backup(&self, passphrase: Secret) -> Result<Bytes> {
        Ok(Bytes::from(format!(
            "sealed with {} characters",
            passphrase.0.len()
        )))
    }

    async fn restore(&self, restore: wire::NewRestore) -> Result<wire::Restored> {
        let detail = format!(
            "{} bytes, overwrite {}",
            restore.backup.len(),
            restore.overwrite
        );
        let (kind, outcome) = (wire::RestoredKind::Camera, wire::RestoreOutcome::Added);
        let items = vec![wire::RestoredItem {
            kind,
            name: "yard".to_owned(),
            outcome,
            detail,
        }];
        Ok(wire::Restored {
            dry_run: restore.dry_run,
            made_at: T0,
            cluster: "c".to_owned(),
            items,
            left: 0,
        })
    }

    async fn nodes(&self) -> Result<Vec<wire::Node>> {
        Ok(self.with(|state| vec![state.node()]))
    }

    async fn set_draining(&self, node: NodeId, draining: bool) -> Result<wire::Node> {
        self.write(|state| {
            if node != NodeId(1) {
                return Err(ApiError::not_found(format!("node {node}")));
            }
            state.draining = draining;
            Ok(state.node())
        })
        .await
    }

    async fn volumes(&self, node: NodeId) -> Result<Vec<wire::Volume>> {
        if node == NodeId(1) {
            Ok(Vec::new())
        } else {
            Err(ApiError::not_found(format!("node {node}")))
        }
    }

    async fn remove_node(&self, node: NodeId, force: bool) -> Result<()> {
        self.write(|state| match (node, force || state.cameras.is_empty()) {
            (NodeId(1), true) => Ok(()),
            (NodeId(1), false) => Err(ApiError::new(ErrorKind::Conflict, "it owns cameras")),
            _ => Err(ApiError::not_found(format!("node {node}"))),
        })
        .await
    }

    async fn cameras(&self) -> Result<Vec<wire::Camera>> {
        self.with(|state| state.cameras.keys().map(|id| state.camera(*id)).collect())
    }

    async fn camera(&self, id: CameraId) -> Result<wire::Camera> {
        self.with(|state| state.camera(id))
    }

    async fn create_camera(&self, camera: wire::NewCamera) -> Result<wire::Camera> {
        let spec = camera.into_spec(None)?;
        self.write(|state| {
            let id = CameraId(state.cameras.keys().max().map_or(1, |id| id.0 + 1));
            state.cameras.insert(id, spec);
            state.camera(id)
        })
        .await
    }

    async fn patch_camera(&self, id: CameraId, patch: wire::CameraPatch) -> Result<wire::Camera> {
        self.write(|state| {
            state.camera(id)?;
            let spec = patch.onto(state.cameras[&id].clone(), None)?;
            state.cameras.insert(id, spec);
            state.camera(id)
        })
        .await
    }

    async fn delete_camera(&self, id: CameraId) -> Result<()> {
        self.write(|state| {
            let spec = state
                .cameras
                .remove(&id)
                .ok_or_else(|| ApiError::not_found(format!("camera {id}")))?;
            state.former.insert(id, spec);
            Ok(())
        })
        .await
    }

    async fn deleted_cameras(&self) -> Result<Vec<wire::DeletedCamera>> {
        self.with(|state| Ok(former::listed(state)))
    }

    async fn restore_camera(
        &self,
        id: CameraId,
        restore: wire::RestoreCamera,
    ) -> Result<wire::Camera> {
        self.write(|state| former::restore(state, id, restore).and_then(|()| state.camera(id)))
            .await
    }

    async fn adopt_cameras(&self, adopt: wire::AdoptCameras) -> Result<Vec<wire::CameraNumber>> {
        self.write(|_| Ok(former::numbers(&adopt))).await
    }

    async fn release_camera(&self, id: CameraId) -> Result<wire::Camera> {
        self.write(|state| state.camera(id)).await
    }

    async fn holds(&self) -> Result<Vec<wire::Hold>> {
        self.with(|state| Ok(state.holds.values().cloned().collect()))
    }

    async fn hold(&self, id: HoldId) -> Result<wire::Hold> {
        self.with(|state| {
            state
                .holds
                .get(&id)
                .cloned()
                .ok_or_else(|| ApiError::not_found(format!("hold {id}")))
        })
    }

    async fn create_hold(&self, new: wire::NewHold) -> Result<wire::Hold> {
        self.write(|state| {
            let id = HoldId(state.holds.len() as u64 + 1);
            let wire::NewHold {
                reason,
                camera,
                from,
                to,
            } = new;
            let hold = wire::Hold {
                id,
                reason,
                camera,
                from,
                to,
                created_at: T0,
            };
            state.holds.insert(id, hold.clone());
            Ok(hold)
        })
        .await
    }

    async fn delete_hold(&self, id: HoldId) -> Result<()> {
        self.write(|state| {
            state
                .holds
                .remove(&id)
                .map(drop)
                .ok_or_else(|| ApiError::not_found(format!("hold {id}")))
        })
        .await
    }

    async fn exports(&self) -> Result<Vec<wire::Export>> {
        self.with(|state| Ok(state.exports.values().cloned().collect()))
    }

    async fn export(&self, id: ExportId) -> Result<wire::Export> {
        self.with(|state| {
            state
                .exports
                .get(&id)
                .cloned()
                .ok_or_else(|| ApiError::not_found(format!("export {id}")))
        })
    }

    async fn create_export(&self, new: wire::NewExport) -> Result<wire::Export> {
        self.write(|state| {
            let id = ExportId(state.exports.len() as u64 + 1);
            let wire::NewExport {
                name,
                cameras,
                from,
                to,
                strict,
            } = new;
            let export = wire::Export {
                id,
                name,
                cameras,
                from,
                to,
                strict,
                created_at: T0,
                expires_at: to,
            };
            state.exports.insert(id, export.clone());
            Ok(export)
        })
        .await
    }

    async fn delete_export(&self, id: ExportId) -> Result<()> {
        let removed = |state: &mut State| state.exports.remove(&id).map(drop);
        self.write(|state| {
            removed(state).ok_or_else(|| ApiError::not_found(format!("export {id}")))
        })
        .await
    }

    async fn drills(&self, camera: Option<CameraId>) -> Result<Vec<wire::Drill>> {
        let of_camera = |drill: &&wire::Drill| {
            camera.is_none_or(|camera| drill.cameras.iter().any(|drilled| drilled.camera == camera))
        };
        Ok(self.with(|state| state.drills.iter().filter(of_camera).cloned().collect()))
    }

    async fn drill(&self, id: DrillId) -> Result<wire::Drill> {
        let found = self.with(|state| state.drills.iter().find(|drill| drill.id == id).cloned());
        found.ok_or_else(|| ApiError::not_found(format!("drill {id}")))
    }

    async fn begin_drill(&self, of: wire::DrillOf) -> Result<wire::Drill> {
        self.write(|state| {
            let id = DrillId(state.drills.len() as u64 + 1);
            let (camera, node) = match of {
                wire::DrillOf::Camera(camera) => (camera, None),
                wire::DrillOf::Node(_) => (CAMERA, Some(NodeId(1))),
            };
            let drilled = wire::CameraDrill {
                camera,
                drill: id,
                owner: Some(NodeId(1)),
                successor: Some(NodeId(2)),
                phase: wire::DrillPhase::TakingOver,
                began_at: T0,
                ended_at: None,
                outcome: None,
                gap_us: None,
                handed_back: false,
                reason: None,
            };
            let drill = wire::Drill {
                id,
                node,
                scheduled: false,
                began_at: T0,
                running: true,
                passed: 0,
                failed: 0,
                aborted: 0,
                median_gap_us: None,
                worst_gap_us: None,
                cameras: vec![drilled],
            };
            state.drills.push(drill.clone());
            Ok(drill)
        })
        .await
    }

    async fn timeline(
        &self,
        camera: CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<wire::Timeline> {
        Ok(self.with(|state| state.timeline(camera, from, to)))
    }

    async fn camera_ids(&self) -> Result<Vec<CameraId>> {
        Ok(self.with(|state| state.holes.keys().copied().collect()))
    }

    async fn timelines(
        &self,
        cameras: &[CameraId],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<wire::Timeline>> {
        Ok(self.with(|state| {
            cameras
                .iter()
                .map(|camera| state.timeline(*camera, from, to))
                .collect()
        }))
    }

    async fn entries(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Listed> {
        let asked = |entry: &&ChunkEntry| {
            (entry.meta.camera, entry.meta.stream) == (camera, stream)
                && entry.meta.start < to
                && entry.meta.end() > from
        };
        Ok(self.with(|state| Listed {
            chunks: merge(state.entries.iter().filter(asked).copied().collect()),
            late: state.late.clone(),
        }))
    }

    async fn gaps(&self, _camera: CameraId, from: Timestamp, to: Timestamp) -> Result<Vec<Gap>> {
        Ok(self.with(|state| {
            state
                .gaps
                .iter()
                .filter(|gap| gap.start < to && gap.end > from)
                .copied()
                .collect()
        }))
    }

    async fn init(&self, _camera: CameraId, id: InitId) -> Result<Bytes> {
        self.with(|state| state.inits.get(&id).cloned())
            .ok_or_else(|| ApiError::not_found("init"))
    }

    async fn read(&self, run: &[ChunkEntry]) -> Result<Vec<Payload>> {
        let offsets = run.iter().map(|chunk| chunk.location.offset);
        let payload = |state: &State, offset| match () {
            () if state.unreachable.contains(&offset) => {
                Err(ApiError::unavailable("node 2 is down"))
            }
            () if state.damaged.contains(&offset) => Ok(Err(Lost::Damaged("checksum".to_owned()))),
            () if state.deleted.contains(&offset) => Ok(Err(Lost::Deleted)),
            // As a copy, so that a patched one never shows in the store.
            () => Ok(Ok(Bytes::copy_from_slice(&state.payloads[&offset]))),
        };
        self.with(|state| offsets.map(|offset| payload(state, offset)).collect())
    }

    async fn scrub(&self) -> Result<Vec<wire::VolumeScrub>> {
        self.reach().await;
        Ok(vec![self.with(|state| volume::scrubbed(state))])
    }
    async fn start_scrub(&self, node: NodeId) -> Result<()> {
        match node {
            NodeId(1) => Ok(()),
            _ => Err(ApiError::not_found("no such node").code("unknown-node")),
        }
    }
    async fn retention(&self) -> Result<Vec<wire::VolumeRetention>> {
        self.reach().await;
        Ok(vec![volume::retention()])
    }
    async fn order_retention(
        &self,
        target: wire::RetentionTarget,
        _: RetentionAction,
    ) -> Result<()> {
        match target.node {
            None | Some(wire::NodeRef::Id(NodeId(1))) => Ok(()),
            Some(_) => Err(ApiError::not_found("no such node").code("unknown-node")),
        }
    }
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    async fn ready(&self) -> std::result::Result<(), String> {
        self.with(|state| state.not_ready.clone())
            .map_or(Ok(()), Err)
    }

    fn metrics(&self) -> prometheus::Registry {
        self.registry.clone()
    }
}
