//! Finds out whether cameras that their owners fail to record answer this node, their successor:
//! that decides whether they move. A probe only asks a camera to describe itself.

pub mod schedule;

use crate::capture::ingest::error::SessionError;
use crate::capture::ingest::session::Session;
use crate::clock::Clock;
use holdfast_consensus::model::Source;
use holdfast_consensus::observe::heartbeat::Probe;
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use schedule::{Answer, Schedule};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often to look which cameras to ask.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Cameras that are asked at once.
const PROBES_MAX: usize = 32;
/// A camera that takes longer does not count as reached.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Probes(Arc<Mutex<Schedule>>);

impl Probes {
    /// The results so far.
    pub(crate) fn known(&self) -> Vec<Probe> {
        self.schedule().known()
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until the node's sight ends.
    pub(crate) async fn run(
        self,
        me: NodeId,
        clock: Clock,
        mut state: watch::Receiver<Arc<ClusterState>>,
        sight: watch::Receiver<Arc<Sight>>,
    ) {
        let at_once = Arc::new(Semaphore::new(PROBES_MAX));
        let mut asked: JoinSet<Option<(CameraId, u64, Answer)>> = JoinSet::new();
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while sight.has_changed().is_ok() {
            let rests = self.schedule().rests();
            tokio::select! {
                Some(answered) = asked.join_next() => match answered {
                    Ok(Some((camera, revision, answer))) => {
                        let news = self.schedule().answered(
                            clock.elapsed(),
                            camera,
                            revision,
                            answer,
                            random(),
                        );
                        if let Some(reached) = news {
                            tracing::info!(
                                %camera, reached,
                                "this node looked after a camera that its owner does not record"
                            );
                        }
                    }
                    Ok(None) => {}
                    // The camera is asked again when its turn is overdue.
                    Err(error) => tracing::error!(%error, "a probe failed"),
                },
                () = rested(&mut state, &mut look, rests) => {
                    let watched = &state;
                    let (state, sight) = (state.borrow().clone(), sight.borrow().clone());
                    let due = self.schedule().look(clock.elapsed(), me, &state, &sight);
                    for camera in due {
                        let Some(known) = state.cameras.get(camera) else { continue };
                        let (source, at_once) = (known.spec.source.clone(), Arc::clone(&at_once));
                        asked.spawn(ask(camera, known.revision, source, at_once, watched.clone()));
                    }
                }
            }
        }
    }
}

/// Waits for the next tick or, if there is nothing to probe, for a state change. Safe to cancel.
pub(crate) async fn rested(
    state: &mut watch::Receiver<Arc<ClusterState>>,
    look: &mut Interval,
    rests: bool,
) {
    if rests && state.changed().await.is_ok() {
        return;
    }
    look.tick().await;
}

/// `None` if the camera was deleted or changed before it answered.
async fn ask(
    camera: CameraId,
    revision: u64,
    source: Source,
    at_once: Arc<Semaphore>,
    mut state: watch::Receiver<Arc<ClusterState>>,
) -> Option<(CameraId, u64, Answer)> {
    // Never closed; probes ahead of this one have a deadline each.
    let _permit = at_once.acquire().await;
    let probed = tokio::select! {
        probed = Session::probe(&source, ANSWER_MAX) => probed,
        // Dropping the probe closes its socket at once.
        () = replaced(&mut state, camera, revision) => return None,
    };
    let answer = match probed {
        Ok(()) => Answer::Reached,
        Err(SessionError::AuthFailed(_)) => Answer::LoginRefused,
        Err(error) => {
            tracing::debug!(%camera, %error, "a probe was not answered");
            Answer::Silent
        }
    };
    Some((camera, revision, answer))
}

/// Waits until the camera is deleted, or its spec has changed.
async fn replaced(state: &mut watch::Receiver<Arc<ClusterState>>, camera: CameraId, revision: u64) {
    let is_replaced = |state: &Arc<ClusterState>| {
        state
            .cameras
            .get(camera)
            .is_none_or(|it| it.revision != revision)
    };
    if state.wait_for(is_replaced).await.is_err() {
        // The node stops, and ends all probes.
        std::future::pending::<()>().await;
    }
}

fn random() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_camera_that_is_deleted_is_not_asked_any_longer() {
        let (sender, state) = watch::channel(Arc::<ClusterState>::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = Source::new(&format!("rtsp://{}/", listener.local_addr().unwrap())).unwrap();
        let asking = ask(CameraId(1), 1, source, Arc::new(Semaphore::new(1)), state);
        // The state has no such camera from the start.
        assert_eq!(asking.await, None);
        drop(sender);
    }

    #[tokio::test]
    async fn who_rests_is_woken_by_the_state_alone() {
        let (sender, mut state) = watch::channel(Arc::<ClusterState>::default());
        let mut look = interval(Duration::from_millis(5));
        look.tick().await;
        rested(&mut state, &mut look, false).await;
        let resting = tokio::spawn(async move {
            rested(&mut state, &mut look, true).await;
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!resting.is_finished(), "ticks pass it by");
        sender.send_modify(|_| {});
        resting.await.unwrap();
    }
}
