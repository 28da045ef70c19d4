//! The sending half: a task per peer that connects, sends heartbeats and reports refusals; and a
//! task for each of its connections, of which there is one unless answers are late.

use super::{HEARTBEAT_PATH, LinkEvent, Now, Outgoing};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use holdfast_consensus::codec::{self, CodecError};
use holdfast_consensus::identity::Identity;
use holdfast_consensus::observe::clocks::{Heard, Sample};
use holdfast_consensus::observe::heartbeat::HEARTBEAT_INTERVAL;
use holdfast_consensus::peer::client::{Member, PeerError};
use holdfast_consensus::peer::connection::{Connection, Dialer};
use holdfast_storage::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// A connection on which an answer takes longer is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections to one peer. A heartbeat whose answer is late, because packets were lost, does not
/// delay the next one: that takes another connection, as long as one is left: enough for a
/// heartbeat each [`HEARTBEAT_INTERVAL`] until the first is given up.
const LANES_MAX: usize = 12;
/// Connections that were not needed for so many heartbeats are closed: 30 s, less than the peer's
/// idle timeout.
const SPARE_BEATS_MAX: u32 = 120;
/// An answer is two timestamps.
const ANSWER_BYTES_MAX: usize = 256;
/// Pause between attempts to connect.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct LinksOptions {
    /// Seals heartbeats.
    pub identity: Identity,
    pub dialer: Dialer,
    /// The heartbeat to send next.
    pub heartbeat: watch::Receiver<Arc<Outgoing>>,
    pub now: Now,
    pub events: mpsc::Sender<LinkEvent>,
}

/// The links to all other members. Dropping it ends them.
pub struct Links {
    options: LinksOptions,
    tasks: BTreeMap<(NodeId, String), JoinHandle<()>>,
}

impl Links {
    #[must_use]
    pub fn new(options: LinksOptions) -> Self {
        Self {
            options,
            tasks: BTreeMap::new(),
        }
    }

