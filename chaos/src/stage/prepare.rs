//! Sets the stage: configurations, wires, disks and cameras as the scenario's faults need them.
//! Then forms the cluster and adds its cameras.

use super::attached::Attach;
use super::camera_side::CameraSide;
use super::disks::Disk;
use super::leftovers::Folder;
use super::namespaces::{self, Namespaces};
use super::nodes::Nodes;
use super::proxies::Proxies;
use super::rules::Party;
use super::wires::{Kind, Wires};
use super::{Stage, wrapper};
use crate::scenario::{Class, Place, Reach, Scenario};
use crate::site::{SiteCamera, new_camera, odd_source};
use crate::{Error, Result, io_error, wall};
use holdfast_camera::CameraOptions;
use holdfast_consensus::model::{Protection, Role};
use holdfast_control_api::wire;
use holdfast_node::client::Api;
use holdfast_node::config::{ByteSize, Config, Volume};
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::demo::cluster::{Cluster, ClusterOptions};
use reqwest::Method;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Frames a second of every camera.
const FPS: u32 = 25;

const PEER_PORT: u16 = 8481;
const API_PORT: u16 = 8480;
const CAMERA_PORT: u16 = 8554;

/// Prefix of our cameras: an attached cluster has cameras of its own.
const ATTACHED_PREFIX: &str = "chaos-";

/// The inputs for setting the stage.
#[derive(Debug)]
pub struct StageOptions<'a> {
    pub scenario: &'a Scenario,
    pub place: Place,
    pub seed: u64,
    /// For [`Place::Netns`]: this process's threads are already in the runner's namespace.
    pub namespaces: Option<Arc<Mutex<Namespaces>>>,
    /// For [`Place::Attach`].
    pub attach: Option<Attach>,
    /// Where to keep configurations, logs and recordings; without it they are deleted with the
    /// stage.
    pub keep_in: Option<PathBuf>,
}

impl StageOptions<'_> {
    fn folder(&self) -> Result<Folder> {
        match &self.keep_in {
            Some(path) => Folder::kept(path),
            None => Folder::create(),
        }
    }
}

impl Stage {
    /// Starts cameras and sets everything up. No node is started; those of an attached cluster are
    /// already running.
    ///
    /// # Errors
    /// [`Error::CannotRun`] with the requirement that this machine lacks.
    pub async fn prepare(options: &StageOptions<'_>) -> Result<Self> {
        match options.place {
            Place::Attach => Self::attach(options).await,
            Place::Processes | Place::Netns => Self::build(options).await,
        }
    }

    async fn attach(options: &StageOptions<'_>) -> Result<Self> {
        let missing = || Error::Usage("--on attach needs --attach FILE".to_owned());
        let attach = options.attach.clone().ok_or_else(missing)?;
        for need in needs(options.scenario) {
            if matches!(
                need,
                Reach::Packets | Reach::Disks | Reach::Power | Reach::Clocks
            ) {
                let name = &options.scenario.name;
                return Err(Error::CannotRun(format!(
                    "{name} needs {need:?}, which an attached cluster does not give"
                )));
            }
        }
        let side = CameraSide::start(
            attach.cameras_at,
            None,
            cameras(options.scenario, options.seed),
            options.seed,
        )
        .await?;
        let nodes = attach.nodes.len();
        Ok(Self {
            _resumes: Vec::new(),
            wires: Wires::new(Kind::Attached(attach.clone(), Vec::new()), nodes),
            nodes: Nodes::Attached(attach),
            disks: Vec::new(),
            side,
            cameras: Vec::new(),
            gallery: Vec::new(),
            gone: Vec::new(),
            has_wall_clocks: false,
            wanted: (0..nodes).collect(),
            folder: options.folder()?,
        })
    }

    async fn build(options: &StageOptions<'_>) -> Result<Self> {
        let StageOptions { scenario, .. } = options;
        let needs = needs(scenario);
        let folder = options.folder()?;
        let executable = executable(options.place, &needs, folder.path())?;
        let count = scenario.nodes_total();
        let cluster_options = ClusterOptions::new(executable, folder.path().to_owned(), count);
        let fronts = fronts(options.place, &needs, count)?;
        let tune =
            |index: usize, config: &mut Config| tune(options, &needs, &fronts, index, config);
        let cluster = Cluster::create_tuned(&cluster_options, tune)?;
        let (side, wires) = sides(options, &cluster, &fronts).await?;
        let disks = disks(&needs, &cluster)?;
        let stage = Self {
            _resumes: disks.iter().filter_map(Disk::resumes_on_drop).collect(),
            nodes: Nodes::Own(Box::new(cluster)),
            disks,
            side,
            cameras: Vec::new(),
            gallery: Vec::new(),
            gone: Vec::new(),
            wires,
            has_wall_clocks: needs.contains(&Reach::Clocks),
            wanted: BTreeSet::new(),
            folder,
        };
        stage.place_nodes(options)?;
        Ok(stage)
    }

