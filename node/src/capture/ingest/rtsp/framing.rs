//! Splits the bytes of a connection into messages and interleaved data (RFC 2326, 10.12). Pure.
//!
//! Everything that is kept is bounded: a head, a body, bytes between messages. Bytes that belong to
//! nothing are skipped, as ffmpeg does, up to a bound.

use super::head::{self, Head};
use crate::capture::ingest::codec::Fault;

/// The head of a message.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
/// One line of it.
pub(crate) const LINE_BYTES_MAX: usize = 8 << 10;
/// The body of a message: an SDP.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes between messages that are skipped in a session.
const SKIPPED_MAX: usize = 1 << 20;
/// The longest method of RTSP is `GET_PARAMETER`; `RTSP/1.0` begins a response.
const METHODS: [&[u8]; 12] = [
    b"RTSP/",
    b"OPTIONS ",
    b"GET_PARAMETER ",
    b"SET_PARAMETER ",
    b"ANNOUNCE ",
    b"REDIRECT ",
    b"TEARDOWN ",
    b"PAUSE ",
    b"PLAY ",
    b"DESCRIBE ",
    b"SETUP ",
    b"RECORD ",
];
/// Of [`METHODS`].
const FIRST_LETTERS: &[u8] = b"ADGOPRST";
const DATA_HEAD_BYTES: usize = 4;

/// The largest thing that is kept until the rest of it comes.
pub(crate) const PENDING_BYTES_MAX: usize = HEAD_BYTES_MAX + BODY_BYTES_MAX;

/// An element of a connection's bytes.
pub(crate) enum Event<'a> {
    /// Interleaved data.
    Data {
        channel: u8,
        payload: &'a [u8],
    },
    Message {
        head: Head,
        body: &'a [u8],
    },
    /// Something that cannot be used was skipped.
    Fault(Fault),
}

/// Why nothing more can be read from a connection; for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("a message head is longer than {} KiB", HEAD_BYTES_MAX >> 10)]
    Head,
    #[error("a line of a message head is longer than {} KiB", LINE_BYTES_MAX >> 10)]
    Line,
    #[error(
        "a message body of {0} bytes, at most {max} KiB are accepted",
        max = BODY_BYTES_MAX >> 10
    )]
    Body(u64),
    #[error("what it sends is neither RTSP nor interleaved data")]
    Lost,
}

#[derive(Debug, Default)]
pub(crate) struct Framing {
    /// The begin of something whose rest has not come.
    pending: Vec<u8>,
    /// How much of an incomplete head was searched for its end, so that slow bytes are not
    /// searched again and again.
    searched: usize,
    skipped: usize,
}

/// The element at the start of the bytes.
enum Next<'a> {
    /// An event, and how many bytes it takes.
    Event(Event<'a>, usize),
    Incomplete,
}

impl Framing {
    /// How many bytes are kept; at most [`PENDING_BYTES_MAX`].
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Copies the kept bytes to the start of `buffer`; newly read bytes belong right behind them.
    pub(crate) fn resume(&self, buffer: &mut [u8]) {
        buffer[..self.pending.len()].copy_from_slice(&self.pending);
    }

