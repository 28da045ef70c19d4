//! How a machine handles time: how far its footage reaches, whether the time is certain, and which
//! cameras therefore need a new epoch.

use super::super::certainty::Certainty;
use super::super::recorder::Recorder;
use super::super::traffic::{Context, Effect, Fact, Input};
use super::super::twist::Twist;
use super::Machine;
use holdfast_consensus::command::Command;
use holdfast_consensus::model::Actor;
use holdfast_node::capture::ingest::wall::AHEAD_US_MAX;
use holdfast_node::capture::recorder::status::Status;
use holdfast_node::parts::certainty::{LOOK_INTERVAL, peer_clocks, renewals};
use holdfast_storage::ids::CameraId;
use holdfast_storage::retention::Reading;
use holdfast_storage::time::Timestamp;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// The number of writes whose outcome no client waits for.
const UNTRACKED: u64 = 0;

impl Machine {
    /// How far former processes recorded a camera, by its volumes. Of footage that may be ahead of
    /// time only the newest epoch counts.
    pub(super) fn recorded_until(&self, camera: CameraId, now: Timestamp) -> Option<Timestamp> {
        let newest = |until: Timestamp| {
            let metas = self
                .chunks
                .iter()
                .map(|chunk| &chunk.meta)
                .filter(|meta| meta.camera == camera);
            let by = metas.filter(|meta| meta.start < until);
            by.map(|meta| (meta.epoch, Reverse(meta.rank), meta.end()))
                .max()
        };
        let last = newest(Timestamp::MAX)?;
        let soon = now.plus_micros(AHEAD_US_MAX);
        let mark = if last.2 <= soon {
            last
        } else {
            newest(soon).max(Some(last))?
        };
        Some(mark.2)
    }

    /// Leaves a sign of life in the data directory.
    pub(super) fn give_sign(&mut self, now: Duration) {
        let Some(process) = &self.process else { return };
        let newest = process
            .recorders
            .values()
            .filter_map(|recorder| recorder.status().received_until)
            .max();
        let (uptime, is_certain) = (
            now.saturating_sub(process.started),
            process.known.wall.is_certain(),
        );
        self.signs = self
            .signs
            .given(self.wall(now), uptime, (newest, is_certain));
    }

    /// The server's work once a second: checks whether the time is certain, and which cameras
    /// therefore need a new epoch.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) {
        let (me, wall, twist) = (self.id, self.wall(cx.now), cx.twist);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        let uptime = cx.now.saturating_sub(process.started);
        let state = Arc::clone(process.raft.state());
        let peers = peer_clocks(me, &state, &process.sight, uptime);
        let is_open = process.volume.is_writable();
        process.certainty = process.certainty.take().filter(|_| is_open);
        let mut is_trusted = false;
        if is_open {
            let certainty = process
                .certainty
                .get_or_insert_with(|| Certainty::new(&self.shelf, cx.now));
            let deleted = certainty.look(
                &mut self.shelf,
                Reading {
                    uptime,
                    wall,
                    peers,
                },
                cx.now,
                twist,
            );
            is_trusted = certainty.is_trusted;
            cx.effects
                .extend(deleted.map(|deleted| Effect::Fact(Fact::Deleted(deleted))));
        }
        let is_certain = process.known.look(uptime, wall, is_trusted, cx.now);
        let statuses: Vec<Status> = process.recorders.values().map(Recorder::status).collect();
        let changes = if is_certain && twist != Twist::NothingIsRenewed {
            renewals(me, &state, &statuses, wall)
        } else {
            Vec::new()
        };
        if !changes.is_empty() {
            let renewal = Command::Assign { changes }.by(Actor::Node(me), wall);
            self.ask(UNTRACKED, Box::new(renewal), cx);
        }
        cx.effects.push(Effect::After(LOOK_INTERVAL, Input::Look));
    }
}
