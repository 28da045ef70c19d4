//! Drills of failover on schedule, if the settings have one and all is well.

use crate::clock::Clock;
use crate::footage::cluster_footage::View;
use crate::member::ticks::ticks;
use holdfast_consensus::Consensus;
use holdfast_consensus::command::Command;
use holdfast_consensus::decide::drill::{Drilled, QUIET_BEFORE, begin, due};
use holdfast_consensus::decide::headroom::Headroom;
use holdfast_consensus::model::Actor;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the leader looks whether it is a camera's turn.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Cameras whose turn it is that are considered in one look.
const TRIED_MAX: usize = 16;

/// Begins scheduled drills while this node leads and all is well; runs as long as the node does.
pub(crate) async fn keep_schedule(
    consensus: Consensus,
    view: View,
    headroom: watch::Receiver<Option<Arc<Headroom>>>,
    clock: Clock,
) {
    let leadership = consensus.leadership();
    let mut looks = ticks(LOOK_INTERVAL);
    let mut well_since: Option<Duration> = None;
    loop {
        looks.tick().await;
        let (state, sight) = (consensus.state(), Arc::clone(&view.sight.borrow()));
        let survives = headroom
            .borrow()
            .as_ref()
            .is_some_and(|headroom| headroom.survives_any_node);
        let is_well = leadership.borrow().is_leader
            && survives
            && state.nodes.keys().all(|node| sight.can_record(node));
        let since = well_since.get_or_insert(clock.elapsed());
        let has_been_well = clock.elapsed().saturating_sub(*since) >= QUIET_BEFORE;
        if !is_well {
            well_since = None;
            continue;
        }
        if !has_been_well {
            continue;
        }
        // A camera that cannot be tried for a passing reason does not keep the others waiting.
        let tried = due(&state, clock.now()).into_iter().take(TRIED_MAX);
        let begun = tried.map(|camera| {
            begin(
                Drilled::Camera(camera),
                true,
                (&state, &sight, view.me),
                clock.now(),
            )
        });
        let Some(command) = begun.into_iter().find(can_begin) else {
            continue;
        };
        let what = command.to_string();
        let entry = command.by(Actor::Node(view.me), clock.now());
        if let Err(error) = consensus.propose_as_leader(entry).await {
            tracing::warn!(%what, %error, "a scheduled drill was not begun");
        }
    }
}

/// Whether the drill begins, or reports at once that failover would not work.
fn can_begin(command: &Command) -> bool {
    let Command::BeginDrill { starts, .. } = command else {
        return false;
    };
    starts.iter().all(|start| {
        start
            .refusal
            .as_ref()
            .is_none_or(|refusal| refusal.is_failure)
    })
}
