//! Nodes with cameras on this machine: real `holdfast serve` processes that record cameras of this
//! process or another.

use crate::Outcome;
use holdfast_control_api::wire::{Camera, NewCamera, NewSource};
use holdfast_node::client::Api;
use holdfast_node::config::{ByteSize, Config};
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::demo::cluster::{Cluster, ClusterOptions};
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// How often a node is polled while a caller waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long cameras may take until they are recorded.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(40);

/// The camera capacity that a node is configured with.
const CAMERAS_MAX: u32 = 1000;

/// Dropping it kills the processes, then removes their files.
pub struct Rig {
    pub cluster: Cluster,
    pub dir: TempDir,
}

impl Rig {
    /// Forms a cluster of `nodes` below `base`.
    ///
    /// # Errors
    /// The binary is not built, or a node does not start.
    pub async fn form(base: &Path, nodes: usize) -> Outcome<Self> {
        Self::form_tuned(base, nodes, |_, config| {
            config.cluster.camera_capacity = CAMERAS_MAX
        })
        .await
    }

    /// As [`Self::form`], without the scrub, whose reads would count as the node's.
    ///
    /// # Errors
    /// As [`Self::form`].
    pub async fn form_without_scrub(base: &Path, nodes: usize) -> Outcome<Self> {
        let tune = |_, config: &mut Config| {
            config.cluster.camera_capacity = CAMERAS_MAX;
            config.storage.scrub_bytes_per_second_max = ByteSize(0);
        };
        Self::form_tuned(base, nodes, tune).await
    }

    async fn form_tuned(base: &Path, nodes: usize, tune: fn(usize, &mut Config)) -> Outcome<Self> {
        let dir = tempfile::Builder::new()
            .prefix("holdfast-bench-")
            .tempdir_in(base)?;
        let mut options =
            ClusterOptions::new(holdfast_next_to_this()?, dir.path().to_owned(), nodes);
        options.tune = tune;
        let mut cluster = Cluster::create(&options)?;
        cluster.form().await?;
        Ok(Self { cluster, dir })
    }

    /// The first volume of a node.
    #[must_use]
    pub fn volume(&self, index: usize) -> PathBuf {
        let paths: Vec<PathBuf> = Config::volume_paths(self.cluster.config(index));
        paths.into_iter().next().unwrap_or_default()
    }

    /// Adds a camera for each address.
    ///
    /// # Errors
    /// The cluster refuses one.
    pub async fn add_cameras(
        &self,
        urls: impl IntoIterator<Item = String>,
    ) -> Outcome<Vec<Camera>> {
        let api = self.cluster.api(0)?;
        let mut added = Vec::new();
        for (number, url) in (1..).zip(urls) {
            let answer = api
                .call(Method::POST, &["cameras"], Some(&new_camera(number, url)))
                .await?;
            added.push(serde_json::from_value(answer)?);
        }
        Ok(added)
    }

    /// Waits until every camera is durable beyond the instant.
    ///
    /// # Errors
    /// That takes longer than [`SETTLE_TIMEOUT`].
    pub async fn wait_durable_beyond(&self, index: usize, instant: Timestamp) -> Outcome<()> {
        let is_durable = |camera: &Camera| {
            camera
                .recording
                .watermark
                .is_some_and(|watermark| watermark > instant)
        };
        self.wait(index, "record every camera", |cameras| {
            !cameras.is_empty() && cameras.iter().all(is_durable)
        })
        .await
    }

    /// Waits until the cameras, as a node reports them, are as wanted.
    ///
    /// # Errors
    /// That takes longer than [`SETTLE_TIMEOUT`].
    pub async fn wait(
        &self,
        index: usize,
        what: &str,
        is_so: impl Fn(&[Camera]) -> bool,
    ) -> Outcome<()> {
        let api = self.cluster.api(index)?;
        let waiting = async {
            // A node that is starting or electing refuses; the deadline ends the wait.
            while !cameras(&api).await.is_ok_and(|cameras| is_so(&cameras)) {
                sleep(LOOK_INTERVAL).await;
            }
        };
        let waited = timeout(SETTLE_TIMEOUT, waiting).await;
        waited.map_err(|_| {
            let (name, tail) = (self.cluster.name(index), self.cluster.log_tail(index));
            format!("{name} did not {what} within {SETTLE_TIMEOUT:?}; its log ends with:\n{tail}")
                .into()
        })
    }
}

/// All cameras, as one node sees them.
///
/// # Errors
/// The node does not answer.
pub async fn cameras(api: &Api) -> Outcome<Vec<Camera>> {
    Ok(api.get(&["cameras"], &[]).await?)
}

fn new_camera(number: u32, url: String) -> NewCamera {
    NewCamera::new(format!("cam{number:02}"), NewSource::new(url))
}
