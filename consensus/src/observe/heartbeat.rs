//! The messages that nodes send each other four times a second: that they are alive, and how far
//! their recordings are durable.

use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, StreamId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often a node sends heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// Silence after which a node is suspect.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// On a bad network, where heartbeats arrive irregularly, longer silence is usual; but no longer
/// than this.
pub const SUSPECT_AFTER_MAX: Duration = Duration::from_secs(4);

/// The state of a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecorderState {
    /// Connecting for the first time, or waiting for the first durable keyframe.
    Starting,
    /// The watermark advances.
    Recording,
    /// It recorded or tried to, and cannot now; it keeps trying.
    Failing,
}

/// A session that has lasted this long is no longer expected to end its process.
pub const FRESH_MAX: Duration = Duration::from_secs(60);

/// Why the end of a recorder's process may have been caused by its camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exposure {
    /// A session is being opened, or began less than [`FRESH_MAX`] ago.
    Fresh,
    /// The same for a suspect that has its turn.
    OnTrial,
    /// The same for a suspect that has proved itself in its turn, and for any camera of a process
    /// that is about to stop: it is not blamed.
    Proven,
    /// Its node no longer reports the recorder. Never sent.
    Gone,
}

/// Progress of one recorder, of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Sent", into = "Sent")]
pub struct Progress {
    pub stream: StreamId,
    pub epoch: Epoch,
    pub rank: Rank,
    pub state: RecorderState,
    /// Everything of this epoch up to here is durable and indexed, from the first durable keyframe
    /// on; `None` before that keyframe.
    pub watermark: Option<Timestamp>,
    /// Start of the first durable keyframe in this epoch: of the recorder that runs now, once it
    /// has one, else of an earlier one of this node.
    pub first_keyframe: Option<Timestamp>,
    /// Why it is failing, as text for the operator, without credentials.
    pub error: Option<String>,
    /// The stream's bitrate, measured over the last seconds, in bits per second; `None` if nothing
    /// arrives. On the wire in whole kilobits.
    pub bitrate_bps: Option<u64>,
    /// How much longer than usual the recorder may make no progress without a fault of it or its
    /// node, in milliseconds: its camera sends frames rarely, or has exceeded its budget and is
    /// paused.
    pub patience_ms: Option<u32>,
    pub exposure: Option<Exposure>,
}

/// [`Progress`] on the wire, where each byte counts for each recorder and each receiver, four times
/// a second: the fields that most recorders leave empty take one byte together.
#[derive(Serialize, Deserialize)]
struct Sent {
    stream: StreamId,
    epoch: Epoch,
    rank: Rank,
    state: RecorderState,
    watermark: Option<Timestamp>,
    first_keyframe: Option<Timestamp>,
    unusual: Option<(Option<String>, Option<u32>, Option<Exposure>)>,
    #[serde(with = "kilobits")]
    bitrate_bps: Option<u64>,
}

impl From<Progress> for Sent {
    fn from(progress: Progress) -> Self {
        let Progress {
            stream,
            epoch,
            rank,
            state,
            watermark,
            first_keyframe,
            ..
        } = progress;
        let Progress {
            error,
            bitrate_bps,
            patience_ms,
            exposure,
            ..
        } = progress;
        let is_unusual = error.is_some() || patience_ms.is_some() || exposure.is_some();
        let unusual = is_unusual.then_some((error, patience_ms, exposure));
        Self {
            stream,
            epoch,
            rank,
            state,
            watermark,
            first_keyframe,
            unusual,
            bitrate_bps,
        }
    }
}

impl From<Sent> for Progress {
    fn from(sent: Sent) -> Self {
        let Sent {
            stream,
            epoch,
            rank,
            state,
            watermark,
            first_keyframe,
            unusual,
            bitrate_bps,
        } = sent;
        let (error, patience_ms, exposure) = unusual.unwrap_or_default();
        Self {
            stream,
            epoch,
            rank,
            state,
            watermark,
            first_keyframe,
            error,
            bitrate_bps,
            patience_ms,
            exposure,
        }
    }
}

mod kilobits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        bitrate_bps: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bitrate_bps
            .map(|bps| bps.div_ceil(1000))
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(|kilobits| kilobits.saturating_mul(1000)))
    }
}

/// The result of a node's probe of a camera that another node owns and fails to record: the node
/// only asks the camera to describe itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub camera: CameraId,
    /// Whether it last answered with a stream that can be recorded.
    pub reachable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub from: NodeId,
    /// When the sending process started, in microseconds since the Unix epoch: a change indicates a
    /// restart.
    pub boot: u64,
    pub sequence: u64,
    pub sent_at: Timestamp,
    /// At least one of its volumes can be written. A node without one keeps its cameras until other
    /// nodes have them, and gets no more.
    pub writable: bool,
    /// The recorders that the receiver gets reports of ([`Audience`]).
    pub recorders: Vec<Progress>,
    pub probes: Vec<Probe>,
    /// Its clock agrees with what it knew before it started, so others may rely on it.
    pub vouches: bool,
}

