//! One RTSP connection: reads requests, writes their answers, and delivers the frames of its
//! session.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use crate::dialogue::{Cameras, Dialogue};
use crate::producer::Frame;
use crate::random::Random;
use crate::requests::SESSION_TIMEOUT_S;
use crate::session::Session;
use bytes::{Buf, BytesMut};
use rtp_types::RtpParseError;
use rtsp_types::{Message, ParseError, Request};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The most bytes in a request.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A client that accepts no data for this long loses its session.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// A client that sends nothing for this long loses its connection.
const IDLE_DEADLINE: Duration = Duration::from_secs(SESSION_TIMEOUT_S + 5);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the client closed it")]
    Closed,
    #[error("the camera ended the session")]
    Kicked,
    #[error("no request for {} s", IDLE_DEADLINE.as_secs())]
    Idle,
    #[error("the client takes no data")]
    Stuck,
    #[error("a request that is no RTSP, or longer than {REQUEST_BYTES_MAX} bytes")]
    BadRequest,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("an RTP packet of our own cannot be read: {0:?}")]
    Packet(RtpParseError),
}

enum Action {
    Request(Request<Vec<u8>>),
    Deliver(Arc<Frame>),
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    stream: TcpStream,
    cameras: Arc<Cameras>,
    random: Random,
) -> Result<(), End> {
    let dialogue = Dialogue::new(cameras, stream.peer_addr()?, stream.local_addr()?, random);
    // Frames are written whole; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let now = Instant::now();
    let idle_at = now + IDLE_DEADLINE;
    let mut connection = Connection {
        reader,
        writer,
        input: BytesMut::new(),
        idle_at,
        dialogue,
        held: None,
    };
    let mut out = Vec::new();
    loop {
        let action = connection.select().await?;
        out.clear();
        connection.apply(action, &mut out).await?;
        connection.write(&out).await?;
    }
}

struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    idle_at: Instant,
    dialogue: Dialogue,
    /// An answer that is due after this many frames: the oddity of some cameras.
    held: Option<(Vec<u8>, u32)>,
}

impl Connection {
    async fn select(&mut self) -> Result<Action, End> {
        loop {
            if let Some(request) = take_request(&mut self.input)? {
                return Ok(Action::Request(request));
            }
            let Self {
                reader,
                input,
                idle_at,
                dialogue,
                ..
            } = self;
            tokio::select! {
                read = reader.read_buf(input) => match read? {
                    0 => return Err(End::Closed),
                    _ => *idle_at = Instant::now() + IDLE_DEADLINE,
                },
                frame = next(&mut dialogue.session) => {
                    return frame.map(Action::Deliver).ok_or(End::Kicked);
                }
                () = sleep_until(*idle_at) => return Err(End::Idle),
            }
        }
    }

    /// Executes `action` and appends the resulting bytes.
    async fn apply(&mut self, action: Action, out: &mut Vec<u8>) -> Result<(), End> {
        match action {
            Action::Request(request) => {
                // The delay of a camera is bounded by its settings.
                sleep(self.dialogue.delay(&request)).await;
                let frames_before = self.dialogue.frames_before_answer(&request);
                let Some(reply) = self.dialogue.answer(&request) else {
                    return Ok(());
                };
                if frames_before > 0 {
                    let mut answer = Vec::new();
                    reply.write(&mut answer);
                    self.held = Some((answer, frames_before));
                } else {
                    reply.write(out);
                }
                Ok(())
            }
            Action::Deliver(_) if self.dialogue.is_login_overdue() => Err(End::Kicked),
            Action::Deliver(frame) => match &mut self.dialogue.session {
                Some(session) => {
                    session.deliver(&frame, out).await.map_err(End::Packet)?;
                    self.release(out);
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    /// Appends the answer that was held back, once its frames have been sent.
    fn release(&mut self, out: &mut Vec<u8>) {
        match self.held.take() {
            Some((answer, frames)) if frames <= 1 => out.extend_from_slice(&answer),
            held => self.held = held.map(|(answer, frames)| (answer, frames - 1)),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        if bytes.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            written = timeout(WRITE_DEADLINE, self.writer.write_all(bytes)) => {
                Ok(written.map_err(|_| End::Stuck)??)
            }
            () = ended(&mut self.dialogue.session) => Err(End::Kicked),
        }
    }
}

/// The next whole request in `input`. Skips the client's RTCP (interleaved data) and answers.
fn take_request(input: &mut BytesMut) -> Result<Option<Request<Vec<u8>>>, End> {
    while !input.is_empty() {
        match Message::<Vec<u8>>::parse(&input[..]) {
            Ok((message, length)) => {
                input.advance(length);
                if let Message::Request(request) = message {
                    return Ok(Some(request));
                }
            }
            Err(ParseError::Incomplete(_)) if input.len() < REQUEST_BYTES_MAX => return Ok(None),
            Err(_) => return Err(End::BadRequest),
        }
    }
    Ok(None)
}

async fn next(session: &mut Option<Session>) -> Option<Arc<Frame>> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

async fn ended(session: &mut Option<Session>) {
    match session {
        Some(session) => session.ended().await,
        None => std::future::pending().await,
    }
}
