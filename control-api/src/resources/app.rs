//! What handlers share.

use crate::lost::LostChunks;
use crate::metrics::Page;
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
