//! What handlers share: the node's ports, and how a request becomes a change of the cluster.

use super::ports::{Cluster, Overview, Result};
use crate::error::ApiError;
use crate::lost::LostChunks;
use crate::metrics::Page;
use holdfast_consensus::WriteError;
use holdfast_consensus::command::{Command, Response};
use holdfast_consensus::model::{Actor, OperatorName};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The state that handlers share.
#[derive(Clone)]
pub(crate) struct App<B> {
    pub(crate) backend: B,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) lost: LostChunks,
    /// Limits players that wait for a first entry.
    pub(crate) opening: Arc<Semaphore>,
    pub(crate) page: Page,
}

impl<B> App<B> {
    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }
}

impl<B: Cluster + Sync> App<B> {
    /// # Errors
    /// `no-cluster`: this node belongs to none.
    pub(crate) fn state(&self) -> Result<Arc<ClusterState>> {
        self.backend.state().ok_or_else(ApiError::no_cluster)
    }

    /// # Errors
    /// `no-cluster`: this node belongs to none.
    pub(crate) async fn overview(&self) -> Result<Overview> {
        let overview = self.backend.overview().await;
        overview.ok_or_else(ApiError::no_cluster)
    }

    /// Makes the change that a request wants.
    ///
    /// # Errors
    /// The cluster rejects it, or takes no changes now.
    pub(crate) async fn change(&self, command: Command) -> Result<Response> {
        self.state()?;
        Ok(self.submit(command).await?)
    }

    /// Like [`App::change`], for callers that deal with rejections themselves.
    pub(crate) async fn submit(
        &self,
        command: Command,
    ) -> std::result::Result<Response, WriteError> {
        let entry = command.by(Actor::Operator(OperatorName::admin()), self.now());
        let (actor, what) = (entry.actor.to_string(), entry.to_string());
        let written = self.backend.write(entry).await;
        if written.is_ok() {
            tracing::info!(actor, what, "changed");
        }
        written
    }
}

/// For an answer that no command of this kind has.
pub(crate) fn unexpected(what: &str, response: &Response) -> ApiError {
    ApiError::internal(format!("{what} was answered with {response:?}"))
}
