//! Every interval without footage is explained to readers: by the gap ledger, or by an owner that
//! died. Checked once the site is well again, over all nodes' disks. Not checked if clocks were
//! stepped: then intervals of one node's time mean nothing on another.

use super::{Invariant, Seen, Site};
use crate::simulator::EPOCH;
use crate::simulator::world::World;
use holdfast_consensus::model::Tenure;
use holdfast_consensus::state::ClusterState;
use holdfast_node::footage::explain::explain;
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, Gap, GapCause};
use holdfast_storage::ids::{CameraId, NodeId, SegmentId};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::{holes, spans_of};
use std::collections::BTreeMap;
use std::time::Duration;

/// Entries this recent may not be durable yet: an open gap is written in pieces of 10 s.
const LATE: Duration = Duration::from_secs(12);
/// A camera that gets an owner again is recorded within this time.
const FIRST_START_US: i64 = 10_000_000;

/// An interval in which a camera had no owner.
type Unowned = (Timestamp, Option<Timestamp>);

#[derive(Default)]
pub(super) struct Ledger {
    unowned: BTreeMap<CameraId, Vec<Unowned>>,
}

impl Invariant for Ledger {
    fn name(&self) -> &'static str {
        "every gap is known"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Decided { after, .. } => {
                self.watch(EPOCH.plus(site.now()), after);
                Ok(())
            }
            Seen::Settled if !site.world.has_clock_steps => site
                .world
                .truth()
                .cameras
                .keys()
                .try_for_each(|camera| self.check(site, camera)),
            _ => Ok(()),
        }
    }
}

impl Ledger {
    fn watch(&mut self, now: Timestamp, state: &ClusterState) {
        for (camera, assignment) in state.assignments.iter() {
            let unowned = self.unowned.entry(camera).or_default();
            let open = unowned.last_mut().filter(|(_, until)| until.is_none());
            match (assignment.owner, open) {
                (None, None) => unowned.push((now, None)),
                (Some(_), Some((_, until))) => *until = Some(now),
                _ => {}
            }
        }
    }

    fn check(&self, site: &Site<'_>, camera: CameraId) -> Result<(), String> {
        let (chunks, ledger) = held(site.world, camera);
        let spans = spans_of(&chunks);
        let (Some(from), to) = (
            spans.iter().map(|span| span.start).min(),
            EPOCH.plus(site.now() - LATE),
        ) else {
            return Ok(());
        };
        let tenures = site.world.truth().tenures(camera);
        let pieces = explain(&holes(&spans, &ledger, from, to), &ledger, tenures);
        let unknown = pieces.iter().find(|piece| {
            let is_unknown = piece.cause == GapCause::Unknown
                && !self.was_unowned(camera, piece.start, piece.end);
            let continues = piece.end == to && owner_cannot_write(site.world, camera);
            is_unknown
                && !continues
                && !ended_unreported(site.world, tenures, piece.start, piece.end)
                && has_owner_with_footage(&chunks, tenures, piece.start)
        });
        match unknown {
            None => Ok(()),
            Some(piece) => {
                let seconds = |time: Timestamp| time.micros_since(EPOCH) as f64 / 1e6;
                let (start, end) = (seconds(piece.start), seconds(piece.end));
                Err(format!(
                    "camera {camera} has no footage from {start:.3} to {end:.3} s, and nothing \
                     says why; {tenures:?}"
                ))
            }
        }
    }

    fn was_unowned(&self, camera: CameraId, start: Timestamp, end: Timestamp) -> bool {
        let intervals = self.unowned.get(&camera).map_or(&[][..], Vec::as_slice);
        intervals.iter().any(|(from, until)| {
            *from < end && until.is_none_or(|until| until.plus_micros(FIRST_START_US) > start)
        })
    }
}

/// A gap is explained when it ends. Until then, for as long as no other node has room, the camera's
/// state shows that its owner is dead or its volume has failed.
fn owner_cannot_write(world: &World, camera: CameraId) -> bool {
    let owner = world
        .truth()
        .assignments
        .get(camera)
        .and_then(|now| now.owner);
    let machine = owner.and_then(|owner| world.machines.get(&owner));
    machine.is_some_and(|machine| machine.is_volume_failed || !machine.is_running())
}

/// The reason was known only to an owner's process whose volume had failed, and that process, or
/// its recorder of the camera, ended (`docs/hazards.md`).
fn ended_unreported(world: &World, tenures: &[Tenure], start: Timestamp, end: Timestamp) -> bool {
    let owner = tenures
        .iter()
        .rfind(|tenure| tenure.from <= start)
        .map(|tenure| tenure.node);
    let upto = end.plus(LATE);
    let is_within = |at: &Timestamp| start < *at && *at <= upto;
    let machine = owner.and_then(|owner| world.machines.get(&owner));
    world
        .unreported
        .iter()
        .any(|(node, at)| Some(*node) == owner && is_within(at))
        || machine.is_some_and(|machine| machine.stopped_without_volume.iter().any(is_within))
}

/// Whether the owner at `at` had recorded anything of its tenure. One that had not, because it
/// never reached the camera, does not know after a restart that it should have recorded it: such a
/// gap is not explained yet.
fn has_owner_with_footage(chunks: &[ChunkEntry], tenures: &[Tenure], at: Timestamp) -> bool {
    let Some(tenure) = tenures.iter().rfind(|tenure| tenure.from <= at) else {
        return true;
    };
    chunks.iter().any(|chunk| {
        (chunk.meta.node, chunk.meta.epoch) == (tenure.node, tenure.epoch) && chunk.meta.start < at
    })
}

/// What all disks hold of a camera.
pub(super) fn held(world: &World, camera: CameraId) -> (Vec<ChunkEntry>, Vec<Gap>) {
    let location = ChunkLocation {
        volume: 0,
        segment: SegmentId(0),
        offset: 0,
        payload_bytes: 0,
        holder: NodeId(0),
    };
    let chunks = world
        .machines
        .values()
        .flat_map(|machine| &machine.chunks)
        .map(|stored| stored.meta);
    let gaps = world
        .machines
        .values()
        .flat_map(|machine| &machine.gaps)
        .copied();
    let entries = chunks
        .filter(|meta| meta.camera == camera)
        .map(|meta| ChunkEntry { meta, location });
    (
        entries.collect(),
        gaps.filter(|gap| gap.camera == camera).collect(),
    )
}
