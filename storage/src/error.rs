//! Errors of a volume, and how to deal with them.

use crate::format::FormatError;
use crate::ids::SegmentId;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "data directory {path} is in use by process {pid}: stop it, or give this node a directory \
         of its own"
    )]
    Locked { path: PathBuf, pid: String },
    #[error("data directory {path} is not a directory")]
    NotADirectory { path: PathBuf },
    #[error(
        "{path} cannot be read or written: {source}; check its owner, its mode and whether the \
         filesystem is mounted read-only"
    )]
    ReadOnly { path: PathBuf, source: io::Error },
    #[error("data directory {path} has no space left: {source}")]
    NoSpace { path: PathBuf, source: io::Error },
    #[error(
        "data directory {path} belongs to cluster {found}, this node to {expected}: give the node \
         an empty directory, or, to keep the footage, start the node without it and take it over \
         with `holdfast volume adopt`"
    )]
    ForeignVolume {
        path: PathBuf,
        found: Uuid,
        expected: Uuid,
    },
    #[error(
        "{path} is no volume: it has no folder `segments`; name a directory of [[storage.volume]], \
         or `volume0` in a node's data_dir"
    )]
    NoVolume { path: PathBuf },
    #[error("volume option {option}: {problem}")]
    Options {
        option: &'static str,
        problem: String,
    },
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{path} is another file than the one that was recorded to: it is left untouched; what was \
         recorded is listed once its own disk is back"
    )]
    OtherFile { path: PathBuf },
    #[error("{path}: {source}")]
    Format { path: PathBuf, source: FormatError },
    /// The chunk is never served; the segment stays as it is.
    #[error("chunk at offset {offset} of segment {segment} is damaged: {reason}")]
    Damaged {
        segment: SegmentId,
        offset: u64,
        reason: FormatError,
    },
    #[error("segment {segment} is not on this volume; retention may have deleted it")]
    NoSegment { segment: SegmentId },
    #[error("init segment {id:#018x} of camera {camera} is not on this volume")]
    NoInit {
        camera: crate::ids::CameraId,
        id: u64,
    },
    /// Transient: the catalogue is rebuilt from the segments in the background.
    #[error("the catalogue of {path} is being rebuilt: {problem}")]
    Catalogue { path: PathBuf, problem: String },
    /// Final for this `Volume`; nothing that was reported durable is lost.
    #[error("volume {path} has failed and takes no more records: {reason}")]
    Failed { path: PathBuf, reason: Arc<str> },
    #[error("volume {path} is closed")]
    Closed { path: PathBuf },
}

impl Error {
    /// The operator has to correct something, and no other volume makes up for it: the node does
    /// not start.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::ForeignVolume { .. } | Self::Options { .. } => true,
            // io_uring is required.
            Self::Io { source, .. } => source.kind() == io::ErrorKind::Unsupported,
            _ => false,
        }
    }

    /// The disk, or missing permission, prevents recording; what it holds may still be readable.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        !self.is_configuration()
            && matches!(
                self,
                Self::ReadOnly { .. } | Self::NoSpace { .. } | Self::Io { .. }
            )
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    pub(crate) fn format(path: &Path) -> impl FnOnce(FormatError) -> Self {
        let path = path.to_owned();
        move |source| Self::Format { path, source }
    }
}

/// Why a record was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk is slower than the cameras. The caller drops the record, notes the gap, and
    /// continues.
    #[error("the volume's buffer of {bytes_max} bytes is full")]
    Full { bytes_max: u64 },
    /// The buffer filled up while the disk was full and retention could free nothing. Clears by
    /// itself once there is space.
    #[error("the volume's disk is full and nothing on it may be deleted")]
    NoSpace,
    /// A bug of the caller: chunks end at 1 MiB or after the frame that crosses it.
    #[error("a record of {bytes} bytes is longer than the format allows")]
    TooLong { bytes: usize },
    /// Final: record to another volume, or on another node.
    #[error("the volume has failed: {0}")]
    Failed(Arc<str>),
    #[error("the volume is closed")]
    Closed,
}
