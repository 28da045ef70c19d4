//! Calls to other members: HTTP POST with a body that names its version, the cluster's secret as
//! bearer token, and a deadline for each call.

use crate::Boxed;
use crate::codec::{self, CodecError, Format};
use crate::model::Secret;
use bytes::Bytes;
use std::error::Error as _;
use std::io;
use std::time::Duration;

/// Longer than any answer of a member (a snapshot is sent in a request).
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How much of a refusal's text is kept.
const REFUSAL_BYTES_MAX: usize = 512;
/// Within one site a connection is established in milliseconds or not at all.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
const IDLE_PER_PEER_MAX: usize = 8;
const IDLE_MAX: Duration = Duration::from_secs(30);

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
    way: Way,
    secret: Secret,
}

/// Carries requests.
#[derive(Clone, Debug)]
enum Way {
    Http(reqwest::Client),
    #[cfg(feature = "simulation")]
    Simulated(std::sync::Arc<dyn super::transport::Transport>),
}

/// Status and body.
pub(crate) type Answer = (u16, Vec<u8>);

impl PeerClient {
    /// # Errors
    /// The HTTP client cannot be set up (no file descriptors left, for instance).
    pub fn new(secret: Secret) -> io::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_DEADLINE)
            .pool_max_idle_per_host(IDLE_PER_PEER_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(io::Error::other)?;
        Ok(Self {
            way: Way::Http(http),
            secret,
        })
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn over(
        transport: std::sync::Arc<dyn super::transport::Transport>,
        secret: Secret,
    ) -> Self {
        Self {
            way: Way::Simulated(transport),
            secret,
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
        let exchange = self.exchange(addr, path, body, deadline);
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
        deadline: Duration,
    ) -> Boxed<'a, Result<Vec<u8>, PeerError>> {
        Box::pin(self.post(addr, path, body, deadline))
    }

    async fn post(
        &self,
        addr: &str,
        path: &str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let (status, answer) = match &self.way {
            Way::Http(http) => self.post_by_http(http, addr, path, body, deadline).await?,
            #[cfg(feature = "simulation")]
            Way::Simulated(transport) => transport.post(addr, path, &self.secret.0, body).await?,
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

    async fn post_by_http(
        &self,
        http: &reqwest::Client,
        addr: &str,
        path: &str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Answer, PeerError> {
        let request = http
            .post(format!("http://{addr}{path}"))
            .bearer_auth(&self.secret.0)
            .timeout(deadline);
        let mut response = request
            .body(body)
            .send()
            .await
            .map_err(|error| classify(addr, deadline, &error))?;
        let status = response.status();
        let bytes_max = if status.is_success() {
            ANSWER_BYTES_MAX
        } else {
            REFUSAL_BYTES_MAX
        };
        let mut answer = Vec::new();
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| classify(addr, deadline, &error))?
        {
            if answer.len() + part.len() > bytes_max {
                break;
            }
            answer.extend_from_slice(&part);
        }
        Ok((status.as_u16(), answer))
    }
}

fn garbled(addr: &str, error: CodecError) -> PeerError {
    PeerError::Garbled {
        addr: addr.to_owned(),
        why: error.to_string(),
    }
}

fn classify(addr: &str, deadline: Duration, error: &reqwest::Error) -> PeerError {
    let addr = addr.to_owned();
    let why = root_cause(error);
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => PeerError::Refused { addr },
        _ if error.is_connect() => PeerError::Unreachable { addr, why },
        _ if error.is_builder() => PeerError::Unreachable { addr, why },
        _ if error.is_timeout() => PeerError::Timeout { addr, deadline },
        _ => PeerError::Closed { addr, why },
    }
}

fn sources<'a>(
    error: &'a reqwest::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(
        error.source(),
        |source: &&'a (dyn std::error::Error + 'static)| (*source).source(),
    )
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    sources(error)
        .filter_map(|source| source.downcast_ref::<io::Error>())
        .map(io::Error::kind)
        .last()
}

fn root_cause(error: &reqwest::Error) -> String {
    sources(error)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let client = PeerClient::new(Secret("only for tests".into())).unwrap();
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

    #[test]
    fn the_secret_is_not_printed() {
        let client = PeerClient::new(Secret("hunter2".into())).unwrap();
        assert!(!format!("{client:?}").contains("hunter2"));
    }
}
