//! A connection to a camera's RTSP port: requests, answers, and interleaved data.

use super::framing::{Event, Framing, FramingError, PENDING_BYTES_MAX};
use super::head::{Fields, Head};
use super::login::{Login, LoginMemory, Refusal};
use super::tls;
use super::transport;
use super::url::{host_and_port, is_tls};
use crate::capture::ingest::error::{SessionError, detail};
use bytes::{Buf, Bytes, BytesMut};
use holdfast_consensus::model::Tls;
use rustls::pki_types::ServerName;
use std::borrow::Cow;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

const USER_AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));
/// The most that is read at once: more than a tick's worth of any camera within its budget.
pub(crate) const READ_BYTES_MAX: usize = 256 << 10;
/// The most that a camera may send before it answers a request.
const UNANSWERED_BYTES_MAX: usize = 4 << 20;
/// The most that may be queued for a camera that does not read.
const OUTGOING_BYTES_MAX: usize = 16 << 10;
/// Until the camera names another.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

thread_local! {
    /// Holds what was read from a socket while it is split up: one buffer for all sessions of a
    /// thread.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PENDING_BYTES_MAX + READ_BYTES_MAX]);
}

pub(crate) struct Connection {
    stream: Stream,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    framing: Framing,
    outgoing: BytesMut,
    sequence: u32,
    login: Login,
    /// Id of the session at the camera, once it gave one.
    session: Option<Vec<u8>>,
    /// After how long without a request the camera ends the session.
    pub(crate) timeout: Duration,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The camera's answer to a request.
pub(crate) struct Reply {
    pub(crate) status: u16,
    fields: Fields,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// A header with an address, which may not be ASCII.
    pub(crate) fn address(&self, name: &str) -> Option<Cow<'_, str>> {
        self.fields.bytes(name).map(String::from_utf8_lossy)
    }
}

/// Why a connection is no longer usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("the camera closed the connection")]
    Closed,
    #[error("the camera sends on and does not answer")]
    Unanswered,
    #[error("the camera asks for a login that is refused")]
    Login(Refusal),
}

impl Connection {
    /// Connects. The caller has a deadline.
    ///
    /// # Errors
    /// `Unreachable`, `Tls`.
    pub(crate) async fn connect(
        url: &Url,
        user: Option<(String, String)>,
        memory: LoginMemory,
        tls: Tls,
    ) -> Result<Self, SessionError> {
        let (host, port) = host_and_port(url);
        let unreachable = |error: io::Error| SessionError::Unreachable(detail(&error.to_string()));
        let tcp = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let (local, peer) = (
            tcp.local_addr().map_err(unreachable)?,
            tcp.peer_addr().map_err(unreachable)?,
        );
        let stream = if is_tls(url) {
            secured(tcp, host, tls).await?
        } else {
            Stream::Plain(tcp)
        };
        Ok(Self {
            stream,
            local,
            peer,
            framing: Framing::default(),
            outgoing: BytesMut::new(),
            sequence: 0,
            login: Login::new(user, memory, is_tls(url)),
            session: None,
            timeout: TIMEOUT_DEFAULT,
        })
    }

