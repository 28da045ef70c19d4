//! One client's session with a camera: its tracks, each with numbers of its own, and how their packets reach it.

use crate::camera::{Camera, Reservation};
use crate::packetize::{INTERLEAVED_BYTES, Numbers, Packets};
use crate::producer::Frame;
use crate::random::Random;
use crate::requests::{TrackKind, Way};
use crate::rtcp::SenderReport;
use rtp_types::RtpParseError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Time between the RTCP sender reports of a track. The first comes with its first frame.
const REPORT_INTERVAL_US: u64 = 5_000_000;
/// Datagrams sent without a pause, so that a keyframe fits the client's socket buffer.
const UDP_BURST_PACKETS: usize = 32;
const UDP_PAUSE: Duration = Duration::from_millis(1);
/// A datagram that the kernel does not take for so long is lost.
const UDP_SEND_DEADLINE: Duration = Duration::from_millis(100);
const UDP_BIND_TRIES_MAX: usize = 32;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) camera: Arc<Camera>,
    pub(crate) tracks: Vec<Track>,
    reservation: Reservation,
    /// `None` until it plays.
    frames: Option<mpsc::Receiver<Arc<Frame>>>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) kind: TrackKind,
    pub(crate) numbers: Numbers,
    way: TrackWay,
    packets: u32,
    octets: u32,
    next_report_us: u64,
}

#[derive(Debug)]
enum TrackWay {
    Tcp { channel: u8 },
    Udp { rtp: UdpSocket, rtcp: UdpSocket },
}

impl Session {
    pub(crate) fn new(id: String, camera: Arc<Camera>, reservation: Reservation) -> Self {
        Self { id, camera, tracks: Vec::new(), reservation, frames: None, scratch: Vec::new() }
    }

    /// Whether frames flow from now on; `false` where the camera ended the session.
    pub(crate) fn play(&mut self) -> bool {
        if self.frames.is_none() {
            self.frames = self.reservation.play();
        }
        self.frames.is_some()
    }

    /// The next frame to deliver; `None` once the camera has ended the session. Waits as long as the camera has no frame: the caller has the deadline.
    pub(crate) async fn next(&mut self) -> Option<Arc<Frame>> {
        let Self { reservation, frames, .. } = self;
        tokio::select! {
            biased;
            _ = &mut reservation.ended => None,
            frame = recv(frames) => frame,
        }
    }

    /// Resolves when the camera ends the session.
    pub(crate) async fn ended(&mut self) {
        // An error is the news: the seat is gone.
        let _ = (&mut self.reservation.ended).await;
    }

    /// Sends what goes by UDP, and appends to `out` what goes on the RTSP connection.
    pub(crate) async fn deliver(&mut self, frame: &Frame, out: &mut Vec<u8>) -> Result<(), RtpParseError> {
        for track in &mut self.tracks {
            let Some((packets, timestamp)) = track.part_of(frame) else { continue };
            match &track.way {
                TrackWay::Tcp { .. } => track.numbers.patch(packets, out)?,
                TrackWay::Udp { rtp, .. } => {
                    self.scratch.clear();
                    track.numbers.patch(packets, &mut self.scratch)?;
                    send_datagrams(rtp, &self.scratch, order(packets, frame.reordered)).await;
                }
            }
            track.account(packets);
            track.report(frame.captured_us, timestamp, out).await;
        }
        Ok(())
    }
}

impl Track {
    pub(crate) fn new(
        kind: TrackKind,
        way: Way,
        ends: (IpAddr, IpAddr),
        random: &mut Random,
    ) -> io::Result<(Self, Option<(u16, u16)>)> {
        let (way, ports) = match way {
            Way::Tcp { channel } => (TrackWay::Tcp { channel }, None),
            Way::Udp { ports } => udp(ports, ends)?,
        };
        let channel = if let TrackWay::Tcp { channel } = way { channel } else { 0 };
        let numbers = Numbers {
            channel,
            ssrc: random.next_u32(),
            sequence: random.next_u16(),
            timestamp_offset: random.next_u32(),
        };
        Ok((Self { kind, numbers, way, packets: 0, octets: 0, next_report_us: 0 }, ports))
    }