    /// Writes the files that the wrappers expect next to each node's configuration.
    fn place_nodes(&self, options: &StageOptions<'_>) -> Result<()> {
        for index in 0..self.nodes.len() {
            let Some(config) = self.nodes.config_path(index) else {
                continue;
            };
            if let Some(namespaces) = &options.namespaces {
                let path = namespaces
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .node_path(index);
                wrapper::place(config, &path)?;
            }
            if self.has_wall_clocks {
                wall::set(config, 0)?;
            }
        }
        Ok(())
    }

    /// Starts the nodes and founds the cluster, unless it is an attached one.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn form(&mut self) -> Result<()> {
        if matches!(self.nodes, Nodes::Attached(_)) {
            return Ok(());
        }
        for index in 0..self.nodes.len() {
            self.start(index)?;
        }
        match &mut self.nodes {
            Nodes::Own(cluster) => Ok(cluster.form().await?),
            Nodes::Attached(_) => Ok(()),
        }
    }

    /// Adds all cameras, as `cam01` and so on.
    ///
    /// # Errors
    /// If the cluster rejects one.
    pub async fn add_cameras(&mut self, scenario: &Scenario) -> Result<()> {
        let api = self.nodes.api(0)?;
        let prefix = match &self.nodes {
            Nodes::Own(_) => "",
            Nodes::Attached(attach) => {
                remove_leftovers(&api, attach).await?;
                ATTACHED_PREFIX
            }
        };
        let groups = scenario.cameras.iter();
        let classes =
            groups.flat_map(|group| std::iter::repeat_n(group.protection, group.count as usize));
        let address = match &self.wires.kind {
            Kind::Proxies(proxies) => proxies.cameras_at().unwrap_or_else(|| self.side.address()),
            _ => self.side.address(),
        };
        for (handle, class) in self.side.cameras().zip(classes) {
            let name = format!("cam{:02}", handle.id());
            let known_as = format!("{prefix}{name}");
            let source = odd_source(&handle, format!("rtsp://{address}/cam/{}", handle.id()));
            let mut camera = new_camera(&known_as, source);
            camera.protection = match class {
                Class::Standard => Protection::Standard,
                Class::Gapless => Protection::Gapless,
            };
            let answer = api.call(Method::POST, &["cameras"], Some(&camera)).await?;
            let added: wire::Camera = serde_json::from_value(answer).map_err(|error| {
                Error::Wrong(format!("the added camera cannot be read: {error}"))
            })?;
            self.cameras.push((
                SiteCamera {
                    handle,
                    id: added.id,
                    name,
                },
                class,
            ));
        }
        Ok(())
    }

    /// Removes the cameras from an attached cluster.
    ///
    /// # Errors
    /// If the cluster refuses to.
    pub async fn remove_cameras(&mut self) -> Result<()> {
        if matches!(self.nodes, Nodes::Attached(_)) {
            let api = self.nodes.api(0)?;
            for (camera, _) in self.cameras.drain(..) {
                api.delete(&["cameras", &camera.id.to_string()], &[])
                    .await?;
            }
        }
        Ok(())
    }
}

/// Removes cameras that a killed run left in an attached cluster: they carry our prefix and are
/// served at this very address.
async fn remove_leftovers(api: &Api, attach: &Attach) -> Result<()> {
    let ours = format!("rtsp://{}/", attach.cameras_at);
    let cameras: Vec<wire::Camera> = api.get(&["cameras"], &[]).await?;
    let left = |camera: &&wire::Camera| {
        camera.name.starts_with(ATTACHED_PREFIX) && camera.source.url.starts_with(&ours)
    };
    for camera in cameras.iter().filter(left) {
        eprintln!(
            "removing {}, which a run that was killed had left",
            camera.name
        );
        api.delete(&["cameras", &camera.id.to_string()], &[])
            .await?;
    }
    Ok(())
}

fn needs(scenario: &Scenario) -> BTreeSet<Reach> {
    scenario
        .faults
        .iter()
        .map(|fault| fault.action.reach())
        .collect()
}

fn executable(place: Place, needs: &BTreeSet<Reach>, dir: &Path) -> Result<PathBuf> {
    let mut executable =
        holdfast_next_to_this().map_err(|error| Error::CannotRun(error.to_string()))?;
    if needs.contains(&Reach::Clocks) {
        let missing =
            || Error::CannotRun("libfaketime is not installed (Debian: libfaketime)".to_owned());
        executable = wall::wrap(&executable, dir)?.ok_or_else(missing)?;
    }
    if place == Place::Netns {
        executable = wrapper::wrap(&executable, dir)?;
    }
    Ok(executable)
}

