//! One connection of a hostile camera: reads requests and sends bytes at a bounded rate, until the
//! camera stops.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes passed to the socket at once, so that the stop flag and the rate are checked often.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long a read or write waits before it checks for a stop.
const PATIENCE: Duration = Duration::from_millis(100);
/// A longer request is the client's mistake, and ends the connection.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The bytes that all connections of a camera have sent, and their limit.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) is_stopped: AtomicBool,
    sent_bytes: AtomicU64,
    rate_bps_max: Option<u64>,
    start: Instant,
}

impl Meter {
    pub(super) fn new(rate_bps_max: Option<u64>) -> Self {
        let (is_stopped, sent_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        Self {
            is_stopped,
            sent_bytes,
            rate_bps_max,
            start: Instant::now(),
        }
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// # Errors
    /// If the camera has stopped.
    pub(super) fn check(&self) -> io::Result<()> {
        let stopped = || io::Error::new(io::ErrorKind::ConnectionAborted, "the camera stops");
        if self.is_stopped.load(Ordering::Relaxed) {
            Err(stopped())
        } else {
            Ok(())
        }
    }

    /// Waits, checking for a stop.
    pub(super) fn wait(&self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(PATIENCE));
        }
    }

    /// Counts sent bytes, and waits if they exceed the rate. Unused rate is not saved up.
    pub(super) fn account(&self, bytes: usize) -> io::Result<()> {
        self.check()?;
        let sent = self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let Some(rate) = self.rate_bps_max else {
            return Ok(());
        };
        let due = Duration::from_secs_f64(sent as f64 * 8.0 / rate as f64);
        self.wait(due.saturating_sub(self.start.elapsed()))
    }
}

/// The parts of a request that a hostile camera uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) cseq: String,
    pub(super) transport: String,
}

pub(super) struct Pipe<'a> {
    stream: TcpStream,
    input: Vec<u8>,
    pub(super) meter: &'a Meter,
}

impl<'a> Pipe<'a> {
    pub(super) fn new(stream: TcpStream, meter: &'a Meter) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            input: Vec::new(),
            meter,
        })
    }

    pub(super) fn peer(&self) -> io::Result<std::net::SocketAddr> {
        self.stream.peer_addr()
    }

    /// The next request. Skips the client's interleaved data.
    pub(super) fn request(&mut self) -> io::Result<Request> {
        loop {
            if let Some(request) = take_request(&mut self.input) {
                return Ok(request);
            }
            if self.input.len() > REQUEST_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut block = [0; 4096];
            self.meter.check()?;
            match self.stream.read(&mut block) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.input.extend_from_slice(&block[..read]),
                Err(error) if is_patience(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a request has arrived, and leaves it unread: closing then resets the connection.
    pub(super) fn await_request(&mut self) -> io::Result<()> {
        loop {
            self.meter.check()?;
            match self.stream.peek(&mut [0]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if is_patience(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for block in bytes.chunks(BLOCK_BYTES) {
            self.send_block(block)?;
            self.meter.account(block.len())?;
        }
        Ok(())
    }

    /// Sends the same bytes again and again, until the client closes or the camera stops.
    pub(super) fn send_without_end(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            self.send(bytes)?;
        }
    }

    /// Sends one byte every `pause`.
    pub(super) fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes.chunks(1) {
            self.send(byte)?;
            self.meter.wait(pause)?;
        }
        Ok(())
    }

    /// Sends an answer with these head lines after CSeq.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        status: &str,
        lines: &str,
        body: &[u8],
    ) -> io::Result<()> {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head = format!(
            "RTSP/1.0 {status}\r\nCSeq: {}\r\n{lines}{length}\r\n",
            request.cseq
        );
        self.send(&[head.as_bytes(), body].concat())
    }

    fn send_block(&mut self, mut block: &[u8]) -> io::Result<()> {
        while !block.is_empty() {
            self.meter.check()?;
            match self.stream.write(block) {
                Ok(written) => block = &block[written..],
                Err(error) if is_patience(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn take_request(input: &mut Vec<u8>) -> Option<Request> {
    while input.first() == Some(&b'$') {
        let length = u16::from_be_bytes([*input.get(2)?, *input.get(3)?]);
        let end = 4 + usize::from(length);
        if input.len() < end {
            return None;
        }
        input.drain(..end);
    }
    let end = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&input[..end]).into_owned();
    input.drain(..end);
    let mut words = head
        .lines()
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(str::to_owned);
    let header = |name: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
        let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let (method, url) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    Some(Request {
        method,
        url,
        cseq: header("CSeq"),
        transport: header("Transport"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_interleaved_data_is_skipped() {
        let mut input =
            b"$\x01\0\x02abSETUP rtsp://c/x RTSP/1.0\r\ncseq: 4\r\nTransport: RTP/AVP\r\n\r\nPLAY"
                .to_vec();
        let request = take_request(&mut input).unwrap();
        assert_eq!(
            (&*request.method, &*request.url, &*request.cseq),
            ("SETUP", "rtsp://c/x", "4")
        );
        assert_eq!(
            (&*request.transport, input.as_slice()),
            ("RTP/AVP", b"PLAY".as_slice())
        );
        assert_eq!(take_request(&mut input), None);
    }

    #[test]
    fn no_more_is_sent_than_may_be() {
        let meter = Meter::new(Some(8_000_000));
        let start = Instant::now();
        for _ in 0..5 {
            meter.account(50_000).unwrap();
        }
        assert!(
            start.elapsed() >= Duration::from_millis(200),
            "{:?}",
            start.elapsed()
        );
        meter.is_stopped.store(true, Ordering::Relaxed);
        assert!(meter.account(1).is_err() && meter.sent_bytes() == 250_001 - 1);
    }
}