    /// Opens links to these peers and ends all others.
    pub fn set_peers(&mut self, peers: impl IntoIterator<Item = (NodeId, String)>) {
        let wanted: std::collections::BTreeSet<_> = peers.into_iter().collect();
        self.tasks.retain(|peer, task| {
            let keep = wanted.contains(peer);
            if !keep {
                task.abort();
            }
            keep
        });
        for peer in wanted {
            let options = &self.options;
            self.tasks.entry(peer).or_insert_with_key(|(node, addr)| {
                tokio::spawn(
                    Link {
                        node: *node,
                        addr: addr.clone(),
                        options: options.clone(),
                    }
                    .run(),
                )
            });
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

struct Link {
    node: NodeId,
    addr: String,
    options: LinksOptions,
}

impl Link {
    async fn run(self) {
        let mut reported = false;
        loop {
            let (closed, any_closed) = mpsc::channel(LANES_MAX);
            match self.lane(&closed).await {
                Ok(lane) => {
                    reported = false;
                    if let Err(error) = self.talk(lane, closed, any_closed).await {
                        tracing::debug!(peer = %self.node, addr = %self.addr, %error, "link ended");
                        // A connection that closed is reopened at once, to learn whether the
                        // process is gone; this peer is alive, and refuses.
                        if error.is_refusal() {
                            self.options.identity.not_taken_by(self.node);
                            sleep(RETRY_INTERVAL).await;
                        }
                    }
                }
                Err(PeerError::Refused { .. }) => {
                    if !std::mem::replace(&mut reported, true) {
                        tracing::warn!(
                            peer = %self.node, addr = %self.addr,
                            "peer refuses connections: its process is gone"
                        );
                    }
                    if self
                        .options
                        .events
                        .send(LinkEvent::Refused(self.node))
                        .await
                        .is_err()
                    {
                        return;
                    }
                    sleep(RETRY_INTERVAL).await;
                }
                Err(error) => {
                    tracing::debug!(peer = %self.node, %error, "cannot connect");
                    if matches!(
                        error,
                        PeerError::Refuses { .. } | PeerError::Untrusted { .. }
                    ) {
                        self.options.identity.not_taken_by(self.node);
                    }
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// A connection; `closed` receives when the peer ends it.
    async fn lane(&self, closed: &mpsc::Sender<()>) -> Result<Connection, PeerError> {
        let closed = closed.clone();
        // The receiver is gone if the link has ended already.
        let closed = move || _ = closed.try_send(());
        let member = Member {
            node: Some(self.node),
            addr: &self.addr,
        };
        self.options.dialer.open(member, closed).await
    }

    /// Sends heartbeats until a connection closes, or the last one is given up.
    async fn talk(
        &self,
        lane: Connection,
        closed: mpsc::Sender<()>,
        mut any_closed: mpsc::Receiver<()>,
    ) -> Result<(), LinkError> {
        let mut heartbeat = self.options.heartbeat.clone();
        heartbeat.mark_changed();
        let mut repeat = interval(HEARTBEAT_INTERVAL);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = vec![lane];
        let mut busy = FuturesUnordered::new();
        let mut spare = Spare::default();
        loop {
            tokio::select! {
                Some(()) = any_closed.recv() => return Ok(()),
                Some((lane, sent)) = busy.next() => match sent {
                    Ok(sample) => {
                        idle.extend(lane);
                        // If the pilot is behind, it can do without a clock's sample.
                        drop(self.options.events.try_send(LinkEvent::Answered(self.node, sample)));
                    }
                    Err(LinkError::NoAnswer | LinkError::Peer(PeerError::Unreachable { .. }))
                        if !(idle.is_empty() && busy.is_empty()) => {}
                    Err(error) => return Err(error),
                },
                _ = repeat.tick(), if !idle.is_empty() || busy.len() < LANES_MAX => {
                    let outgoing = Arc::clone(&heartbeat.borrow_and_update());
                    let heartbeat = outgoing.heartbeat.to(self.node, &outgoing.audience);
                    let body = self.options.identity.seal(self.node, &heartbeat)?;
                    busy.push(self.send(idle.pop(), &closed, body));
                    if spare.are_useless(idle.len()) {
                        idle.clear();
                    }
                }
            }
        }
    }

    /// Sends over a lane, or opens one; returns the lane if it can be used again.
    async fn send(
        &self,
        lane: Option<Connection>,
        closed: &mpsc::Sender<()>,
        body: Vec<u8>,
    ) -> (Option<Connection>, Result<Sample, LinkError>) {
        let exchange = async {
            let mut lane = match lane {
                Some(lane) => lane,
                None => self.lane(closed).await?,
            };
            let sample = self.exchange(&mut lane, body).await?;
            Ok((lane, sample))
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok((lane, sample))) => (Some(lane), Ok(sample)),
            Ok(Err(error)) => (None, Err(error)),
            Err(_) => (None, Err(LinkError::NoAnswer)),
        }
    }

    async fn exchange(&self, lane: &mut Connection, body: Vec<u8>) -> Result<Sample, LinkError> {
        let sent = (self.options.now)();
        let answered = lane
            .exchange(HEARTBEAT_PATH, Bytes::from(body), ANSWER_BYTES_MAX)
            .await;
        let returned = (self.options.now)();
        let (status, body) = answered.map_err(|unanswered| unanswered.error)?;
        if status != 200 {
            let why = String::from_utf8_lossy(&body).into_owned();
            return Err(LinkError::Rejected(status, why));
        }
        let heard: Heard = codec::decode(&body)?;
        Ok(Sample {
            sent,
            heard,
            returned,
        })
    }
}

/// Connections left over from a disturbance of the network. Pure.
#[derive(Default)]
struct Spare {
    /// Heartbeats since all connections were in use.
    beats: u32,
}

impl Spare {
    /// Called at each heartbeat with the number of connections that it left idle; returns whether
    /// to close them.
    fn are_useless(&mut self, idle: usize) -> bool {
        self.beats = if idle == 0 { 0 } else { self.beats + 1 };
        self.beats == SPARE_BEATS_MAX
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("{0}")]
    Peer(#[from] PeerError),
    #[error("a heartbeat or its answer: {0}")]
    Codec(#[from] CodecError),
    #[error("no answer within the deadline")]
    NoAnswer,
    #[error("heartbeat rejected with status {0} ({1})")]
    Rejected(u16, String),
}

impl LinkError {
    /// The peer is alive, and does not take heartbeats.
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Rejected(..)
                | Self::Codec(_)
                | Self::Peer(PeerError::Garbled { .. } | PeerError::Refuses { .. })
        )
    }
}

const _: () = assert!(
    SPARE_BEATS_MAX as u128 * HEARTBEAT_INTERVAL.as_millis()
        < holdfast_control_api::limits::IDLE_MAX.as_millis()
);

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::codec::Finalized;
    use holdfast_consensus::observe::heartbeat::{Audience, Heartbeat};
    use holdfast_consensus::peer::trust::keys::{Credentials, Key};
    use holdfast_consensus::peer::trust::names::NodeUri;
    use holdfast_consensus::peer::trust::roster::Roster;
    use holdfast_consensus::peer::trust::{Trust, found};
    use holdfast_storage::time::Timestamp;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Heartbeats that must arrive within [`LONG`], though the first is never answered.
    const BEATS: usize = 6;
    const LONG: Duration = Duration::from_secs(20);

    fn now() -> Timestamp {
        Timestamp(0)
    }

    fn outgoing() -> Arc<Outgoing> {
        let heartbeat = Heartbeat {
            from: NodeId(1),
            boot: 1,
            sequence: 1,
            sent_at: now(),
            writable: true,
            recorders: Vec::new(),
            probes: Vec::new(),
            vouches: false,
        };
        Arc::new(Outgoing {
            heartbeat,
            audience: Audience::default(),
        })
    }

    /// Nodes 1 and 2 of one cluster.
    fn two() -> [Trust; 2] {
        let (cluster, node) = (uuid::Uuid::nil(), NodeId(1));
        let at = crate::clock::wall_clock();
        let (one, authority) = found(NodeUri { cluster, node }, at).unwrap();
        let key = Key::generate().unwrap();
        let chain = authority.issue(NodeId(2), &key.public(), at).unwrap();
        let roster = Roster::of(cluster, vec![authority.root().clone()]);
        [one, Credentials { key, chain }].map(|own| Trust::new(&own, roster.clone()).unwrap())
    }

    /// Reported when the first connection ends.
    const GIVEN_UP: usize = usize::MAX;

    /// Reports the connection of each request; answers no request on the first connection.
    async fn serve(listener: TcpListener, trust: Trust, beats: mpsc::Sender<usize>) {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (beats, trust) = (beats.clone(), trust.clone());
            tokio::spawn(async move {
                let (mut stream, _) = trust.accept(stream).await.unwrap();
                let mut bytes = [0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    // The body may come separately.
                    if !bytes.starts_with(b"POST") {
                        continue;
                    }
                    beats.send(number).await.unwrap();
                    if number > 0 {
                        let heard = Heard {
                            received: now(),
                            answered: now(),
                        };
                        let body = codec::encode(&heard, &Finalized::default()).unwrap();
                        let head =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        stream
                            .write_all(&[head.into_bytes(), body].concat())
                            .await
                            .unwrap();
                    }
                }
                if number == 0 {
                    beats.send(GIVEN_UP).await.unwrap();
                }
            });
        }
    }

    #[test]
    fn connections_that_nothing_needs_any_more_are_closed_and_others_are_not() {
        let mut spare = Spare::default();
        let beats = |spare: &mut Spare, count: u32, idle| {
            (0..count).filter(|_| spare.are_useless(idle)).count()
        };
        assert_eq!(beats(&mut spare, SPARE_BEATS_MAX - 1, 1), 0);
        assert_eq!(beats(&mut spare, 1, 0), 0, "all are in use");
        assert_eq!(beats(&mut spare, SPARE_BEATS_MAX - 1, 11), 0);
        assert!(spare.are_useless(11));
        assert_eq!(beats(&mut spare, 10 * SPARE_BEATS_MAX, 0), 0);
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_holds_up_no_later_heartbeat() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (beats, mut seen) = mpsc::channel(64);
        let [own, peer] = two();
        let server = tokio::spawn(serve(listener, peer, beats));
        let (events, mut reported) = mpsc::channel(64);
        let heartbeat = watch::channel(outgoing()).1;
        let dir = tempfile::tempdir().unwrap();
        let options = holdfast_consensus::Options {
            node: NodeId(1),
            cluster: uuid::Uuid::nil(),
            generation: holdfast_consensus::generation::ClusterGeneration::first(uuid::Uuid::nil()),
            dir: dir.path().to_owned(),
            timing: holdfast_consensus::Timing::default(),
            peer_addr: "127.0.0.1:9".to_owned(),
            peers: Vec::new(),
            boot: uuid::Uuid::new_v4(),
            now,
        };
        let opened = holdfast_consensus::Consensus::open(options, own.clone(), None).await;
        let consensus = opened.unwrap();
        let identity = consensus.identity().clone();
        let mut links = Links::new(LinksOptions {
            identity,
            dialer: Dialer::new(own),
            heartbeat,
            now,
            events,
        });
        links.set_peers([(NodeId(2), addr)]);
        let mut on = Vec::new();
        while on.len() < BEATS {
            on.push(timeout(LONG, seen.recv()).await.unwrap().unwrap());
        }
        // Later heartbeats took another connection, and continued on that one, before the first was
        // given up.
        assert_eq!(on, [0, 1, 1, 1, 1, 1]);
        assert!(matches!(
            timeout(LONG, reported.recv()).await.unwrap(),
            Some(LinkEvent::Answered(NodeId(2), _))
        ));
        server.abort();
    }
}
