//! A cluster of real processes with cameras that stamp their frames, and the operations on it that
//! tests share.
//!
//! Only a few run at the same time in one process: each consists of several processes that record,
//! and tests must not starve each other.

use crate::{Error, Result, files, io_error, prometheus, wait, wall, web};
use holdfast_camera::{CameraHandle, CameraOptions, CameraServer, Handle, Options};
use holdfast_consensus::model::{Duty, Transport};
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::{self, NewCamera, NewSource};
use holdfast_node::client::Api;
use holdfast_node::config::Config;
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::demo::cluster::{Cluster, ClusterOptions};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The most sites of one process that run at the same time.
const SITES_MAX: usize = 2;

static SITES: Semaphore = Semaphore::const_new(SITES_MAX);

/// The longest that cameras may take until they are recorded, or moved, on a machine that is busy
/// with other tests.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(45);

/// The longest that an orderly stop may take.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Set this variable to keep the files of a site whose test failed: configurations, logs,
/// recordings.
const KEEP_ENV: &str = "HOLDFAST_KEEP_SITES";

const LOG_LINE_CHARS_MAX: usize = 240;

/// Low, so that three nodes and their cameras fit on two cores along with other tests.
const CAMERA_BPS: u64 = 500_000;

#[derive(Clone, Debug)]
pub struct SiteOptions {
    pub nodes: usize,
    pub cameras: Vec<CameraOptions>,
    /// Changes each node's configuration (by index) before it is written.
    pub tune: fn(usize, &mut Config),
}

impl SiteOptions {
    /// Cameras 1 to `cameras` of 500 kbit/s with a keyframe a second.
    #[must_use]
    pub fn new(nodes: usize, cameras: u32) -> Self {
        let camera = |id| CameraOptions {
            bitrate_bps: CAMERA_BPS,
            ..CameraOptions::new(id)
        };
        Self {
            nodes,
            cameras: (1..=cameras).map(camera).collect(),
            tune: |_, _| {},
        }
    }
}

/// A camera, with the id and the name that it has in the cluster.
#[derive(Clone, Debug)]
pub struct SiteCamera {
    pub handle: CameraHandle,
    pub id: CameraId,
    pub name: String,
}

/// One node's view of the cluster.
#[derive(Clone, Debug)]
pub struct Look {
    pub cluster: wire::Cluster,
    pub cameras: Vec<wire::Camera>,
}

/// Dropping it ends every process and removes every file. Unless [`Site::pass`] was called, it
/// first prints the ends of the nodes' logs.
#[derive(Debug)]
pub struct Site {
    // Before `dir`: the processes must be gone when their files are removed.
    pub cluster: Cluster,
    server: Handle,
    cameras: Vec<SiteCamera>,
    dir: TempDir,
    has_wall_clocks: bool,
    passed: bool,
    _permit: SemaphorePermit<'static>,
}

impl Site {
    /// Starts cameras and writes configurations; does not start a node.
    ///
    /// # Errors
    /// If there is no binary, or files and ports are not available.
    pub async fn prepare(options: SiteOptions) -> Result<Self> {
        Self::prepare_in(options, directory()?, binary()?).await
    }

    /// Like [`Site::prepare`], with nodes whose wall clocks [`Site::set_wall_clock`] sets; `None`
    /// if libfaketime is not installed.
    ///
    /// # Errors
    /// As [`Site::prepare`].
    pub async fn prepare_with_wall_clocks(options: SiteOptions) -> Result<Option<Self>> {
        let dir = directory()?;
        let Some(binary) = wall::wrap(&binary()?, dir.path())? else {
            return Ok(None);
        };
        let mut site = Self::prepare_in(options, dir, binary).await?;
        site.has_wall_clocks = true;
        for index in 0..site.cluster.len() {
            site.set_wall_clock(index, 0)?;
        }
        Ok(Some(site))
    }

