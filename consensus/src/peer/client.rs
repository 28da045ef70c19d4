//! Calls to other members: HTTP POST with a body that names its version, over pooled connections,
//! and a deadline for each call.

use super::connection::{Answer, Dialer};
use super::pool::Pool;
use crate::Boxed;
use crate::codec::{self, CodecError, Format};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any answer of a member (a snapshot is sent in a request).
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a call to a member failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its machine answers that nothing listens there: the process is gone. Nothing was sent.
    #[error("{addr} refused the connection: no node listens there")]
    Refused { addr: String },
    /// No connection (no route, name not found, connection timed out). Nothing was sent.
    #[error("{addr} cannot be reached: {why}")]
    Unreachable { addr: String, why: String },
    /// No answer in time; the request may have been carried out.
    #[error("{addr} did not answer within {deadline:?}")]
    Timeout { addr: String, deadline: Duration },
    /// The connection broke; the request may have been carried out.
    #[error("the connection to {addr} broke: {why}")]
    Closed { addr: String, why: String },
    #[error("{addr} answered {status}: {message}")]
    Rejected {
        addr: String,
        status: u16,
        message: String,
    },
    /// The two nodes use different versions.
    #[error("{addr} answered what cannot be read: {why}")]
    Garbled { addr: String, why: String },
}

impl PeerError {
    /// Whether the request was certainly not executed.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unreachable { .. })
    }
}

/// Cheap to clone; connections are pooled and shared.
#[derive(Clone, Debug)]
pub struct PeerClient {
    dialer: Dialer,
    way: Way,
}

/// Carries requests.
#[derive(Clone, Debug)]
enum Way {
    Network(Arc<Pool>),
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn super::transport::Transport>),
}

impl PeerClient {
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            way: Way::Network(Arc::default()),
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn over(transport: Arc<dyn super::transport::Transport>, dialer: Dialer) -> Self {
        Self {
            dialer,
            way: Way::Simulated(transport),
        }
    }

    /// Posts `request` to `path` at `addr` (`host:port`) and reads the answer, all within
    /// `deadline`.
    ///
    /// # Errors
    /// See [`PeerError`]; [`PeerError::is_unsent`] shows whether trying again is safe.
    pub async fn call<Req: Format, Resp: Format>(
        &self,
        addr: &str,
        path: &str,
        request: &Req,
        deadline: Duration,
    ) -> Result<Resp, PeerError> {
        let answer = self.fetch(addr, path, request, deadline).await?;
        codec::decode(&answer).map_err(|error| garbled(addr, error))
    }

    /// Like [`Self::call`], for a request that is already encoded.
    pub(crate) async fn call_encoded<Resp: Format>(
        &self,
        addr: &str,
        path: &str,
        request: Vec<u8>,
        deadline: Duration,
    ) -> Result<Resp, PeerError> {
        let answer = self.fetch_encoded(addr, path, request, deadline).await?;
        codec::decode(&answer).map_err(|error| garbled(addr, error))
    }

    /// Like [`Self::call`], for an answer of raw bytes.
    ///
    /// # Errors
    /// Like [`Self::call`].
    pub async fn fetch<Req: Format>(
        &self,
        addr: &str,
        path: &str,
        request: &Req,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let body = codec::encode(request).map_err(|error| garbled(addr, error))?;
        self.fetch_encoded(addr, path, body, deadline).await
    }

    /// Like [`Self::fetch`], for a request that is already encoded.
    pub(crate) async fn fetch_encoded(
        &self,
        addr: &str,
        path: &str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let exchange = self.exchange(addr, path, body);
        match tokio::time::timeout(deadline, exchange).await {
            Ok(answer) => answer.map(Bytes::from),
            Err(_) => Err(PeerError::Timeout {
                addr: addr.to_owned(),
                deadline,
            }),
        }
    }

