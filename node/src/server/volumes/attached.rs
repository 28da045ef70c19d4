//! Opening the configured volumes. One that cannot be opened is left out with its reason, as long as another one works.

use super::ReadError;
use crate::config::{Config, DEFAULT_RETENTION_CLASS, Io};
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::NodeId;
use holdfast_storage::{ClassId, Error, RetentionClass, Volume, VolumeHandle, VolumeOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

const SECONDS_PER_DAY: u64 = 24 * 3600;

/// All volumes of the configuration, by index.
pub(super) struct Attached {
    /// At least one.
    pub(super) opened: Vec<Opened>,
    pub(super) away: Vec<Away>,
}

/// One volume as this node uses it.
pub(crate) struct Opened {
    pub(crate) handle: VolumeHandle,
    failed: watch::Receiver<Option<Arc<str>>>,
    /// For classes that this node's configuration does not have.
    pub(crate) default_class: ClassId,
}

/// A volume that could not be opened. It is tried again when the node starts the next time.
pub(super) struct Away {
    pub(super) index: u16,
    pub(super) reason: Arc<str>,
}

impl Away {
    pub(super) fn error(&self) -> ReadError {
        ReadError::Away { index: self.index, reason: Arc::clone(&self.reason) }
    }
}

impl Opened {
    pub(super) fn index(&self) -> u16 {
        self.handle.options().index
    }

    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.failed.borrow().clone()
    }

    pub(super) fn is_working(&self) -> bool {
        self.failed.borrow().is_none()
    }
}

impl Attached {
    /// Blocks for some milliseconds per volume.
    ///
    /// # Errors
    /// What the operator has to correct, or the first volume's error where none can be opened.
    pub(super) fn open(config: &Config, node: NodeId, cluster: Uuid) -> Result<Self, Error> {
        let (mut opened, mut away, mut first_error) = (Vec::new(), Vec::new(), None);
        for (path, index) in config.volume_paths().into_iter().zip(0..) {
            match attach(options(config, path, index, node, cluster)) {
                Ok(volume) => opened.push(volume),
                Err(error) if error.is_configuration() => return Err(error),
                Err(error) => {
                    tracing::error!(index, %error, "a volume cannot be opened; its cameras go elsewhere until the node starts again");
                    away.push(Away { index, reason: Arc::from(error.to_string()) });
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if opened.is_empty() => Err(error),
            _ => Ok(Self { opened, away }),
        }
    }
}

/// Opens a volume and watches over it.
fn attach(options: VolumeOptions) -> Result<Opened, Error> {
    let path = options.path.clone();
    let (volume, handle) = Volume::open(options)?;
    tokio::spawn(async move {
        match volume.run().await {
            Ok(()) => tracing::info!(path = %path.display(), "volume closed"),
            Err(error) => tracing::error!(%error, "volume failed; its cameras go elsewhere"),
        }
    });
    let default_class = handle.class(DEFAULT_RETENTION_CLASS).ok_or_else(no_default_class)?;
    Ok(Opened { failed: handle.failed(), handle, default_class })
}

fn no_default_class() -> Error {
    let problem = format!("a class \"{DEFAULT_RETENTION_CLASS}\" is needed, for cameras that name none");
    Error::Options { option: "retention", problem }
}

fn options(config: &Config, path: PathBuf, index: u16, node: NodeId, cluster: Uuid) -> VolumeOptions {
    let storage = &config.storage;
    VolumeOptions {
        index,
        io: match storage.io {
            Io::Auto => IoChoice::Auto,
            Io::IoUring => IoChoice::Uring,
            Io::Plain => IoChoice::Plain,
        },
        flush_interval: Duration::from_millis(storage.flush_interval_ms),
        segment_time_max: Duration::from_secs(storage.segment_seconds),
        segment_bytes_max: storage.segment_bytes_max.0,
        buffer_bytes_max: storage.buffer_bytes_max.0,
        free_bytes_min: storage.free_bytes_min.0,
        // The replicated state tells them: nothing is deleted before.
        holds: None,
        retention: config.retention.iter().map(class).collect(),
        ..VolumeOptions::new(path, node, cluster)
    }
}

fn class(class: &crate::config::RetentionClass) -> RetentionClass {
    RetentionClass {
        name: class.class.clone(),
        age_max: class.age_days.map(|days| Duration::from_secs(u64::from(days) * SECONDS_PER_DAY)),
        bytes_max: class.bytes_max.map(|bytes| bytes.0),
    }
}
