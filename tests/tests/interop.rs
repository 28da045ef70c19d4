//! Tests Holdfast with independent software: cameras on GStreamer's RTSP server, and ffmpeg,
//! re_mp4, m3u8-rs, VLC, GStreamer, hls.js in Chromium and schemathesis as judges of what it
//! serves.
//!
//! These tests need Debian packages and are ignored by default: `cargo xtask verify` runs them. A
//! node is a real `holdfast serve`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests of the whole read the real clock"
)]

#[path = "interop/across.rs"]
mod across;
#[path = "interop/clips.rs"]
mod clips;
#[path = "interop/constructed.rs"]
mod constructed;
#[path = "interop/contract.rs"]
mod contract;
#[path = "interop/exports.rs"]
mod exports;
#[path = "interop/faults.rs"]
mod faults;
#[path = "interop/gst.rs"]
mod gst;
#[path = "interop/heard.rs"]
mod heard;
#[path = "interop/hls_js.rs"]
mod hls_js;
#[path = "interop/judges.rs"]
mod judges;
#[path = "interop/players.rs"]
mod players;
#[path = "interop/recording.rs"]
mod recording;
#[path = "interop/segments.rs"]
mod segments;
#[path = "interop/site.rs"]
mod site;
#[path = "interop/six_hours.rs"]
mod six_hours;
#[path = "interop/written.rs"]
mod written;