    /// Like [`Site::prepare`], with a limit on the files and sockets that a node may have open.
    ///
    /// # Errors
    /// As [`Site::prepare`].
    pub async fn prepare_with_files(options: SiteOptions, files_max: u64) -> Result<Self> {
        let dir = directory()?;
        let binary = files::wrap(&binary()?, dir.path(), files_max)?;
        Self::prepare_in(options, dir, binary).await
    }

    async fn prepare_in(options: SiteOptions, dir: TempDir, binary: PathBuf) -> Result<Self> {
        let permit = SITES
            .acquire()
            .await
            .map_err(|closed| Error::Wrong(closed.to_string()))?;
        let nodes = ClusterOptions {
            tune: options.tune,
            ..ClusterOptions::new(binary, dir.path().to_owned(), options.nodes)
        };
        let cluster = Cluster::create(&nodes)?;
        let server = CameraServer::start(Options {
            cameras: options.cameras,
            ..Options::default()
        })
        .await?;
        Ok(Self {
            cluster,
            server,
            cameras: Vec::new(),
            dir,
            has_wall_clocks: false,
            passed: false,
            _permit: permit,
        })
    }

    /// Sets the node's wall clock ahead of the system's, or behind it; the node notices within a
    /// second or two.
    ///
    /// # Errors
    /// If the control file cannot be written.
    pub fn set_wall_clock(&self, index: usize, ahead_seconds: i64) -> Result<()> {
        wall::set(self.cluster.config_path(index), ahead_seconds)
    }

