//! Has the volumes keep the names of the cameras, as the cluster knows them.

use crate::clock::Clock;
use crate::member::ticks::ticks;
use crate::volumes::{Names, Volumes};
use holdfast_consensus::Consensus;
use holdfast_consensus::model::CameraName;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::CurrentName;
use std::sync::Arc;
use std::time::Duration;

/// How often to look; changes of several cameras in a row are written once.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Runs as long as the member.
pub(crate) async fn keep_names(consensus: Consensus, volumes: Volumes, clock: Clock) {
    let mut seen: Option<(Arc<ClusterState>, Names)> = None;
    let mut looks = ticks(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        let state = consensus.state();
        // Before it has caught up, a member that has just joined knows no camera.
        if state.cluster.is_some() {
            let same = seen.as_ref().filter(|(before, _)| is_same(before, &state));
            let names = same.map_or_else(
                || Arc::new(names_of(&state)),
                |(_, names)| Arc::clone(names),
            );
            volumes.keep_names(&names, clock.now());
            seen = Some((state, names));
        }
    }
}

fn is_same(before: &ClusterState, now: &ClusterState) -> bool {
    before.cameras.is_same(&now.cameras) && before.former.is_same(&now.former)
}

fn names_of(state: &ClusterState) -> Vec<CurrentName> {
    let recorded = state
        .cameras
        .values()
        .map(|camera| (camera.id, &camera.spec.name, None));
    let former = state
        .former
        .values()
        .map(|former| (former.id, &former.name, Some(former.since)));
    let name = |(camera, name, deleted): (_, &CameraName, _)| CurrentName {
        camera,
        name: name.to_string(),
        deleted,
    };
    recorded.chain(former).map(name).collect()
}
