//! The recordings of the whole cluster as one: queries every node that is alive, and merges the
//! answers.

use crate::footage::peer_reads::{
    CHUNK_PATH, ChunkRequest, DAMAGED, DELETED, Done, ENTRIES_PATH, EntriesAnswer, EntriesRequest,
    INIT_PATH, InitRequest, Question, SCRUB_PATH, SIGHT_PATH, SPANS_PATH, START_SCRUB_PATH,
    ScrubAnswer, SightAnswer, SpansAnswer, SpansRequest, VOLUMES_PATH, VolumesAnswer,
};
use crate::footage::scrub;
use crate::footage::timeline::{self, Answer};
use crate::volumes::report::Recorded;
use crate::volumes::{ReadError, Volumes};
use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use holdfast_consensus::Leadership;
use holdfast_consensus::codec::Format;
use holdfast_consensus::identity::Addresses;
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::peer::client::{Member, PeerClient, PeerError};
use holdfast_consensus::state::ClusterState;
use holdfast_control_api::ports::{Listed, Lost, Payload};
use holdfast_control_api::wire;
use holdfast_storage::Range;
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, Gap, InitId};
use holdfast_storage::ids::{CameraId, NodeId, StreamKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::merge;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A node that does not answer within this time is left out, and its footage is shown as not
/// available.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Voters that are asked one after the other for the status of the recorders.
const VOTERS_ASKED_MAX: usize = 2;
/// A chunk must arrive within this time; a slow disk may need most of it.
const CHUNK_DEADLINE: Duration = Duration::from_secs(10);
/// Chunks of a run that are requested from a peer at once.
const PEER_READS_AT_ONCE: usize = 4;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error(transparent)]
    Local(#[from] ReadError),
    #[error("{0}")]
    Peer(#[from] PeerError),
    #[error("node {0} holds this footage and is not a member of the cluster any more")]
    Gone(NodeId),
    #[error("no node that answers holds this init segment")]
    NoInit,
}

/// Reads of this node and its peers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) me: NodeId,
    pub(crate) volumes: Volumes,
    pub(crate) client: PeerClient,
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
    pub(crate) sight: watch::Receiver<Arc<Sight>>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) addresses: Addresses,
}

