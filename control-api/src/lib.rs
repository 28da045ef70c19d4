//! The control API: routes, wire types, authorisation, playback (HLS, MP4) and the metrics page.

pub mod fmp4;
pub mod wire;
