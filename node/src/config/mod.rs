//! The node's configuration file: its keys, their defaults, and how it is read.
//!
//! `deploy/config/node.toml` is the annotated example; a test keeps it equal to the defaults here.

mod error;
mod room;
mod secrets;
mod size;
mod validate;

pub use error::{ConfigError, Problem};
pub(crate) use secrets::read_bounded;
pub use secrets::{ADMIN_TOKEN_ENV, SECRET_CHARS_MIN, SecretError, Secrets};
pub use size::ByteSize;

use holdfast_consensus::model::{
    self, CAMERA_CAPACITY_DEFAULT, Invalid, NodeSpec, RetentionClasses, Role,
};
use holdfast_storage::chunk::CHUNK_MS_DEFAULT;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The retention class of cameras that name none; every configuration has it.
pub const DEFAULT_RETENTION_CLASS: &str = model::RETENTION_CLASS_DEFAULT;

const SECONDS_PER_DAY: u64 = 24 * 3600;

/// The whole configuration of one node at its start. Relative paths are relative to the
/// configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    #[serde(default)]
    pub listen: Listen,
    #[serde(default)]
    pub advertise: Advertise,
    #[serde(default)]
    pub cluster: Cluster,
    #[serde(default)]
    pub auth: Auth,
    #[serde(default)]
    pub storage: Storage,
    #[serde(default)]
    pub ingest: Ingest,
    #[serde(default = "default_retention")]
    pub retention: Vec<RetentionClass>,
    #[serde(default)]
    pub log: Log,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// The address of the API, the playback and the metrics.
    pub api: SocketAddr,
    /// The address for other members.
    pub peer: SocketAddr,
    /// The most connections that the API's port accepts at once.
    pub api_connections_max: usize,
    /// Of these, the most from one address that have carried no authorised request yet.
    pub api_connections_per_address_max: usize,
    /// The same for the members' port.
    pub peer_connections_max: usize,
    pub peer_connections_per_address_max: usize,
}

/// `host:port` at which others reach this node; by default the listening address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Advertise {
    pub api: Option<String>,
    pub peer: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    pub role: Role,
    pub failure_domain: String,
    /// Cameras that this node may record at once.
    pub camera_capacity: u32,
    /// Bits per second of all cameras that it may record at once; by default no limit.
    pub bitrate_capacity_bps: Option<u64>,
    /// Cameras may require labels of the nodes that record them.
    pub labels: BTreeMap<String, String>,
    /// Peer addresses of members, contacted at a start in addition to those that the node knows.
    pub peers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// File with the token that allows everything; `HOLDFAST_ADMIN_TOKEN` takes precedence.
    pub admin_token_file: Option<PathBuf>,
}

/// How volumes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Io {
    /// io_uring if the kernel allows it, else plain.
    #[default]
    Auto,
    /// io_uring, or the node does not start.
    IoUring,
    /// `pwrite` and `fdatasync`.
    Plain,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    pub io: Io,
    pub flush_interval_ms: u64,
    pub segment_seconds: u64,
    pub segment_bytes_max: ByteSize,
    pub buffer_bytes_max: ByteSize,
    pub free_bytes_min: ByteSize,
    /// How long a deletion that is larger than usual is announced before it begins; 0: it is not
    /// announced.
    pub deletion_wait_hours: u32,
    /// Of each volume; 0: no scrub.
    pub scrub_bytes_per_second_max: ByteSize,
    /// From the beginning of one pass to that of the next.
    pub scrub_days: u32,
    /// A volume counts as hung if nothing is written for this long while records wait.
    pub hang_after_ms: u64,
    /// A volume that needs longer to make a record durable is too slow for its cameras.
    pub lag_max_ms: u64,
    /// Data directories, one a disk; if none is named, `volume0` in the data directory.
    #[serde(rename = "volume")]
    pub volumes: Vec<Volume>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub path: PathBuf,
    /// Nothing more is recorded to it; its footage is served until the volume is taken out of the
    /// configuration.
    #[serde(default)]
    pub retire: bool,
}

impl Volume {
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retire: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    pub tick_ms: u64,
    pub stall_after_ms: u64,
    pub chunk_ms: u64,
    pub connect_timeout_ms: u64,
}

/// How long footage of one class is kept. Without either limit it is kept until its volume needs
/// the space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionClass {
    pub class: String,
    #[serde(default)]
    pub age_days: Option<u32>,
    /// For all cameras of the class on one volume together.
    #[serde(default)]
    pub bytes_max: Option<ByteSize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

