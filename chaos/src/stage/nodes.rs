//! The nodes of a run: processes that it started, or nodes of a cluster that was already running.

use super::attached::Attach;
use crate::site::STOP_TIMEOUT;
use crate::{Error, Result, io_error, wait};
use holdfast_node::client::Api;
use holdfast_node::demo::cluster::{Cluster, READY_TIMEOUT};
use rustix::process::Signal;
use std::path::Path;

#[derive(Debug)]
pub(super) enum Nodes {
    Own(Box<Cluster>),
    Attached(Attach),
}

impl Nodes {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Own(cluster) => cluster.len(),
            Self::Attached(attach) => attach.nodes.len(),
        }
    }

    pub(super) fn name(&self, index: usize) -> &str {
        match self {
            Self::Own(cluster) => cluster.name(index),
            Self::Attached(attach) => &attach.nodes[index].name,
        }
    }

    /// # Errors
    /// If no client can be set up.
    pub(super) fn api(&self, index: usize) -> Result<Api> {
        match self {
            Self::Own(cluster) => Ok(cluster.api(index)?),
            Self::Attached(attach) => attach.api(index),
        }
    }

    /// `http://host:port`.
    pub(super) fn api_url(&self, index: usize) -> String {
        match self {
            Self::Own(cluster) => cluster.api_url(index),
            Self::Attached(attach) => attach.nodes[index].api.trim_end_matches('/').to_owned(),
        }
    }

    pub(super) fn token(&self) -> &str {
        match self {
            Self::Own(cluster) => &cluster.token().0,
            Self::Attached(attach) => attach.token(),
        }
    }

    /// The node's process; `None` if it does not run, or belongs to an attached cluster.
    pub(super) fn pid(&mut self, index: usize) -> Option<u32> {
        match self {
            Self::Own(cluster) => cluster
                .is_running(index)
                .then(|| cluster.pid(index))
                .flatten(),
            Self::Attached(_) => None,
        }
    }

    /// Whether its process has ended; always false for a node of an attached cluster.
    pub(super) fn has_ended(&mut self, index: usize) -> bool {
        match self {
            Self::Own(cluster) => !cluster.is_running(index),
            Self::Attached(_) => false,
        }
    }

    pub(super) fn log_path(&self, index: usize) -> Option<&Path> {
        match self {
            Self::Own(cluster) => Some(cluster.log_path(index)),
            Self::Attached(_) => None,
        }
    }

    pub(super) fn config_path(&self, index: usize) -> Option<&Path> {
        match self {
            Self::Own(cluster) => Some(cluster.config_path(index)),
            Self::Attached(_) => None,
        }
    }

    /// Sends SIGKILL to all of them before it waits for any.
    ///
    /// # Errors
    /// If a node does not run, or its command fails.
    pub(super) async fn kill(&mut self, indices: &[usize]) -> Result<()> {
        match self {
            Self::Own(cluster) => {
                // A node that an earlier fault has ended stays down.
                let running: Vec<usize> = indices
                    .iter()
                    .copied()
                    .filter(|&index| cluster.is_running(index))
                    .collect();
                for &index in &running {
                    cluster.signal(index, Signal::KILL)?;
                }
                for index in running {
                    cluster.kill(index).await?;
                }
                Ok(())
            }
            Self::Attached(attach) => indices
                .iter()
                .try_for_each(|&index| attach.command("kill", index)),
        }
    }

    /// Sends SIGTERM, and waits for the orderly end.
    ///
    /// # Errors
    /// If the node does not end in time, or not successfully.
    pub(super) async fn stop(&mut self, index: usize) -> Result<()> {
        match self {
            Self::Own(cluster) => {
                let status = cluster.stop(index, STOP_TIMEOUT).await?;
                if status.success() {
                    return Ok(());
                }
                Err(Error::Wrong(format!(
                    "{} was asked to stop and ended with {status}",
                    cluster.name(index)
                )))
            }
            Self::Attached(attach) => attach.command("stop", index),
        }
    }

    /// Starts the node; does nothing if it runs.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(&mut self, index: usize) -> Result<()> {
        match self {
            Self::Own(cluster) => Ok(cluster.start(index)?),
            Self::Attached(attach) => attach.command("start", index),
        }
    }

    /// Deletes the node's state and recordings. The node must not be running.
    ///
    /// # Errors
    /// If they cannot be deleted, or belong to an attached cluster.
    pub(super) fn wipe(&self, index: usize) -> Result<()> {
        let Self::Own(cluster) = self else {
            return Err(Error::CannotRun(
                "an attached cluster's nodes are not wiped".to_owned(),
            ));
        };
        let config = cluster.config(index);
        let folders = config
            .volume_paths()
            .into_iter()
            .chain([config.data_dir.clone()]);
        for folder in folders.filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(&folder)
                .map_err(io_error(format!("delete {}", folder.display())))?;
        }
        Ok(())
    }

    /// Has an empty node join the cluster of another.
    ///
    /// # Errors
    /// If it is rejected or does not become ready.
    pub(super) async fn join(&mut self, index: usize, via: usize) -> Result<()> {
        let Self::Own(cluster) = self else {
            return Ok(());
        };
        cluster.wait_healthy(index).await?;
        Ok(cluster.join(index, via).await?)
    }

    /// # Errors
    /// If it does not become ready in time.
    pub(super) async fn wait_ready(&mut self, index: usize) -> Result<()> {
        match self {
            Self::Own(cluster) => Ok(cluster.wait_ready(index).await?),
            Self::Attached(attach) => {
                let api = attach.api(index)?;
                wait::until("the node is ready", READY_TIMEOUT, async || {
                    api.probe("/readyz")
                        .await
                        .map_err(|error| error.to_string())
                })
                .await
            }
        }
    }

    /// Sends SIGSTOP or SIGCONT.
    ///
    /// # Errors
    /// If it does not run, or its command fails.
    pub(super) fn pause(&mut self, index: usize, paused: bool) -> Result<()> {
        match self {
            Self::Own(cluster) => {
                Ok(cluster.signal(index, if paused { Signal::STOP } else { Signal::CONT })?)
            }
            Self::Attached(attach) => {
                attach.command(if paused { "pause" } else { "resume" }, index)
            }
        }
    }
}
