//! Tells the volumes what retention may not delete.
//!
//! Volumes delete nothing before they are told. They are told what the cluster holds: once this node has seen all that was committed before it started, so that
//! a hold that was made while it was away counts before its first deletion; or, where no leader is found for a while, what its own state machine knows.

use super::clock::Clock;
use super::volumes::Volumes;
use holdfast_consensus::Consensus;
use holdfast_consensus::command::Command;
use holdfast_consensus::model::{Actor, NodeSpec};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Hold, Holds};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long deletion waits for a leader. A disk with [`crate::config::Storage::free_bytes_min`] free lasts longer.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(15);

const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Runs until consensus is gone.
pub(super) async fn tell_holds(consensus: Consensus, volumes: Volumes, (node, clock): (NodeId, Clock), spec: NodeSpec) {
    if timeout(LEADER_WAIT_MAX, catch_up(&consensus, (node, clock), &spec)).await.is_err() {
        tracing::warn!("no leader is found: retention goes by the holds that this node knew when it stopped");
    }
    let mut state = consensus.subscribe();
    let mut told: Option<Holds> = None;
    loop {
        let holds = holds_of(&state.borrow_and_update());
        if told.as_ref() != Some(&holds) {
            volumes.set_holds(&holds);
            told = Some(holds);
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Ends when this node knows all that was committed before it was called. Repeating what the cluster knows of this node changes nothing.
async fn catch_up(consensus: &Consensus, (node, clock): (NodeId, Clock), spec: &NodeSpec) {
    let mut state = consensus.subscribe();
    if state.wait_for(|state| state.nodes.contains(node)).await.is_err() {
        return;
    }
    let report = || Command::ReportForDuty { node, spec: spec.clone() }.by(Actor::Node(node), clock.now());
    while !consensus.write_and_see(report()).await {
        sleep(LOOK_INTERVAL).await;
    }
}

fn holds_of(state: &ClusterState) -> Holds {
    let hold = |hold: &holdfast_consensus::model::Hold| Hold {
        camera: hold.spec.camera,
        from: hold.spec.from,
        to: hold.spec.to.unwrap_or(Timestamp::MAX),
    };
    state.holds.values().map(hold).collect()
}
