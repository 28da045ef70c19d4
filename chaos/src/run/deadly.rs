//! Cameras that kill the processes that record them: the run kills each node that has had a session
//! with such a camera for a while, as the camera would.

use super::{Run, look};
use crate::evidence::DEADLY_KILL;
use crate::history::What;
use crate::scenario::Action;
use crate::stage::Hit;
use holdfast_node::terminal::clock::monotonic_now;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a node survives a session.
const SURVIVES: Duration = Duration::from_secs(3);

/// Kills are numbered from here, after the scenario's faults.
const FIRST: usize = 10_000;

/// The state of such cameras.
#[derive(Default)]
pub(super) struct Deadly {
    /// By number of the camera: since when it has had a session without a break.
    sessions: BTreeMap<u32, Instant>,
    kills: usize,
}

impl Run<'_> {
    pub(super) async fn see_to_deadly_cameras(&mut self) {
        let deadly = self
            .holding
            .values()
            .filter(|(action, _)| *action == Action::DeadlyCamera);
        let numbers: Vec<u32> = deadly.flat_map(|(_, hit)| hit.cameras.clone()).collect();
        for number in numbers {
            if !self.stage.has_session(number) {
                self.deadly.sessions.remove(&number);
                continue;
            }
            let since = *self
                .deadly
                .sessions
                .entry(number)
                .or_insert_with(monotonic_now);
            if since.elapsed() >= SURVIVES {
                self.kill_for(number).await;
            }
        }
    }

    async fn kill_for(&mut self, number: u32) {
        // The node that answers may not have heard of the recorder yet: the next poll tries again.
        let Ok(view) = look::view_as_it_is(self.stage).await else {
            return;
        };
        let recorder = view
            .cameras
            .values()
            .find(|camera| camera.number == number)
            .and_then(|camera| camera.recorder);
        let Some(node) = recorder.filter(|node| self.stage.wanted().contains(node)) else {
            return;
        };
        self.deadly.sessions.remove(&number);
        let hit = Hit {
            nodes: vec![node],
            ..Hit::default()
        };
        let (nodes, affected) = (
            self.names_of(&hit.nodes),
            view.affected(crate::scenario::ActionName::Kill, &hit),
        );
        self.progress(&format!(
            "cam{number:02} ends its recorder {}",
            nodes.join(" ")
        ));
        self.hold(&hit.nodes, false);
        let fault = FIRST + self.deadly.kills;
        self.deadly.kills += 1;
        self.history.add(What::FaultOn {
            fault,
            action: DEADLY_KILL.to_owned(),
            nodes,
            cameras: Vec::new(),
            affected,
        });
        if let Err(error) = self.stage.begin(fault, &Action::Kill, &hit).await {
            self.went_wrong(error.to_string());
        }
        self.holding.insert(fault, (Action::Kill, hit));
    }
}
