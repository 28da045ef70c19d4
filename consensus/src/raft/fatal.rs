//! The one-way signal that this node's vote or log is no longer safe, or that Raft is no longer
//! running: the node must stop.

use std::sync::Arc;
use tokio::sync::watch;

/// Raised once, never cleared.
#[derive(Clone, Debug)]
pub(crate) struct FatalSignal(Arc<watch::Sender<Option<String>>>);

impl FatalSignal {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(crate) fn raise(&self, why: String) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            if first {
                tracing::error!(error = %why, "consensus stops on this node");
                *raised = Some(why);
            }
            first
        });
    }

    pub(crate) fn raised(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}
