//! The options of a volume.

use crate::Error;
use crate::chunk::CHUNK_BYTES_MAX;
use crate::class::{CLASSES_MAX, RetentionClass, is_class_name};
use crate::disk::IoChoice;
use crate::format::RECORD_PAYLOAD_BYTES_MAX;
use crate::hold::{HOLD_CLASS, Holds};
use crate::ids::NodeId;
use crate::retention::Caution;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// How a volume is scrubbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// 0: never.
    pub bytes_per_second_max: u64,
    /// From the start of one pass to the start of the next; if a pass takes longer, the next one
    /// follows immediately.
    pub pass_interval: Duration,
}

impl ScrubOptions {
    pub const OFF: Self = Self {
        bytes_per_second_max: 0,
        pass_interval: Duration::MAX,
    };
}

#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// The data directory; made if it does not exist.
    pub path: PathBuf,
    /// Index of the volume on its node, fixed for good; part of every
    /// [`crate::chunk::ChunkLocation`].
    pub index: u16,
    pub node: NodeId,
    /// The cluster that the recordings belong to; a directory of another cluster is refused.
    pub cluster: Uuid,
    pub io: IoChoice,
    /// How often written records are made durable, with one flush for all cameras.
    pub flush_interval: Duration,
    /// How long a record may wait for others before it is passed to the kernel; a killed process
    /// loses no more than this. [Handed over](crate::VolumeHandle::hand_over) records do not wait,
    /// unless that happens more often than this.
    pub write_delay: Duration,
    /// A segment is closed after this time.
    pub segment_time_max: Duration,
    /// A segment is closed at this size in bytes.
    pub segment_bytes_max: u64,
    /// The most bytes of records that may wait in memory; beyond, [`crate::AppendError::Full`].
    pub buffer_bytes_max: u64,
    pub retention: Vec<RetentionClass>,
    /// Space to keep free in the filesystem, in bytes: the oldest segments are deleted to keep it.
    /// At most half of a small filesystem.
    pub free_bytes_min: u64,
    /// How cautious deletion is about clocks, and about large amounts at once.
    pub caution: Caution,
    pub scrub: ScrubOptions,
    /// Where the catalogue is stored while it cannot be written on the volume, in a folder that is
    /// removed with it. `None`: the system's folder for temporary files.
    pub spare_dir: Option<PathBuf>,
    /// What may not be deleted. `None`: not known yet; nothing is deleted until
    /// [`crate::VolumeHandle::set_holds`] is called.
    pub holds: Option<Holds>,
}

impl VolumeOptions {
    /// The defaults, with one class `default` without limits; the scrub is off.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, node: NodeId, cluster: Uuid) -> Self {
        Self {
            path: path.into(),
            index: 0,
            node,
            cluster,
            io: IoChoice::Auto,
            flush_interval: Duration::from_millis(400),
            write_delay: Duration::from_millis(20),
            segment_time_max: Duration::from_secs(60),
            segment_bytes_max: 4 << 30,
            buffer_bytes_max: 64 << 20,
            retention: vec![RetentionClass {
                name: "default".to_owned(),
                age_max: None,
                bytes_max: None,
            }],
            free_bytes_min: 1 << 30,
            caution: Caution::DEFAULT,
            scrub: ScrubOptions::OFF,
            spare_dir: None,
            holds: Some(Holds::default()),
        }
    }

    /// The node, and the volume's index on it.
    pub(crate) fn place(&self) -> (NodeId, u16) {
        (self.node, self.index)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |option, problem: &str| {
            Err(Error::Options {
                option,
                problem: problem.to_owned(),
            })
        };
        if self.retention.is_empty() || self.retention.len() > CLASSES_MAX {
            return wrong("retention", "between 1 and 16 classes are possible");
        }
        if let Some(class) = self
            .retention
            .iter()
            .find(|class| !is_class_name(&class.name))
        {
            return wrong(
                "retention",
                &format!(
                    "{:?} is no class name: use 1 to 64 of a-z 0-9 - _",
                    class.name
                ),
            );
        }
        if self.retention.iter().any(|class| class.name == HOLD_CLASS) {
            return wrong(
                "retention",
                "the class name \"hold\" is taken: held footage is kept under it; choose another",
            );
        }
        let mut names: Vec<_> = self.retention.iter().map(|class| &class.name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return wrong("retention", "two classes have the same name");
        }
        if self.flush_interval.is_zero() {
            return wrong("flush_interval", "must be longer than zero");
        }
        if self.segment_bytes_max < SEGMENT_BYTES_MIN {
            return wrong(
                "segment_bytes_max",
                "must be at least 2 MiB, so that two batches fit",
            );
        }
        if self.buffer_bytes_max < BUFFER_BYTES_MIN {
            return wrong(
                "buffer_bytes_max",
                "must be at least 20 MiB, so that the longest record fits",
            );
        }
        Ok(())
    }
}

const SEGMENT_BYTES_MIN: u64 = 2 << 20;

/// The smallest [`VolumeOptions::buffer_bytes_max`]: the longest record fits.
pub const BUFFER_BYTES_MIN: u64 = 20 << 20;

const _: () = assert!(BUFFER_BYTES_MIN > RECORD_PAYLOAD_BYTES_MAX as u64 + CHUNK_BYTES_MAX as u64);
