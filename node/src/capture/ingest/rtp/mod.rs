//! RTP (RFC 3550): which packets belong to a track, in what order, what was lost, and what RTCP
//! says. Pure but for [`udp`], which has the sockets.

pub(crate) mod sequence;
pub(crate) mod track;
pub(crate) mod udp;