    fn exchange<'a>(
        &'a self,
        addr: &'a str,
        path: &'a str,
        body: Vec<u8>,
    ) -> Boxed<'a, Result<Vec<u8>, PeerError>> {
        Box::pin(self.post(addr, path, Bytes::from(body)))
    }

    async fn post(&self, addr: &str, path: &str, body: Bytes) -> Result<Vec<u8>, PeerError> {
        let (status, answer) = match &self.way {
            Way::Network(pool) => self.post_over(pool, addr, path, body).await?,
            #[cfg(feature = "simulation")]
            Way::Simulated(transport) => {
                let secret = &self.dialer.secret().0;
                transport.post(addr, path, secret, body.to_vec()).await?
            }
        };
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let message = String::from_utf8_lossy(&answer).into_owned();
        Err(PeerError::Rejected {
            addr: addr.to_owned(),
            status,
            message,
        })
    }

    /// Over a connection that is open already, or a new one. A peer may close one that was idle at
    /// the same moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "an edge: how long a connection was idle decides only whether it is reused"
    )]
    async fn post_over(
        &self,
        pool: &Pool,
        addr: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, PeerError> {
        loop {
            let pooled = pool.take(addr, Instant::now());
            let is_pooled = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => self.dialer.open(addr, || {}).await?,
            };
            let exchanged = connection
                .exchange(path, body.clone(), ANSWER_BYTES_MAX)
                .await;
            match exchanged {
                Ok(answer) => {
                    pool.put(addr, connection, Instant::now());
                    return Ok(answer);
                }
                Err(unanswered) if is_pooled && unanswered.is_unsent => {}
                Err(unanswered) => return Err(unanswered.error),
            }
        }
    }
}

fn garbled(addr: &str, error: CodecError) -> PeerError {
    PeerError::Garbled {
        addr: addr.to_owned(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Number(u32);

    crate::first_version!(Number => "a number");

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn ask(addr: &str) -> Result<Number, PeerError> {
        ask_for(addr, PATIENCE).await
    }

    async fn ask_for(addr: &str, deadline: Duration) -> Result<Number, PeerError> {
        let client = PeerClient::new(Dialer::new(Secret("only for tests".into())));
        client.call(addr, "/ask", &Number(1), deadline).await
    }

    /// Answers every request with the bytes `answer`, then closes.
    async fn answering(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1_024];
                _ = stream.read(&mut request).await.unwrap();
                stream.write_all(answer).await.unwrap();
            }
        });
        addr
    }

    #[tokio::test]
    async fn each_kind_of_failure_is_distinguished() {
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let refused = ask(&free).await.unwrap_err();
        assert!(
            matches!(refused, PeerError::Refused { .. }) && refused.is_unsent(),
            "{refused}"
        );

        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().unwrap().to_string();
        let late = ask_for(&silent, Duration::from_millis(300))
            .await
            .unwrap_err();
        assert!(
            matches!(late, PeerError::Timeout { .. }) && !late.is_unsent(),
            "{late}"
        );

        let closed = ask(&answering(b"").await).await.unwrap_err();
        assert!(
            matches!(closed, PeerError::Closed { .. }) && !closed.is_unsent(),
            "{closed}"
        );

        let no = b"HTTP/1.1 409 Conflict\r\ncontent-length: 5\r\n\r\nstale";
        let rejected = ask(&answering(no).await).await.unwrap_err();
        assert!(
            rejected.to_string().ends_with("answered 409: stale"),
            "{rejected}"
        );

        let noise = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xff";
        let garbled = ask(&answering(noise).await).await.unwrap_err();
        assert!(matches!(garbled, PeerError::Garbled { .. }), "{garbled}");

        let nowhere = ask("not a host:1").await.unwrap_err();
        assert!(nowhere.is_unsent(), "{nowhere}");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x01\x07";
        assert_eq!(ask(&answering(answer).await).await.unwrap(), Number(7));
        let newer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x02\x07";
        let newer = ask(&answering(newer).await).await.unwrap_err().to_string();
        assert!(
            newer.ends_with(
                "this node speaks version 1 of a number, and this is version 2; upgrade this node"
            ),
            "{newer}"
        );
    }

    /// Answers `requests` on each connection, then closes it; counts connections.
    async fn answering_so_many(requests: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    for _ in 0..requests {
                        let (mut request, mut got) = ([0; 1_024], 0);
                        // The body, a version and a number below 128, ends the request.
                        while !request[..got].ends_with(b"\r\n\r\n\x01\x01") {
                            match stream.read(&mut request[got..]).await.unwrap() {
                                0 => return,
                                read => got += read,
                            }
                        }
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x01\x07";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        (addr, accepted)
    }

    #[tokio::test]
    async fn a_connection_is_used_again_and_one_that_its_peer_closed_is_replaced() {
        let client = PeerClient::new(Dialer::new(Secret("only for tests".into())));
        for (requests, connections) in [(usize::MAX, 1), (1, 8)] {
            let (addr, accepted) = answering_so_many(requests).await;
            for _ in 0..8 {
                let answer: Number = client
                    .call(&addr, "/ask", &Number(1), PATIENCE)
                    .await
                    .unwrap();
                assert_eq!(answer, Number(7));
            }
            assert_eq!(
                accepted.load(Relaxed),
                connections,
                "{requests} a connection"
            );
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let client = PeerClient::new(Dialer::new(Secret("hunter2".into())));
        assert!(!format!("{client:?}").contains("hunter2"));
    }
}
