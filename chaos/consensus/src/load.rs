//! Clients: they change cameras, settings and assignments through any node, and record the answers.

use super::invariants::Seen;
use super::node::Site;
use super::numbered::{Numbers, at, change_settings, number_of};
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command};
use holdfast_consensus::model::{Actor, CameraSpec};
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::{Consensus, WriteError};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::random::Random;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::sleep;

const CAMERAS_MAX: usize = 6;

/// Writes until the run ends.
pub(super) async fn client(site: Site, numbers: Numbers, mut random: Random) {
    loop {
        sleep(Duration::from_millis(random.within(10..400))).await;
        let Some((consensus, is_alive, turn)) = some_life(&site, &mut random) else {
            continue;
        };
        let begun = turn.lock().await;
        let number = numbers.next();
        let entry = draw(&consensus.state(), number, &mut random).by(Actor::System, at(number));
        let is_numbered = number_of(&entry).is_some();
        let answer = if random.one_in(8) {
            consensus.propose_as_leader(entry).await
        } else {
            consensus.write(entry).await
        };
        drop(begun);
        // A dead process's answers reach no client.
        if !is_numbered || !is_alive.load(Ordering::Relaxed) {
            continue;
        }
        match answer {
            Ok(_) | Err(WriteError::Rejected(_)) => {
                site.history.see(&Seen::Acknowledged { number })
            }
            Err(WriteError::NoLeader) => site.history.see(&Seen::Refused { number }),
            Err(WriteError::Unknown | WriteError::Fatal(_)) => {}
        }
    }
}

fn some_life(
    site: &Site,
    random: &mut Random,
) -> Option<(Consensus, Arc<AtomicBool>, Arc<Mutex<()>>)> {
    let wires = site.wires.lock();
    let nodes: Vec<u64> = wires.running.keys().copied().collect();
    if nodes.is_empty() {
        return None;
    }
    wires.running.get(random.pick(&nodes)).map(|life| {
        (
            life.consensus.clone(),
            life.is_alive.clone(),
            life.turn.clone(),
        )
    })
}

fn draw(state: &ClusterState, number: u64, random: &mut Random) -> Command {
    let cameras: Vec<CameraId> = state.cameras.keys().collect();
    let nodes: Vec<NodeId> = state.nodes.keys().collect();
    if cameras.is_empty() || nodes.is_empty() {
        return Command::CreateCamera {
            spec: camera(number),
            only_after: None,
        };
    }
    let some = *random.pick(&cameras);
    match random.below(10) {
        0..2 if cameras.len() < CAMERAS_MAX => Command::CreateCamera {
            spec: camera(number),
            only_after: None,
        },
        2 => Command::DeleteCamera { camera: some },
        3..5 => change_settings(number),
        5..8 => Command::Assign {
            changes: vec![change(state, some, *random.pick(&nodes))],
        },
        _ => {
            let expect_revision = state.cameras.get(some).map_or(1, |known| known.revision);
            Command::UpdateCamera {
                camera: some,
                spec: camera(number),
                expect_revision,
            }
        }
    }
}

fn change(state: &ClusterState, camera: CameraId, owner: NodeId) -> AssignmentChange {
    let now = state.assignments.get(camera).cloned().unwrap_or_default();
    let op = if now.owner.is_none() {
        AssignmentOp::Place {
            owner,
            mirror: None,
            successor: None,
        }
    } else {
        AssignmentOp::TakeOver {
            owner,
            mirror: None,
            successor: None,
            watermark: None,
        }
    };
    AssignmentChange {
        camera,
        expect: now.epoch,
        op,
    }
}

fn camera(number: u64) -> CameraSpec {
    let url = format!("rtsp://camera.example/{number}");
    CameraSpec {
        priority: 1,
        ..CameraSpec::new(&format!("camera-{number}"), &url).expect("valid")
    }
}
