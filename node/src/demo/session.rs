//! One run of the demo: starts everything, watches, kills and restarts by the script, and counts
//! what the cluster serves.

use super::cluster::{Cluster, ClusterError, ClusterOptions};
use super::keys::Keys;
use super::report::{CameraReport, Report, camera_report};
use super::screen::Screen;
use super::script::{Phase, Script, Step};
use super::view::{View, changes};
use super::{DemoArgs, Kill, footage};
use crate::client::Api;
use crate::terminal::clock::{monotonic_now, wall_now};
use crate::terminal::error::CliError;
use crate::terminal::output::write_line as print_line;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_camera::{CameraHandle, CameraOptions, CameraServer, Handle, Options};
use holdfast_control_api::wire::{Camera, Cluster as ClusterState, NewCamera, NewSource, Timeline};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often to ask the cluster which node records which camera.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long one answer may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take until all cameras are recorded, and at the end until everything is durable
/// and can be served.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// By how much wall time in recordings may differ from a camera's own: the export's range is wider
/// than the counted one.
const EXPORT_MARGIN: Duration = Duration::from_secs(1);

/// Requests under way at the same time.
const REQUESTS_MAX: usize = 4;

/// Cameras that one node may record: all that the demo can have, even if every other node is down.
const CAMERA_CAPACITY: u32 = 1000;

/// The demo's state. Dropping it ends every process and removes every file.
pub(super) struct Session {
    args: DemoArgs,
    // Before `dir`: the processes must be gone when their files are removed.
    cluster: Cluster,
    dir: TempDir,
    screen: Screen,
    view: View,
    phase: Phase,
    killing: Option<Killing>,
}

/// The node that was killed last.
struct Killing {
    node: String,
    index: usize,
    at: Timestamp,
    owners_before: BTreeMap<String, String>,
    cameras: Vec<String>,
}

enum Action {
    Look,
    Key(u8),
}

impl Session {
    /// Creates the directory and the configurations; starts nothing.
    pub(super) fn prepare(args: &DemoArgs) -> Result<Self, CliError> {
        let failed =
            |error: std::io::Error| CliError::failed(format!("cannot prepare the demo: {error}"));
        let dir = tempfile::Builder::new()
            .prefix("holdfast-demo-")
            .tempdir()
            .map_err(failed)?;
        let executable = std::env::current_exe().map_err(failed)?;
        let mut options =
            ClusterOptions::new(executable, dir.path().to_owned(), args.nodes as usize);
        options.tune = |_, config| config.cluster.camera_capacity = CAMERA_CAPACITY;
        Ok(Self {
            args: args.clone(),
            cluster: Cluster::create(&options).map_err(of_cluster)?,
            dir,
            screen: Screen::new(),
            view: View::default(),
            phase: Phase::Whole,
            killing: None,
        })
    }

    /// The whole run, up to the report.
    pub(super) async fn play(&mut self) -> Result<Report, CliError> {
        let cameras = start_cameras(self.args.cameras).await?;
        self.screen.say(&format!(
            "starting {} nodes in {}",
            self.args.nodes,
            self.dir.path().display()
        ));
        self.cluster.form().await.map_err(of_cluster)?;
        let added = self.add_cameras(&cameras).await?;
        self.settle("every camera is recorded", |session| {
            session.view.all_durable_beyond(Timestamp::MIN)
        })
        .await?;
        let from = wall_now();
        self.invite();
        self.record().await?;
        let to = wall_now();
        self.screen.say("counting what the cluster serves");
        self.settle("everything is durable", |session| {
            session.view.all_durable_beyond(to.plus(EXPORT_MARGIN))
        })
        .await?;
        self.wait_available(&added, from, to).await?;
        self.screen.clear();
        self.count(&cameras, &added, from, to).await
    }

    /// Prints the report: JSON as the last line of standard output, or a table.
    pub(super) fn publish(&self, report: &Report, json: bool) -> Result<(), CliError> {
        if json {
            let line = serde_json::to_string(report)
                .map_err(|error| CliError::failed(format!("cannot write JSON: {error}")))?;
            eprint!("{}", report.summary());
            print_line(&line)?;
        } else {
            print_line(report.summary().trim_end())?;
        }
        match report.unrecorded().as_slice() {
            [] => Ok(()),
            names => Err(CliError::failed(format!(
                "nothing was recorded of {}",
                names.join(" ")
            ))),
        }
    }

    /// Shows the ends of the nodes' logs and keeps the directory.
    pub(super) fn keep_evidence(mut self, error: CliError) -> CliError {
        self.screen.clear();
        for index in 0..self.cluster.len() {
            eprintln!(
                "--- {} ---\n{}",
                self.cluster.name(index),
                self.cluster.log_tail(index)
            );
        }
        let kept: PathBuf = self.dir.keep();
        let hint = format!(
            "the nodes' configurations, logs and recordings are kept in {}",
            kept.display()
        );
        error.hint(hint)
    }

