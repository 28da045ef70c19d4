//! Cameras that end every process that has had a session with them for a while; at the end an
//! operator mends the camera and releases cameras in quarantine.

use super::faults::Fault;
use super::invariants::Seen;
use super::recorder::Session;
use super::world::{Event, World};
use holdfast_consensus::command::Command;
use holdfast_consensus::model::Treatment;
use holdfast_storage::ids::{CameraId, NodeId};
use std::time::Duration;

/// Cameras of a run that are deadly.
const DEADLY_MAX: usize = 2;
/// How long all nodes lose a camera that becomes deadly, because it restarts.
const REBOOT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct Deadly {
    /// How long after the session began the process ends.
    after: Duration,
    is_over: bool,
}

/// A session of a deadly camera.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub(super) node: NodeId,
    pub(super) life: u64,
    pub(super) camera: CameraId,
    /// Of the recorder.
    pub(super) number: u64,
}

impl World {
    pub(super) fn make_deadly(&mut self) {
        let harmless = |camera: &CameraId| !self.deadly.contains_key(camera);
        let cameras: Vec<CameraId> = self.truth().cameras.keys().filter(harmless).collect();
        if cameras.is_empty() || self.deadly.len() >= DEADLY_MAX {
            return;
        }
        let camera = *self.random.pick(&cameras);
        let after = Duration::from_millis(*self.random.pick(&[50, 1_000, 3_000, 8_000]));
        self.deadly.insert(
            camera,
            Deadly {
                after,
                is_over: false,
            },
        );
        self.begin_for(Fault::Deadly(camera), true, None);
        let everyone = self.machines.keys().map(|node| (*node, camera)).collect();
        self.begin_for(Fault::Unseen(everyone), true, Some(REBOOT));
    }

    pub(super) fn make_harmless(&mut self, camera: CameraId) {
        if let Some(deadly) = self.deadly.get_mut(&camera) {
            deadly.is_over = true;
        }
    }

    /// A node has a session now.
    pub(super) fn expose(&mut self, struck: Struck) {
        if let Some(deadly) = self
            .deadly
            .get(&struck.camera)
            .filter(|deadly| !deadly.is_over)
        {
            self.queue.after(deadly.after, Event::Deadly(struck));
        }
    }

    /// The process ends, if it still has that session; a service manager starts it again.
    pub(super) fn strike(&mut self, struck: Struck) {
        let Struck {
            node,
            life,
            camera,
            number,
        } = struck;
        let is_over = self.deadly.get(&camera).is_none_or(|deadly| deadly.is_over);
        let machine = self.machine(node);
        let recorder = machine
            .process
            .as_ref()
            .and_then(|process| process.recorders.get(&camera));
        let has_session = recorder
            .is_some_and(|now| now.number == number && matches!(now.session, Session::Open { .. }));
        let tried = recorder.and_then(|recorder| recorder.tried);
        if is_over || machine.starts != life || machine.is_paused || !has_session {
            return;
        }
        self.outcome.killed += 1;
        self.say(format!("camera {camera} ends the process of node {node}"));
        self.show(&Seen::Killed {
            camera,
            node,
            tried,
        });
        let down = Duration::from_millis(self.random.within(1_000..10_000));
        self.begin_for(Fault::Down(node), true, Some(down));
    }

    /// An operator releases cameras in quarantine once everything is mended.
    pub(super) fn release(&mut self) {
        let now = self.machine_wall();
        let suspicions = self.truth().suspicions.iter();
        let is_kept_out = |treatment: Treatment| matches!(treatment, Treatment::Quarantined { .. });
        let cameras: Vec<CameraId> = suspicions
            .filter(|(_, held)| is_kept_out(held.treatment(now)))
            .map(|(camera, _)| camera)
            .collect();
        if !cameras.is_empty() && self.random.one_in(4) {
            self.write(Command::ClearCameras { cameras });
        }
    }

    pub(super) fn has_waiting_suspects(&self) -> bool {
        let processes = self
            .machines
            .values()
            .filter_map(|machine| machine.process.as_ref());
        processes
            .flat_map(|process| process.recorders.values())
            .any(|recorder| recorder.session == Session::Held)
    }
}