    /// A formed cluster that records all of its cameras.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn start(options: SiteOptions) -> Result<Self> {
        let mut site = Self::prepare(options).await?;
        site.cluster.form().await?;
        site.add_all().await?;
        site.wait_recorded_beyond(wall_now()).await?;
        Ok(site)
    }

    /// Adds every camera of the server, each under the name `camNN`.
    ///
    /// # Errors
    /// If the cluster rejects one.
    pub async fn add_all(&mut self) -> Result<()> {
        for number in self
            .server
            .cameras()
            .map(|handle| handle.id())
            .collect::<Vec<_>>()
        {
            self.add_served(number, &format!("cam{number:02}"), Transport::Tcp)
                .await?;
        }
        Ok(())
    }

    /// Adds a camera of the server as one of the site's.
    ///
    /// # Errors
    /// If the server has no camera of that number, or the cluster rejects it.
    pub async fn add_served(
        &mut self,
        number: u32,
        name: &str,
        transport: Transport,
    ) -> Result<SiteCamera> {
        let served = self.server.camera(number);
        let handle =
            served.ok_or_else(|| Error::Wrong(format!("there is no camera {number} to add")))?;
        let id = self
            .add(
                name,
                NewSource {
                    transport,
                    ..source(self.server.url(number))
                },
            )
            .await?
            .id;
        let camera = SiteCamera {
            handle,
            id,
            name: name.to_owned(),
        };
        self.cameras.push(camera.clone());
        Ok(camera)
    }

    /// Adds a camera of the server with the settings that its oddity needs.
    ///
    /// # Errors
    /// As [`Site::add_served`].
    pub async fn add_odd(&mut self, number: u32, name: &str) -> Result<SiteCamera> {
        let served = self.server.camera(number);
        let handle =
            served.ok_or_else(|| Error::Wrong(format!("there is no camera {number} to add")))?;
        let id = self
            .add(name, odd_source(&handle, self.server.url(number)))
            .await?
            .id;
        let camera = SiteCamera {
            handle,
            id,
            name: name.to_owned(),
        };
        self.cameras.push(camera.clone());
        Ok(camera)
    }

    /// Like [`Site::add_served`], with other settings, such as the camera's apparent address or its
    /// protection.
    ///
    /// # Errors
    /// As [`Site::add_served`].
    pub async fn add_served_as(&mut self, number: u32, camera: NewCamera) -> Result<SiteCamera> {
        let served = self.server.camera(number);
        let handle =
            served.ok_or_else(|| Error::Wrong(format!("there is no camera {number} to add")))?;
        let answer = self
            .api()?
            .call(Method::POST, &["cameras"], Some(&camera))
            .await?;
        let added: wire::Camera = serde_json::from_value(answer)
            .map_err(|error| Error::Wrong(format!("the added camera cannot be read: {error}")))?;
        let camera = SiteCamera {
            handle,
            id: added.id,
            name: camera.name,
        };
        self.cameras.push(camera.clone());
        Ok(camera)
    }

    /// Adds any camera through the first node that runs.
    ///
    /// # Errors
    /// If the cluster rejects it.
    pub async fn add(&mut self, name: &str, source: NewSource) -> Result<wire::Camera> {
        let api = self.api()?;
        let answer = api
            .call(Method::POST, &["cameras"], Some(&new_camera(name, source)))
            .await?;
        serde_json::from_value(answer)
            .map_err(|error| Error::Wrong(format!("the added camera cannot be read: {error}")))
    }

    /// Two loopback addresses that no process listens on now.
    ///
    /// # Errors
    /// If there are none.
    pub fn spare_addresses() -> Result<[SocketAddr; 2]> {
        let bind =
            || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io_error("find a free port"));
        let held = [bind()?, bind()?];
        let address =
            |listener: &TcpListener| listener.local_addr().map_err(io_error("find a free port"));
        Ok([address(&held[0])?, address(&held[1])?])
    }

    /// The test succeeded: [`Drop`] prints no logs.
    pub fn pass(mut self) {
        self.passed = true;
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    #[must_use]
    pub fn server(&self) -> &Handle {
        &self.server
    }

    #[must_use]
    pub fn cameras(&self) -> &[SiteCamera] {
        &self.cameras
    }

    /// The camera that the server calls `number`.
    ///
    /// # Errors
    /// If it was not added to the cluster.
    pub fn camera(&self, number: u32) -> Result<&SiteCamera> {
        let found = self
            .cameras
            .iter()
            .find(|camera| camera.handle.id() == number);
        found.ok_or_else(|| Error::Wrong(format!("camera {number} was not added")))
    }

    /// The first node that runs.
    ///
    /// # Errors
    /// If none runs.
    pub fn running(&mut self) -> Result<usize> {
        let found = (0..self.cluster.len()).find(|&index| self.cluster.is_running(index));
        found.ok_or_else(|| Error::Wrong("no node runs".to_owned()))
    }

    /// A client of the first node that runs.
    ///
    /// # Errors
    /// If none runs.
    pub fn api(&mut self) -> Result<Api> {
        let index = self.running()?;
        Ok(self.cluster.api(index)?)
    }

    /// Asks one node for its view of the cluster.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn ask(&self, index: usize) -> Result<Look> {
        let api = self.cluster.api(index)?;
        Ok(Look {
            cluster: api.get(&["cluster"], &[]).await?,
            cameras: api.get(&["cameras"], &[]).await?,
        })
    }

    /// Asks the first node that runs for its view of the cluster.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn look(&mut self) -> Result<Look> {
        let index = self.running()?;
        self.ask(index).await
    }

    /// The index of the node with this id.
    ///
    /// # Errors
    /// If the cluster has no such node.
    pub fn index_of(&self, look: &Look, id: NodeId) -> Result<usize> {
        let name = look
            .cluster
            .nodes
            .iter()
            .find(|node| node.id == id)
            .map(|node| node.name.as_str());
        let index = name.and_then(|name| self.cluster.index_of(name));
        index.ok_or_else(|| Error::Wrong(format!("no process is node {id}")))
    }

    /// Waits for a leader and returns its index.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn leader(&mut self) -> Result<usize> {
        wait::until("there is a leader", SETTLE_TIMEOUT, async || {
            let look = self.look().await.map_err(|error| error.to_string())?;
            let id = look.cluster.leader.ok_or("no node leads")?;
            let index = self
                .index_of(&look, id)
                .map_err(|error| error.to_string())?;
            if self.cluster.is_running(index) {
                Ok(index)
            } else {
                Err("the leader is down".to_owned())
            }
        })
        .await
    }

    /// The cameras that the node owns.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn owned_by(&mut self, index: usize) -> Result<Vec<SiteCamera>> {
        let look = self.look().await?;
        let name = self.cluster.name(index);
        let id = look
            .cluster
            .nodes
            .iter()
            .find(|node| node.name == name)
            .map(|node| node.id);
        let owned = |camera: &&SiteCamera| {
            id.is_some()
                && look
                    .cameras
                    .iter()
                    .any(|known| known.id == camera.id && known.assignment.owner == id)
        };
        Ok(self.cameras.iter().filter(owned).cloned().collect())
    }

    /// Waits until each of the site's cameras is durable beyond `instant`, according to one running
    /// node.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn wait_recorded_beyond(&mut self, instant: Timestamp) -> Result<()> {
        let ids: Vec<CameraId> = self.cameras.iter().map(|camera| camera.id).collect();
        self.wait_these_recorded_beyond(&ids, instant).await
    }

    /// Like [`Site::wait_recorded_beyond`], for some of the cameras.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn wait_these_recorded_beyond(
        &mut self,
        ids: &[CameraId],
        instant: Timestamp,
    ) -> Result<()> {
        wait::until("every camera is recorded", SETTLE_TIMEOUT, async || {
            let look = self.look().await.map_err(|error| error.to_string())?;
            let late: Vec<String> = look
                .cameras
                .iter()
                .filter(|camera| ids.contains(&camera.id))
                .filter(|camera| {
                    camera
                        .recording
                        .watermark
                        .is_none_or(|watermark| watermark <= instant)
                })
                .map(|camera| format!("{}: {:?}", camera.name, camera.recording))
                .collect();
            if late.is_empty() {
                Ok(())
            } else {
                Err(late.join("; "))
            }
        })
        .await
    }

    /// Waits until every camera has exactly one recorder: one session at the camera itself, one
    /// active recorder in the metrics of all running nodes, one owner, and no handoff under way.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn wait_one_recorder_each(&mut self) -> Result<()> {
        wait::until("each camera has one recorder", SETTLE_TIMEOUT, async || {
            let look = self.look().await.map_err(|error| error.to_string())?;
            let unsettled: Vec<&str> = look
                .cameras
                .iter()
                .filter(|camera| !is_settled(camera))
                .map(|camera| camera.name.as_str())
                .collect();
            let sessions: Vec<usize> = self
                .cameras
                .iter()
                .map(|camera| camera.handle.sessions())
                .collect();
            let recorders = self.recorders().await.map_err(|error| error.to_string())?;
            let settled = unsettled.is_empty() && sessions.iter().all(|&count| count == 1);
            if settled && recorders == self.cameras.len() as f64 {
                return Ok(());
            }
            Err(format!(
                "not settled: {unsettled:?}; sessions at the cameras: {sessions:?}; \
                         recorders: {recorders}"
            ))
        })
        .await
    }

    /// Number of recorders of all running nodes, in any state.
    async fn recorders(&mut self) -> Result<f64> {
        let mut recorders = 0.0;
        for index in 0..self.cluster.len() {
            if self.cluster.is_running(index) {
                let count =
                    prometheus::sum(&self.metrics(index).await?, "holdfast_recorders", None);
                recorders += count.ok_or_else(|| {
                    Error::Wrong("a node does not report its recorders".to_owned())
                })?;
            }
        }
        Ok(recorders)
    }

    /// The node's metrics page.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn metrics(&self, index: usize) -> Result<String> {
        let url = format!("{}/metrics", self.cluster.api_url(index));
        Ok(web::send(
            Method::GET,
            &url,
            Some(&self.cluster.token().0),
            None::<&()>,
        )
        .await?
        .text())
    }

    /// Sends a request to the node's API unchanged, with the admin token. `path` begins after
    /// `/api/v1/`.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn send(
        &self,
        index: usize,
        method: Method,
        path: &str,
        body: Option<&(impl serde::Serialize + ?Sized)>,
    ) -> Result<web::Answer> {
        let url = format!("{}/api/v1/{path}", self.cluster.api_url(index));
        web::send(method, &url, Some(&self.cluster.token().0), body).await
    }

    /// The camera's timeline as the node reports it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn timeline(
        &self,
        index: usize,
        camera: CameraId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<wire::Timeline> {
        let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
        Ok(self
            .cluster
            .api(index)?
            .get(&["cameras", &camera.to_string(), "timeline"], &query)
            .await?)
    }

    /// Waits until the node owns no camera.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn wait_owns_nothing(&mut self, index: usize) -> Result<()> {
        wait::until("the node owns nothing", SETTLE_TIMEOUT, async || {
            let owned = self
                .owned_by(index)
                .await
                .map_err(|error| error.to_string())?;
            if owned.is_empty() {
                Ok(())
            } else {
                Err(format!("it owns {} cameras", owned.len()))
            }
        })
        .await
    }

    /// Waits until the cluster reports this duty of the node.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn wait_duty(&mut self, index: usize, duty: Duty) -> Result<()> {
        wait::until("the node has its duty", SETTLE_TIMEOUT, async || {
            let look = self.look().await.map_err(|error| error.to_string())?;
            let name = self.cluster.name(index);
            let found = look
                .cluster
                .nodes
                .iter()
                .find(|node| node.name == name)
                .ok_or("it is no member")?;
            if found.duty == duty && found.alive {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.has_wall_clocks {
            (0..self.cluster.len())
                .for_each(|index| wall::clean_up(self.cluster.config_path(index)));
        }
        if self.passed {
            return;
        }
        for index in 0..self.cluster.len() {
            eprintln!("--- {} ---", self.cluster.name(index));
            self.cluster
                .log_tail(index)
                .lines()
                .for_each(|line| eprintln!("{}", shortened(line)));
        }
        if std::env::var_os(KEEP_ENV).is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}

fn directory() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("holdfast-site-")
        .tempdir()
        .map_err(io_error("make a directory"))
}

fn binary() -> Result<PathBuf> {
    holdfast_next_to_this().map_err(io_error("find the binary"))
}

/// Shortens a log line: openraft writes whole states into one.
fn shortened(line: &str) -> String {
    line.chars().take(LOG_LINE_CHARS_MAX).collect()
}

fn is_settled(camera: &wire::Camera) -> bool {
    let wire::Assignment {
        owner, moving_to, ..
    } = camera.assignment;
    owner.is_some()
        && moving_to.is_none()
        && camera.recording.node == owner
        && camera.recording.state == Some(RecorderState::Recording)
}

/// A camera without credentials, over TCP.
#[must_use]
pub fn source(url: String) -> NewSource {
    NewSource::new(url)
}

/// Like [`source`], with the login and the transport that the camera's oddity needs.
#[must_use]
pub fn odd_source(camera: &CameraHandle, url: String) -> NewSource {
    let login = camera.oddity().and_then(holdfast_camera::Oddity::login);
    let (username, password) = login
        .map(|(user, password)| (user.to_owned(), password.to_owned()))
        .unzip();
    let needs_udp = camera
        .oddity()
        .is_some_and(holdfast_camera::Oddity::needs_udp);
    let transport = if needs_udp {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    NewSource {
        username,
        password,
        transport,
        ..source(url)
    }
}

/// A camera with the default protection class and priority.
#[must_use]
pub fn new_camera(name: &str, source: NewSource) -> NewCamera {
    NewCamera::new(name, source)
}
