//! One connection to another member, over which one request at a time is exchanged.

use super::client::{Member, PeerError};
use super::trust::{HandshakeError, Trust, alert_in};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Within one site a connection is established in milliseconds or not at all.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How much of a refusal's text is kept.
const REFUSAL_BYTES_MAX: usize = 512;
/// How long the end of a broken connection is waited for.
const END_DEADLINE: Duration = Duration::from_millis(100);

/// Status and body.
pub type Answer = (u16, Vec<u8>);

/// Opens connections to other members. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dialer {
    trust: Trust,
}

/// An HTTP connection to another member; closed when dropped.
#[derive(Debug)]
pub struct Connection {
    addr: String,
    sender: SendRequest<Full<Bytes>>,
    /// Ends with the connection; returns the alert that the peer ended it with.
    driver: Option<JoinHandle<Option<AlertDescription>>>,
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
    pub fn new(trust: Trust) -> Self {
        Self { trust }
    }

    /// Connects to `member`, and to no other node, within [`CONNECT_DEADLINE`]. `closed` is called
    /// once when the connection ends, unless this side drops it.
    ///
    /// # Errors
    /// [`PeerError::Refused`], [`PeerError::Unreachable`], [`PeerError::Untrusted`] or
    /// [`PeerError::Refuses`].
    pub async fn open(
        &self,
        member: Member<'_>,
        closed: impl FnOnce() + Send + 'static,
    ) -> Result<Connection, PeerError> {
        let addr = || member.addr.to_owned();
        let Ok(opened) = timeout(CONNECT_DEADLINE, self.open_here(member, closed)).await else {
            let why = format!("no connection within {CONNECT_DEADLINE:?}");
            return Err(PeerError::Unreachable { addr: addr(), why });
        };
        opened.map_err(|error| match error {
            HandshakeError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                PeerError::Refused { addr: addr() }
            }
            HandshakeError::Untrusted(why) => PeerError::Untrusted {
                addr: addr(),
                why: why.to_string(),
            },
            HandshakeError::Refused(_) => PeerError::Refuses {
                addr: addr(),
                why: error.to_string(),
            },
            HandshakeError::Tls(_) | HandshakeError::Io(_) => PeerError::Unreachable {
                addr: addr(),
                why: error.to_string(),
            },
        })
    }

    async fn open_here(
        &self,
        member: Member<'_>,
        closed: impl FnOnce() + Send + 'static,
    ) -> Result<Connection, HandshakeError> {
        let addr = member.addr;
        let stream = TcpStream::connect(addr).await.map_err(HandshakeError::Io)?;
        stream.set_nodelay(true).map_err(HandshakeError::Io)?;
        let stream = self.trust.connect(stream, member.node).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| HandshakeError::Io(io::Error::other(error)))?;
        let peer = addr.to_owned();
        let driver = tokio::spawn(async move {
            let ended = connection.await;
            closed();
            let error = ended.err()?;
            tracing::debug!(%peer, %error, "a connection to a peer broke");
            alert_in(&error)
        });
        Ok(Connection {
            addr: addr.to_owned(),
            sender,
            driver: Some(driver),
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
            .body(Full::new(body))
            .map_err(|error| {
                unsent(PeerError::Unreachable {
                    addr: self.addr.clone(),
                    why: error.to_string(),
                })
            })?;
        if let Err(error) = self.sender.ready().await {
            return Err(unsent(self.broken(&error).await));
        }
        match self.sender.try_send_request(request).await {
            Ok(answer) => Ok(answer),
            Err(mut refused) => Err(Unanswered {
                is_unsent: refused.take_message().is_some(),
                error: self.broken(refused.error()).await,
            }),
        }
    }

    async fn read(
        &mut self,
        answer: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Answer, PeerError> {
        let status = answer.status();
        let mut body = answer.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Err(self.broken(&error).await),
            };
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

    /// Waits for the end of a connection that has broken.
    async fn ended(&mut self) -> Option<AlertDescription> {
        let mut driver = self.driver.take()?;
        match timeout(END_DEADLINE, &mut driver).await {
            Ok(ended) => ended.ok().flatten(),
            Err(_) => {
                driver.abort();
                None
            }
        }
    }

    /// Why an exchange failed. A request that meets the end of the connection learns only that; the
    /// connection itself knows why.
    async fn broken(&mut self, error: &hyper::Error) -> PeerError {
        let addr = self.addr.clone();
        let alert = match alert_in(error) {
            None => self.ended().await,
            alert => alert,
        };
        match alert {
            Some(alert) => PeerError::Refuses {
                addr,
                why: HandshakeError::Refused(alert).to_string(),
            },
            None => PeerError::Closed {
                addr,
                why: error.to_string(),
            },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}
