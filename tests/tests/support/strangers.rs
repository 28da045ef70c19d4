//! Strangers that connect to a node without any authorisation, and a watch that asks the node for
//! its health at the same time.

use holdfast_node::terminal::clock::monotonic_now;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The header of a TLS record (RFC 8446, 5.1), without what it announces.
pub(crate) const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00";
pub(crate) const NOTHING: &[u8] = b"";

/// A node with a full backlog does not answer at all.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Time between two polls of a [`Watch`].
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Connections that send a few bytes and are then held open.
#[derive(Default)]
pub(crate) struct Strangers(Vec<TcpStream>);

impl Strangers {
    /// Raises the test's own limit of descriptors to the most that is allowed.
    pub(crate) fn assemble() -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                ..limit
            },
        )
        .expect("no more than is granted");
        Self::default()
    }

    /// Makes `count` more connections from this address.
    pub(crate) async fn come(
        &mut self,
        door: SocketAddr,
        from: Ipv4Addr,
        count: usize,
        words: &[u8],
    ) {
        for _ in 0..count {
            let socket = TcpSocket::new_v4().expect("a descriptor");
            socket.bind((from, 0).into()).expect("a port");
            let connected = timeout(CONNECT_MAX, socket.connect(door))
                .await
                .expect("the node accepts in time");
            // It may have been closed already.
            if let Ok(mut stream) = connected
                && stream.write_all(words).await.is_ok()
            {
                self.0.push(stream);
            }
        }
    }

    /// How many are still open after this time; returns earlier if none is.
    pub(crate) async fn open_after(&mut self, wait: Duration) -> usize {
        let (count, mut closed) = (self.0.len(), 0);
        let all_closed = async {
            for stream in &mut self.0 {
                // A reset is as good as an end.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                closed += 1;
            }
        };
        let _ = timeout(wait, all_closed).await;
        count - closed
    }
}

/// Asks a node for health and metrics, each time on a new connection, until it is ended.
pub(crate) struct Watch {
    ended: Arc<AtomicBool>,
    task: JoinHandle<Vec<(Duration, io::Result<()>)>>,
}

impl Watch {
    pub(crate) fn begin(api: SocketAddr) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            let mut answers = Vec::new();
            while !until.load(Relaxed) {
                for path in ["/healthz", "/metrics"] {
                    let asked = monotonic_now();
                    let answer = timeout(CONNECT_MAX, ask(api, path)).await;
                    answers.push((
                        asked.elapsed(),
                        answer.unwrap_or_else(|late| Err(late.into())),
                    ));
                }
                sleep(LOOK_INTERVAL).await;
            }
            answers
        });
        Self { ended, task }
    }

    /// Checks that there were requests, and that every one was answered in time.
    pub(crate) async fn end(self, longest: Duration) {
        self.ended.store(true, Relaxed);
        let answers = self.task.await.expect("no panic");
        let failed = answers.iter().filter(|(_, answer)| answer.is_err()).count();
        let slowest = answers
            .iter()
            .map(|(took, _)| *took)
            .max()
            .expect("an answer");
        println!(
            "{} answers, {failed} failed, the slowest took {slowest:?}",
            answers.len()
        );
        let failures: Vec<_> = answers
            .iter()
            .filter_map(|(took, answer)| Some((took, answer.as_ref().err()?)))
            .collect();
        assert!(
            failures.is_empty() && slowest <= longest,
            "{slowest:?}, of {}: {failures:?}",
            answers.len()
        );
    }
}

async fn ask(api: SocketAddr, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(api).await?;
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 200 OK") {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned(),
    ))
}
