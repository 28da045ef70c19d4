//! A scripted camera for tests: answers, refuses, keeps silent, freezes, sends garbage.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const VIDEO: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;\
    sprop-parameter-sets=Z0LAFtoCgL/lwEQAAAMABAAAAwBQPFi6gA==,aM48gA==\r\na=control:video\r\n";
pub(crate) const AUDIO: &str = "m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:audio\r\n";
/// `user:secret` for basic authentication.
const CREDENTIALS: &str = "Basic dXNlcjpzZWNyZXQ=";
const FRAME_INTERVAL: Duration = Duration::from_millis(20);
const FRAMES_PER_GOP: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    Freeze,
    Close,
    Garbage,
    /// Packets are lost: sequence numbers and times continue.
    Skip(u16),
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) media: String,
    pub(crate) auth: bool,
    pub(crate) describe_status: u16,
    pub(crate) silent: bool,
    /// After this many frames of a session, once.
    pub(crate) after: u32,
    pub(crate) then: Then,
}

impl Default for Script {
    fn default() -> Self {
        let media = VIDEO.to_owned();
        Self {
            media,
            auth: false,
            describe_status: 200,
            silent: false,
            after: u32::MAX,
            then: Then::GoOn,
        }
    }
}

pub(crate) struct ScriptedCamera {
    pub(crate) addr: SocketAddr,
    pub(crate) plays: Arc<AtomicU32>,
    pub(crate) teardowns: Arc<AtomicU32>,
}

impl ScriptedCamera {
    /// Serves until the test process ends.
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let camera = Self {
            addr: listener.local_addr().unwrap(),
            plays: Arc::default(),
            teardowns: Arc::default(),
        };
        let (plays, teardowns) = (Arc::clone(&camera.plays), Arc::clone(&camera.teardowns));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (script, plays, teardowns) =
                    (script.clone(), Arc::clone(&plays), Arc::clone(&teardowns));
                thread::spawn(move || serve(socket, &script, &plays, &teardowns));
            }
        });
        camera
    }

    pub(crate) fn url(&self) -> String {
        format!("rtsp://{}/cam", self.addr)
    }
}

/// Answers requests, and plays between them. The end of the connection ends it.
fn serve(
    mut socket: TcpStream,
    script: &Script,
    plays: &AtomicU32,
    teardowns: &AtomicU32,
) -> Option<()> {
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .ok()?;
    let mut playing: Option<Playing> = None;
    let mut unread = Vec::new();
    loop {
        if let Some(request) = read_request(&mut socket, &mut unread)? {
            if script.silent {
                continue;
            }
            let method = request.split(' ').next()?;
            // Counted first, so that a test that has the answer sees the count.
            match method {
                "PLAY" => plays.fetch_add(1, SeqCst),
                "TEARDOWN" => teardowns.fetch_add(1, SeqCst),
                _ => 0,
            };
            socket.write_all(answer(&request, script).as_bytes()).ok()?;
            match method {
                "PLAY" => {
                    playing = Some(Playing {
                        began: Instant::now(),
                        frames: 0,
                        seq: 0,
                        time: 0,
                    })
                }
                "TEARDOWN" => return None,
                _ => {}
            }
        }
        if let Some(playing) = &mut playing {
            playing.send_due(&mut socket, script)?;
        }
    }
}

/// A whole request if there is one; `None` at the end of the connection.
fn read_request(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Option<String>> {
    let mut buffer = [0; 4096];
    match socket.read(&mut buffer) {
        Ok(0) => return None,
        Ok(n) => unread.extend_from_slice(&buffer[..n]),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ) => {}
        Err(_) => return None,
    }
    let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Some(None);
    };
    let request = unread.drain(..end + 4).collect();
    Some(String::from_utf8(request).ok())
}

fn answer(request: &str, script: &Script) -> String {
    let header = |name: &str| {
        request
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .trim()
    };
    let cseq = header("CSeq:");
    if script.auth && header("Authorization:") != CREDENTIALS {
        return format!(
            "RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\n\
             WWW-Authenticate: Basic realm=\"cam\"\r\n\r\n"
        );
    }
    let (status, headers, body) = match request.split(' ').next() {
        Some("DESCRIBE") => {
            let sdp = format!(
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\n{}",
                script.media
            );
            let headers = format!(
                "Content-Type: application/sdp\r\nContent-Length: {}\r\n",
                sdp.len()
            );
            (script.describe_status, headers, sdp)
        }
        Some("SETUP") => (
            200,
            format!("Transport: {}\r\n", header("Transport:")),
            String::new(),
        ),
        _ => (200, String::new(), String::new()),
    };
    format!("RTSP/1.0 {status} X\r\nCSeq: {cseq}\r\nSession: 1\r\n{headers}\r\n{body}")
}

struct Playing {
    began: Instant,
    frames: u32,
    seq: u16,
    time: u32,
}

impl Playing {
    fn send_due(&mut self, socket: &mut TcpStream, script: &Script) -> Option<()> {
        while self.began.elapsed() >= FRAME_INTERVAL * self.frames {
            if self.frames >= script.after {
                match script.then {
                    Then::Freeze => return Some(()),
                    Then::Close => return None,
                    Then::Garbage => loop {
                        socket.write_all(&[0xff; 4096]).ok()?;
                    },
                    Then::Skip(packets) if self.frames == script.after => self.skip(packets),
                    Then::Skip(_) | Then::GoOn => {}
                }
            }
            self.send_frame(socket, script.media.contains(AUDIO))?;
        }
        Some(())
    }

    fn skip(&mut self, packets: u16) {
        self.seq = self.seq.wrapping_add(packets);
        self.time += u32::from(packets) * 1800;
    }

    fn send_frame(&mut self, socket: &mut TcpStream, audio: bool) -> Option<()> {
        let nal_type = if self.frames.is_multiple_of(FRAMES_PER_GOP) {
            0x65
        } else {
            0x41
        };
        let mut nal = vec![nal_type, 0x88];
        nal.resize(800, 0xaa);
        socket
            .write_all(&packet(0, 96, self.seq, self.time, &nal))
            .ok()?;
        if audio {
            socket
                .write_all(&packet(
                    2,
                    8,
                    self.seq,
                    self.time / 1800 * 160,
                    &[0x55; 160],
                ))
                .ok()?;
        }
        self.seq = self.seq.wrapping_add(1);
        self.time += 1800;
        self.frames += 1;
        Some(())
    }
}

/// One RTP packet (RFC 3550, 5.1), interleaved (RFC 2326, 10.12).
fn packet(channel: u8, payload_type: u8, seq: u16, time: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![b'$', channel];
    packet.extend((payload.len() as u16 + 12).to_be_bytes());
    packet.extend([0x80, 0x80 | payload_type]);
    packet.extend(seq.to_be_bytes());
    packet.extend(time.to_be_bytes());
    packet.extend((0x1234_5600 + u32::from(channel)).to_be_bytes());
    packet.extend(payload);
    packet
}
