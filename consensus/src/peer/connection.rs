//! One connection to another member, over which one request at a time is exchanged.

use super::client::PeerError;
use crate::model::Secret;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Within one site a connection is established in milliseconds or not at all.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How much of a refusal's text is kept.
const REFUSAL_BYTES_MAX: usize = 512;

/// Status and body.
pub type Answer = (u16, Vec<u8>);

/// What is needed to open connections to other members. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dialer {
    secret: Secret,
}

/// An HTTP connection to another member; closed when dropped.
#[derive(Debug)]
pub struct Connection {
    addr: String,
    authorization: String,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Unanswered {
    pub error: PeerError,
    /// The connection had closed before anything of the request was sent.
    pub is_unsent: bool,
}

impl Dialer {
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self { secret }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Connects to `addr` (`host:port`) within [`CONNECT_DEADLINE`]. `closed` is called once when
    /// the connection ends, unless this side drops it.
    ///
    /// # Errors
    /// [`PeerError::Refused`] or [`PeerError::Unreachable`].
    pub async fn open(
        &self,
        addr: &str,
        closed: impl FnOnce() + Send + 'static,
    ) -> Result<Connection, PeerError> {
        let unreachable = |why: String| PeerError::Unreachable {
            addr: addr.to_owned(),
            why,
        };
        let Ok(opened) = timeout(CONNECT_DEADLINE, self.open_here(addr, closed)).await else {
            return Err(unreachable(format!(
                "no connection within {CONNECT_DEADLINE:?}"
            )));
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => PeerError::Refused {
                addr: addr.to_owned(),
            },
            _ => unreachable(error.to_string()),
        })
    }

    async fn open_here(
        &self,
        addr: &str,
        closed: impl FnOnce() + Send + 'static,
    ) -> io::Result<Connection> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let peer = addr.to_owned();
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection to a peer broke");
            }
            closed();
        });
        Ok(Connection {
            addr: addr.to_owned(),
            authorization: format!("Bearer {}", self.secret.0),
            sender,
            driver,
        })
    }
}

impl Connection {
    /// Whether the peer has closed it, as far as is known.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Posts `body` to `path`, and reads the answer: at most `bytes_max` of it. The caller sets the
    /// deadline; if it passes, the connection can no longer be used.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn exchange(
        &mut self,
        path: &str,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Answer, Unanswered> {
        let answered = self.post(path, body).await?;
        self.read(answered, bytes_max)
            .await
            .map_err(|error| Unanswered {
                error,
                is_unsent: false,
            })
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>, Unanswered> {
        let unsent = |error| Unanswered {
            error,
            is_unsent: true,
        };
        let request = Request::post(path)
            .header(hyper::header::HOST, &self.addr)
            .header(hyper::header::AUTHORIZATION, &self.authorization)
            .body(Full::new(body))
            .map_err(|error| {
                unsent(PeerError::Unreachable {
                    addr: self.addr.clone(),
                    why: error.to_string(),
                })
            })?;
        if let Err(error) = self.sender.ready().await {
            return Err(unsent(self.broken(&error)));
        }
        let sent = self.sender.try_send_request(request).await;
        sent.map_err(|mut refused| Unanswered {
            is_unsent: refused.take_message().is_some(),
            error: self.broken(refused.error()),
        })
    }

    async fn read(
        &self,
        answer: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Answer, PeerError> {
        let status = answer.status();
        let mut body = answer.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(&error))?;
            let Ok(part) = frame.into_data() else {
                continue;
            };
            if read.len() + part.len() > bytes_max {
                return Err(PeerError::Garbled {
                    addr: self.addr.clone(),
                    why: format!("it is longer than {bytes_max} bytes"),
                });
            }
            read.extend_from_slice(&part);
            if status != StatusCode::OK && read.len() >= REFUSAL_BYTES_MAX {
                read.truncate(REFUSAL_BYTES_MAX);
                break;
            }
        }
        Ok((status.as_u16(), read))
    }

    fn broken(&self, error: &hyper::Error) -> PeerError {
        PeerError::Closed {
            addr: self.addr.clone(),
            why: error.to_string(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