impl Config {
    /// A configuration in which everything but the two required keys is at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            listen: Listen::default(),
            advertise: Advertise::default(),
            cluster: Cluster::default(),
            auth: Auth::default(),
            storage: Storage::default(),
            ingest: Ingest::default(),
            retention: default_retention(),
            log: Log::default(),
        }
    }

    /// Reads, parses and validates the file, and makes its relative paths absolute.
    ///
    /// # Errors
    /// Names the file and, if there is one, the line, column and key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config = Self::parse(path, &text)?;
        let absolute = std::path::absolute(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        config.resolve_paths(absolute.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    /// Parses and validates `text`; `path` is used in errors only.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (config, mut problems) = error::parse_all::<Self>(text);
        problems.extend(config.iter().flat_map(validate::problems));
        match config.filter(|_| problems.is_empty()) {
            Some(config) => Ok(config),
            None => Err(ConfigError::Invalid {
                path: path.to_owned(),
                problems,
            }),
        }
    }

    /// The volumes that are named, or the default one if none is.
    #[must_use]
    pub fn volumes(&self) -> Vec<Volume> {
        if self.storage.volumes.is_empty() {
            return vec![Volume::new(self.data_dir.join("volume0"))];
        }
        self.storage.volumes.clone()
    }

    /// The folders of the volumes.
    #[must_use]
    pub fn volume_paths(&self) -> Vec<PathBuf> {
        self.volumes()
            .into_iter()
            .map(|volume| volume.path)
            .collect()
    }

    /// `host:port` of the API as others reach it.
    #[must_use]
    pub fn advertised_api(&self) -> String {
        self.advertise
            .api
            .clone()
            .unwrap_or_else(|| self.listen.api.to_string())
    }

    /// `host:port` for other members.
    #[must_use]
    pub fn advertised_peer(&self) -> String {
        self.advertise
            .peer
            .clone()
            .unwrap_or_else(|| self.listen.peer.to_string())
    }

    /// The description of this node for the cluster.
    ///
    /// # Errors
    /// A field is not valid; this cannot happen with a configuration that was loaded.
    pub fn node_spec(&self) -> Result<NodeSpec, Invalid> {
        let cluster = &self.cluster;
        Ok(NodeSpec {
            role: cluster.role,
            failure_domain: cluster.failure_domain.parse()?,
            camera_capacity: cluster.camera_capacity,
            bitrate_capacity_bps: cluster.bitrate_capacity_bps,
            labels: cluster.labels.clone().try_into()?,
            ..NodeSpec::new(&self.name, &self.advertised_peer(), &self.advertised_api())?
        })
    }

    /// The initial retention classes of a cluster that this node founds.
    ///
    /// # Errors
    /// As [`Self::node_spec`].
    pub fn retention_classes(&self) -> Result<RetentionClasses, Invalid> {
        let class = |class: &RetentionClass| {
            Ok(model::RetentionClass {
                name: class.class.parse()?,
                age_max_s: class.age_days.map(|days| u64::from(days) * SECONDS_PER_DAY),
                bytes_max: class.bytes_max.map(|bytes| bytes.0),
            })
        };
        self.retention
            .iter()
            .map(class)
            .collect::<Result<Vec<_>, Invalid>>()?
            .try_into()
    }

    fn resolve_paths(&mut self, base: &Path) {
        let paths = [&mut self.data_dir]
            .into_iter()
            .chain(
                self.storage
                    .volumes
                    .iter_mut()
                    .map(|volume| &mut volume.path),
            )
            .chain(&mut self.auth.admin_token_file);
        for path in paths {
            *path = base.join(&*path);
        }
    }
}

fn default_retention() -> Vec<RetentionClass> {
    vec![RetentionClass {
        class: DEFAULT_RETENTION_CLASS.to_owned(),
        age_days: None,
        bytes_max: None,
    }]
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, 8480)),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 8481)),
            api_connections_max: 1024,
            api_connections_per_address_max: 64,
            peer_connections_max: 1024,
            peer_connections_per_address_max: 64,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            role: Role::Recorder,
            failure_domain: String::new(),
            camera_capacity: CAMERA_CAPACITY_DEFAULT,
            bitrate_capacity_bps: None,
            labels: BTreeMap::new(),
            peers: Vec::new(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            io: Io::Auto,
            flush_interval_ms: 400,
            segment_seconds: 60,
            segment_bytes_max: ByteSize(4 << 30),
            buffer_bytes_max: ByteSize(64 << 20),
            free_bytes_min: ByteSize(1 << 30),
            deletion_wait_hours: 24,
            scrub_bytes_per_second_max: ByteSize(8 << 20),
            scrub_days: 7,
            hang_after_ms: 3000,
            lag_max_ms: 5000,
            volumes: Vec::new(),
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            tick_ms: 100,
            stall_after_ms: 3000,
            chunk_ms: CHUNK_MS_DEFAULT,
            connect_timeout_ms: 5000,
        }
    }
}

#[cfg(test)]
mod tests;
