//! The UDP packets of hostile cameras after PLAY.

use super::Hostile;
use super::pipe::Pipe;
use super::streams::{Writer, tiny_units};
use crate::reel::{Reel, ReelName};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const FRAME_PAUSE: Duration = Duration::from_millis(40);
const FRAME_TICKS: u32 = 3600;
/// Packets of a third party between two frames.
const STRANGERS: usize = 200;
const INTERLEAVED_BYTES: usize = 4;
const BIND_TRIES_MAX: usize = 32;

/// The camera's sockets and the client's ports.
#[derive(Debug)]
pub(super) struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    client: SocketAddr,
    client_rtcp: SocketAddr,
}

impl Ports {
    pub(super) fn open(peer: SocketAddr, client_port: u16) -> io::Result<Self> {
        let local = match peer.ip() {
            ip if ip.is_loopback() => ip,
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        for _ in 0..BIND_TRIES_MAX {
            let rtp = UdpSocket::bind((local, 0))?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 0
                && let Some(next) = port.checked_add(1)
                && let Ok(rtcp) = UdpSocket::bind((local, next))
            {
                let client = SocketAddr::new(peer.ip(), client_port);
                let client_rtcp = SocketAddr::new(peer.ip(), client_port.wrapping_add(1));
                return Ok(Self {
                    rtp,
                    rtcp,
                    client,
                    client_rtcp,
                });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn server_port(&self) -> io::Result<u16> {
        Ok(self.rtp.local_addr()?.port())
    }

    fn send(&self, pipe: &Pipe<'_>, datagram: &[u8]) -> io::Result<()> {
        deliver(&self.rtp, datagram, self.client)?;
        pipe.meter.account(datagram.len())
    }
}

/// Sends until the camera stops. The client's end shows only on the RTSP connection, so that is
/// probed now and then.
pub(super) fn play(pipe: &mut Pipe<'_>, hostile: Hostile, ports: &Ports) -> io::Result<()> {
    match hostile {
        Hostile::UdpFlood => flood(pipe, ports),
        _ => strangers(pipe, ports),
    }
}

fn flood(pipe: &mut Pipe<'_>, ports: &Ports) -> io::Result<()> {
    let buffer = tiny_units(0, &[0x41, 0x9a]);
    let report = [0x80, 201, 0, 1, 0x11, 0x22, 0x33, 0x44];
    loop {
        for packet in buffer.chunks(INTERLEAVED_BYTES + 14) {
            ports.send(pipe, &packet[INTERLEAVED_BYTES..])?;
        }
        deliver(&ports.rtcp, &report, ports.client_rtcp)?;
        still_there(pipe)?;
    }
}

/// Sends ordinary frames; between them a third party sends to the same ports from another address.
fn strangers(pipe: &mut Pipe<'_>, ports: &Ports) -> io::Result<()> {
    let reel = Reel::load(ReelName::Slices).map_err(io::Error::other)?;
    let stranger = UdpSocket::bind((stranger_address(ports.client.ip()), 0))?;
    let mut writer = Writer::new(0);
    let forged = [
        &[0x80, 0xe0, 0, 9, 0, 0, 0, 1, 9, 9, 9, 9, 0x65][..],
        &[0x88; 200],
    ]
    .concat();
    for number in 0_u64.. {
        let bytes = writer.frame(&reel, number, (number as u32).wrapping_mul(FRAME_TICKS));
        let mut rest = bytes.as_slice();
        while let Some((head, tail)) = rest.split_at_checked(INTERLEAVED_BYTES) {
            let (packet, after) =
                tail.split_at(usize::from(u16::from_be_bytes([head[2], head[3]])));
            ports.send(pipe, packet)?;
            rest = after;
        }
        for _ in 0..STRANGERS {
            deliver(&stranger, &forged, ports.client)?;
            deliver(&stranger, &forged, ports.client_rtcp)?;
            pipe.meter.account(2 * forged.len())?;
        }
        still_there(pipe)?;
        pipe.meter.wait(FRAME_PAUSE)?;
    }
    Ok(())
}

/// Sends an interleaved packet on a channel that was not set up: fails if the client is gone.
fn still_there(pipe: &mut Pipe<'_>) -> io::Result<()> {
    pipe.send(&[b'$', 9, 0, 0])
}

/// Ignores errors of a port that no socket listens on any more: the RTSP connection shows the
/// client's end.
fn deliver(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
    match socket.send_to(datagram, to) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
        _ => Ok(()),
    }
}

/// The address of another host than the camera, if this machine has one.
fn stranger_address(client: IpAddr) -> IpAddr {
    if client.is_loopback() {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3))
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
}
