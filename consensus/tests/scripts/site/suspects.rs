//! Processes that end, and cameras that are suspected of causing it: recorders keep their sessions,
//! and suspects their turns.

use super::{Anyhow, Site, next};
use goldenscript::ArgumentConsumer;
use holdfast_consensus::decide::suspects::{Ends, Witness, suspicions, treatments};
use holdfast_consensus::model::{Suspicion, Treatment};
use holdfast_consensus::observe::heartbeat::{Exposure, FRESH_MAX};
use holdfast_consensus::observe::liveness::{Verdict, Why};
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a suspect has its turn.
const TURN: Duration = Duration::from_secs(10);

/// The processes and sessions.
#[derive(Default)]
pub(super) struct Processes {
    pub(super) ends: Ends,
    /// How many processes each node has had before the present one.
    number: BTreeMap<NodeId, u64>,
    ended: BTreeMap<NodeId, u64>,
    /// When each session began, and whether it is a suspect's.
    sessions: BTreeMap<(NodeId, CameraId), (Duration, bool)>,
}

impl Site {
    /// Commands about processes and sessions; others go to the state.
    pub(super) fn process_command(
        &mut self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Anyhow<String> {
        Ok(match name {
            // Processes end, as by `kill -9`; others are started in their place.
            "killed" | "started" => {
                self.end_processes(args, name == "killed")?;
                String::new()
            }
            "suspicions" => self.show_suspicions(),
            "sessions" => self.show_sessions(args)?,
            name => self.state_command(name, args)?,
        })
    }

    /// The processes of these nodes end while their machines keep running; or they are started
    /// again.
    fn end_processes(&mut self, args: &mut ArgumentConsumer<'_>, kills: bool) -> Anyhow<()> {
        while let Some(node) = args.next_pos() {
            let node: NodeId = node.parse()?;
            let number = self.processes.number.entry(node).or_default();
            if kills {
                self.processes.ended.insert(node, *number);
                *number += 1;
                self.verdicts.insert(
                    node,
                    Verdict::Suspect {
                        since: self.now,
                        why: Why::Refused,
                    },
                );
            } else {
                self.verdicts.insert(node, Verdict::Alive);
            }
            self.processes.sessions.retain(|(of, _), _| *of != node);
            self.witness();
            // The next process's reports say nothing about this one.
            self.running.retain(|(of, _)| *of != node);
            self.progress.report(node, Vec::new());
        }
        Ok(())
    }

    fn witness(&mut self) {
        let ended: Vec<(NodeId, u64)> = self
            .processes
            .ended
            .iter()
            .map(|(node, boot)| (*node, *boot))
            .collect();
        let witness = Witness {
            state: &self.state,
            verdicts: &self.verdicts,
            progress: &self.progress,
            hears_all: true,
            at: self.wall(),
        };
        self.processes.ends.observe(&ended, witness);
    }

    pub(super) fn settle(&mut self) {
        self.processes.ends.settle(&self.verdicts, &self.progress);
    }

    /// Whether the recorder of `camera` on `me` has a session now, and to what that exposes its
    /// process. `None` if it waits.
    pub(super) fn session(&mut self, me: NodeId, camera: CameraId) -> Option<Option<Exposure>> {
        let held = treatments(&self.state, &self.processes.ends, self.wall());
        let standing = held.get(&camera).copied().unwrap_or_default();
        let now = self.now;
        let in_turn = |began: Duration| now.saturating_sub(began) < TURN;
        let sessions = &mut self.processes.sessions;
        let is_taken = sessions
            .iter()
            .any(|((of, _), (began, suspect))| *of == me && *suspect && in_turn(*began));
        let (began, is_suspect) = match (sessions.get(&(me, camera)), standing) {
            (Some(session), _) => *session,
            (None, Treatment::Quarantined { .. }) => return None,
            (None, Treatment::Suspect) if is_taken => return None,
            (None, standing) => *sessions
                .entry((me, camera))
                .or_insert((now, standing == Treatment::Suspect)),
        };
        if now.saturating_sub(began) >= FRESH_MAX {
            return Some(None);
        }
        Some(Some(match (is_suspect, in_turn(began)) {
            (false, _) => Exposure::Fresh,
            (true, true) => Exposure::OnTrial,
            (true, false) => Exposure::Proven,
        }))
    }

    pub(super) fn end_session(&mut self, me: NodeId, camera: CameraId) {
        self.processes.sessions.remove(&(me, camera));
    }

    /// The suspicions of cameras, as any node sees them.
    fn show_suspicions(&self) -> String {
        let held = suspicions(&self.state, &self.processes.ends);
        let line = |(camera, suspicion): (CameraId, Suspicion)| {
            format!(
                "camera {camera}: {suspicion:?}, {:?}\n",
                suspicion.treatment(self.wall())
            )
        };
        held.into_iter().map(line).collect()
    }

    /// The cameras of which a node has sessions.
    fn show_sessions(&self, args: &mut ArgumentConsumer<'_>) -> Anyhow<String> {
        let me: NodeId = next(args)?;
        let mine = self
            .processes
            .sessions
            .iter()
            .filter(|((node, _), _)| *node == me);
        Ok(mine
            .map(|((_, camera), (began, _))| {
                format!("camera {camera}: since {} s\n", began.as_secs())
            })
            .collect())
    }
}
