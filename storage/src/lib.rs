//! The segment store: ids and times, the payload (`cmaf`), the chunk/batch/segment format, writer,
//! reader, recovery, catalogue, retention and scrub.
//!
//! `ids`, `time`, `chunk` and `timeline` are the vocabulary that every other crate shares. They
//! neither read a clock nor do I/O; nor do `cmaf`, `format`, `hold`, `retention`, `damage`,
//! `pictures`, `scrub::plan`, `watermark`, `writer::plan` and `writer::ledger`. All disk access
//! goes through `disk`, except that of the catalogue, which is sled's and can be deleted at any
//! time.

mod catalogue;
pub mod chunk;
mod class;
pub mod clock;
pub mod cmaf;
mod damage;
pub mod disk;
mod error;
pub mod format;
#[doc(hidden)]
pub mod fuzzing;
mod hold;
mod identity;
pub mod ids;
mod intake;
mod keeper;
mod layout;
mod locks;
mod names;
pub mod offline;
mod options;
pub mod pictures;
pub mod random;
mod range;
mod reader;
pub mod retention;
mod room;
mod scan;
mod scrub;
mod seal;
pub mod search;
mod segments;
#[cfg(feature = "simulation")]
pub mod simulation;
mod state;
mod stats;
pub mod time;
pub mod timeline;
mod verify;
mod volume;
mod watermark;
mod writer;

pub use class::{CLASSES_MAX, ClassId, RetentionClass};
pub use damage::{DAMAGED_MAX, DamagedChunk};
pub use disk::{BATCH_BYTES_MAX, BUFFERS, WRITES_IN_FLIGHT_MAX};
pub use error::{AppendError, Error};
pub use format::index::{ChunkRow, InitRow, Row, SegmentIndex, StreamSpan, TrackKey};
pub use hold::{HOLD_CLASS, HOLD_LEAD_US, Hold, Holds};
pub use identity::adoption::{AdoptedNumber, Adoption, adopt, adoption_in};
pub use identity::{volume_cluster, volume_in};
pub use names::{
    CameraNames, CurrentName, KnownName, NAMED_CAMERAS_MAX, NAMES_KEPT_MAX, NamedCamera,
};
pub use options::{BUFFER_BYTES_MIN, ScrubOptions, VolumeOptions};
pub use range::Range;
pub use room::ALLOCATE_STEP_BYTES;
pub use scan::Scan;
pub use state::{ScrubPass, ScrubStatus};
pub use stats::Stats;
pub use volume::{Volume, VolumeHandle, open_root};
pub use watermark::Watermark;
