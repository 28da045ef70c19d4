//! What the next failure would cost, kept up to date in the background.

use crate::footage::cluster_footage::View;
use crate::member::ticks::ticks;
use holdfast_consensus::Consensus;
use holdfast_consensus::decide::headroom::{self, Headroom};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::NodeId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// How often to check whether the answer may have changed. For 100 nodes with 10,000 cameras the
/// computation takes a tenth of a second.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks after which it is computed again in any case: cameras send more or less than they did.
const LOOKS_MAX: u32 = 10;

/// What the answer depends on, except for the bitrates.
#[derive(PartialEq, Eq)]
struct Basis {
    state: Arc<ClusterState>,
    can_record: BTreeSet<NodeId>,
}

impl Basis {
    fn of(state: Arc<ClusterState>, sight: &Sight) -> Self {
        let can_record = state
            .nodes
            .keys()
            .filter(|node| sight.can_record(*node))
            .collect();
        Self { state, can_record }
    }

    fn is_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state) && self.can_record == other.can_record
    }
}

/// Keeps `published` current; never ends by itself.
pub(crate) async fn watch(
    consensus: Consensus,
    view: View,
    published: watch::Sender<Option<Arc<Headroom>>>,
) {
    let mut looks = ticks(LOOK_INTERVAL);
    let mut last: Option<Basis> = None;
    let mut looked = 0;
    loop {
        looks.tick().await;
        looked += 1;
        let basis = Basis::of(consensus.state(), &view.sight.borrow());
        if looked < LOOKS_MAX && last.as_ref().is_some_and(|last| last.is_as(&basis)) {
            continue;
        }
        looked = 0;
        let seen = view.whole_sight().await;
        let state = Arc::clone(&basis.state);
        last = Some(basis);
        match spawn_blocking(move || headroom::of_sight(&state, &seen)).await {
            Ok(headroom) => _ = published.send_replace(Some(Arc::new(headroom))),
            Err(error) => tracing::error!(%error, "computing the failover headroom failed"),
        }
    }
}
