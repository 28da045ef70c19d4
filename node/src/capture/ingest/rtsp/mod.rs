//! An RTSP 1.0 client (RFC 2326) for cameras: bounded, and tolerant of deviations from the
//! standard.
//!
//! [`connection`] and [`tls`] do I/O; the rest is deciding code on bytes. Retina parses message
//! heads once [`framing`] has found their end within its bounds and [`head`] has corrected them.

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
