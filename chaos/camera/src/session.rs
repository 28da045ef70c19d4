//! One client's session with a camera: its tracks, each with numbers of its own, and the delivery
//! of their packets.

use crate::camera::{Camera, Reservation};
use crate::oddity::{Bender, Lane, Oddity, Outgoing, RtpOddity, Warp};
use crate::packetize::{INTERLEAVED_BYTES, Numbers, Packets};
use crate::producer::Frame;
use crate::random::Random;
use crate::requests::{TrackKind, Way};
use crate::rtcp::SenderReport;
use rtp_types::RtpParseError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
/// A datagram that the kernel does not accept within this time is lost.
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
    odd: Odd,
}

/// The oddities of a track's packets.
#[derive(Debug, Default)]
struct Odd {
    oddity: Option<Oddity>,
    bender: Option<Bender>,
    warp: Option<Warp>,
    /// The session's own offset, the base of a wrong clock.
    base_offset: u32,
    /// When the track's first frame was captured.
    first_us: Option<u64>,
    random: Option<Random>,
}

#[derive(Debug)]
enum TrackWay {
    Tcp {
        channel: u8,
    },
    Udp {
        rtp: UdpSocket,
        rtcp: UdpSocket,
        /// For cameras that send from elsewhere.
        elsewhere: Option<UdpSocket>,
    },
}

impl Session {
    pub(crate) fn new(id: String, camera: Arc<Camera>, reservation: Reservation) -> Self {
        Self {
            id,
            camera,
            tracks: Vec::new(),
            reservation,
            frames: None,
            scratch: Vec::new(),
        }
    }

    /// Starts the frames; `false` if the camera has ended the session.
    pub(crate) fn play(&mut self) -> bool {
        if self.frames.is_none() {
            self.frames = self.reservation.play();
        }
        self.frames.is_some()
    }

    /// The next frame to deliver; `None` once the camera has ended the session. Waits until the
    /// camera has a frame: the caller has the deadline.
    pub(crate) async fn next(&mut self) -> Option<Arc<Frame>> {
        let Self {
            reservation,
            frames,
            ..
        } = self;
        tokio::select! {
            biased;
            _ = &mut reservation.ended => None,
            frame = recv(frames) => frame,
        }
    }

    /// Resolves when the camera ends the session.
    pub(crate) async fn ended(&mut self) {
        // The error is the event itself: the seat is gone.
        let _ = (&mut self.reservation.ended).await;
    }

    /// Sends the packets that use UDP, and appends to `out` those for the RTSP connection.
    pub(crate) async fn deliver(
        &mut self,
        frame: &Frame,
        out: &mut Vec<u8>,
    ) -> Result<(), RtpParseError> {
        for track in &mut self.tracks {
            let Some((packets, timestamp)) = track.part_of(frame) else {
                continue;
            };
            if !track.odd.sends(track.kind, frame.captured_us) {
                continue;
            }
            track.odd.renumber(&mut track.numbers, timestamp);
            if track.odd.bender.is_some() {
                self.scratch.clear();
                track.numbers.patch(packets, &mut self.scratch)?;
                track.deliver_odd(packets, &self.scratch, out).await;
            } else {
                match &track.way {
                    TrackWay::Tcp { .. } => track.numbers.patch(packets, out)?,
                    TrackWay::Udp { rtp, .. } => {
                        self.scratch.clear();
                        track.numbers.patch(packets, &mut self.scratch)?;
                        send_datagrams(rtp, &self.scratch, order(packets, frame.reordered)).await;
                    }
                }
            }
            track.account(packets);
            track.report(frame.captured_us, timestamp, out).await;
        }
        Ok(())
    }
}

impl Odd {
    fn new(kind: TrackKind, oddity: Option<Oddity>, base_offset: u32, random: &mut Random) -> Self {
        let Some(oddity) = oddity.filter(|_| kind != TrackKind::Silent) else {
            return Self::default();
        };
        let mut bender = None;
        let mut warp = None;
        if kind == TrackKind::Video {
            bender = oddity
                .rtp()
                .map(|rtp| Bender::new(rtp, Random::seeded(random.next_u64())));
            warp = if let Oddity::Clock(clock) = oddity {
                Some(Warp::new(clock))
            } else {
                None
            };
        }
        let random = Some(Random::seeded(random.next_u64()));
        Self {
            oddity: Some(oddity),
            bender,
            warp,
            base_offset,
            first_us: None,
            random,
        }
    }

    /// Whether the track sends anything now.
    fn sends(&mut self, kind: TrackKind, captured_us: u64) -> bool {
        let first_us = *self.first_us.get_or_insert(captured_us);
        let audio = self
            .oddity
            .and_then(Oddity::audio)
            .filter(|_| kind == TrackKind::Audio);
        audio.is_none_or(|audio| audio.sounds_at(captured_us - first_us))
    }

    fn renumber(&mut self, numbers: &mut Numbers, timestamp: u32) {
        if let Some(bender) = &mut self.bender {
            bender.renumber(numbers);
        }
        if let Some(warp) = &mut self.warp {
            numbers.timestamp_offset = warp.offset(timestamp, self.base_offset);
        }
    }

    /// The wall time for a report; `None` if no report is to be sent.
    fn report_us(&mut self, wall_us: u64) -> Option<u64> {
        match (self.oddity.and_then(Oddity::rtp), &mut self.random) {
            (Some(rtp), Some(random)) => rtp.report_us(wall_us, random),
            _ => Some(wall_us),
        }
    }
}

