//! The API as a client sees it, with an in-memory node behind it, and files as ffmpeg sees them.
//!
//! The modules are marked as tests for clippy, which allows `unwrap` only there.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod byte_ranges;
#[cfg(test)]
mod cameras;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod cmaf;
#[cfg(test)]
mod docs;
mod drills;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod export;
#[cfg(test)]
mod exports;
#[cfg(test)]
mod gaps;
#[cfg(test)]
mod growing;
#[cfg(test)]
mod hls;
#[cfg(test)]
mod holds;
#[cfg(test)]
mod iframes;
#[cfg(test)]
mod joins;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod server;
#[cfg(test)]
mod support;
