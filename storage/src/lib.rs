//! The segment store: ids and times, the chunk/batch/segment format, writer, reader, recovery, catalogue, retention and scrub.
//!
//! `ids`, `time`, `chunk` and `timeline` are the vocabulary that every other crate shares; nothing
//! in them reads a clock or does I/O, nor does anything in `format`, `index`, `hold`, `retention`,
//! `damage`, `pictures`, `scrub::plan`, `watermark`, `writer::plan` and `writer::ledger`. `disk` is
//! the only way to the disk, but for the catalogue, which is sled's and can be deleted at any time.

mod adoption;
mod catalogue;
pub mod chunk;
pub mod clock;
mod damage;
pub mod disk;
mod error;
pub mod format;
#[doc(hidden)]
pub mod fuzzing;
mod hold;
mod identity;
pub mod ids;
mod index;
mod intake;
mod keeper;
mod layout;
mod names;
pub mod offline;
mod options;
pub mod pictures;
pub mod random;
mod range;
mod reader;
pub mod retention;
mod scan;
mod scrub;
mod seal;
pub mod search;
mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;
mod stats;
pub mod time;
pub mod timeline;
mod verify;
mod volume;
mod watermark;
mod writer;

pub use adoption::{AdoptedNumber, Adoption, adopt, adoption_in};
pub use damage::{DAMAGED_MAX, DamagedChunk};
pub use error::{AppendError, Error};
pub use hold::{HOLD_CLASS, HOLD_LEAD_US, Hold, Holds};
pub use identity::{volume_cluster, volume_in};
pub use index::{ChunkRow, InitRow, Row, SegmentIndex, StreamSpan, TrackKey};
pub use names::{CameraNames, CurrentName, KnownName, NAMED_CAMERAS_MAX, NAMES_KEPT_MAX, NamedCamera};
pub use options::{BUFFER_BYTES_MIN, CLASSES_MAX, ClassId, RetentionClass, VolumeOptions};
pub use range::Range;
pub use scan::Scan;
pub use scrub::{ScrubOptions, ScrubPass, ScrubStatus};
pub use stats::Stats;
pub use volume::{Volume, VolumeHandle, open_root};
pub use watermark::Watermark;
pub use writer::{ALLOCATE_STEP_BYTES, BATCH_BYTES_MAX, BUFFERS, WRITES_IN_FLIGHT_MAX};