impl Track {
    pub(crate) fn new(
        kind: TrackKind,
        way: Way,
        ends: (IpAddr, IpAddr),
        oddity: Option<Oddity>,
        random: &mut Random,
    ) -> io::Result<(Self, Option<(u16, u16)>)> {
        let (way, ports) = match way {
            Way::Tcp { channel } => (TrackWay::Tcp { channel }, None),
            Way::Udp { ports } => udp(ports, ends, oddity.and_then(Oddity::rtp))?,
        };
        let channel = if let TrackWay::Tcp { channel } = way {
            channel
        } else {
            0
        };
        let numbers = Numbers {
            channel,
            ssrc: random.next_u32(),
            sequence: random.next_u16(),
            timestamp_offset: random.next_u32(),
        };
        let odd = Odd::new(kind, oddity, numbers.timestamp_offset, random);
        Ok((
            Self {
                kind,
                numbers,
                way,
                packets: 0,
                octets: 0,
                next_report_us: 0,
                odd,
            },
            ports,
        ))
    }

    fn part_of<'f>(&self, frame: &'f Frame) -> Option<(&'f Packets, u32)> {
        match self.kind {
            TrackKind::Video => Some((&frame.video, frame.video_timestamp)),
            TrackKind::Audio => frame
                .audio
                .as_ref()
                .map(|audio| (audio, frame.audio_timestamp)),
            TrackKind::Silent => None,
        }
    }

    /// `patched` contains `packets` with this session's numbers.
    async fn deliver_odd(&mut self, packets: &Packets, patched: &[u8], out: &mut Vec<u8>) {
        let Some(bender) = &mut self.odd.bender else {
            return;
        };
        let whole = packets
            .ranges()
            .map(|range| patched[range.start + INTERLEAVED_BYTES..range.end].to_vec());
        for Outgoing { lane, packet } in bender.bend(self.numbers.ssrc, whole.collect()) {
            match &self.way {
                TrackWay::Tcp { channel } => {
                    let channel = match lane {
                        Lane::Rtp | Lane::RtpFromElsewhere => *channel,
                        Lane::Rtcp => channel + 1,
                        Lane::Channel(other) => other,
                    };
                    out.extend_from_slice(&[b'$', channel]);
                    out.extend_from_slice(&(packet.len() as u16).to_be_bytes());
                    out.extend_from_slice(&packet);
                }
                TrackWay::Udp {
                    rtp,
                    rtcp,
                    elsewhere,
                } => match lane {
                    Lane::Rtp => send(rtp, &packet).await,
                    Lane::Rtcp => send(rtcp, &packet).await,
                    Lane::RtpFromElsewhere => {
                        send(elsewhere.as_ref().unwrap_or(rtp), &packet).await
                    }
                    Lane::Channel(_) => {}
                },
            }
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
        let Some(wall_us) = self.odd.report_us(captured_us) else {
            return;
        };
        let report = SenderReport {
            ssrc: self.numbers.ssrc,
            wall_us,
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

/// The packets in the order in which to send them: each pair swapped if requested.
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
    // A sender cannot know whether a datagram arrives; if the client is gone, its RTSP connection
    // ends.
    match tokio::time::timeout(UDP_SEND_DEADLINE, socket.send(datagram)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::trace!(%error, "a datagram was not sent"),
        Err(_) => tracing::trace!("a datagram waited too long and was left out"),
    }
}

/// Sockets for RTP (even port) and RTCP (the next one, RFC 3550, 11) towards the client's ports.
fn udp(
    client: (u16, u16),
    (local, peer): (IpAddr, IpAddr),
    oddity: Option<RtpOddity>,
) -> io::Result<(TrackWay, Option<(u16, u16)>)> {
    let (rtp, rtcp, port) = (0..UDP_BIND_TRIES_MAX)
        .find_map(|_| pair(local).transpose())
        .unwrap_or_else(|| {
            Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("no pair of free UDP ports on {local}"),
            ))
        })?;
    let connected = |socket: std::net::UdpSocket, port: u16| {
        socket.connect(SocketAddr::new(peer, port))?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    };
    let elsewhere = match oddity {
        Some(RtpOddity::OtherPort) => {
            Some(connected(std::net::UdpSocket::bind((local, 0))?, client.0)?)
        }
        Some(RtpOddity::OtherAddress) => Some(connected(
            std::net::UdpSocket::bind((other_address(local), 0))?,
            client.0,
        )?),
        _ => None,
    };
    let way = TrackWay::Udp {
        rtp: connected(rtp, client.0)?,
        rtcp: connected(rtcp, client.1)?,
        elsewhere,
    };
    Ok((way, Some((port, port + 1))))
}

/// Another address of this machine: on loopback there are many, elsewhere it is the same one.
fn other_address(local: IpAddr) -> IpAddr {
    match local {
        IpAddr::V4(address) if address.is_loopback() => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
        other => other,
    }
}

type Pair = (std::net::UdpSocket, std::net::UdpSocket, u16);

fn pair(local: IpAddr) -> io::Result<Option<Pair>> {
    let rtp = std::net::UdpSocket::bind((local, 0))?;
    let port = rtp.local_addr()?.port();
    if port % 2 == 1 || port == u16::MAX {
        return Ok(None);
    }
    Ok(std::net::UdpSocket::bind((local, port + 1))
        .ok()
        .map(|rtcp| (rtp, rtcp, port)))
}
