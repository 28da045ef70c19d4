//! A cluster of real `holdfast serve` processes on this machine, which its user starts, stops,
//! kills and restarts.
//!
//! The demo, the chaos scenarios and the integration tests all use it. Dropping it kills every
//! process.

use super::{ports, spawn};
use crate::client::Api;
use crate::config::{ByteSize, Config};
use crate::terminal::error::CliError;
use holdfast_consensus::model::Secret;
use holdfast_control_api::wire::{InitCluster, JoinCluster, MadeInvite, NewInvite};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use thiserror::Error;
use tokio::time::{sleep, timeout};

/// How long a node may take until it answers, and a cluster until it has a leader.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a process or its API is polled while a caller waits for it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 20;

/// Bytes of a log that are read for its tail.
const TAIL_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Error)]
pub enum ClusterError {
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{node} ended by itself ({status}); its log ends with:\n{tail}")]
    Ended {
        node: String,
        status: ExitStatus,
        tail: String,
    },
    #[error("{node} did not {what} within {} s; its log ends with:\n{tail}", after.as_secs())]
    TimedOut {
        node: String,
        what: String,
        after: Duration,
        tail: String,
    },
    #[error("{node}: cannot {what}: {source}")]
    Refused {
        node: String,
        what: String,
        source: CliError,
    },
    #[error("{node} is not running")]
    NotRunning { node: String },
}

/// What to start, and where.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The `holdfast` binary.
    pub executable: PathBuf,
    /// The directory for configurations, data and logs; must exist.
    pub dir: PathBuf,
    pub nodes: usize,
    /// Changes each node's configuration (by index) before it is written.
    pub tune: fn(usize, &mut Config),
}

impl ClusterOptions {
    #[must_use]
    pub fn new(executable: PathBuf, dir: PathBuf, nodes: usize) -> Self {
        Self {
            executable,
            dir,
            nodes,
            tune: |_, _| {},
        }
    }
}

/// Loopback ports that are free now, and not given again by this process.
///
/// # Errors
/// There are fewer than `count`.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    ports::free(count, uuid::Uuid::new_v4().as_fields().0)
}

/// Nodes by index, from 0; the node of index 0 founds the cluster.
#[derive(Debug)]
pub struct Cluster {
    executable: PathBuf,
    token: Secret,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    config: Config,
    config_path: PathBuf,
    log_path: PathBuf,
    process: Option<Process>,
}

impl Cluster {
    /// Writes configurations and secrets; starts nothing.
    ///
    /// # Errors
    /// A file cannot be written, or too few ports are free.
    pub fn create(options: &ClusterOptions) -> Result<Self, ClusterError> {
        Self::create_tuned(options, options.tune)
    }

    /// As [`Cluster::create`], with `tune` instead of the options' own.
    ///
    /// # Errors
    /// As [`Cluster::create`].
    pub fn create_tuned(
        options: &ClusterOptions,
        mut tune: impl FnMut(usize, &mut Config),
    ) -> Result<Self, ClusterError> {
        let random = uuid::Uuid::new_v4();
        let ports = ports::free(2 * options.nodes, random.as_fields().0)
            .map_err(io_error("find free ports"))?;
        let token = Secret(uuid::Uuid::new_v4().simple().to_string());
        write_secret(&options.dir.join("admin.token"), &token.0)?;
        let pairs = ports.chunks_exact(2).enumerate();
        let nodes = pairs.map(|(index, ports)| Node::create(options, index, ports, &mut tune));
        Ok(Self {
            executable: options.executable.clone(),
            token,
            nodes: nodes.collect::<Result<_, _>>()?,
        })
    }

    /// Starts every node, founds the cluster and waits until all are ready.
    ///
    /// # Errors
    /// A node ends, does not answer or refuses.
    pub async fn form(&mut self) -> Result<(), ClusterError> {
        (0..self.len()).try_for_each(|index| self.start(index))?;
        for index in 0..self.len() {
            self.wait_healthy(index).await?;
        }
        self.request(
            0,
            "found the cluster",
            &["cluster", "init"],
            &InitCluster {},
        )
        .await?;
        self.wait_ready(0).await?;
        for index in 1..self.len() {
            self.join(index, 0).await?;
        }
        Ok(())
    }

    /// Has the node `through` invite the node, lets it join, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Cluster::form`].
    pub async fn join(&mut self, index: usize, through: usize) -> Result<(), ClusterError> {
        let token = self.invite(index, through).await?;
        let join = JoinCluster { token };
        self.request(index, "join the cluster", &["cluster", "join"], &join)
            .await?;
        self.wait_ready(index).await
    }