    /// Splits `bytes`, which begin with the pending ones, and keeps an incomplete rest.
    ///
    /// # Errors
    /// Nothing more can be read from the connection. What `each` returns ends it, too.
    pub(crate) fn part<E: From<FramingError>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.next(rest)? {
                Next::Event(event, taken) => {
                    self.searched = 0;
                    rest = &rest[taken.min(rest.len())..];
                    each(event)?;
                }
                Next::Incomplete => break,
            }
        }
        self.pending.clear();
        self.pending.extend_from_slice(rest);
        if self.pending.is_empty() && self.pending.capacity() > PENDING_BYTES_MAX / 8 {
            self.pending = Vec::new();
        }
        Ok(())
    }

    fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Next<'a>, FramingError> {
        match bytes[0] {
            b'$' => Ok(data(bytes)),
            // Empty lines before a message (RFC 2326, 4).
            b'\r' | b'\n' => {
                let blank = bytes
                    .iter()
                    .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                    .count();
                self.skip(blank)?;
                self.next_after(bytes, blank)
            }
            _ => match message_begins(bytes) {
                Begins::Yes => self.message(bytes),
                Begins::NotYetKnown => Ok(Next::Incomplete),
                Begins::No => {
                    // The result does not depend on where reads end.
                    let skipped = (1..bytes.len())
                        .find(|at| may_begin(&bytes[*at..]))
                        .unwrap_or(bytes.len());
                    self.skip(skipped)?;
                    Ok(Next::Event(Event::Fault(Fault::Framing), skipped))
                }
            },
        }
    }

    /// Empty lines are part of the next event, so that they are no event of their own.
    fn next_after<'a>(&mut self, bytes: &'a [u8], blank: usize) -> Result<Next<'a>, FramingError> {
        let rest = &bytes[blank..];
        if rest.is_empty() {
            return Ok(Next::Event(
                Event::Data {
                    channel: u8::MAX,
                    payload: &[],
                },
                blank,
            ));
        }
        match self.next(rest)? {
            Next::Event(event, taken) => Ok(Next::Event(event, blank + taken)),
            Next::Incomplete => Ok(Next::Incomplete),
        }
    }

    fn message<'a>(&mut self, bytes: &'a [u8]) -> Result<Next<'a>, FramingError> {
        let Some(head_bytes) = head_end(bytes, self.searched) else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(FramingError::Head);
            }
            let line = bytes
                .iter()
                .rev()
                .take_while(|byte| !matches!(byte, b'\r' | b'\n'))
                .count();
            if line > LINE_BYTES_MAX {
                return Err(FramingError::Line);
            }
            // An end may have begun with the last bytes.
            self.searched = bytes.len().saturating_sub(3);
            return Ok(Next::Incomplete);
        };
        if head_bytes > HEAD_BYTES_MAX {
            return Err(FramingError::Head);
        }
        let head = &bytes[..head_bytes];
        let body_bytes = head::body_bytes(head);
        let body = usize::try_from(body_bytes)
            .ok()
            .filter(|bytes| *bytes <= BODY_BYTES_MAX);
        let body = body.ok_or(FramingError::Body(body_bytes))?;
        let Some(body) = bytes.get(head_bytes..head_bytes + body) else {
            self.searched = head_bytes.saturating_sub(4);
            return Ok(Next::Incomplete);
        };
        let taken = head_bytes + body.len();
        Ok(Next::Event(
            match head::parse(head) {
                Some(head) => Event::Message { head, body },
                None => Event::Fault(Fault::Framing),
            },
            taken,
        ))
    }

    fn skip(&mut self, bytes: usize) -> Result<(), FramingError> {
        self.skipped += bytes;
        if self.skipped > SKIPPED_MAX {
            Err(FramingError::Lost)
        } else {
            Ok(())
        }
    }
}

fn data(bytes: &[u8]) -> Next<'_> {
    let Some(head) = bytes.first_chunk::<DATA_HEAD_BYTES>() else {
        return Next::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match bytes.get(DATA_HEAD_BYTES..DATA_HEAD_BYTES + length) {
        Some(payload) => Next::Event(
            Event::Data {
                channel: head[1],
                payload,
            },
            DATA_HEAD_BYTES + length,
        ),
        None => Next::Incomplete,
    }
}

/// Whether data or a message may begin with `bytes`, as far as they go. Rejects a wrong first byte
/// fast: a camera may send nothing else.
fn may_begin(bytes: &[u8]) -> bool {
    match bytes {
        [b'$', ..] => true,
        [first, ..] if !FIRST_LETTERS.contains(&first.to_ascii_uppercase()) => false,
        _ => !matches!(message_begins(bytes), Begins::No),
    }
}

enum Begins {
    Yes,
    No,
    NotYetKnown,
}

fn message_begins(bytes: &[u8]) -> Begins {
    let mut outcome = Begins::No;
    for method in METHODS {
        let common = method.len().min(bytes.len());
        if bytes[..common].eq_ignore_ascii_case(&method[..common]) {
            if common == method.len() {
                return Begins::Yes;
            }
            outcome = Begins::NotYetKnown;
        }
    }
    outcome
}

