//! Applies committed entries to [`ClusterState`] and publishes the result, once per batch. The
//! state is in memory; snapshot plus log rebuild it.

use super::snapshot_file::{SnapshotFile, SnapshotImage};
use super::{Entry, LogId, Outcome, Runtime, SnapshotMeta, StoredMembership, TypeConfig};
use crate::codec::{self, Finalized};
use crate::command::Response;
use crate::state::ClusterState;
use futures::{Stream, TryStreamExt};
use openraft::OptionalSend;
use openraft::async_runtime::AsyncRuntime as _;
use openraft::entry::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) type RaftSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Vec<u8>>;

pub(crate) struct StateMachine {
    state: ClusterState,
    applied: Option<LogId>,
    membership: StoredMembership,
    file: SnapshotFile,
    finalized: Finalized,
    published: watch::Sender<Arc<ClusterState>>,
    #[cfg(feature = "simulation")]
    pub(crate) witness: Option<Arc<dyn super::simulated_disk::Witness>>,
}

impl StateMachine {
    /// Starts from the snapshot in `dir`, if there is one. Raises `finalized` with each state.
    pub(crate) fn open(dir: &Path, finalized: Finalized) -> io::Result<Self> {
        super::private_dir(dir)?;
        let file = SnapshotFile::new(dir, finalized.clone());
        let image = file.read()?;
        let mut machine = Self {
            state: ClusterState::default(),
            applied: None,
            membership: StoredMembership::default(),
            file,
            finalized,
            published: watch::Sender::new(Arc::default()),
            #[cfg(feature = "simulation")]
            witness: None,
        };
        if let Some(image) = image {
            machine.take(&image.meta, &image.state)?;
        }
        Ok(machine)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.published.subscribe()
    }

    /// The last entry that the state includes.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    pub(crate) fn state(&self) -> &ClusterState {
        &self.state
    }

    pub(crate) fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    fn take(&mut self, meta: &SnapshotMeta, state: &[u8]) -> io::Result<()> {
        let unreadable =
            |error| io::Error::new(io::ErrorKind::InvalidData, format!("a snapshot: {error}"));
        self.state = codec::decode(state).map_err(unreadable)?;
        self.finalized.raise_to(self.state.version);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
        #[cfg(feature = "simulation")]
        self.report_installed();
        Ok(())
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn report_installed(&self) {
        if let (Some(witness), Some(id)) = (&self.witness, self.applied) {
            witness.installed(id.index, &self.state);
        }
    }

    fn publish(&self) {
        self.published.send_replace(Arc::new(self.state.clone()));
    }

    pub(crate) fn apply_entry(&mut self, entry: Entry) -> Outcome {
        self.applied = Some(entry.log_id);
        #[cfg(feature = "simulation")]
        let applied = entry.clone();
        let outcome = match entry.payload {
            EntryPayload::Blank => Outcome(Ok(Response::Done)),
            EntryPayload::Normal(entry) => {
                let outcome = self.state.apply(entry);
                self.finalized.raise_to(self.state.version);
                Outcome(outcome)
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Outcome(Ok(Response::Done))
            }
        };
        #[cfg(feature = "simulation")]
        self.report_applied(&applied);
        outcome
    }

    #[cfg(feature = "simulation")]
    fn report_applied(&self, entry: &Entry) {
        let logged = match &entry.payload {
            EntryPayload::Normal(logged) => Some(logged),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        if let Some(witness) = &self.witness {
            let id = &entry.log_id;
            witness.applied(super::simulated_disk::Applied {
                term: id.leader_id.term,
                index: id.index,
                entry: logged,
                state: &self.state,
            });
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    /// Answers only after publishing, so that clients read what they wrote.
    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcome = self.apply_entry(entry);
            answers.extend(responder.map(|responder| (responder, outcome)));
        }
        self.publish();
        answers
            .into_iter()
            .for_each(|(responder, outcome)| responder.send(outcome));
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        Builder {
            meta,
            state: self.state.clone(),
            file: self.file.clone(),
            finalized: self.finalized.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Vec<u8>) -> io::Result<()> {
        self.take(meta, &snapshot)?;
        let image = SnapshotImage {
            meta: meta.clone(),
            state: snapshot,
        };
        let file = self.file.clone();
        blocking(move || file.write(&image)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        let file = self.file.clone();
        let image = blocking(move || file.read()).await?;
        Ok(image.map(|image| Snapshot {
            meta: image.meta,
            snapshot: image.state,
        }))
    }
}

/// A view of the state at one entry, written out while later entries are applied.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    state: ClusterState,
    file: SnapshotFile,
    finalized: Finalized,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let (meta, state, file) = (self.meta.clone(), self.state.clone(), self.file.clone());
        let finalized = self.finalized.clone();
        let image = blocking(move || {
            let state = codec::encode(&state, &finalized).map_err(io::Error::other)?;
            let image = SnapshotImage { meta, state };
            file.write(&image).map(|()| image)
        });
        let SnapshotImage { meta, state } = image.await?;
        Ok(Snapshot {
            meta,
            snapshot: state,
        })
    }
}

/// Runs file work off the runtime's threads. No deadline: a snapshot is complete or does not exist.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    Runtime::spawn_blocking(work).await?
}
