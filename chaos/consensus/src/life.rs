//! A node's process, from its start until its power is cut.

use holdfast_consensus::Consensus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinHandle};

/// A running process.
pub(super) struct Life {
    pub(super) consensus: Consensus,
    pub(super) is_alive: Arc<AtomicBool>,
    /// Each node begins one write at a time: no seed determines the order in which tokio wakes
    /// several tasks that wait for a leader.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) routes: axum::Router,
    pub(super) handlers: Vec<AbortHandle>,
}

impl Life {
    pub(super) fn routes(&self) -> axum::Router {
        self.routes.clone()
    }

    /// Runs a request's handler, which ends with the process.
    pub(super) fn handle<T: Send + 'static>(
        &mut self,
        handler: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handlers.retain(|handler| !handler.is_finished());
        let handler = tokio::spawn(handler);
        self.handlers.push(handler.abort_handle());
        handler
    }
}