/// Addresses of the nodes' proxies; none if there are no proxies.
fn fronts(place: Place, needs: &BTreeSet<Reach>, count: usize) -> Result<Vec<SocketAddr>> {
    if needs.contains(&Reach::Packets) && place == Place::Processes {
        return Err(Error::CannotRun(
            "`loss` and `slow-link` need namespaces: --on netns".to_owned(),
        ));
    }
    if place == Place::Netns || !needs.contains(&Reach::Connections) {
        return Ok(Vec::new());
    }
    let ports =
        holdfast_node::demo::cluster::free_ports(count).map_err(io_error("find free ports"))?;
    Ok(ports
        .into_iter()
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .collect())
}

fn tune(
    options: &StageOptions<'_>,
    needs: &BTreeSet<Reach>,
    fronts: &[SocketAddr],
    index: usize,
    config: &mut Config,
) {
    config.cluster.failure_domain = format!("domain{}", index + 1);
    if index >= options.scenario.cluster.nodes {
        config.cluster.role = Role::Witness;
    }
    if options.place == Place::Netns {
        config.listen.peer = SocketAddr::from((namespaces::address(Party::Node(index)), PEER_PORT));
        config.listen.api = SocketAddr::from((namespaces::control_address(index), API_PORT));
    }
    config.advertise.peer = fronts.get(index).map(ToString::to_string);
    if needs.contains(&Reach::Disks) {
        config.storage.volumes = vec![Volume::new(disk_of(config))];
    }
    if needs.contains(&Reach::Power) {
        config.data_dir = disk_of(config).join("data");
    }
    if needs.contains(&Reach::Disks) || needs.contains(&Reach::Power) {
        config.storage.segment_seconds = 10;
        config.storage.segment_bytes_max = ByteSize(64 << 20);
        config.storage.free_bytes_min = ByteSize(64 << 20);
    }
}

/// Mount point of the node's disk: next to its data.
fn disk_of(config: &Config) -> PathBuf {
    config.data_dir.with_file_name("disk")
}

fn disks(needs: &BTreeSet<Reach>, cluster: &Cluster) -> Result<Vec<Disk>> {
    let (faulty, power) = (needs.contains(&Reach::Disks), needs.contains(&Reach::Power));
    if faulty && power {
        return Err(Error::CannotRun(
            "power cuts and other disk faults need scenarios of their own".to_owned(),
        ));
    }
    let at = |index| {
        let config: &Path = cluster.config_path(index);
        config.with_file_name("disk")
    };
    let all = 0..if faulty || power { cluster.len() } else { 0 };
    all.map(|index| {
        if power {
            Disk::powered(&at(index))
        } else {
            Disk::faulty(&at(index))
        }
    })
    .collect()
}

async fn sides(
    options: &StageOptions<'_>,
    cluster: &Cluster,
    fronts: &[SocketAddr],
) -> Result<(CameraSide, Wires)> {
    let cameras = cameras(options.scenario, options.seed);
    let count = cluster.len();
    if let Some(namespaces) = &options.namespaces {
        let path = namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .cameras_path();
        let bind = SocketAddr::from((namespaces::address(Party::Cameras), CAMERA_PORT));
        let side = CameraSide::start(bind, Some(path), cameras, options.seed).await?;
        return Ok((
            side,
            Wires::new(Kind::Namespaces(Arc::clone(namespaces)), count),
        ));
    }
    let side = CameraSide::start(
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        None,
        cameras,
        options.seed,
    )
    .await?;
    if fronts.is_empty() {
        return Ok((side, Wires::new(Kind::Plain, count)));
    }
    let mut proxies = Proxies::new(count);
    for (index, front) in fronts.iter().enumerate() {
        proxies.before_node(*front, cluster.config(index).listen.peer);
    }
    proxies.before_cameras(side.address()).await?;
    Ok((side, Wires::new(Kind::Proxies(proxies), count)))
}

fn cameras(scenario: &Scenario, seed: u64) -> Vec<CameraOptions> {
    let groups = scenario
        .cameras
        .iter()
        .flat_map(|group| std::iter::repeat_n(group, group.count as usize));
    let camera = |(id, group): (u32, &crate::scenario::Group)| CameraOptions {
        bitrate_bps: group.bitrate_kbps * 1000,
        fps: FPS,
        gop_frames: group.gop_ms * FPS / 1000,
        codec: group.codec(),
        sound: group.sound_of(id, seed),
        ..group.oddity.map_or_else(
            || CameraOptions::new(id),
            |oddity| CameraOptions::odd(id, oddity),
        )
    };
    (1..).zip(groups).map(camera).collect()
}
