//! The writer of one volume: one thread, whatever the number of cameras.
//!
//! On its way from the socket to the disk a byte of video is copied twice in this process: by
//! ingest, which assembles frames from packets, and here, from the parts that the recorder received
//! into the aligned buffer that the disk reads. It is summed on the way; the kernel copies nothing
//! more (`O_DIRECT`; plain I/O has the page cache's copy besides). Records wait at most
//! `write_delay` for others; a batch of 1 MiB goes at once, and so does what somebody says is
//! complete, unless the last such write was less than `write_delay` ago. Up to four writes are in
//! flight, one sync per `flush_interval` covers everything, and only what a sync has covered is
//! published: received ≥ written ≥ durable ≥ indexed.
//!
//! `plan` and `ledger` decide, `run` is the event loop, `fill` builds batches, `rotate` goes from
//! segment to segment, `segment` is an open one.

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

/// Buffers of longer batches, each of one record that is longer, take so much together: two of the
/// longest.
pub(crate) const LONG_BUFFERS_BYTES_MAX: usize = 40 << 20;

const _: () = assert!(LONG_BUFFERS_BYTES_MAX >= 2 * (RECORD_PAYLOAD_BYTES_MAX + BATCH_BYTES_MAX));

/// How long the writer waits before it tries again when the disk is full.
pub(crate) const NO_SPACE_RETRY: std::time::Duration = std::time::Duration::from_millis(500);

const _: () =
    assert!(ALLOCATE_BYTES_MIN > BATCH_BYTES_MAX as u64 && BUFFERS > WRITES_IN_FLIGHT_MAX);
