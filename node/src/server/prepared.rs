//! Keeps sessions prepared at the cameras whose successor this node is and whose setting allows it: described and set up, not playing, so that taking over is one PLAY.
//!
//! A prepared session cannot be kept alive (see [`Prepared`]); it is torn down and set up anew before the timeout of any usual camera.

pub mod schedule;

use super::clock::Clock;
use super::pilot::Sight;
use super::probes::rested;
use crate::ingest::error::SessionError;
use crate::ingest::runtime::IngestHandle;
use crate::ingest::session::{CameraMemory, Deadlines, Prepared, SessionOptions};
use crate::ingest::shelf::Shelf;
use crate::recorder::supervisor::Desired;
use holdfast_consensus::model::Source;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use schedule::{Action, Schedule, View};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often to look what is to be prepared or given up.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) struct Options {
    pub(crate) me: NodeId,
    pub(crate) clock: Clock,
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
    pub(crate) sight: watch::Receiver<Arc<Sight>>,
    /// What this node is to record itself.
    pub(crate) desired: watch::Receiver<Desired>,
    pub(crate) shelf: Shelf,
    pub(crate) ingest: IngestHandle,
    pub(crate) deadlines: Deadlines,
}

/// An attempt's end: whose, which, for what source, and what came of it.
struct Opened {
    camera: CameraId,
    attempt: u64,
    source: Source,
    outcome: Result<Prepared, String>,
}

/// Runs until the node's sight ends.
pub(crate) async fn run(options: Options) {
    let mut state = options.state.clone();
    let mut keeper = Keeper { options, schedule: Schedule::default(), opening: JoinSet::new() };
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while keeper.options.sight.has_changed().is_ok() {
        let rests = keeper.rests();
        tokio::select! {
            Some(opened) = keeper.opening.join_next() => match opened {
                Ok(opened) => keeper.take_in(opened),
                // The watching tasks only await; they neither panic nor are they aborted.
                Err(error) => unreachable!("a watcher of a session that is prepared failed: {error}"),
            },
            () = rested(&mut state, &mut look, rests) => keeper.look(),
        }
    }
}

struct Keeper {
    options: Options,
    schedule: Schedule,
    opening: JoinSet<Opened>,
}

impl Keeper {
    fn rests(&self) -> bool {
        self.schedule.rests(&self.options.state.borrow())
    }

    fn look(&mut self) {
        let Options { me, clock, state, sight, desired, shelf, .. } = &self.options;
        let (state, sight) = (state.borrow().clone(), sight.borrow().clone());
        let recorded = desired.borrow().keys().copied().collect();
        let held = shelf.cameras();
        let view =
            View { now: clock.elapsed(), me: *me, state: &state, sight: &sight, recorded: &recorded, held: &held };
        for action in self.schedule.look(&view, self.opening.len(), &mut random) {
            match action {
                Action::Open { camera, attempt, source } => self.open(camera, attempt, source),
                Action::Drop(camera) => drop(self.options.shelf.remove(camera)),
            }
        }
    }

    fn open(&mut self, camera: CameraId, attempt: u64, source: Source) {
        let Options { shelf, ingest, deadlines, .. } = &self.options;
        let prepare = prepare(shelf.clone(), camera, source.clone(), *deadlines);
        let task = ingest.spawn(source.transport, |_| prepare);
        self.opening.spawn(async move {
            let outcome = match task {
                Ok(task) => match task.await {
                    Ok(outcome) => outcome.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                },
                Err(error) => Err(error.to_string()),
            };
            Opened { camera, attempt, source, outcome }
        });
    }

    fn take_in(&mut self, opened: Opened) {
        let Opened { camera, attempt, source, outcome } = opened;
        let now = self.options.clock.elapsed();
        match outcome {
            Ok(session) => {
                // Else it is not wanted any more, and dropping it tears it down.
                if self.schedule.opened(now, camera, attempt, random()) {
                    self.options.shelf.put(camera, source, session);
                }
            }
            Err(error) => {
                if let Some(delay) = self.schedule.refused(now, camera, attempt, random()) {
                    self.options.shelf.totals().refused.fetch_add(1, Relaxed);
                    tracing::info!(%camera, error, next_attempt_in = ?delay, "no session can be prepared at the camera");
                }
            }
        }
    }
}

/// The old session goes first: a camera has few.
async fn prepare(
    shelf: Shelf,
    camera: CameraId,
    source: Source,
    deadlines: Deadlines,
) -> Result<Prepared, SessionError> {
    if let Some(old) = shelf.remove(camera) {
        old.close().await;
    }
    Prepared::open(&source, deadlines, &SessionOptions::default(), &CameraMemory::default()).await
}

fn random() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}
