//! `holdfast cluster recover`: the stopped node of a data directory begins its cluster's next
//! generation.
//!
//! The new generation gets a Raft folder of its own, which counts for nothing until `identity.json`
//! names the generation. That file is replaced in one step, so a recovery that is interrupted has
//! either happened or not; a retry begins from the start.

use crate::host::identity::{Identity, IdentityError};
use holdfast_consensus::generation::ClusterGeneration;
use holdfast_consensus::model::Node;
use holdfast_consensus::recovery::{RecoveryError as RemainsError, Remains};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error("{} is of no member of a cluster: there is no identity.json in it", .0.display())]
    NoIdentity(PathBuf),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error(
        "{} belongs to user {owner}, and this is user {user}: what would be written could not be \
         read by the node",
        dir.display()
    )]
    Owner { dir: PathBuf, owner: u32, user: u32 },
    #[error("{0}")]
    Remains(#[from] RemainsError),
    #[error("cannot look at {}: {error}", dir.display())]
    Dir { dir: PathBuf, error: io::Error },
    #[error("interrupted: {0}")]
    Interrupted(io::Error),
}

/// What a recovery has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The new generation is written, but counts for nothing yet.
    Written,
    /// The node belongs to the new generation.
    Done,
}

/// A stopped node that can be recovered. As long as this exists, the node cannot start.
pub(crate) struct Survivor {
    pub(crate) data_dir: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) remains: Remains,
}

#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) generation: ClusterGeneration,
    pub(crate) dropped: Vec<Node>,
    /// The folder of the former generation: what it agreed on, as far as this node knew. The node
    /// needs it no more.
    pub(crate) kept: PathBuf,
}

impl Survivor {
    /// # Errors
    /// The node runs, has no data, or its data cannot be read.
    pub(crate) async fn find(data_dir: &Path) -> Result<Self, RecoveryError> {
        let identity = Identity::load(data_dir)?
            .ok_or_else(|| RecoveryError::NoIdentity(data_dir.to_owned()))?;
        let owner = std::fs::metadata(data_dir);
        let owner = owner
            .map_err(|error| RecoveryError::Dir {
                dir: data_dir.to_owned(),
                error,
            })?
            .uid();
        let user = rustix::process::geteuid().as_raw();
        if owner != user {
            return Err(RecoveryError::Owner {
                dir: data_dir.to_owned(),
                owner,
                user,
            });
        }
        let remains = Remains::open(identity.raft_dir(data_dir), identity.node).await?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            identity,
            remains,
        })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.identity.node
    }

    /// `between` is called after each step; its failure interrupts the recovery.
    ///
    /// # Errors
    /// Then either nothing has happened, or (after [`Step::Done`]) all of it.
    pub(crate) async fn recover(
        &self,
        at: Timestamp,
        mut between: impl FnMut(Step) -> io::Result<()>,
    ) -> Result<Recovered, RecoveryError> {
        let id = Uuid::new_v4();
        let next =
            |generation| Identity::new(self.identity.cluster, self.identity.node, generation);
        let number = self.remains.generation().number + 1;
        let folder = next(ClusterGeneration {
            number,
            id,
            recovered: None,
        })
        .raft_dir(&self.data_dir);
        let (generation, dropped) = self.remains.write(folder, id, at).await?;
        between(Step::Written).map_err(RecoveryError::Interrupted)?;
        next(generation).save(&self.data_dir)?;
        between(Step::Done).map_err(RecoveryError::Interrupted)?;
        Ok(Recovered {
            generation,
            dropped,
            kept: self.identity.raft_dir(&self.data_dir),
        })
    }
}

#[cfg(test)]
mod tests;
