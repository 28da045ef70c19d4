//! Begins and ends faults.

use super::Stage;
use crate::scenario::Action;
use crate::{Error, Result, wait, wall};
use holdfast_camera::{CameraHandle, Picture};
use holdfast_storage::ids::NodeId;
use reqwest::Method;
use std::time::Duration;

/// Releasing a camera needs a leader, and the processes that ended with the camera must be on
/// record.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(60);

/// The target of a fault, found when it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// By index.
    pub nodes: Vec<usize>,
    /// The nodes that do not hear them, in `one-way`.
    pub to: Vec<usize>,
    /// By the numbers in their stamps.
    pub cameras: Vec<u32>,
}

impl Stage {
    /// Starts a node's process.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self, index: usize) -> Result<()> {
        self.nodes.start(index)?;
        self.wanted.insert(index);
        let pid = self.nodes.pid(index);
        self.wires.set_process(index, pid);
        Ok(())
    }

    /// Begins a lasting fault, or performs a momentary one.
    ///
    /// # Errors
    /// [`Error::CannotRun`] if this stage cannot do it.
    pub async fn begin(&mut self, fault: usize, action: &Action, hit: &Hit) -> Result<()> {
        match action {
            Action::Kill | Action::Wipe => self.kill(&hit.nodes).await,
            Action::Stop => {
                for &index in &hit.nodes {
                    self.stop(index).await?;
                }
                Ok(())
            }
            Action::Pause => hit
                .nodes
                .iter()
                .try_for_each(|&index| self.nodes.pause(index, true)),
            Action::RollingRestart => self.rolling_restart().await,
            Action::Drain => self.drain(&hit.nodes, Method::POST).await,
            Action::Isolate
            | Action::Cut
            | Action::OneWay { .. }
            | Action::Split
            | Action::CameraPath => self.wires.begin(fault, action, &hit.nodes, &hit.to),
            Action::Loss { .. } | Action::Delay { .. } | Action::SlowLink { .. } => {
                self.wires.begin(fault, action, &hit.nodes, &hit.to)
            }
            Action::PowerCut => self.cut_power(&hit.nodes).await,
            Action::DiskEio | Action::DiskFull | Action::DiskSlow { .. } | Action::DiskHang => {
                self.spoil_disks(action, &hit.nodes, true)
            }
            Action::ClockStep { seconds } => self.set_clocks(&hit.nodes, *seconds),
            Action::HostileCamera { gallery, kbps } => self.hang(fault, gallery, *kbps).await,
            // The run kills its recorders, one after the other.
            Action::DeadlyCamera => Ok(()),
            Action::CameraStall
            | Action::CameraReboot
            | Action::CameraParameters
            | Action::CameraGarbage { .. } => {
                self.spoil_cameras(action, &hit.cameras, true);
                Ok(())
            }
        }
    }

    /// Takes back a lasting fault.
    ///
    /// # Errors
    /// If it cannot be taken back.
    pub async fn end(&mut self, fault: usize, action: &Action, hit: &Hit) -> Result<()> {
        match action {
            Action::Kill | Action::Stop => {
                hit.nodes.iter().try_for_each(|&index| self.start(index))
            }
            Action::Wipe => {
                for &index in &hit.nodes {
                    self.replace(index).await?;
                }
                Ok(())
            }
            Action::Pause => hit
                .nodes
                .iter()
                .try_for_each(|&index| self.nodes.pause(index, false)),
            Action::RollingRestart => Ok(()),
            Action::Drain => self.drain(&hit.nodes, Method::DELETE).await,
            Action::Isolate
            | Action::Cut
            | Action::OneWay { .. }
            | Action::Split
            | Action::CameraPath => self.wires.end(fault),
            Action::Loss { .. } | Action::Delay { .. } | Action::SlowLink { .. } => {
                self.wires.end(fault)
            }
            Action::PowerCut => {
                for &index in &hit.nodes {
                    self.disks[index].restore()?;
                }
                hit.nodes.iter().try_for_each(|&index| self.start(index))
            }
            Action::DiskEio | Action::DiskFull | Action::DiskSlow { .. } | Action::DiskHang => {
                self.spoil_disks(action, &hit.nodes, false)
            }
            Action::ClockStep { .. } => self.set_clocks(&hit.nodes, 0),
            Action::HostileCamera { .. } => self.take_down(fault).await,
            Action::DeadlyCamera => self.release(&hit.cameras).await,
            Action::CameraStall
            | Action::CameraReboot
            | Action::CameraParameters
            | Action::CameraGarbage { .. } => {
                self.spoil_cameras(action, &hit.cameras, false);
                Ok(())
            }
        }
    }

    /// Waits until every node that should run is ready.
    ///
    /// # Errors
    /// If a node is not ready in time.
    pub async fn wait_all_ready(&mut self) -> Result<()> {
        for index in self.wanted() {
            self.nodes.wait_ready(index).await?;
        }
        Ok(())
    }

    async fn kill(&mut self, indices: &[usize]) -> Result<()> {
        self.unwanted(indices);
        self.nodes.kill(indices).await
    }

    async fn stop(&mut self, index: usize) -> Result<()> {
        self.wanted.remove(&index);
        let stopped = self.nodes.stop(index).await;
        self.wires.set_process(index, None);
        stopped
    }

    fn unwanted(&mut self, indices: &[usize]) {
        for index in indices {
            self.wanted.remove(index);
            self.wires.set_process(*index, None);
        }
    }

    async fn rolling_restart(&mut self) -> Result<()> {
        for index in 0..self.nodes.len() {
            self.stop(index).await?;
            self.start(index)?;
            self.nodes.wait_ready(index).await?;
        }
        Ok(())
    }

    /// Replaces a node whose disks are lost, as an operator would: the old member is removed, and
    /// an empty one of the same name joins.
    async fn replace(&mut self, index: usize) -> Result<()> {
        let others = self.wanted().into_iter().find(|&other| other != index);
        let via = others.ok_or_else(|| Error::Wrong("no other node runs".to_owned()))?;
        let api = self.nodes.api(via)?;
        let nodes: Vec<holdfast_control_api::wire::Node> = api.get(&["nodes"], &[]).await?;
        let id = id_of(&nodes, self.nodes.name(index))?;
        api.delete(&["nodes", &id.to_string()], &[("force", "true")])
            .await?;
        self.nodes.wipe(index)?;
        self.start(index)?;
        self.nodes.join(index, via).await
    }

    async fn cut_power(&mut self, indices: &[usize]) -> Result<()> {
        self.unwanted(indices);
        for &index in indices {
            self.disk(index)?.cut()?;
        }
        self.nodes.kill(indices).await
    }

    fn disk(&self, index: usize) -> Result<&super::disks::Disk> {
        self.disks.get(index).ok_or_else(|| {
            Error::CannotRun("these nodes have no disks that can be spoiled".to_owned())
        })
    }

    fn spoil_disks(&self, action: &Action, indices: &[usize], spoiled: bool) -> Result<()> {
        for &index in indices {
            let disk = self.disk(index)?;
            match action {
                Action::DiskEio => disk.fail(spoiled)?,
                Action::DiskFull => disk.fill(spoiled)?,
                Action::DiskHang => disk.hang(spoiled)?,
                Action::DiskSlow { kbps } => disk.limit(spoiled.then_some(kbps * 1000 / 8))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn set_clocks(&self, indices: &[usize], ahead_seconds: i64) -> Result<()> {
        for &index in indices {
            if let Some(config) = self.nodes.config_path(index) {
                wall::set(config, ahead_seconds)?;
            }
        }
        Ok(())
    }

    fn spoil_cameras(&self, action: &Action, numbers: &[u32], spoiled: bool) {
        for camera in self
            .side
            .cameras()
            .filter(|camera| numbers.contains(&camera.id()))
        {
            spoil_camera(action, &camera, spoiled);
        }
    }

    /// Whether the camera with this number has a session.
    #[must_use]
    pub fn has_session(&self, number: u32) -> bool {
        self.side
            .cameras()
            .any(|camera| camera.id() == number && camera.sessions() > 0)
    }

    /// Releases cameras that do no harm any more, as an operator would.
    async fn release(&mut self, numbers: &[u32]) -> Result<()> {
        self.wait_all_ready().await?;
        let released = self
            .cameras
            .iter()
            .filter(|(camera, _)| numbers.contains(&camera.handle.id()));
        let ids: Vec<String> = released.map(|(camera, _)| camera.id.to_string()).collect();
        for id in ids {
            wait::until("the camera is released", RELEASE_TIMEOUT, async || {
                let asked = self.wanted().into_iter().next().ok_or("no node runs")?;
                let api = self.nodes.api(asked).map_err(|error| error.to_string())?;
                let answer = api
                    .call(Method::POST, &["cameras", &id, "release"], None::<&()>)
                    .await;
                let camera: holdfast_control_api::wire::Camera =
                    serde_json::from_value(answer.map_err(|error| error.to_string())?)
                        .map_err(|error| error.to_string())?;
                // Ends of processes that could not be recorded without a leader are recorded now.
                if camera.held_back.is_none() {
                    Ok(())
                } else {
                    Err(format!("it is held back: {camera:?}"))
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn drain(&self, indices: &[usize], method: Method) -> Result<()> {
        let Some(asked) = self.wanted().into_iter().next() else {
            return Err(Error::Wrong("no node runs".to_owned()));
        };
        let api = self.nodes.api(asked)?;
        let nodes: Vec<holdfast_control_api::wire::Node> = api.get(&["nodes"], &[]).await?;
        for &index in indices {
            let id = id_of(&nodes, self.nodes.name(index))?;
            api.call(
                method.clone(),
                &["nodes", &id.to_string(), "drain"],
                None::<&()>,
            )
            .await?;
        }
        Ok(())
    }
}

fn id_of(nodes: &[holdfast_control_api::wire::Node], name: &str) -> Result<NodeId> {
    let found = nodes.iter().find(|node| node.name == name);
    found
        .map(|node| node.id)
        .ok_or_else(|| Error::Wrong(format!("the cluster knows no node {name}")))
}

fn spoil_camera(action: &Action, camera: &CameraHandle, spoiled: bool) {
    match (action, spoiled) {
        (Action::CameraStall, true) => camera.freeze(),
        (Action::CameraStall, false) => camera.resume(),
        // A booting camera captures nothing.
        (Action::CameraReboot, true) => {
            camera.freeze();
            camera.switch_off();
        }
        (Action::CameraReboot, false) => {
            camera.switch_on();
            camera.resume();
        }
        (Action::CameraParameters, true) => camera.set_picture(Picture::Small),
        (Action::CameraParameters, false) => camera.set_picture(Picture::Main),
        (Action::CameraGarbage { frames }, true) => camera.garbage_frames(*frames),
        _ => {}
    }
}
