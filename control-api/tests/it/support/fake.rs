//! A node in memory: its ports over a real replicated state, without a network, and chunks that can
//! be damaged or out of reach.

use super::clip::{Clip, chunked};
use super::volume;
use bytes::Bytes;
use holdfast_consensus::command::{
    AssignmentChange, AssignmentOp, Command, LogEntry, Response, admission,
};
use holdfast_consensus::model::{Actor, CameraSpec, KeyHash, NodeSpec};
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_consensus::observe::liveness::Verdict;
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::{JoinToken, WriteError};
use holdfast_control_api::ports::{
    Cluster, Listed, Lost, Membership, Overview, Payload, Process, Recordings, Remains, Result,
    Volumes,
};
use holdfast_control_api::{ApiError, ErrorKind, wire};
use holdfast_storage::chunk::{Access, ChunkEntry, ChunkLocation, ChunkMeta, Gap, InitId};
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::ids::{
    CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamId, StreamKind, TrackKind,
};
use holdfast_storage::retention::RetentionOrder;
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::merge;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// 2026-11-22T10:00:00Z, when every recording in these tests begins.
pub(crate) const T0: Timestamp = Timestamp(1_795_341_600_000_000);

/// The camera whose chunks the node has.
pub(crate) const CAMERA: CameraId = CameraId(7);

/// This node, which records every camera, and another one, which could.
const OWNER: NodeId = NodeId(1);
const SUCCESSOR: NodeId = NodeId(2);

#[derive(Default)]
pub(crate) struct State {
    /// `None` before the node is a member.
    pub(crate) cluster: Option<ClusterState>,
    /// The error of every write.
    pub(crate) writes_fail: Option<WriteError>,
    pub(crate) writes_take: Duration,
    pub(crate) stands_still: bool,
    pub(crate) not_ready: Option<String>,
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
    /// A node of a cluster of two, without cameras.
    pub(crate) fn new() -> Self {
        let fake = Self::alone();
        fake.with(State::found);
        fake
    }

    /// Like [`Fake::new`], with cameras of the numbers from 1.
    pub(crate) fn with_cameras(count: u32) -> Self {
        let fake = Self::new();
        for number in 1..=count {
            let spec = CameraSpec::new(&format!("camera {number}"), "rtsp://h/").unwrap();
            let only_after = None;
            fake.with(|state| state.apply(Command::CreateCamera { spec, only_after }));
        }
        fake
    }

