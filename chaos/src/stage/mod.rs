//! The environment of a scenario: nodes, cameras, wires, disks and clocks, and the operations on
//! them.
//!
//! `rules` decides what a network fault does to which direction; the other modules touch the world.

mod attached;
mod camera_side;
mod disks;
mod gallery;
mod lag;
mod leftovers;
pub mod namespaces;
mod nodes;
mod owner;
mod perform;
mod prepare;
mod programs;
mod proxies;
mod rules;
mod wires;
mod wrapper;

pub use attached::{Attach, AttachedNode};
pub use gallery::{Gone, hostile_name};
pub use leftovers::clean;
pub use namespaces::Namespaces;
pub use perform::Hit;
pub use prepare::StageOptions;
pub use rules::Party;

use crate::faulty::ResumesOnDrop;
use crate::scenario::Class;
use crate::site::SiteCamera;
use crate::{Result, io_error, wall, web};
use camera_side::CameraSide;
use disks::Disk;
use holdfast_node::client::Api;
use holdfast_storage::ids::CameraId;
use leftovers::Folder;
use nodes::Nodes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use wires::Wires;

/// Dropping it ends every process, unmounts every disk and removes every file.
#[derive(Debug)]
pub struct Stage {
    // In the order in which they must be dropped: the kernel ends no process whose disk hangs,
    // processes hold files on disks, disks are in the folder.
    _resumes: Vec<ResumesOnDrop>,
    nodes: Nodes,
    disks: Vec<Disk>,
    side: CameraSide,
    cameras: Vec<(SiteCamera, Class)>,
    wires: Wires,
    /// Hostile cameras that the cluster has now.
    gallery: Vec<gallery::Hung>,
    /// Hostile cameras that were deleted.
    gone: Vec<Gone>,
    has_wall_clocks: bool,
    /// Nodes that should be running.
    wanted: BTreeSet<usize>,
    folder: Folder,
}

impl Stage {
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        (0..self.nodes.len())
            .map(|index| self.nodes.name(index).to_owned())
            .collect()
    }

    /// The cameras of the run with their classes, once they are added.
    #[must_use]
    pub fn cameras(&self) -> &[(SiteCamera, Class)] {
        &self.cameras
    }

    /// The cameras' names in this run, by the cluster's ids.
    #[must_use]
    pub fn camera_names(&self) -> BTreeMap<CameraId, String> {
        self.cameras
            .iter()
            .map(|(camera, _)| (camera.id, camera.name.clone()))
            .collect()
    }

    /// A client of each node's API, by index.
    ///
    /// # Errors
    /// If no client can be set up.
    pub fn clients(&self) -> Result<Vec<(String, Api)>> {
        (0..self.nodes.len())
            .map(|index| Ok((self.nodes.name(index).to_owned(), self.nodes.api(index)?)))
            .collect()
    }

    /// `http://host:port` of each node's API, by index.
    #[must_use]
    pub fn api_urls(&self) -> Vec<String> {
        (0..self.nodes.len())
            .map(|index| self.nodes.api_url(index))
            .collect()
    }

    #[must_use]
    pub fn token(&self) -> &str {
        self.nodes.token()
    }

    /// Nodes that should be running, by index.
    #[must_use]
    pub fn wanted(&self) -> Vec<usize> {
        self.wanted.iter().copied().collect()
    }

    /// Processes of the nodes that should be running, by index; none for an attached cluster.
    #[must_use]
    pub fn pids(&mut self) -> Vec<(usize, u32)> {
        let wanted = self.wanted();
        wanted
            .into_iter()
            .filter_map(|index| Some((index, self.nodes.pid(index)?)))
            .collect()
    }

    /// Nodes that ended by themselves; each is returned once.
    #[must_use]
    pub fn ended_by_themselves(&mut self) -> Vec<usize> {
        let ended: Vec<usize> = self
            .wanted
            .iter()
            .copied()
            .filter(|&index| self.nodes.has_ended(index))
            .collect();
        for index in &ended {
            self.wanted.remove(index);
            self.wires.set_process(*index, None);
        }
        ended
    }

    /// Copies the nodes' logs and last metrics into a folder.
    ///
    /// # Errors
    /// If they cannot be written. The metrics of a node that does not answer are left out.
    pub async fn save_to(&self, folder: &Path) -> Result<()> {
        for index in 0..self.nodes.len() {
            let name = self.nodes.name(index);
            if let Some(log) = self.nodes.log_path(index).filter(|log| log.exists()) {
                let copy = folder.join(format!("{name}.log"));
                fs::copy(log, &copy).map_err(io_error(format!(
                    "copy {} to {}",
                    log.display(),
                    copy.display()
                )))?;
            }
            let url = format!("{}/metrics", self.nodes.api_url(index));
            let asked = web::send(
                reqwest::Method::GET,
                &url,
                Some(self.nodes.token()),
                None::<&()>,
            )
            .await;
            if let Ok(page) = asked {
                let path = folder.join(format!("{name}.metrics"));
                fs::write(&path, page.text())
                    .map_err(io_error(format!("write {}", path.display())))?;
            }
        }
        Ok(())
    }

    /// A node's log so far; empty for a node of an attached cluster.
    #[must_use]
    pub fn log_of(&self, index: usize) -> String {
        let bytes = self
            .nodes
            .log_path(index)
            .and_then(|path| fs::read(path).ok())
            .unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The folder of configurations, logs and recordings.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.has_wall_clocks {
            let configs = (0..self.nodes.len()).filter_map(|index| self.nodes.config_path(index));
            configs.for_each(wall::clean_up);
        }
    }
}
