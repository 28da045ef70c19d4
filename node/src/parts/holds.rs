//! Passes to the volumes which footage retention may not delete: held footage, and footage that is
//! kept for exports.
//!
//! Volumes delete nothing before they have the holds. They get the cluster's holds: once this node
//! has seen all that was committed before it started, so that a hold that was made while it was
//! away counts before its first deletion; or, if no leader is found for a while, the holds in its
//! own state machine.

use crate::clock::Clock;
use crate::volumes::Volumes;
use holdfast_consensus::Consensus;
use holdfast_consensus::command::Command;
use holdfast_consensus::model::{Actor, NodeSpec};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Hold, Holds};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long deletion waits for a leader. A disk with [`crate::config::Storage::free_bytes_min`]
/// free lasts longer.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(15);

const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How late the expiry of an export may be noticed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Runs until consensus is gone.
pub(crate) async fn publish_holds(
    consensus: Consensus,
    volumes: Volumes,
    (node, clock): (NodeId, Clock),
    spec: NodeSpec,
) {
    if timeout(LEADER_WAIT_MAX, catch_up(&consensus, (node, clock), &spec))
        .await
        .is_err()
    {
        tracing::warn!(
            "no leader is found: retention goes by the holds that this node knew when it stopped"
        );
    }
    let mut state = consensus.subscribe();
    let mut last: Option<Holds> = None;
    loop {
        // While the clock is not certain no export expires.
        let now = volumes.time().is_trusted.then(|| clock.now());
        let holds = holds_of(&state.borrow_and_update(), now);
        if last.as_ref() != Some(&holds) {
            volumes.set_holds(&holds);
            last = Some(holds);
        }
        if let Ok(Err(_)) = timeout(EXPIRY_INTERVAL, state.changed()).await {
            return;
        }
    }
}

/// Ends when this node knows all that was committed before it was called. Reporting again what the
/// cluster knows of this node changes nothing.
async fn catch_up(consensus: &Consensus, (node, clock): (NodeId, Clock), spec: &NodeSpec) {
    let mut state = consensus.subscribe();
    if state
        .wait_for(|state| state.nodes.contains(node))
        .await
        .is_err()
    {
        return;
    }
    let report = || {
        Command::ReportForDuty {
            node,
            spec: spec.clone(),
        }
        .by(Actor::Node(node), clock.now())
    };
    while !consensus.write_and_see(report()).await {
        sleep(LOOK_INTERVAL).await;
    }
}

fn holds_of(state: &ClusterState, now: Option<Timestamp>) -> Holds {
    let held = state.holds.values().map(|hold| Hold {
        camera: hold.spec.camera,
        from: hold.spec.from,
        to: hold.spec.to.unwrap_or(Timestamp::MAX),
    });
    let exports = state
        .exports
        .values()
        .filter(|export| now.is_none_or(|now| export.expires_at() > now));
    let exported = exports.flat_map(|export| {
        let (from, to) = (export.spec.from, export.spec.to);
        export.spec.cameras.iter().map(move |camera| Hold {
            camera: *camera,
            from,
            to,
        })
    });
    held.chain(exported).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::model::{EXPORT_KEPT, ExportSpec, KeyHash};
    use holdfast_storage::ids::CameraId;
    use uuid::Uuid;

    const AT: Timestamp = Timestamp(1_795_341_600_000_000);

    #[test]
    fn what_is_exported_is_held_until_the_export_expires() {
        let mut state = ClusterState::default();
        let mut apply = |command: Command| state.apply(command.by(Actor::System, AT)).unwrap();
        apply(Command::Initialize {
            cluster: Uuid::nil(),
            node: NodeSpec::new("one", "one.example:8481", "one.example:8480").unwrap(),
            key: KeyHash::default(),
        });
        apply(Command::ReserveCameras { upto: CameraId(3) });
        let (from, to) = (AT.plus_micros(-5_000_000), AT.plus_micros(-1_000_000));
        let (name, cameras) = ("case 7".parse().unwrap(), vec![CameraId(1), CameraId(3)]);
        apply(Command::CreateExport {
            spec: ExportSpec {
                name,
                cameras,
                from,
                to,
                strict: false,
            },
        });
        let hold = |camera| Hold {
            camera: CameraId(camera),
            from,
            to,
        };
        let until = AT.plus(EXPORT_KEPT);
        assert_eq!(
            holds_of(&state, Some(until.plus_micros(-1))),
            [hold(1), hold(3)].into_iter().collect::<Holds>()
        );
        assert_eq!(holds_of(&state, Some(until)), Holds::default());
        assert_ne!(
            holds_of(&state, None),
            Holds::default(),
            "an uncertain clock ends nothing"
        );
    }
}
