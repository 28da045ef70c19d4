//! Holds back cameras because processes that recorded them ended: suspects wait for their turn,
//! others for the end of their quarantine.

use super::{Halt, Recorder, now};
use crate::capture::ingest::turns::Turn;
use futures::FutureExt;
use holdfast_consensus::model::Treatment;
use holdfast_storage::chunk::GapCause;
use std::pin::pin;
use std::time::{Duration, Instant};

/// The cluster does not give up a recorder that waits for its turn: on another node it would wait,
/// too.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The longest turn of a suspect whose session brings nothing to record, in usual turns.
const VAIN_TURNS: u32 = 3;

impl Recorder {
    /// Waits while the camera is held back. A suspect gets its turn.
    pub(super) async fn wait_for_turn(&mut self) -> Result<Option<Turn>, Halt> {
        loop {
            let treatment = self.keeper.control.borrow().treatment;
            let turns = self.admission.turns().clone();
            let mut control = self.keeper.control.clone();
            let mut changed = pin!(control.wait_for(|control| control.treatment != treatment));
            match treatment {
                Treatment::Usual => return Ok(None),
                Treatment::Suspect => {
                    let mut turn = pin!(turns.turn());
                    let at_once = turn.as_mut().now_or_never();
                    if at_once.is_none() {
                        self.hold_back(treatment);
                    }
                    let turn = match at_once {
                        Some(turn) => Some(turn),
                        None => {
                            let turn_or_change = async {
                                tokio::select! {
                                    turn = turn => Some(turn),
                                    _ = changed.as_mut() => None,
                                }
                            };
                            self.keeper.until(turn_or_change).await?
                        }
                    };
                    if let Some(turn) = turn {
                        tracing::info!("a suspect has its turn");
                        self.set_patience(None);
                        return Ok(Some(turn));
                    }
                }
                Treatment::Quarantined { .. } => {
                    self.hold_back(treatment);
                    // It ends with the recorder, whose handle has the other end.
                    drop(self.keeper.until(changed).await?);
                }
            }
            self.set_patience(None);
        }
    }

    fn hold_back(&mut self, treatment: Treatment) {
        // Suspects wait for newcomers, and this recorder is no longer one.
        self.newcomer = None;
        self.keeper
            .pipeline
            .session_lost(GapCause::Quarantined, now());
        self.set_patience(Some(PATIENCE));
        let camera = self.status.stream().camera;
        match treatment {
            Treatment::Quarantined { until } => {
                let why = format!(
                    "in quarantine until {until}, because the processes of three nodes ended while \
                     they began to record it; correct its source with `holdfast camera set`, or \
                     try it at once with `holdfast camera release {camera}`"
                );
                tracing::warn!(%until, "in quarantine");
                self.status.failing(why);
            }
            Treatment::Suspect | Treatment::Usual => {
                tracing::warn!("a suspect waits for its turn");
                let why = "a suspect, because the processes of two nodes ended while they began to \
                           record it; it waits until all others were connected to, and for its \
                           turn among suspects";
                self.status.awaiting(why.to_owned());
            }
        }
    }

    /// Ends the turn once its session, which began at `began`, has recorded for long enough or
    /// brought nothing for too long.
    pub(super) fn keep_turn(&mut self, turn: Option<Turn>, began: Instant) -> Option<Turn> {
        let kept = turn.filter(|turn| {
            let (lasts, age) = (turn.lasts(self.turn), began.elapsed());
            let is_proven = self.keeper.pipeline.is_recording() && age >= lasts;
            !is_proven && age < lasts * VAIN_TURNS
        });
        if kept.is_none() {
            self.keeper.contact.turn_is_over();
        }
        kept
    }
}
