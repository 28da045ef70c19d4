//! A recorded cause is final: the cause that a running node wrote for a gap is shown permanently,
//! whatever returning nodes report later. Not checked if clocks were stepped: then intervals of one
//! node's time mean nothing on another.

use super::ledger::held;
use super::{Invariant, Seen, Site};
use crate::simulator::EPOCH;
use holdfast_node::footage::explain::explain;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::{holes, spans_of};
use std::time::Duration;

/// Entries this recent may not be durable yet: an open gap is written in pieces of 10 s.
const LATE: Duration = Duration::from_secs(12);
/// How often to check the shown gaps.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Looks that are compared in the end.
const LOOKS_MAX: usize = 64;
/// How precisely the boundary between two causes is known.
const SEAM_US: i64 = 250_000;

/// A gap of a camera as it was shown.
#[derive(Clone, Copy, Debug)]
struct Shown {
    camera: CameraId,
    start: Timestamp,
    end: Timestamp,
    cause: GapCause,
}

#[derive(Default)]
pub(super) struct Causes {
    looked_at: Duration,
    looks: Vec<Vec<Shown>>,
}

impl Invariant for Causes {
    fn name(&self) -> &'static str {
        "a recorded cause is final"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if site.world.has_clock_steps {
            return Ok(());
        }
        match seen {
            Seen::Stored { .. }
                if site.now() >= self.looked_at + LOOK_INTERVAL && self.looks.len() < LOOKS_MAX =>
            {
                self.looked_at = site.now();
                self.looks.push(shown(site));
                Ok(())
            }
            Seen::Settled => {
                let last = shown(site);
                self.looks
                    .iter()
                    .flatten()
                    .try_for_each(|before| check(before, &last))
            }
            _ => Ok(()),
        }
    }
}

/// All gaps, from the disks of all nodes together.
fn shown(site: &Site<'_>) -> Vec<Shown> {
    let mut all = Vec::new();
    for camera in site.world.truth().cameras.keys() {
        let (chunks, ledger) = held(site.world, camera);
        let spans = spans_of(&chunks);
        let Some(from) = spans.iter().map(|span| span.start).min() else {
            continue;
        };
        let holes = holes(
            &spans,
            &ledger,
            from,
            EPOCH.plus(site.now().saturating_sub(LATE)),
        );
        let gaps = explain(&holes, &ledger, site.world.truth().tenures(camera));
        all.extend(gaps.into_iter().map(|gap| Shown {
            camera,
            start: gap.start,
            end: gap.end,
            cause: gap.cause,
        }));
    }
    all
}

fn check(before: &Shown, last: &[Shown]) -> Result<(), String> {
    // A guess may give way to a known cause.
    if matches!(before.cause, GapCause::NodeDown | GapCause::Unknown) {
        return Ok(());
    }
    let (start, end) = (
        before.start.plus_micros(SEAM_US),
        before.end.plus_micros(-SEAM_US),
    );
    let overlaps = |now: &&Shown| now.camera == before.camera && now.start < end && now.end > start;
    match last
        .iter()
        .filter(overlaps)
        .find(|now| now.cause != before.cause)
    {
        None => Ok(()),
        Some(now) => {
            let seconds = |time: Timestamp| time.micros_since(EPOCH) as f64 / 1e6;
            Err(format!(
                "camera {} from {:.3} to {:.3} s was shown as {}, and is shown as {} from {:.3} to \
                 {:.3} s",
                before.camera,
                seconds(before.start),
                seconds(before.end),
                before.cause.name(),
                now.cause.name(),
                seconds(now.start),
                seconds(now.end),
            ))
        }
    }
}
