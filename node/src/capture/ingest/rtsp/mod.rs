//! RTSP 1.0 (RFC 2326) as a client, towards cameras: bounded, and tolerant of answers that are not
//! by the letter.
//!
//! [`connection`] and [`tls`] touch the world; the rest decides: bytes come in as values. Message
//! heads are parsed by retina once [`framing`] has found their end within its bounds and [`head`]
//! has put them right.

pub(crate) mod challenge;
pub(crate) mod connection;
pub(crate) mod digest;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod login;
pub(crate) mod sdp;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod url;