    /// A node that belongs to no cluster.
    pub(crate) fn alone() -> Self {
        Self {
            state: Arc::default(),
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

    async fn enter(&self) -> Result<()> {
        self.reach().await;
        self.with(|state| {
            if state.cluster.is_some() {
                let detail = "this node is a member already";
                return Err(ApiError::new(ErrorKind::Conflict, detail));
            }
            state.found();
            Ok(())
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

    fn found(&mut self) {
        let node = |number: u64| {
            NodeSpec::new(
                &format!("n{number}"),
                &format!("10.0.0.{number}:8481"),
                &format!("10.0.0.{number}:8480"),
            )
            .unwrap()
        };
        self.cluster = Some(ClusterState::default());
        self.apply(Command::Initialize {
            cluster: Uuid::from_u128(12),
            node: node(1),
            key: KeyHash::default(),
        });
        for command in admission(node(2), T0) {
            self.apply(command);
        }
    }

    fn apply(&mut self, command: Command) -> Response {
        self.commit(command.by(Actor::System, T0)).unwrap()
    }

    /// A new camera has an owner at once.
    fn commit(&mut self, entry: LogEntry) -> std::result::Result<Response, WriteError> {
        let at = entry.at;
        let cluster = self.cluster.as_mut().ok_or(WriteError::NoLeader)?;
        let response = cluster.apply(entry)?;
        let camera = match response {
            Response::Camera { camera, .. } => camera,
            response => return Ok(response),
        };
        let assignment = cluster.assignments.get(camera);
        if assignment.is_some_and(|assignment| assignment.owner.is_none()) {
            let op = AssignmentOp::Place {
                owner: OWNER,
                mirror: None,
                successor: Some(SUCCESSOR),
            };
            let expect = assignment.map_or(Epoch(0), |assignment| assignment.epoch);
            let changes = vec![AssignmentChange { camera, expect, op }];
            cluster.apply(Command::Assign { changes }.by(Actor::System, at))?;
        }
        Ok(response)
    }

    /// Both nodes are alive, and the owner records every camera.
    fn sight(&self) -> Sight {
        let cluster = self.cluster.iter();
        let assignments = cluster.flat_map(|cluster| cluster.assignments.iter());
        let report =
            |(camera, assignment): (CameraId, &holdfast_consensus::model::Assignment)| Progress {
                stream: StreamId::main(camera),
                epoch: assignment.epoch,
                rank: Rank::Owner,
                state: RecorderState::Recording,
                watermark: Some(T0),
                first_keyframe: Some(T0),
                error: None,
                bitrate_bps: None,
                patience_ms: None,
                exposure: None,
            };
        let mut sight = Sight {
            verdicts: [OWNER, SUCCESSOR].map(|node| (node, Verdict::Alive)).into(),
            ..Sight::default()
        };
        sight
            .progress
            .report(OWNER, assignments.map(report).collect());
        sight
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
}

impl Cluster for Fake {
    fn state(&self) -> Option<Arc<ClusterState>> {
        self.with(|state| state.cluster.clone().map(Arc::new))
    }

    async fn overview(&self) -> Option<Overview> {
        self.reach().await;
        Some(Overview {
            state: self.state()?,
            sight: Arc::new(self.with(|state| state.sight())),
            membership: Membership {
                node: OWNER,
                leader: Some(OWNER),
                term: 1,
                voters: vec![OWNER],
                generation: 1,
                no_part: None,
                stands_apart: None,
                peer_addrs: BTreeMap::new(),
                refused: BTreeMap::new(),
            },
            headroom: None,
            down_since: BTreeMap::new(),
        })
    }

    fn camera_highest(&self) -> CameraId {
        CameraId(0)
    }

    async fn write(&self, entry: LogEntry) -> std::result::Result<Response, WriteError> {
        self.reach().await;
        tokio::time::sleep(self.with(|state| state.writes_take)).await;
        self.with(|state| match &state.writes_fail {
            Some(error) => Err(error.clone()),
            None => state.commit(entry),
        })
    }

    async fn init_cluster(&self) -> Result<()> {
        self.enter().await
    }

    async fn join_cluster(&self, _token: JoinToken) -> Result<()> {
        self.enter().await
    }

    fn root(&self) -> Option<(NodeId, KeyHash)> {
        Some((NodeId(1), KeyHash([9; 32])))
    }
}

impl Recordings for Fake {
    async fn remains(&self, cameras: &[CameraId]) -> Result<Vec<Remains>> {
        let remains = Remains {
            extent: None,
            is_complete: true,
        };
        Ok(vec![remains; cameras.len()])
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
}

impl Volumes for Fake {
    async fn volumes(&self, _node: NodeId) -> Result<Vec<VolumeReport>> {
        Ok(vec![volume::report()])
    }

    async fn all_volumes(&self) -> Result<BTreeMap<NodeId, Vec<VolumeReport>>> {
        Ok(BTreeMap::from([(OWNER, vec![volume::report()])]))
    }

    async fn scrub(&self) -> Result<Vec<wire::VolumeScrub>> {
        self.reach().await;
        Ok(vec![self.with(|state| volume::scrubbed(state))])
    }

    async fn start_scrub(&self, _node: NodeId) -> Result<()> {
        Ok(())
    }

    async fn retention(&self) -> Result<Vec<wire::VolumeRetention>> {
        self.reach().await;
        Ok(vec![volume::retention()])
    }

    async fn order_retention(&self, _: NodeId, _: Option<u16>, _: RetentionOrder) -> Result<()> {
        Ok(())
    }
}

impl Process for Fake {
    async fn ready(&self) -> std::result::Result<(), String> {
        self.with(|state| state.not_ready.clone())
            .map_or(Ok(()), Err)
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn parts(&self) -> Vec<wire::Part> {
        vec![wire::Part {
            name: "pilot".to_owned(),
            state: wire::PartState::Running,
            turns: 12,
            busy_seconds: 0.012,
            longest_turn_seconds: 0.003,
            idle_seconds: Some(0.1),
        }]
    }

    fn metrics(&self) -> prometheus::Registry {
        self.registry.clone()
    }
}