impl View {
    /// The timeline of each camera: what was recorded and what was not.
    pub(crate) async fn timelines(
        &self,
        cameras: &[CameraId],
        (from, to): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Vec<wire::Timeline> {
        let ranges: Vec<Range> = cameras
            .iter()
            .map(|camera| Range {
                camera: *camera,
                stream: StreamKind::Main,
                from,
                to,
            })
            .collect();
        let answers = self.recorded(&ranges).await;
        let sight = self.whole_sight().await;
        let state = self.state.borrow().clone();
        let nodes: Vec<NodeId> = state.nodes.keys().collect();
        let timelines = ranges.iter().enumerate().map(|(index, range)| {
            let of_this = |answer: &Answer<Vec<Recorded>>| Answer {
                node: answer.node,
                answer: answer
                    .answer
                    .as_ref()
                    .and_then(|all| all.get(index))
                    .cloned(),
            };
            let watermark = |node: &NodeId| {
                Some((
                    *node,
                    sight.progress.get(*node, range.stream_id())?.watermark?,
                ))
            };
            timeline::put_together(timeline::Known {
                range: *range,
                now,
                answers: answers.iter().map(of_this).collect(),
                tenures: state.tenures(range.camera),
                watermarks: nodes.iter().filter_map(watermark).collect(),
                pauses: state.pauses(range.camera),
            })
        });
        timelines.collect()
    }

    /// What is known of all recorders. Voters get the reports of all of them; any other node asks a
    /// voter, the leader first, and makes do with the reports that it got itself if none answers.
    pub(crate) async fn whole_sight(&self) -> Arc<Sight> {
        let own = Arc::clone(&self.sight.borrow());
        let Leadership { leader, voters, .. } = self.leadership.borrow().clone();
        if voters.is_empty() || voters.contains(&self.me) {
            return own;
        }
        let peers: BTreeMap<NodeId, String> = self.peers().into_iter().collect();
        let asked = leader
            .into_iter()
            .chain(voters)
            .filter(|node| own.is_alive(*node))
            .take(VOTERS_ASKED_MAX);
        for (node, addr) in asked.filter_map(|node| peers.get_key_value(&node)) {
            match self
                .client
                .call(member(*node, addr), SIGHT_PATH, &Question, ANSWER_DEADLINE)
                .await
            {
                Ok(SightAnswer(reports)) => {
                    let mut whole = Sight::clone(&own);
                    whole.progress.extend(reports);
                    return Arc::new(whole);
                }
                Err(error) => tracing::warn!(%error, "cannot fetch recorder status from a voter"),
            }
        }
        own
    }

    pub(crate) async fn gaps(&self, range: Range) -> Vec<Gap> {
        let answers = self.recorded(&[range]).await;
        answers
            .into_iter()
            .filter_map(|answer| answer.answer)
            .flatten()
            .flat_map(|recorded| recorded.gaps)
            .collect()
    }

    /// What each node recorded of each range, in the order of the ranges.
    pub(crate) async fn recorded(&self, ranges: &[Range]) -> Vec<Answer<Vec<Recorded>>> {
        let question = SpansRequest(ranges.to_vec());
        let peers = self.ask::<_, SpansAnswer>(SPANS_PATH, &question);
        let (own, answers) = tokio::join!(self.volumes.recorded_of(ranges), peers);
        let recorded = |answer: Answer<SpansAnswer>| Answer {
            node: answer.node,
            answer: answer.answer.map(|spans| spans.0),
        };
        let mut answers: Vec<_> = answers.into_iter().map(recorded).collect();
        answers.push(Answer {
            node: self.me,
            answer: self.own(own),
        });
        answers
    }

    /// The durable chunks of the whole cluster, merged into one view.
    pub(crate) async fn entries(&self, range: Range) -> Result<Listed, ViewError> {
        let question = EntriesRequest(range);
        let peers = self.ask_each::<_, EntriesAnswer>(ENTRIES_PATH, &question);
        let (own, answers) = tokio::join!(self.volumes.entries(range), peers);
        let (mut chunks, mut late) = (Vec::new(), None);
        for (node, answer) in answers {
            let is_late = match answer {
                Some(Ok(EntriesAnswer { entries, late })) => {
                    chunks.extend(entries);
                    late.map(|volume| volume_is_late(node, volume))
                }
                // Its next answer would be the same.
                Some(Err(PeerError::Rejected { .. } | PeerError::Garbled { .. })) | None => None,
                Some(Err(_)) => Some(format!("node {node} does not answer in time")),
            };
            late = late.or(is_late);
        }
        // A failure to read here must not hide what the peers can read.
        let failure = match own {
            Ok((entries, volume)) => {
                chunks.extend(entries);
                late = late.or(volume.map(|volume| volume_is_late(self.me, volume)));
                None
            }
            Err(error) => {
                late = late.or(error
                    .is_late()
                    .then(|| format!("node {} is slow to list", self.me)));
                Some(error)
            }
        };
        match failure {
            Some(error) if chunks.is_empty() => Err(error.into()),
            _ => Ok(Listed {
                chunks: merge(chunks),
                late,
            }),
        }
    }

    pub(crate) async fn init(&self, camera: CameraId, init: InitId) -> Result<Bytes, ViewError> {
        if let Ok(bytes) = self.volumes.init(camera, init).await {
            return Ok(bytes);
        }
        let request = InitRequest { camera, init };
        for (node, addr) in self
            .peers()
            .into_iter()
            .filter(|(node, _)| self.is_alive(*node))
        {
            match self
                .client
                .fetch(member(node, &addr), INIT_PATH, &request, ANSWER_DEADLINE)
                .await
            {
                Ok(bytes) if InitId::of(&bytes) == init => return Ok(bytes),
                Ok(_) | Err(PeerError::Rejected { .. }) => {}
                Err(error) => tracing::debug!(%error, "cannot ask for an init segment"),
            }
        }
        Err(ViewError::NoInit)
    }

    /// The payloads of a run of chunks from the node that holds them. Their checksums were verified
    /// when they were read.
    pub(crate) async fn read(&self, run: &[ChunkEntry]) -> Result<Vec<Payload>, ViewError> {
        let Some(ChunkEntry { location, .. }) = run.first() else {
            return Ok(Vec::new());
        };
        let locations: Vec<_> = run.iter().map(|chunk| chunk.location).collect();
        if location.holder == self.me {
            return Ok(self.volumes.read(location.volume, locations).await?);
        }
        let addr = self.addr_of(location.holder)?;
        let reads = locations
            .into_iter()
            .map(|location| self.read_at(location.holder, addr.clone(), location));
        stream::iter(reads)
            .buffered(PEER_READS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn read_at(
        &self,
        node: NodeId,
        addr: String,
        location: ChunkLocation,
    ) -> Result<Payload, ViewError> {
        match self
            .client
            .fetch(
                member(node, &addr),
                CHUNK_PATH,
                &ChunkRequest(location),
                CHUNK_DEADLINE,
            )
            .await
        {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(PeerError::Rejected {
                status, message, ..
            }) if status == DAMAGED.as_u16() => {
                Ok(Err(Lost::Damaged(format!("node {node}: {message}"))))
            }
            Err(PeerError::Rejected { status, .. }) if status == DELETED.as_u16() => {
                Ok(Err(Lost::Deleted))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The scrub status of every node's volumes; nodes that do not answer are left out.
    pub(crate) async fn scrub(&self) -> Vec<wire::VolumeScrub> {
        let answers = self.ask::<_, ScrubAnswer>(SCRUB_PATH, &Question).await;
        let own = Answer {
            node: self.me,
            answer: Some(ScrubAnswer(scrub::status(&self.volumes))),
        };
        let answered = answers
            .into_iter()
            .chain([own])
            .filter_map(|answer| Some((answer.node, answer.answer?)));
        let mut volumes: Vec<_> = answered
            .flat_map(|(node, ScrubAnswer(volumes))| {
                volumes
                    .into_iter()
                    .map(move |volume| scrub::wire_scrub(node, volume))
            })
            .collect();
        volumes.sort_by_key(|volume| (volume.node, volume.volume));
        volumes
    }

    /// Has a node begin a pass on all of its volumes.
    pub(crate) async fn start_scrub(&self, node: NodeId) -> Result<(), ViewError> {
        if node == self.me {
            scrub::start(&self.volumes);
            return Ok(());
        }
        let addr = self
            .peers()
            .into_iter()
            .find(|(peer, _)| *peer == node)
            .map(|(_, addr)| addr);
        let addr = addr.ok_or(ViewError::Gone(node))?;
        let Done = self
            .client
            .call(
                member(node, &addr),
                START_SCRUB_PATH,
                &Question,
                ANSWER_DEADLINE,
            )
            .await?;
        Ok(())
    }

    /// The status of a member's volumes, as that member reports it.
    pub(crate) async fn volumes(&self, node: NodeId) -> Result<Vec<VolumeReport>, ViewError> {
        if node == self.me {
            return Ok(self.volumes.reports());
        }
        let addr = self.addr_of(node)?;
        let VolumesAnswer(volumes) = self
            .client
            .call(
                member(node, &addr),
                VOLUMES_PATH,
                &Question,
                ANSWER_DEADLINE,
            )
            .await?;
        Ok(volumes)
    }

    /// The status of the volumes of all nodes; nodes that do not answer are left out.
    pub(crate) async fn all_volumes(&self) -> BTreeMap<NodeId, Vec<VolumeReport>> {
        let answers = self.ask::<_, VolumesAnswer>(VOLUMES_PATH, &Question).await;
        let answered = answers
            .into_iter()
            .filter_map(|answer| Some((answer.node, answer.answer?.0)));
        answered
            .chain([(self.me, self.volumes.reports())])
            .collect()
    }

    pub(crate) fn peers(&self) -> Vec<(NodeId, String)> {
        let state = self.state.borrow().clone();
        let others = state.nodes.keys().filter(|node| *node != self.me);
        others
            .filter_map(|node| Some((node, self.addresses.of(node)?)))
            .collect()
    }

    /// # Errors
    /// It is no member.
    fn addr_of(&self, node: NodeId) -> Result<String, ViewError> {
        let is_member = self.state.borrow().nodes.contains(node);
        self.addresses
            .of(node)
            .filter(|_| is_member)
            .ok_or(ViewError::Gone(node))
    }

    fn is_alive(&self, node: NodeId) -> bool {
        self.sight.borrow().is_alive(node)
    }

    pub(crate) async fn ask<Q: Format + Sync, A: Format>(
        &self,
        path: &str,
        question: &Q,
    ) -> Vec<Answer<A>> {
        let asked = self.ask_each(path, question).await;
        let answers = asked.into_iter().map(|(node, answer)| Answer {
            node,
            answer: answer.and_then(Result::ok),
        });
        answers.collect()
    }

    /// The answers of all peers, each with its node; `None` of a node that is not alive.
    async fn ask_each<Q: Format + Sync, A: Format>(
        &self,
        path: &str,
        question: &Q,
    ) -> Vec<(NodeId, Option<Result<A, PeerError>>)> {
        let asks = self.peers().into_iter().map(|(node, addr)| async move {
            if !self.is_alive(node) {
                return (node, None);
            }
            let answer = self
                .client
                .call(member(node, &addr), path, question, ANSWER_DEADLINE)
                .await;
            let answer =
                answer.inspect_err(|error| tracing::warn!(%node, %error, "left out of an answer"));
            (node, Some(answer))
        });
        join_all(asks).await
    }

    fn own<T>(&self, answer: Result<T, ReadError>) -> Option<T> {
        answer
            .inspect_err(|error| tracing::error!(%error, "own recordings cannot be read"))
            .ok()
    }
}

fn volume_is_late(node: NodeId, volume: u16) -> String {
    format!("volume {volume} of node {node} is slow, or not all of it is listed yet")
}

pub(super) fn member(node: NodeId, addr: &str) -> Member<'_> {
    Member {
        node: Some(node),
        addr,
    }
}
