//! The pairs of UDP sockets of a session's tracks.

use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// The receive buffer of a socket, in bytes, as far as the system allows it (`net.core.rmem_max`):
/// some keyframes.
const RECEIVE_BYTES: usize = 4 << 20;
/// Tries to find a free even port and the one above it (RFC 3550, 11).
const TRIES_MAX: usize = 32;

/// Packets in a row from one other address after which it counts as the camera's.
const OTHER_PACKETS_MIN: u32 = 16;
const RTP_EMPTY: [u8; 12] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const RTCP_EMPTY: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 0];

/// A track's sockets for RTP and RTCP.
pub(crate) struct UdpPair {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    /// The even port.
    pub(crate) port: u16,
    camera: IpAddr,
    /// Whether RTP packets came from the camera's address; without any, another address that sends
    /// is followed after a while.
    has_heard: bool,
    /// An address that sends, of a camera that does not, and how many packets.
    other: Option<(IpAddr, u32)>,
}

impl UdpPair {
    /// Binds both on the address that reaches the camera.
    ///
    /// # Errors
    /// No pair of ports is free, or no descriptors are left.
    pub(crate) fn bind(local: IpAddr, camera: IpAddr) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES_MAX {
            let first = bind(local, 0)?;
            let port = first.local_addr()?.port();
            let (even, other) = (port & !1, port ^ 1);
            match bind(local, other) {
                Ok(second) => {
                    let (rtp, rtcp) = if port == even {
                        (first, second)
                    } else {
                        (second, first)
                    };
                    return Ok(Self {
                        rtp,
                        rtcp,
                        port: even,
                        camera,
                        has_heard: false,
                        other: None,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The next packet of one of the sockets, from any port of the camera; packets from other
    /// addresses are dropped and counted in `strangers`.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        is_rtcp: bool,
        buffer: &mut [u8],
        strangers: &mut u32,
    ) -> Poll<io::Result<usize>> {
        loop {
            let socket = if is_rtcp { &self.rtcp } else { &self.rtp };
            let mut read = ReadBuf::new(buffer);
            match socket.poll_recv_from(context, &mut read) {
                Poll::Ready(Ok(from)) => {
                    let bytes = read.filled().len();
                    if self.is_cameras(from.ip().to_canonical(), is_rtcp) {
                        return Poll::Ready(Ok(bytes));
                    }
                    *strangers = strangers.saturating_add(1);
                }
                // An ICMP error of something sent before.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// A camera with several addresses may send from another one, which is followed if no other
    /// address sends.
    fn is_cameras(&mut self, from: IpAddr, is_rtcp: bool) -> bool {
        if from == self.camera.to_canonical() {
            self.has_heard |= !is_rtcp;
            return true;
        }
        if self.has_heard || is_rtcp {
            return false;
        }
        let packets = self
            .other
            .filter(|(address, _)| *address == from)
            .map_or(0, |(_, packets)| packets);
        self.other = Some((from, packets.saturating_add(1)));
        packets >= OTHER_PACKETS_MIN
    }

    /// Opens firewalls that let only answers in for the camera's packets. The camera may ignore it.
    pub(crate) fn punch(&self, ports: (u16, u16)) {
        for (socket, port) in [(&self.rtp, ports.0), (&self.rtcp, ports.1)] {
            // An RTP packet without payload, and a receiver report without reports.
            let packet: &[u8] = if port == ports.0 {
                &RTP_EMPTY
            } else {
                &RTCP_EMPTY
            };
            if let Err(error) = socket.try_send_to(packet, SocketAddr::new(self.camera, port)) {
                tracing::debug!(%error, "could not open a firewall's way for UDP");
            }
        }
    }
}

fn bind(local: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((local, port))?;
    if let Err(error) = set_socket_recv_buffer_size(&socket, RECEIVE_BYTES) {
        tracing::debug!(%error, "the receive buffer of a UDP socket stays as it is");
    }
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