    fn invite(&self) {
        let token = self.dir.path().join("admin.token");
        for index in 0..self.cluster.len() {
            self.screen.say(&format!(
                "{} serves {}",
                self.cluster.name(index),
                self.cluster.api_url(index)
            ));
        }
        self.screen.say(&format!(
            "ask it: holdfast camera list --api {} --token-file {}",
            self.cluster.api_url(0),
            token.display()
        ));
        self.screen
            .say("keys: k kills a node, q ends and reports, Ctrl-C ends");
    }

    async fn add_cameras(&self, cameras: &Handle) -> Result<Vec<Camera>, CliError> {
        let api = self.cluster.api(0).map_err(of_cluster)?;
        let add = |handle: CameraHandle| {
            let (api, url) = (api.clone(), cameras.url(handle.id()));
            async move { add_camera(&api, handle.id(), url).await }
        };
        stream::iter(cameras.cameras())
            .map(add)
            .buffered(REQUESTS_MAX)
            .try_collect()
            .await
    }

    /// The run itself: polls, obeys keys and the script, until either ends it.
    async fn record(&mut self) -> Result<(), CliError> {
        let script = Script {
            length: self.args.seconds.map(Duration::from_secs),
            kill: self.args.kill != Kill::None,
        };
        let started = monotonic_now();
        let mut keys = Keys::open();
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let action = tokio::select! {
                _ = ticks.tick() => Action::Look,
                key = keys.next() => Action::Key(key),
            };
            let step = match action {
                Action::Key(b'q') => Step::Finish,
                Action::Key(b'k') if !matches!(self.phase, Phase::Down { .. }) => Step::Kill,
                Action::Key(_) => Step::Wait,
                Action::Look => {
                    self.look().await;
                    self.note_takeover(started);
                    script.step(started.elapsed(), self.phase)
                }
            };
            match step {
                Step::Wait => {}
                Step::Kill => self.kill(started).await?,
                Step::Restart => self.restart().await?,
                Step::Finish => return self.bring_back().await,
            }
        }
    }

    /// Asks any running node, prints what changed and shows the table. If that fails, the last view
    /// stays.
    async fn look(&mut self) {
        // One that was just started again knows the least: it is asked last.
        let killed = self.killing.as_ref().map(|killing| killing.index);
        let mut running: Vec<_> = (0..self.cluster.len())
            .filter(|index| self.cluster.is_running(*index))
            .collect();
        running.sort_by_key(|index| Some(*index) == killed);
        for index in running {
            if let Some(view) = self.ask(index).await {
                changes(&self.view, &view)
                    .iter()
                    .for_each(|line| self.screen.say(line));
                self.screen.show(&view.lines());
                self.view = view;
                return;
            }
        }
    }

    async fn ask(&self, index: usize) -> Option<View> {
        let api = self.cluster.api(index).ok()?;
        let asked = async {
            let cluster: ClusterState = api.get(&["cluster"], &[]).await?;
            let cameras: Vec<Camera> = api.get(&["cameras"], &[]).await?;
            Ok::<_, CliError>(View::of(&cluster, &cameras))
        };
        timeout(LOOK_TIMEOUT, asked).await.ok()?.ok()
    }

    fn victim(&self) -> Option<String> {
        let follower = self.view.busiest_follower();
        match self.args.kill {
            Kill::Follower => follower,
            // The key `k` without --kill: the worst case.
            Kill::Leader | Kill::None => self.view.leader.clone(),
        }
    }

    async fn kill(&mut self, started: Instant) -> Result<(), CliError> {
        // Without a leader there is none to kill: the next look may find one.
        let Some(node) = self.victim() else {
            return Ok(());
        };
        let Some(index) = self.cluster.index_of(&node) else {
            return Ok(());
        };
        let cameras = self.view.owned_by(&node);
        self.screen
            .say(&format!("killing {node}, which owns {}", cameras.join(" ")));
        let owners_before = self.view.owners();
        let at = wall_now();
        self.cluster.kill(index).await.map_err(of_cluster)?;
        self.phase = Phase::Down {
            since: started.elapsed(),
            moved: None,
        };
        self.killing = Some(Killing {
            node,
            index,
            at,
            owners_before,
            cameras,
        });
        Ok(())
    }

    /// Notes the moment at which other nodes were seen to record all cameras of the killed node.
    fn note_takeover(&mut self, started: Instant) {
        let (Phase::Down { since, moved: None }, Some(killing)) = (self.phase, &self.killing)
        else {
            return;
        };
        if self
            .view
            .taken_over(&killing.cameras, &killing.node, killing.at)
        {
            let now = started.elapsed();
            self.screen.say(&format!(
                "its cameras are recorded by others, seen {} ms after the kill",
                (now - since).as_millis()
            ));
            self.phase = Phase::Down {
                since,
                moved: Some(now),
            };
        }
    }

    async fn restart(&mut self) -> Result<(), CliError> {
        let Some(killing) = &self.killing else {
            return Ok(());
        };
        self.screen.say(&format!("starting {} again", killing.node));
        self.cluster.start(killing.index).map_err(of_cluster)?;
        self.phase = Phase::Back;
        Ok(())
    }

    /// At the end every node must run, so that its recordings can be served.
    async fn bring_back(&mut self) -> Result<(), CliError> {
        if matches!(self.phase, Phase::Down { .. }) {
            self.restart().await?;
        }
        for index in 0..self.cluster.len() {
            self.cluster.wait_ready(index).await.map_err(of_cluster)?;
        }
        Ok(())
    }

    /// Polls until `done`, for [`SETTLE_TIMEOUT`] at most.
    async fn settle(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), CliError> {
        let deadline = monotonic_now() + SETTLE_TIMEOUT;
        let expected = self.args.cameras as usize;
        loop {
            self.look().await;
            if self.view.cameras.len() == expected && done(self) {
                return Ok(());
            }
            if monotonic_now() > deadline {
                let message = format!(
                    "after {} s it is still not so that {what}",
                    SETTLE_TIMEOUT.as_secs()
                );
                return Err(CliError::failed(format!(
                    "{message}; the cluster:\n{}",
                    self.view.lines().join("\n")
                )));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until every recorded span can be served: the killed node's footage comes back with it.
    async fn wait_available(
        &self,
        cameras: &[Camera],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(), CliError> {
        let api = self.cluster.api(0).map_err(of_cluster)?;
        let waiting = async {
            for camera in cameras {
                while !timeline(&api, camera.id, from, to)
                    .await?
                    .spans
                    .iter()
                    .all(|span| span.available)
                {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
            Ok(())
        };
        within(
            SETTLE_TIMEOUT,
            "serve everything that was recorded",
            waiting,
        )
        .await
    }

    async fn count(
        &self,
        cameras: &Handle,
        added: &[Camera],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Report, CliError> {
        let api = self.cluster.api(0).map_err(of_cluster)?;
        let owners_after = self.view.owners();
        let owners_before = self
            .killing
            .as_ref()
            .map_or(&owners_after, |killing| &killing.owners_before);
        let count = |(handle, camera): (CameraHandle, Camera)| {
            let api = api.clone();
            async move { count_camera(&api, &handle, &camera, from, to).await }
        };
        let pairs = cameras.cameras().zip(added.to_vec()).collect::<Vec<_>>();
        let mut reports: Vec<CameraReport> = stream::iter(pairs)
            .map(count)
            .buffered(REQUESTS_MAX)
            .try_collect()
            .await?;
        for report in &mut reports {
            report.owner_before = owners_before.get(&report.name).cloned();
            report.owner_after = owners_after.get(&report.name).cloned();
        }
        Ok(Report::new(
            self.killing.as_ref().map(|killing| killing.node.clone()),
            reports,
        ))
    }
}

/// Cameras 1 to `count`.
async fn start_cameras(count: u32) -> Result<Handle, CliError> {
    let options = Options {
        cameras: (1..=count).map(CameraOptions::new).collect(),
        ..Options::default()
    };
    CameraServer::start(options)
        .await
        .map_err(|error| CliError::failed(format!("cannot start the cameras: {error}")))
}

async fn add_camera(api: &Api, number: u32, url: String) -> Result<Camera, CliError> {
    let camera = NewCamera::new(format!("cam{number:02}"), NewSource::new(url));
    let answer = api.call(Method::POST, &["cameras"], Some(&camera)).await?;
    serde_json::from_value(answer)
        .map_err(|error| CliError::failed(format!("cannot read the added camera: {error}")))
}

async fn timeline(
    api: &Api,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Timeline, CliError> {
    let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
    api.get(&["cameras", &camera.to_string(), "timeline"], &query)
        .await
}

async fn count_camera(
    api: &Api,
    handle: &CameraHandle,
    camera: &Camera,
    from: Timestamp,
    to: Timestamp,
) -> Result<CameraReport, CliError> {
    let micros = |time: Timestamp| u64::try_from(time.micros()).unwrap_or(0);
    let margin = i64::try_from(EXPORT_MARGIN.as_micros()).unwrap_or(0);
    let stamps = footage::stamps(
        api,
        camera.id,
        from.plus_micros(-margin),
        to.plus(EXPORT_MARGIN),
    )
    .await?;
    Ok(camera_report(
        &camera.name,
        handle.id(),
        &handle.sent_between(micros(from), micros(to)),
        &stamps,
    ))
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(CliError::failed(format!(
            "the cluster could not {what} within {} s",
            limit.as_secs()
        ))),
    }
}

fn of_cluster(error: ClusterError) -> CliError {
    CliError::failed(error.to_string())
}
