//! Cameras that end the processes that record them: the run kills each node that has had a session
//! of one for a while, as such a camera would.

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

/// As the history names what such a camera did.

/// Deaths are numbered from here, behind the scenario's faults.
const FIRST: usize = 10_000;

/// What such cameras have done.
#[derive(Default)]
pub(super) struct Deadly {
    /// Since when each has had a session without a break, by its number.
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
        // Who answers may not have heard of the recorder yet: the next look tries again.
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
        self.tell(&format!(
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