/// How long the head is, with the empty line at its end, looked for from `from` on.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(feed) = memchr::memchr(b'\n', bytes.get(at..)?) {
        let after = at + feed + 1;
        match bytes[after..] {
            [b'\n', ..] => return Some(after + 1),
            [b'\r', b'\n', ..] => return Some(after + 2),
            _ => at = after,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Seen {
        Data(u8, usize),
        Response(u16, usize),
        Request(String),
        Fault(Fault),
    }

    /// Feeds `bytes` in pieces of `piece`.
    fn seen(bytes: &[u8], piece: usize) -> (Vec<Seen>, Result<(), FramingError>) {
        let mut framing = Framing::default();
        let mut seen = Vec::new();
        let mut buffer = vec![0; PENDING_BYTES_MAX + piece];
        for piece in bytes.chunks(piece.max(1)) {
            let from = framing.pending_bytes();
            framing.resume(&mut buffer);
            buffer[from..from + piece.len()].copy_from_slice(piece);
            let outcome = framing.part(&buffer[..from + piece.len()], |event| {
                seen.extend(match event {
                    Event::Data {
                        channel: u8::MAX,
                        payload: [],
                    } => None,
                    Event::Data { channel, payload } => Some(Seen::Data(channel, payload.len())),
                    Event::Message {
                        head: Head::Response { status, .. },
                        body,
                    } => Some(Seen::Response(status, body.len())),
                    Event::Message {
                        head: Head::Request { method, .. },
                        ..
                    } => Some(Seen::Request(method)),
                    Event::Fault(fault) => Some(Seen::Fault(fault)),
                });
                Ok::<_, FramingError>(())
            });
            if outcome.is_err() {
                return (seen, outcome);
            }
        }
        (seen, Ok(()))
    }

    const STREAM: &[u8] = b"$\x00\x00\x03abc\r\n\
        RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4\r\n\r\nv=0\n\
        $\x01\x00\x00OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\n\
        $\x02\x00\x01$RTSP/1.0 454 X\nCSeq: 2\n\n";

    #[test]
    fn messages_and_data_are_parted_wherever_reads_end() {
        let expected = || {
            [
                Seen::Data(0, 3),
                Seen::Response(200, 4),
                Seen::Data(1, 0),
                Seen::Request("OPTIONS".to_owned()),
                Seen::Data(2, 1),
                Seen::Response(454, 0),
            ]
        };
        for piece in 1..STREAM.len() + 1 {
            assert_eq!(
                seen(STREAM, piece),
                (expected().into(), Ok(())),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn what_belongs_to_nothing_is_skipped() {
        let (seen, outcome) = seen(b"\xff\xfe junk $\x00\x00\x01a", 100);
        assert_eq!((seen.last(), outcome), (Some(&Seen::Data(0, 1)), Ok(())));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn what_follows_nonsense_is_found_wherever_reads_end() {
        let stream = b"xxOPTIONS * RTSP/1.0\r\n\r\nR?rtsp/1.0 200\r\n\r\n$";
        let expected = [Seen::Request("OPTIONS".to_owned()), Seen::Response(200, 0)];
        for piece in 1..=stream.len() {
            let (mut seen, outcome) = seen(stream, piece);
            seen.retain(|seen| !matches!(seen, Seen::Fault(_)));
            assert_eq!(
                (seen.as_slice(), outcome),
                (&expected[..], Ok(())),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn every_method_begins_with_one_of_the_letters() {
        assert!(
            METHODS
                .iter()
                .all(|method| FIRST_LETTERS.contains(&method[0]))
        );
    }

    #[test]
    fn an_endless_stream_of_nothing_ends_the_connection() {
        assert_eq!(seen(&vec![0xff; 2 << 20], 4096).1, Err(FramingError::Lost));
    }

    #[test]
    fn heads_lines_and_bodies_are_bounded_before_they_are_kept() {
        let line = [b"RTSP/1.0 200 OK\r\nX: ".to_vec(), vec![b'y'; 10 << 10]].concat();
        assert_eq!(seen(&line, 1000).1, Err(FramingError::Line));
        let head = [b"RTSP/1.0 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(20_000)].concat();
        assert_eq!(seen(&head, 1000).1, Err(FramingError::Head));
        let body = b"RTSP/1.0 200 OK\r\nContent-Length: 4000000000\r\n\r\n";
        assert_eq!(seen(body, 1000).1, Err(FramingError::Body(4_000_000_000)));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parted_the_same_however_they_come(bytes: Vec<u8>, piece in 1_usize..40) {
            let of_data = |seen: Vec<Seen>| {
                seen.into_iter()
                    .filter(|seen| !matches!(seen, Seen::Fault(_)))
                    .collect::<Vec<_>>()
            };
            let whole = seen(&bytes, bytes.len().max(1));
            let pieces = seen(&bytes, piece);
            proptest::prop_assert_eq!(of_data(whole.0), of_data(pieces.0));
        }
    }
}
