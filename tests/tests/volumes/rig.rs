//! A site whose first node records to two disks of the same size, the first of which fails on
//! command.

use holdfast_camera::CameraOptions;
use holdfast_chaos::faulty::{FaultyDisk, Filesystem, ResumesOnDrop};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteCamera, SiteOptions};
use holdfast_chaos::{Error, Result, prometheus, wait};
use holdfast_control_api::wire::Timeline;
use holdfast_node::config::{ByteSize, Config, Volume};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::time::Timestamp;
use std::path::PathBuf;
use std::time::Duration;

const DISK_BYTES: u64 = 1 << 30;

/// Numbers of the volumes.
pub(crate) const FAULTY: u16 = 0;
pub(crate) const SOUND: u16 = 1;

/// In the order in which they must be dropped: the processes hold files on the disks.
pub(crate) struct Rig {
    _resumes: ResumesOnDrop,
    pub(crate) site: Site,
    pub(crate) faulty: FaultyDisk,
    _sound: Option<FaultyDisk>,
}

pub(crate) fn disk(config: &Config, name: &str) -> PathBuf {
    config.data_dir.with_file_name(name)
}

pub(crate) fn small(config: &mut Config) {
    config.storage.segment_seconds = 5;
    config.storage.segment_bytes_max = ByteSize(32 << 20);
    config.storage.buffer_bytes_max = ByteSize(32 << 20);
    config.storage.free_bytes_min = ByteSize(32 << 20);
}

/// Only the first node has the two disks.
pub(crate) fn two_disks(index: usize, config: &mut Config) {
    small(config);
    if index == 0 {
        config.storage.volumes = ["faulty", "sound"]
            .map(|name| Volume::new(disk(config, name)))
            .into();
        config.storage.lag_max_ms = 3000;
    }
}

/// The first node has the faulty disk as its only one.
pub(crate) fn one_disk(index: usize, config: &mut Config) {
    small(config);
    if index == 0 {
        config.storage.volumes = vec![Volume::new(disk(config, "faulty"))];
    }
}

impl Rig {
    /// `None` if there are no faulty disks. Only the cameras run yet.
    pub(crate) async fn prepare(
        nodes: usize,
        cameras: Vec<CameraOptions>,
        tune: fn(usize, &mut Config),
    ) -> Result<Option<Self>> {
        let site = Site::prepare(SiteOptions {
            nodes,
            cameras,
            tune,
        })
        .await?;
        let config = site.cluster.config(0).clone();
        let mount = |name| {
            FaultyDisk::mount(
                &disk(&config, name),
                DISK_BYTES,
                Filesystem::Ext4WithoutJournal,
            )
        };
        let Some(faulty) = mount("faulty")? else {
            site.pass();
            return Ok(None);
        };
        let sound = if config.storage.volumes.len() > 1 {
            mount("sound")?
        } else {
            None
        };
        Ok(Some(Self {
            _resumes: faulty.resumes_on_drop(),
            site,
            faulty,
            _sound: sound,
        }))
    }

    /// Starts the site, and waits until every camera is recorded by any node.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.site.cluster.form().await?;
        self.site.add_all().await?;
        self.site.wait_recorded_beyond(wall_now()).await
    }

    /// The value of a metric of one of the first node's volumes.
    pub(crate) async fn figure(&self, family: &str, volume: u16) -> Result<f64> {
        let page = self.site.metrics(0).await?;
        let label = format!("volume=\"{volume}\"");
        Ok(prometheus::sum(&page, family, Some(&label)).unwrap_or(f64::NAN))
    }

    pub(crate) async fn is_in_state(&self, volume: u16, state: &str) -> Result<bool> {
        in_state(&self.site, volume, state).await
    }

    pub(crate) async fn wait_state(&self, volume: u16, state: &str) -> Result<()> {
        wait_in_state(&self.site, volume, state).await
    }

    pub(crate) async fn wait_cameras(&self, volume: u16, wanted: f64) -> Result<()> {
        wait::until(
            &format!("volume {volume} has {wanted} cameras"),
            SETTLE_TIMEOUT,
            async || {
                let found = self
                    .figure("holdfast_volume_cameras", volume)
                    .await
                    .map_err(|error| error.to_string())?;
                if found == wanted {
                    Ok(())
                } else {
                    Err(format!("it has {found}"))
                }
            },
        )
        .await
    }

    /// Number of cameras on the faulty volume, once each volume has some and `all` are recorded.
    pub(crate) async fn spread(&self, all: f64) -> Result<f64> {
        wait::until("both volumes have cameras", SETTLE_TIMEOUT, async || {
            let figure = async |volume| {
                self.figure("holdfast_volume_cameras", volume)
                    .await
                    .map_err(|error| error.to_string())
            };
            let (faulty, sound) = (figure(FAULTY).await?, figure(SOUND).await?);
            if faulty > 0.0 && sound > 0.0 && faulty + sound == all {
                Ok(faulty)
            } else {
                Err(format!("{faulty} and {sound}"))
            }
        })
        .await
    }

    /// Gaps of all cameras, each with its cause and its length.
    pub(crate) async fn gaps(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(SiteCamera, GapCause, Duration)>> {
        let mut all = Vec::new();
        for camera in self.site.cameras() {
            let Timeline { gaps, .. } = self.site.timeline(0, camera.id, from, to).await?;
            let listed = gaps.iter().map(|gap| {
                let us = u64::try_from(gap.end.micros_since(gap.start)).unwrap_or(0);
                (camera.clone(), gap.cause, Duration::from_micros(us))
            });
            all.extend(listed);
        }
        Ok(all)
    }
}

/// Whether a volume of the first node is in this state.
pub(crate) async fn in_state(site: &Site, volume: u16, state: &str) -> Result<bool> {
    let page = site.metrics(0).await?;
    let (volume, state) = (format!("volume=\"{volume}\""), format!("state=\"{state}\""));
    let states = page
        .lines()
        .filter(|line| line.starts_with("holdfast_volume_state_info{"));
    Ok(states
        .into_iter()
        .any(|line| line.contains(&volume) && line.contains(&state) && line.ends_with(" 1")))
}

pub(crate) async fn wait_in_state(site: &Site, volume: u16, state: &str) -> Result<()> {
    wait::until(
        &format!("volume {volume} is {state}"),
        SETTLE_TIMEOUT,
        async || match in_state(site, volume, state).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it is in another state".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await
}

/// Cameras 1 to `count`, each with this bitrate.
pub(crate) fn cameras(count: u32, bitrate_bps: u64) -> Vec<CameraOptions> {
    (1..=count)
        .map(|id| CameraOptions {
            bitrate_bps,
            ..CameraOptions::new(id)
        })
        .collect()
}

/// Changes the current configuration file of a node, and has the node read it.
pub(crate) fn rewrite(site: &Site, index: usize, change: impl FnOnce(&mut Config)) -> Result<()> {
    let path = site.cluster.config_path(index);
    let mut config = Config::load(path).map_err(|error| Error::Wrong(error.to_string()))?;
    change(&mut config);
    let text = toml::to_string(&config).map_err(|error| Error::Wrong(error.to_string()))?;
    std::fs::write(path, text).map_err(|source| Error::Io {
        what: "rewrite a configuration".to_owned(),
        source,
    })?;
    Ok(site.cluster.signal(index, rustix::process::Signal::HUP)?)
}
