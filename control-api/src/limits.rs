//! Limits of the API.

use crate::playback::layout::Slot;
use crate::playback::schedule::Place;
use crate::playback::tear::Absent;
use holdfast_storage::chunk::{CHUNK_MS_DEFAULT, ChunkEntry};
use std::time::Duration;

/// From a request's head to its answer's head.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(15);

/// For one run of chunks from the node that holds them. That node reads a chunk within 10 s or not
/// at all.
pub const READ_DEADLINE: Duration = Duration::from_secs(30);

/// For the answer of `/readyz`.
pub const READY_DEADLINE: Duration = Duration::from_secs(1);

/// For a client to send a request's complete head: from its first byte if the connection has
/// carried an authorised request, else from when the connection was accepted or the previous answer
/// was sent.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Longest handshake on the members' port.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);

/// For the next request on a connection that has carried an authorised one. Members keep theirs for
/// 30 s.
pub const IDLE_MAX: Duration = Duration::from_secs(75);

/// How long a connection in a burst may take to send its head before it is closed in favour of
/// others from its address, if the port is not full.
pub const BURST_GRACE: Duration = Duration::from_millis(500);

/// How long an answer to a client without a token may take before its connection may be closed in
/// favour of a newcomer.
pub const STRANGER_WORK_MAX: Duration = Duration::from_secs(2);

/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 32 << 10;

/// For a client to send one piece of a body, on either port.
pub const READ_BODY_DEADLINE: Duration = Duration::from_secs(30);

/// For a client to accept one piece of a body before its connection is given up.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// For open connections to end when the server stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Closed connections of a port that have not ended yet, while others already have their places.
pub const CLOSING_MAX: usize = 64;

/// Authorised requests that are being answered at a time.
pub const REQUESTS_MAX: usize = 256;

/// Requests for `/readyz` that are being answered at a time.
pub const READY_REQUESTS_MAX: usize = 64;

/// How long players wait for the first entry of a presentation that is just beginning, before they
/// get a list: that of a live one is known 7 s after its cell begins, at the latest. GStreamer
/// waits 15 s for an answer, hls.js 20 s, and 10 s before its version 1.4.
pub const FIRST_ENTRY_DEADLINE: Duration = Duration::from_secs(9);

/// Players that may wait for it at a time; the others get a list without entries.
pub const WAITING_FOR_FIRST_ENTRY_MAX: usize = 64;

/// Exports are counted by the length of the list of chunks that each holds in memory: one unit for
/// each started interval of this length, and more if a camera makes more chunks than
/// [`CHUNKS_PER_SECOND`].
pub const EXPORT_UNIT: Duration = Duration::from_secs(1800);

/// Chunks of one unit.
pub const EXPORT_UNIT_CHUNKS: usize = EXPORT_UNIT.as_secs() as usize * CHUNKS_PER_SECOND;

/// Units of all exports that run at a time: four of the longest range, or as many short ones.
pub const EXPORT_UNITS_MAX: u32 = 48;

/// Bytes of a request body.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Bytes of a backup of the configuration: 10,000 cameras with names and URLs of usual length take
/// about 7 MiB.
pub const BACKUP_BYTES_MAX: usize = 24 << 20;

/// Limits of a passphrase that seals a backup.
pub const PASSPHRASE_CHARS_MIN: usize = 12;
pub const PASSPHRASE_BYTES_MAX: usize = 1_024;

/// Bytes of a request to restore a backup: the backup in base64, and the rest of the body.
pub const RESTORE_BODY_BYTES_MAX: usize = BACKUP_BYTES_MAX / 3 * 4 + (64 << 10);

/// Runs that are fetched ahead of the client.
pub const RUNS_AHEAD: usize = 2;

/// Longest range of one timeline.
pub const TIMELINE_RANGE_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// Cameras of one page of the gap ledger.
pub const LEDGER_CAMERAS_MAX: usize = 256;

/// Cameras times hours of one page: 256 cameras for a day, 8 for 31 days.
pub const LEDGER_CAMERA_HOURS_MAX: u64 = 256 * 24;

/// The number of gaps at which a page of the ledger ends, after completing its last cameras.
pub const LEDGER_GAPS_MAX: usize = 10_000;

/// Timelines that are assembled at a time.
pub const TIMELINES_AT_ONCE: usize = 16;

/// Longest range of one playlist or export.
pub const PLAYBACK_RANGE_MAX: Duration = Duration::from_secs(6 * 3600);

/// Longest time from the access point that decodes the beginning of a range to the end of the
/// range.
pub const PLAYED_MAX: Duration =
    Duration::from_secs(EXPORT_UNIT.as_secs() * EXPORT_UNITS_MAX as u64);

/// Video and audio.
const TRACKS_PLAYED: usize = 2;

/// Chunks of a stream per second, both tracks together, for a camera that sends one keyframe per
/// second: each keyframe ends the chunks of both tracks.
pub const CHUNKS_PER_SECOND: usize = TRACKS_PLAYED * 1000_usize.div_ceil(CHUNK_MS_DEFAULT as usize);

/// The most memory of the lists of all running exports, in bytes: each chunk with its place.
const EXPORT_LISTS_BYTES_MAX: usize = 96 << 20;

/// For each chunk: when it is shown, where it ends, whether it is left out, and its slot.
const PLACE_BYTES: usize =
    size_of::<Place>() + size_of::<u64>() + size_of::<Option<Absent>>() + size_of::<Slot>();

const _: () = assert!(FIRST_ENTRY_DEADLINE.as_millis() + 2000 < REQUEST_DEADLINE.as_millis());

const _: () = assert!(WAITING_FOR_FIRST_ENTRY_MAX * 2 <= REQUESTS_MAX);

const _: () = assert!(BURST_GRACE.as_millis() < HEAD_DEADLINE.as_millis());

const _: () = assert!(
    EXPORT_UNITS_MAX as usize * EXPORT_UNIT_CHUNKS * (size_of::<ChunkEntry>() + PLACE_BYTES)
        <= EXPORT_LISTS_BYTES_MAX
);