    /// The token of an invitation for the node.
    ///
    /// # Errors
    /// As [`Cluster::form`].
    pub async fn invite(&self, index: usize, through: usize) -> Result<Secret, ClusterError> {
        let config = &self.nodes[index].config;
        let invite = NewInvite {
            name: config.name.clone(),
            role: config.cluster.role,
            may_vote: true,
            valid_s: None,
        };
        let api = self.api(through)?;
        match api.post::<MadeInvite>(&["invites"], &invite).await {
            Ok(made) => Ok(made.token),
            Err(source) => Err(self.refused(through, "invite a node", source)),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    #[must_use]
    pub fn config(&self, index: usize) -> &Config {
        &self.nodes[index].config
    }

    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        &self.nodes[index].config.name
    }

    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.config.name == name)
    }

    /// `http://host:port` of the node's API.
    #[must_use]
    pub fn api_url(&self, index: usize) -> String {
        format!("http://{}", self.nodes[index].config.listen.api)
    }

    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// A client of the node's API, with the admin token.
    ///
    /// # Errors
    /// The client cannot be created.
    pub fn api(&self, index: usize) -> Result<Api, ClusterError> {
        let url = url::Url::parse(&self.api_url(index)).map_err(|error| ClusterError::Io {
            what: "name the API".to_owned(),
            source: io::Error::other(error),
        })?;
        Api::with_token(url, Some(self.token.clone()))
            .map_err(|source| self.refused(index, "use the API", source))
    }

    /// Starts the node; does nothing if it is running.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(&mut self, index: usize) -> Result<(), ClusterError> {
        if !self.is_running(index) {
            self.nodes[index].process = Some(self.nodes[index].spawn(&self.executable)?);
        }
        Ok(())
    }

    #[must_use]
    pub fn is_running(&mut self, index: usize) -> bool {
        self.nodes[index]
            .process
            .as_mut()
            .is_some_and(|process| matches!(process.0.try_wait(), Ok(None)))
    }

    /// The node's process, to measure it.
    #[must_use]
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.nodes[index]
            .process
            .as_ref()
            .map(|process| process.0.id())
    }

    /// Sends a signal, for example `STOP` and `CONT` to pause and continue the node.
    ///
    /// # Errors
    /// The node does not run.
    pub fn signal(&self, index: usize, signal: Signal) -> Result<(), ClusterError> {
        let not_running = || ClusterError::NotRunning {
            node: self.name(index).to_owned(),
        };
        let pid = self
            .pid(index)
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .ok_or_else(not_running)?;
        kill_process(pid, signal)
            .map_err(|error| io_error(&format!("signal {}", self.name(index)))(error.into()))
    }

    /// Sends SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// The node does not run.
    pub async fn kill(&mut self, index: usize) -> Result<(), ClusterError> {
        self.signal(index, Signal::KILL)?;
        self.wait_exit(index, READY_TIMEOUT).await.map(drop)
    }

    /// Sends SIGTERM, and waits for the orderly end.
    ///
    /// # Errors
    /// The node does not run or does not end in time.
    pub async fn stop(
        &mut self,
        index: usize,
        within: Duration,
    ) -> Result<ExitStatus, ClusterError> {
        self.signal(index, Signal::TERM)?;
        self.wait_exit(index, within).await
    }

    /// Waits until the node's process answers at all.
    ///
    /// # Errors
    /// It ends or does not answer for [`READY_TIMEOUT`].
    pub async fn wait_healthy(&mut self, index: usize) -> Result<(), ClusterError> {
        self.wait_for(index, "answer", "/healthz").await
    }

    /// Waits until the node belongs to a cluster, knows a leader and records.
    ///
    /// # Errors
    /// As [`Cluster::wait_healthy`].
    pub async fn wait_ready(&mut self, index: usize) -> Result<(), ClusterError> {
        self.wait_for(index, "become ready", "/readyz").await
    }

    /// The file that the node's output goes to.
    #[must_use]
    pub fn log_path(&self, index: usize) -> &Path {
        &self.nodes[index].log_path
    }

    /// The node's configuration file.
    #[must_use]
    pub fn config_path(&self, index: usize) -> &Path {
        &self.nodes[index].config_path
    }

    /// The last lines of the node's log.
    #[must_use]
    pub fn log_tail(&self, index: usize) -> String {
        let node = &self.nodes[index];
        tail(&node.log_path)
            .unwrap_or_else(|error| format!("(cannot read {}: {error})", node.log_path.display()))
    }

    async fn wait_for(&mut self, index: usize, what: &str, path: &str) -> Result<(), ClusterError> {
        let api = self.api(index)?;
        let answered = async {
            while self.is_running(index) {
                if api.probe(path).await.is_ok() {
                    return true;
                }
                sleep(POLL_INTERVAL).await;
            }
            false
        };
        match timeout(READY_TIMEOUT, answered).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.ended(index)),
            Err(_) => Err(self.timed_out(index, what, READY_TIMEOUT)),
        }
    }

    async fn wait_exit(
        &mut self,
        index: usize,
        within: Duration,
    ) -> Result<ExitStatus, ClusterError> {
        let name = self.name(index).to_owned();
        let Some(process) = &mut self.nodes[index].process else {
            return Err(ClusterError::NotRunning { node: name });
        };
        let exited = async {
            loop {
                if let Some(status) = process.0.try_wait()? {
                    return Ok(status);
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        let status = match timeout(within, exited).await {
            Ok(status) => status.map_err(io_error(&format!("wait for {name}")))?,
            Err(_) => return Err(self.timed_out(index, "end", within)),
        };
        self.nodes[index].process = None;
        Ok(status)
    }

    async fn request(
        &self,
        index: usize,
        what: &str,
        path: &[&str],
        body: &impl serde::Serialize,
    ) -> Result<(), ClusterError> {
        let answer = self.api(index)?.call(Method::POST, path, Some(body)).await;
        answer
            .map(drop)
            .map_err(|source| self.refused(index, what, source))
    }

    fn refused(&self, index: usize, what: &str, source: CliError) -> ClusterError {
        ClusterError::Refused {
            node: self.name(index).to_owned(),
            what: what.to_owned(),
            source,
        }
    }

    fn ended(&mut self, index: usize) -> ClusterError {
        let (node, tail) = (self.name(index).to_owned(), self.log_tail(index));
        match self.nodes[index]
            .process
            .as_mut()
            .map(|process| process.0.try_wait())
        {
            Some(Ok(Some(status))) => ClusterError::Ended { node, status, tail },
            _ => ClusterError::NotRunning { node },
        }
    }

    fn timed_out(&self, index: usize, what: &str, after: Duration) -> ClusterError {
        let (node, tail) = (self.name(index).to_owned(), self.log_tail(index));
        ClusterError::TimedOut {
            node,
            what: what.to_owned(),
            after,
            tail,
        }
    }
}

impl Node {
    fn create(
        options: &ClusterOptions,
        index: usize,
        ports: &[u16],
        tune: &mut impl FnMut(usize, &mut Config),
    ) -> Result<Self, ClusterError> {
        let name = format!("node{}", index + 1);
        let dir = options.dir.join(&name);
        fs::create_dir_all(&dir).map_err(io_error(&format!("create {}", dir.display())))?;
        let mut config = Config::new(&name, dir.join("data"));
        config.listen.api = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        config.listen.peer = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[1]));
        config.auth.admin_token_file = Some(options.dir.join("admin.token"));
        // Several nodes share one disk here: small segments, and no deletion to keep space free.
        config.storage.segment_bytes_max = ByteSize(256 << 20);
        config.storage.free_bytes_min = ByteSize(64 << 20);
        tune(index, &mut config);
        let config_path = dir.join("node.toml");
        let text = toml::to_string(&config)
            .map_err(|error| io_error("write a configuration")(io::Error::other(error)))?;
        fs::write(&config_path, text)
            .map_err(io_error(&format!("write {}", config_path.display())))?;
        Ok(Self {
            config,
            config_path,
            log_path: dir.join("log.txt"),
            process: None,
        })
    }

    fn spawn(&self, executable: &Path) -> Result<Process, ClusterError> {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log_path);
        let log = opened.map_err(io_error(&format!("open {}", self.log_path.display())))?;
        let again = log.try_clone().map_err(io_error("share a log file"))?;
        let mut command = Command::new(executable);
        command.arg("serve").arg("--config").arg(&self.config_path);
        command.args(["--parent-pid", &std::process::id().to_string()]);
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        // The file that the configuration names must count, whatever the caller's environment has.
        command.env_remove(crate::config::ADMIN_TOKEN_ENV);
        let child =
            spawn::spawn(command).map_err(io_error(&format!("start {}", executable.display())))?;
        Ok(Process(child))
    }
}

/// A child that never outlives its handle.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.to_owned();
    move |source| ClusterError::Io { what, source }
}

fn write_secret(path: &Path, text: &str) -> Result<(), ClusterError> {
    let created = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    created
        .and_then(|mut file| writeln!(file, "{text}"))
        .map_err(io_error(&format!("write {}", path.display())))
}

fn tail(path: &Path) -> io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests;