/// Which nodes get reports of which recorders of one node. All voters get all reports, so that the
/// next leader knows every recorder's state; other nodes only those of cameras that they would
/// record if this node did not, or recorded until it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    voters: BTreeSet<NodeId>,
    others: BTreeMap<NodeId, BTreeSet<CameraId>>,
}

impl Audience {
    /// The receivers for recorders of `cameras`. If the voters are not known, no node gets all
    /// reports.
    #[must_use]
    pub fn of(
        state: &ClusterState,
        voters: &[NodeId],
        cameras: impl IntoIterator<Item = CameraId>,
    ) -> Self {
        let mut others: BTreeMap<NodeId, BTreeSet<CameraId>> = BTreeMap::new();
        for camera in cameras {
            let Some(now) = state.assignments.get(camera) else {
                continue;
            };
            let handoff = now.handoff.map(|handoff| handoff.to);
            // The previous owner continues to record until it sees a keyframe of its heir.
            let former = state
                .tenures(camera)
                .iter()
                .rev()
                .nth(1)
                .map(|tenure| tenure.node);
            let concerned = [now.owner, now.mirror, now.successor, handoff, former];
            for node in concerned
                .into_iter()
                .flatten()
                .filter(|node| !voters.contains(node))
            {
                others.entry(node).or_default().insert(camera);
            }
        }
        Self {
            voters: voters.iter().copied().collect(),
            others,
        }
    }

    #[must_use]
    pub fn includes(&self, node: NodeId, camera: CameraId) -> bool {
        self.voters.contains(&node)
            || self
                .others
                .get(&node)
                .is_some_and(|cameras| cameras.contains(&camera))
    }
}

impl Heartbeat {
    /// The heartbeat as it is sent to `node`.
    #[must_use]
    pub fn to(&self, node: NodeId, audience: &Audience) -> Self {
        let recorders = self
            .recorders
            .iter()
            .filter(|progress| audience.includes(node, progress.stream.camera));
        // Only a leader uses probes.
        let probes = if audience.voters.contains(&node) {
            self.probes.clone()
        } else {
            Vec::new()
        };
        Self {
            recorders: recorders.cloned().collect(),
            probes,
            ..*self
        }
    }
}

crate::codec::first_version!(Heartbeat => "the heartbeat");

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::StreamKind;

    fn progress(stream: StreamId) -> Progress {
        Progress {
            stream,
            epoch: Epoch(1_000),
            rank: Rank::Owner,
            state: RecorderState::Recording,
            watermark: Some(Timestamp(1_795_341_600_000_000)),
            first_keyframe: Some(Timestamp(1_795_341_600_000_000)),
            error: None,
            bitrate_bps: Some(2_000_000),
            patience_ms: None,
            exposure: None,
        }
    }

    fn streams(camera: u32) -> [StreamId; 2] {
        StreamKind::ALL.map(|kind| StreamId {
            camera: CameraId(camera),
            kind,
        })
    }

    #[test]
    fn a_stream_is_one_byte_longer_than_its_camera() {
        for stream in streams(9_999) {
            assert_eq!(
                postcard::to_allocvec(&stream).unwrap().len(),
                postcard::to_allocvec(&stream.camera).unwrap().len() + 1
            );
            let sent = postcard::to_allocvec(&progress(stream)).unwrap();
            assert_eq!(postcard::from_bytes(&sent), Ok(progress(stream)));
        }
    }

    #[test]
    fn both_streams_of_a_camera_are_reported_to_all_that_it_concerns() {
        let [main, sub] = streams(1).map(progress);
        let other = progress(streams(2)[0]);
        let heartbeat = Heartbeat {
            from: NodeId(1),
            boot: 1,
            sequence: 1,
            sent_at: Timestamp(0),
            writable: true,
            recorders: vec![main.clone(), sub.clone(), other],
            probes: Vec::new(),
            vouches: true,
        };
        let audience = Audience {
            voters: BTreeSet::from([NodeId(2)]),
            others: BTreeMap::from([(NodeId(3), BTreeSet::from([CameraId(1)]))]),
        };
        assert_eq!(heartbeat.to(NodeId(2), &audience), heartbeat);
        assert_eq!(heartbeat.to(NodeId(3), &audience).recorders, [main, sub]);
        assert_eq!(heartbeat.to(NodeId(4), &audience).recorders, []);
    }
}
