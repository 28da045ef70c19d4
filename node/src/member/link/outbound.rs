//! The sending half: a task per peer that connects, sends heartbeats and reports refusals; and a
//! task for each of its connections, of which there is one unless answers are late.

use super::{HEARTBEAT_PATH, LinkEvent, Now, Outgoing};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use holdfast_consensus::codec::{self, CodecError};
use holdfast_consensus::identity::Identity;
use holdfast_consensus::model::Secret;
use holdfast_consensus::observe::clocks::{Heard, Sample};
use holdfast_consensus::observe::heartbeat::HEARTBEAT_INTERVAL;
use holdfast_storage::ids::NodeId;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// A peer that does not accept within this time is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
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
    pub secret: Secret,
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
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.addr)).await {
                Ok(Ok(stream)) => {
                    reported = false;
                    if let Err(error) = self.talk(stream).await {
                        tracing::debug!(peer = %self.node, addr = %self.addr, %error, "link ended");
                        // A connection that closed is reopened at once, to learn whether the
                        // process is gone; this peer is alive, and refuses.
                        if matches!(error, LinkError::Rejected(..) | LinkError::Answer(_)) {
                            self.options.identity.not_taken_by(self.node);
                            sleep(RETRY_INTERVAL).await;
                        }
                    }
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
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
                Ok(Err(error)) => {
                    tracing::debug!(peer = %self.node, addr = %self.addr, %error, "cannot connect");
                    sleep(RETRY_INTERVAL).await;
                }
                Err(_) => {
                    tracing::debug!(peer = %self.node, addr = %self.addr, "no answer to connect")
                }
            }
        }
    }

    /// Sends heartbeats until a connection closes, or the last one is given up.
    async fn talk(&self, stream: TcpStream) -> Result<(), LinkError> {
        let (closed, mut any_closed) = mpsc::channel(LANES_MAX);
        let mut heartbeat = self.options.heartbeat.clone();
        heartbeat.mark_changed();
        let mut repeat = interval(HEARTBEAT_INTERVAL);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = vec![Lane::over(stream, closed.clone()).await?];
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
                    Err(LinkError::NoAnswer) if !(idle.is_empty() && busy.is_empty()) => {}
                    Err(error) => return Err(error),
                },
                _ = repeat.tick(), if !idle.is_empty() || busy.len() < LANES_MAX => {
                    let outgoing = Arc::clone(&heartbeat.borrow_and_update());
                    let heartbeat = outgoing.heartbeat.to(self.node, &outgoing.audience);
                    let body = self.options.identity.seal(self.node, &heartbeat)?;
                    busy.push(self.send(idle.pop(), closed.clone(), body));
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
        lane: Option<Lane>,
        closed: mpsc::Sender<()>,
        body: Vec<u8>,
    ) -> (Option<Lane>, Result<Sample, LinkError>) {
        let exchange = async {
            let mut lane = match lane {
                Some(lane) => lane,
                None => Lane::over(TcpStream::connect(&self.addr).await?, closed).await?,
            };
            let sample = self.exchange(&mut lane.sender, body).await?;
            Ok((lane, sample))
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok((lane, sample))) => (Some(lane), Ok(sample)),
            Ok(Err(error)) => (None, Err(error)),
            Err(_) => (None, Err(LinkError::NoAnswer)),
        }
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        body: Vec<u8>,
    ) -> Result<Sample, LinkError> {
        sender.ready().await?;
        let request = Request::post(HEARTBEAT_PATH)
            .header("host", &self.addr)
            .header("authorization", format!("Bearer {}", self.options.secret.0))
            .body(Full::new(Bytes::from(body)))?;
        let sent = (self.options.now)();
        let response = sender.send_request(request).await?;
        let returned = (self.options.now)();
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(LinkError::Answer)?;
        if !status.is_success() {
            let why = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            return Err(LinkError::Rejected(status.as_u16(), why));
        }
        let heard: Heard =
            codec::decode(&body.to_bytes()).map_err(|error| LinkError::Answer(error.into()))?;
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

/// One connection; closed when dropped.
struct Lane {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Lane {
    /// Sends on `closed` when the peer ends the connection.
    async fn over(stream: TcpStream, closed: mpsc::Sender<()>) -> Result<Self, LinkError> {
        stream.set_nodelay(true)?;
        let shaken = timeout(CONNECT_TIMEOUT, http1::handshake(TokioIo::new(stream))).await;
        let (sender, connection) = shaken.map_err(|_| LinkError::NoAnswer)??;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer broke");
            }
            // The receiver is gone if the link has ended already.
            let _ = closed.try_send(());
        });
        Ok(Self { sender, connection })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    #[error("heartbeat cannot be encoded: {0}")]
    Encode(#[from] CodecError),
    #[error("the answer cannot be read: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within the deadline")]
    NoAnswer,
    #[error("heartbeat rejected with status {0} ({1})")]
    Rejected(u16, String),
}

const _: () = assert!(
    SPARE_BEATS_MAX as u128 * HEARTBEAT_INTERVAL.as_millis()
        < holdfast_control_api::limits::IDLE_MAX.as_millis()
);

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::observe::heartbeat::{Audience, Heartbeat};
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

    /// Reported when the first connection ends.
    const GIVEN_UP: usize = usize::MAX;

    /// Reports the connection of each request; answers no request on the first connection.
    async fn serve(listener: TcpListener, beats: mpsc::Sender<usize>) {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let beats = beats.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    // The body may come separately.
                    if !bytes.starts_with(b"POST") {
                        continue;
                    }
                    beats.send(number).await.unwrap();
                    if number > 0 {
                        let body = codec::encode(&Heard {
                            received: now(),
                            answered: now(),
                        })
                        .unwrap();
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
        let server = tokio::spawn(serve(listener, beats));
        let (events, mut reported) = mpsc::channel(64);
        let heartbeat = watch::channel(outgoing()).1;
        let secret = Secret("only for tests".into());
        let dir = tempfile::tempdir().unwrap();
        let options = holdfast_consensus::Options {
            node: NodeId(1),
            cluster: uuid::Uuid::nil(),
            generation: holdfast_consensus::generation::ClusterGeneration::first(uuid::Uuid::nil()),
            dir: dir.path().to_owned(),
            timing: holdfast_consensus::Timing::default(),
            secret: secret.clone(),
            peer_addr: "127.0.0.1:9".to_owned(),
            peers: Vec::new(),
            boot: uuid::Uuid::new_v4(),
        };
        let consensus = holdfast_consensus::Consensus::open(options).await.unwrap();
        let identity = consensus.identity().clone();
        let mut links = Links::new(LinksOptions {
            identity,
            secret,
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
