//! The writer of one volume: one thread, for any number of cameras.
//!
//! On its way from the socket to the disk, a byte of video is copied twice in this process: by
//! ingest, which assembles frames from packets, and here, from the parts that the recorder received
//! into the aligned buffer that the disk reads. Its checksum is computed during the copy. The
//! kernel copies nothing more (`O_DIRECT`; plain I/O adds the page cache's copy). Records wait at
//! most `write_delay` for others. A batch of 1 MiB is written immediately, and so is a burst that
//! its recorder declares complete, unless the last such write was less than `write_delay` ago. Up
//! to four writes are in progress, one sync per `flush_interval` covers everything, and only what a
//! sync has covered is published: received ≥ written ≥ durable ≥ indexed.
//!
//! `plan` and `ledger` decide, `run` is the event loop, `fill` builds batches, `rotate` switches
//! segments, `segment` is an open one.

mod fill;
mod ledger;
mod plan;
mod rotate;
mod run;
mod segment;

pub(crate) use crate::disk::{BATCH_BYTES_MAX, BUFFERS, WRITES_IN_FLIGHT_MAX};
pub(crate) use crate::room::ALLOCATE_BYTES_MIN;
pub(crate) use run::{Start, Writer};

use crate::format::RECORD_PAYLOAD_BYTES_MAX;

/// The most memory for all batches longer than a pooled buffer, each with one record: two of the
/// longest.
pub(crate) const LONG_BUFFERS_BYTES_MAX: usize = 40 << 20;

const _: () = assert!(LONG_BUFFERS_BYTES_MAX >= 2 * (RECORD_PAYLOAD_BYTES_MAX + BATCH_BYTES_MAX));

/// How long the writer waits before retrying when the disk is full.
pub(crate) const NO_SPACE_RETRY: std::time::Duration = std::time::Duration::from_millis(500);

const _: () =
    assert!(ALLOCATE_BYTES_MIN > BATCH_BYTES_MAX as u64 && BUFFERS > WRITES_IN_FLIGHT_MAX);