    fn part_of<'f>(&self, frame: &'f Frame) -> Option<(&'f Packets, u32)> {
        match self.kind {
            TrackKind::Video => Some((&frame.video, frame.video_timestamp)),
            TrackKind::Audio => frame.audio.as_ref().map(|audio| (audio, frame.audio_timestamp)),
        }
    }

    fn account(&mut self, packets: &Packets) {
        self.packets = self.packets.wrapping_add(packets.len() as u32);
        self.octets = self.octets.wrapping_add(packets.payload_octets as u32);
    }

    async fn report(&mut self, captured_us: u64, timestamp: u32, out: &mut Vec<u8>) {
        if captured_us < self.next_report_us {
            return;
        }
        self.next_report_us = captured_us + REPORT_INTERVAL_US;
        let report = SenderReport {
            ssrc: self.numbers.ssrc,
            wall_us: captured_us,
            rtp_timestamp: timestamp.wrapping_add(self.numbers.timestamp_offset),
            packets: self.packets,
            octets: self.octets,
        }
        .encode();
        match &self.way {
            TrackWay::Tcp { channel } => {
                out.extend_from_slice(&[b'$', channel + 1, 0, report.len() as u8]);
                out.extend_from_slice(&report);
            }
            TrackWay::Udp { rtcp, .. } => send(rtcp, &report).await,
        }
    }
}

async fn recv(frames: &mut Option<mpsc::Receiver<Arc<Frame>>>) -> Option<Arc<Frame>> {
    match frames {
        Some(frames) => frames.recv().await,
        None => std::future::pending().await,
    }
}

/// The packets in the order in which to send them: neighbours swapped where asked.
fn order(packets: &Packets, reordered: bool) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = packets.ranges().collect();
    if reordered {
        ranges.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    }
    ranges
}

async fn send_datagrams(socket: &UdpSocket, packets: &[u8], ranges: Vec<Range<usize>>) {
    for (at, range) in ranges.into_iter().enumerate() {
        if at % UDP_BURST_PACKETS == UDP_BURST_PACKETS - 1 {
            tokio::time::sleep(UDP_PAUSE).await;
        }
        send(socket, &packets[range.start + INTERLEAVED_BYTES..range.end]).await;
    }
}

async fn send(socket: &UdpSocket, datagram: &[u8]) {
    // Whether a datagram arrives is not a sender's to know; a client that is gone ends with its RTSP connection.
    match tokio::time::timeout(UDP_SEND_DEADLINE, socket.send(datagram)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::trace!(%error, "a datagram was not sent"),
        Err(_) => tracing::trace!("a datagram waited too long and was left out"),
    }
}

/// Sockets for RTP (even port) and RTCP (the next one, RFC 3550, 11) towards the client's ports.
fn udp(client: (u16, u16), (local, peer): (IpAddr, IpAddr)) -> io::Result<(TrackWay, Option<(u16, u16)>)> {
    let (rtp, rtcp, port) = (0..UDP_BIND_TRIES_MAX).find_map(|_| pair(local).transpose()).unwrap_or_else(|| {
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no pair of free UDP ports on {local}")))
    })?;
    let connected = |socket: std::net::UdpSocket, port: u16| {
        socket.connect(SocketAddr::new(peer, port))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    };
    let way = TrackWay::Udp { rtp: connected(rtp, client.0)?, rtcp: connected(rtcp, client.1)? };
    Ok((way, Some((port, port + 1))))
}

type Pair = (std::net::UdpSocket, std::net::UdpSocket, u16);

fn pair(local: IpAddr) -> io::Result<Option<Pair>> {
    let rtp = std::net::UdpSocket::bind((local, 0))?;
    let port = rtp.local_addr()?.port();
    if port % 2 == 1 || port == u16::MAX {
        return Ok(None);
    }
    Ok(std::net::UdpSocket::bind((local, port + 1)).ok().map(|rtcp| (rtp, rtcp, port)))
}
