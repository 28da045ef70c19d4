//! RTP (RFC 3550): which packets belong to a track, their order, losses, and RTCP reports. Pure but
//! for [`udp`], which has the sockets.

pub(crate) mod sequence;
pub(crate) mod track;
pub(crate) mod udp;