    /// Sends a request and waits for its answer; a challenge is answered. Interleaved data that
    /// arrives in the meantime goes to `data`. The caller has a deadline.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        mut data: impl FnMut(u8, &[u8]),
    ) -> Result<Reply, ConnectionError> {
        loop {
            self.queue(method, url, headers);
            let reply = self.reply(&mut data).await?;
            self.note_session(&reply);
            if reply.status != 401 {
                self.login.accepted();
                return Ok(reply);
            }
            let challenges = reply.fields.bytes("www-authenticate");
            self.login
                .challenged(challenges)
                .map_err(ConnectionError::Login)?;
        }
    }

    /// Queues a request; [`Self::poll_turn`] sends it. Drops it if the queue is full.
    pub(crate) fn queue(&mut self, method: &str, url: &str, headers: &[(&str, String)]) {
        if self.outgoing.len() > OUTGOING_BYTES_MAX {
            return;
        }
        self.sequence += 1;
        let out = &mut self.outgoing;
        let begin = format!(
            "{method} {url} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: {USER_AGENT}\r\n",
            self.sequence
        );
        out.extend_from_slice(begin.as_bytes());
        let mut line = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        };
        if let Some(session) = &self.session {
            line("Session", session);
        }
        if let Some(authorization) = self.login.authorization(method, url) {
            line("Authorization", &authorization);
        }
        headers
            .iter()
            .for_each(|(name, value)| line(name, value.as_bytes()));
        self.outgoing.extend_from_slice(b"\r\n");
    }

    /// Queues an answer to a request of the camera.
    pub(crate) fn answer(&mut self, status: u16, sequence: Option<&str>) {
        if self.outgoing.len() <= OUTGOING_BYTES_MAX {
            let sequence = sequence.unwrap_or("0");
            let text = format!("RTSP/1.0 {status} X\r\nCSeq: {sequence}\r\n\r\n");
            self.outgoing.extend_from_slice(text.as_bytes());
        }
    }

    /// The camera asks for a login in the midst of a session: the next request is to be sent again.
    pub(crate) fn challenged(&mut self, challenges: Option<&[u8]>) -> Result<(), Refusal> {
        self.login.challenged(challenges)
    }

    pub(crate) fn accepted(&mut self) {
        self.login.accepted();
    }

    /// Sends as much of the queue as the camera takes, and hands the result of one read to `each`.
    /// Returns how many bytes were read.
    ///
    /// # Errors
    /// The connection is of no more use, or what `each` returned.
    pub(crate) fn poll_turn<E: From<ConnectionError> + From<FramingError>>(
        &mut self,
        context: &mut Context<'_>,
        each: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Poll<Result<usize, E>> {
        if let Err(error) = self.poll_send(context) {
            return Poll::Ready(Err(E::from(ConnectionError::Io(error))));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let from = self.framing.pending_bytes();
            let mut read = ReadBuf::new(&mut buffer[from..]);
            match self.stream.poll_read(context, &mut read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(E::from(ConnectionError::Io(error))));
                }
                Poll::Ready(Ok(())) => {}
            }
            let bytes = read.filled().len();
            if bytes == 0 {
                return Poll::Ready(Err(E::from(ConnectionError::Closed)));
            }
            self.framing.resume(buffer);
            Poll::Ready(
                self.framing
                    .part(&buffer[..from + bytes], each)
                    .map(|()| bytes),
            )
        })
    }

    async fn reply(&mut self, data: &mut impl FnMut(u8, &[u8])) -> Result<Reply, ConnectionError> {
        let mut reply = None;
        let mut read_bytes = 0;
        let mut asked = Vec::new();
        while reply.is_none() {
            read_bytes += poll_fn(|context| {
                self.poll_turn(context, |event| {
                    match event {
                        Event::Data { channel, payload } => data(channel, payload),
                        Event::Message {
                            head: Head::Response { status, fields },
                            body,
                        } => {
                            // 1xx: the answer is still to come (RFC 2326, 7.1.1).
                            if status >= 200 {
                                let body = Bytes::copy_from_slice(body);
                                reply = reply.take().or(Some(Reply {
                                    status,
                                    fields,
                                    body,
                                }));
                            }
                        }
                        Event::Message {
                            head: Head::Request { fields, .. },
                            ..
                        } => asked.push(fields),
                        Event::Fault(_) => {}
                    }
                    Ok::<_, ConnectionError>(())
                })
            })
            .await?;
            for fields in asked.drain(..) {
                self.answer(501, fields.get("cseq"));
            }
            if read_bytes > UNANSWERED_BYTES_MAX {
                return Err(ConnectionError::Unanswered);
            }
        }
        reply.ok_or(ConnectionError::Closed)
    }

    fn note_session(&mut self, reply: &Reply) {
        if let Some((id, timeout)) = reply.fields.bytes("session").and_then(transport::session) {
            self.session = Some(id);
            self.timeout = timeout;
        }
    }

    /// Writes as much as the camera takes now.
    fn poll_send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.poll_write(context, &self.outgoing) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => self.outgoing.advance(bytes),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        match self.stream.poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

impl Stream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, read),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, read),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// A plain stream keeps nothing back.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
}

async fn secured(tcp: TcpStream, host: String, trust: Tls) -> Result<Stream, SessionError> {
    let bad_name =
        || SessionError::BadUrl("its host is no name that a certificate can have".to_owned());
    let name = ServerName::try_from(host).map_err(|_| bad_name())?;
    let connector = TlsConnector::from(tls::config(trust));
    let stream = connector.connect(name, tcp).await;
    let stream = stream.map_err(|error| SessionError::Tls(detail(&error.to_string())))?;
    Ok(Stream::Tls(Box::new(stream)))
}
