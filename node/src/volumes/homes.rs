//! Which volume each stream is recorded to, what every volume took of it, and what a move to
//! another volume may lose. Pure.
//!
//! A stream leaves a volume in one of two ways. *Orderly*, at a keyframe: the session continues on
//! the other volume, whose first records are the session's init segments, and no frame is lost.
//! What the former volume still has to make durable is remembered: until it is durable the stream's
//! watermark does not pass it, and if the volume fails or hangs it becomes a gap. Or because the
//! volume *failed*: what it took and has not made durable is lost, and a new session begins. Either
//! way the gaps that the former volume may not have made durable are written again to the new one.

use holdfast_storage::chunk::{ChunkMeta, Gap, GapCause, Init};
use holdfast_storage::ids::{Epoch, NodeId, StreamId, TrackKind};
use holdfast_storage::time::Timestamp;
use std::collections::HashMap;

/// An interval of footage.
pub(super) type Interval = (Timestamp, Timestamp);

/// Volumes that a stream has left and that have not made everything durable; beyond this number,
/// what the oldest has not made durable becomes a gap.
const FORMERS_MAX: usize = 4;
/// Gaps that a volume has taken and may not have made durable; beyond this number the two oldest
/// become one, from the start of the first to the end of the second.
const GAPS_MAX: usize = 16;
/// A stream that sent nothing for so many counts is not recorded here now.
const IDLE_COUNTS_MAX: u32 = 10;
/// Weight of the newest count in a stream's rate, in percent.
const RATE_WEIGHT_PERCENT: u64 = 40;
/// The assumed rate of a stream that was not measured yet, in bytes per second: 2 Mbit/s.
pub(super) const RATE_UNKNOWN_BPS: u64 = 250_000;

/// One entry for each stream that this process ever recorded. `V` is a volume.
#[derive(Debug)]
pub(super) struct Homes<V> {
    of: HashMap<StreamId, Home<V>>,
}

impl<V> Default for Homes<V> {
    fn default() -> Self {
        Self { of: HashMap::new() }
    }
}

/// What one volume has taken of a stream's video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    /// From the first chunk that may not be durable yet to the end of the last.
    from: Timestamp,
    until: Timestamp,
    node: NodeId,
    epoch: Epoch,
}

#[derive(Clone, Copy, Debug)]
struct TakenGap {
    gap: Gap,
    /// A volume makes records durable in their order: this one is durable once footage is that
    /// ends later than this.
    behind: Timestamp,
}

#[derive(Debug)]
struct Former<V> {
    volume: V,
    taken: Taken,
}

#[derive(Debug)]
pub(super) struct Home<V> {
    pub(super) volume: V,
    taken: Option<Taken>,
    formers: Vec<Former<V>>,
    /// The session's init segments, one a track.
    inits: Vec<Init>,
    /// Gaps that may not be durable.
    gaps: Vec<TakenGap>,
    /// The volume is too slow, and the streams that stay are more important.
    pub(super) leaves: bool,
    pub(super) priority: u8,
    bytes: u64,
    rate_bps: Option<u64>,
    idle_counts: u32,
}

impl<V: Clone + PartialEq> Homes<V> {
    pub(super) fn get(&self, stream: StreamId) -> Option<&Home<V>> {
        self.of.get(&stream)
    }

    /// Sets the stream's first volume, or the one after a failure. Returns what the former volume
    /// took and has not made durable, by its `durable_until`.
    pub(super) fn settle(
        &mut self,
        stream: StreamId,
        volume: V,
        durable_until: impl FnOnce(&V) -> Option<Timestamp>,
    ) -> Option<Interval> {
        let Some(home) = self.of.get_mut(&stream) else {
            self.of.insert(stream, Home::new(volume));
            return None;
        };
        let lost = home
            .taken
            .take()
            .and_then(|taken| taken.beyond(durable_until(&home.volume)));
        (home.volume, home.leaves) = (volume, false);
        home.inits.clear();
        lost
    }

    /// The stream's session continues on `volume`, which has taken [`Home::inits`].
    pub(super) fn move_to(&mut self, stream: StreamId, volume: V) {
        let Some(home) = self.of.get_mut(&stream) else {
            return;
        };
        let before = std::mem::replace(&mut home.volume, volume);
        home.leaves = false;
        if let Some(taken) = home.taken.take() {
            home.formers.push(Former {
                volume: before,
                taken,
            });
        }
    }

    /// Forgets what former volumes have made durable by now. Returns the first gap to report: what
    /// a former volume took and does not store.
    pub(super) fn review(
        &mut self,
        stream: StreamId,
        durable_until: impl Fn(&V) -> Option<Timestamp>,
        stores: impl Fn(&V) -> bool,
    ) -> Option<Gap> {
        let home = self
            .of
            .get_mut(&stream)
            .filter(|home| !home.formers.is_empty())?;
        home.formers
            .retain(|former| former.taken.beyond(durable_until(&former.volume)).is_some());
        let is_crowded = home.formers.len() > FORMERS_MAX;
        let former = home
            .formers
            .iter()
            .find(|former| is_crowded || !stores(&former.volume))?;
        let (start, end) = former.taken.beyond(durable_until(&former.volume))?;
        let Taken { node, epoch, .. } = former.taken;
        Some(Gap {
            camera: stream.camera,
            stream: stream.kind,
            node,
            epoch,
            start,
            end,
            cause: GapCause::VolumeFailed,
            frames_missing: None,
        })
    }

    /// The gap is on its way to the stream's volume.
    pub(super) fn reported(&mut self, gap: &Gap) {
        if let Some(home) = self.of.get_mut(&gap.stream_id()) {
            let former = home
                .formers
                .iter()
                .position(|former| former.taken.until == gap.end);
            former
                .into_iter()
                .for_each(|at| drop(home.formers.remove(at)));
        }
    }

    pub(super) fn took_init(&mut self, init: &Init) {
        if let Some(home) = self.of.get_mut(&init.stream_id()) {
            home.inits.retain(|known| known.track != init.track);
            home.inits.push(init.clone());
        }
    }

    /// The stream's volume has taken a gap.
    pub(super) fn took_gap(
        &mut self,
        gap: &Gap,
        durable_until: impl FnOnce(&V) -> Option<Timestamp>,
    ) {
        let Some(home) = self.of.get_mut(&gap.stream_id()) else {
            return;
        };
        home.forget_durable_gaps(durable_until(&home.volume));
        home.gaps.retain(|taken| taken.gap != *gap);
        if home.gaps.len() >= GAPS_MAX {
            // They came in this order, and need not lie in it.
            let (first, second) = (home.gaps.remove(0).gap, home.gaps[0].gap);
            home.gaps[0].gap = Gap {
                start: first.start.min(second.start),
                end: first.end.max(second.end),
                frames_missing: None,
                ..first
            };
        }
        let behind = home.taken.map_or(gap.end, |taken| taken.until.max(gap.end));
        home.gaps.push(TakenGap { gap: *gap, behind });
    }

    /// Gaps that the stream's volume has taken and may not have made durable, for the next one.
    pub(super) fn gaps(
        &mut self,
        stream: StreamId,
        durable_until: impl FnOnce(&V) -> Option<Timestamp>,
    ) -> Vec<Gap> {
        let Some(home) = self.of.get_mut(&stream) else {
            return Vec::new();
        };
        home.forget_durable_gaps(durable_until(&home.volume));
        home.gaps.iter().map(|taken| taken.gap).collect()
    }

    /// The stream's volume has taken a chunk of `bytes`. `durable_until` returns how far that
    /// volume has made the stream's video durable.
    pub(super) fn took(
        &mut self,
        meta: &ChunkMeta,
        bytes: u64,
        priority: u8,
        durable_until: impl FnOnce(&V) -> Option<Timestamp>,
    ) {
        let Some(home) = self.of.get_mut(&meta.stream_id()) else {
            return;
        };
        (home.bytes, home.priority) = (home.bytes.saturating_add(bytes), priority);
        if meta.track != TrackKind::Video {
            return;
        }
        let begins = Taken {
            from: meta.start,
            until: meta.end(),
            node: meta.node,
            epoch: meta.epoch,
        };
        home.taken = Some(match home.taken {
            // Either the former epoch had run ahead of true time, or a new session begins and all
            // before it is durable: then this volume cannot lose the time between the sessions.
            Some(taken) if meta.epoch > taken.epoch && meta.end() < taken.from => begins,
            Some(taken)
                if meta.sequence == 0 && taken.beyond(durable_until(&home.volume)).is_none() =>
            {
                begins
            }
            Some(taken) => Taken {
                from: taken.from,
                until: taken.until.max(meta.end()),
                ..begins
            },
            None => begins,
        });
    }

    /// Adds what was counted in the `elapsed_ms` since the last time.
    pub(super) fn count(&mut self, elapsed_ms: u64) {
        for home in self.of.values_mut() {
            let bytes = std::mem::take(&mut home.bytes);
            home.idle_counts = if bytes == 0 {
                home.idle_counts.saturating_add(1)
            } else {
                0
            };
            let now_bps = bytes.saturating_mul(1000) / elapsed_ms.max(1);
            home.rate_bps = match home.rate_bps {
                _ if home.idle_counts > IDLE_COUNTS_MAX => Some(0),
                Some(bps) => {
                    Some((bps * (100 - RATE_WEIGHT_PERCENT) + now_bps * RATE_WEIGHT_PERCENT) / 100)
                }
                None if bytes > 0 => Some(now_bps),
                None => None,
            };
        }
    }

    /// Streams that are recorded to `volume` now.
    pub(super) fn tenants(&self, volume: &V) -> impl Iterator<Item = (StreamId, &Home<V>)> {
        let here = self
            .of
            .iter()
            .filter(move |(_, home)| home.volume == *volume && home.is_live());
        here.map(|(stream, home)| (*stream, home))
    }

    /// Marks which streams leave `volume`, which is too slow, and clears the mark of all others
    /// there.
    pub(super) fn set_leaving(&mut self, volume: &V, leaving: &[StreamId]) {
        for (stream, home) in self
            .of
            .iter_mut()
            .filter(|(_, home)| home.volume == *volume)
        {
            home.leaves = leaving.contains(stream);
        }
    }
}

impl<V> Home<V> {
    fn new(volume: V) -> Self {
        Self {
            volume,
            taken: None,
            formers: Vec::new(),
            inits: Vec::new(),
            gaps: Vec::new(),
            leaves: false,
            priority: 0,
            bytes: 0,
            rate_bps: None,
            idle_counts: 0,
        }
    }

    pub(super) fn inits(&self) -> &[Init] {
        &self.inits
    }

    fn forget_durable_gaps(&mut self, durable_until: Option<Timestamp>) {
        self.gaps
            .retain(|taken| durable_until.is_none_or(|durable| durable <= taken.behind));
    }

    pub(super) fn rate_bps(&self) -> u64 {
        self.rate_bps.unwrap_or(RATE_UNKNOWN_BPS)
    }

    /// What the stream sends, in bits per second; `None` while nothing was counted.
    pub(super) fn measured_bitrate_bps(&self) -> Option<u64> {
        self.rate_bps
            .filter(|bytes| *bytes > 0 && self.is_live())
            .map(|bytes| bytes.saturating_mul(8))
    }

    pub(super) fn is_live(&self) -> bool {
        self.idle_counts <= IDLE_COUNTS_MAX
    }

    /// Volumes that took records of `epoch` or later and have not made all of them durable: the
    /// stream's watermark must not pass those yet.
    pub(super) fn waits_for(
        &self,
        epoch: Epoch,
        durable_until: impl Fn(&V) -> Option<Timestamp>,
    ) -> impl Iterator<Item = &V> {
        let of_epoch = self
            .formers
            .iter()
            .filter(move |former| former.taken.epoch >= epoch);
        let undone = of_epoch
            .filter(move |former| former.taken.beyond(durable_until(&former.volume)).is_some());
        undone.map(|former| &former.volume)
    }
}

impl Taken {
    /// The part that is not durable.
    fn beyond(&self, durable_until: Option<Timestamp>) -> Option<Interval> {
        let from = durable_until.map_or(self.from, |durable| durable.max(self.from));
        (from < self.until).then_some((from, self.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::chunk::InitId;
    use holdfast_storage::ids::{CameraId, Rank, SessionId, StreamKind};

    const CAMERA: CameraId = CameraId(1);
    const MAIN: StreamId = StreamId::main(CAMERA);
    const NOTHING: fn(&u16) -> Option<Timestamp> = |_| None;

    fn chunk(track: TrackKind, sequence: u32, start: i64) -> ChunkMeta {
        ChunkMeta {
            camera: CAMERA,
            stream: StreamKind::Main,
            track,
            node: NodeId(1),
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(1),
            sequence,
            init: InitId(1),
            start: Timestamp(start),
            duration_us: 10,
            frames: 1,
            access: None,
            since_access_ms: Some(0),
            after_loss: false,
            damaged: false,
        }
    }

    fn at(from: i64, until: i64) -> Interval {
        (Timestamp(from), Timestamp(until))
    }

    /// Recorded to volume 0 from 0 to 40.
    fn recorded() -> Homes<u16> {
        let mut homes = Homes::default();
        assert_eq!(homes.settle(MAIN, 0, NOTHING), None);
        (0..4).for_each(|n| {
            homes.took(
                &chunk(TrackKind::Video, n, i64::from(n) * 10),
                100,
                7,
                NOTHING,
            )
        });
        homes.took(&chunk(TrackKind::Audio, 0, 90), 100, 7, NOTHING);
        homes
    }

    #[test]
    fn what_was_taken_and_is_not_durable_is_lost_with_the_volume() {
        for (durable, lost) in [
            (None, Some(at(0, 40))),
            (Some(20), Some(at(20, 40))),
            (Some(40), None),
        ] {
            let mut homes = recorded();
            assert_eq!(homes.settle(MAIN, 1, |_| durable.map(Timestamp)), lost);
            assert_eq!(homes.get(MAIN).unwrap().volume, 1);
            assert_eq!(
                homes.settle(MAIN, 2, NOTHING),
                None,
                "nothing was taken there"
            );
        }
    }

    #[test]
    fn gaps_are_kept_until_footage_behind_them_is_durable() {
        let mut homes = recorded();
        let gap = |start, end| Gap {
            camera: CAMERA,
            stream: StreamKind::Main,
            node: NodeId(1),
            epoch: Epoch(1),
            start: Timestamp(start),
            end: Timestamp(end),
            cause: GapCause::CameraStalled,
            frames_missing: None,
        };
        // The second one lies before what the volume has taken already.
        homes.took_gap(&gap(40, 50), |_| Some(Timestamp(40)));
        homes.took_gap(&gap(5, 10), |_| Some(Timestamp(40)));
        for (durable, kept) in [
            (None, vec![gap(40, 50), gap(5, 10)]),
            (Some(40), vec![gap(40, 50), gap(5, 10)]),
        ] {
            assert_eq!(
                homes.gaps(MAIN, |_| durable.map(Timestamp)),
                kept,
                "durable until {durable:?}"
            );
        }
        assert_eq!(homes.gaps(MAIN, |_| Some(Timestamp(41))), [gap(40, 50)]);
        assert_eq!(homes.gaps(MAIN, |_| Some(Timestamp(50))), [gap(40, 50)]);
        assert_eq!(homes.gaps(MAIN, |_| Some(Timestamp(51))), []);
        (0..40).for_each(|at| homes.took_gap(&gap(at, at + 1), |_| None));
        let kept = homes.gaps(MAIN, |_| None);
        assert_eq!(
            (kept.len(), kept[0], kept[1]),
            (GAPS_MAX, gap(0, 25), gap(25, 26)),
            "all of them are covered"
        );
        let mut homes = recorded();
        homes.took_gap(&gap(40, 50), |_| None);
        homes.took_gap(&gap(5, 10), |_| None);
        (0..GAPS_MAX as i64).for_each(|at| homes.took_gap(&gap(60 + at, 61 + at), |_| None));
        assert_eq!(
            homes.gaps(MAIN, |_| None)[0].start,
            Timestamp(5),
            "whatever their order"
        );
    }

    #[test]
    fn time_without_recording_is_not_lost_with_the_volume() {
        let mut homes = Homes::default();
        homes.settle(MAIN, 0_u16, NOTHING);
        homes.took(&chunk(TrackKind::Video, 0, 0), 1, 0, NOTHING);
        homes.took(&chunk(TrackKind::Video, 0, 5000), 1, 0, |_| {
            Some(Timestamp(10))
        });
        assert_eq!(
            homes.settle(MAIN, 1, |_| Some(Timestamp(10))),
            Some(at(5000, 5010))
        );
    }

    #[test]
    fn an_orderly_move_loses_nothing_unless_the_volume_left_behind_fails() {
        let mut homes = recorded();
        homes.move_to(MAIN, 1);
        let waits = |homes: &Homes<u16>| {
            homes
                .get(MAIN)
                .unwrap()
                .waits_for(Epoch(1), |_| Some(Timestamp(20)))
                .copied()
                .collect::<Vec<_>>()
        };
        let durable = |until: i64| move |_: &u16| Some(Timestamp(until));
        assert_eq!(homes.review(MAIN, durable(20), |_| true), None);
        assert_eq!(waits(&homes), [0]);
        let gap = homes
            .review(MAIN, durable(20), |volume| *volume != 0)
            .unwrap();
        assert_eq!(
            ((gap.start, gap.end), gap.cause),
            (at(20, 40), GapCause::VolumeFailed)
        );
        assert_eq!(
            homes.review(MAIN, durable(20), |_| false),
            Some(gap),
            "until it is reported"
        );
        homes.reported(&gap);
        assert_eq!(
            (homes.review(MAIN, durable(20), |_| false), waits(&homes)),
            (None, vec![])
        );
    }

    #[test]
    fn what_became_durable_is_waited_for_no_longer() {
        let mut homes = recorded();
        homes.move_to(MAIN, 1);
        assert_eq!(
            homes
                .get(MAIN)
                .unwrap()
                .waits_for(Epoch(2), NOTHING)
                .count(),
            0,
            "another epoch is not held back"
        );
        assert_eq!(
            homes
                .get(MAIN)
                .unwrap()
                .waits_for(Epoch(1), NOTHING)
                .count(),
            1
        );
        assert_eq!(homes.review(MAIN, |_| Some(Timestamp(40)), |_| false), None);
        assert_eq!(
            homes
                .get(MAIN)
                .unwrap()
                .waits_for(Epoch(1), NOTHING)
                .count(),
            0
        );
    }

    #[test]
    fn volumes_left_behind_are_bounded() {
        let mut homes = recorded();
        for n in 1..=5 {
            homes.move_to(MAIN, n);
            homes.took(
                &chunk(TrackKind::Video, 3 + u32::from(n), 30 + i64::from(n) * 10),
                1,
                0,
                NOTHING,
            );
        }
        let gap = homes.review(MAIN, |_| None, |_| true).unwrap();
        assert_eq!((gap.start, gap.end), at(0, 40));
        homes.reported(&gap);
        assert_eq!(homes.review(MAIN, |_| None, |_| true), None);
    }

    #[test]
    fn init_segments_are_kept_one_a_track_until_the_session_ends() {
        let mut homes = recorded();
        let init = |track, text: &'static str| Init {
            camera: CAMERA,
            stream: StreamKind::Main,
            track,
            bytes: bytes::Bytes::from_static(text.as_bytes()),
        };
        for (track, text) in [
            (TrackKind::Video, "a"),
            (TrackKind::Audio, "b"),
            (TrackKind::Video, "c"),
        ] {
            homes.took_init(&init(track, text));
        }
        assert_eq!(
            homes.get(MAIN).unwrap().inits(),
            [init(TrackKind::Audio, "b"), init(TrackKind::Video, "c")]
        );
        homes.settle(MAIN, 1, NOTHING);
        assert!(homes.get(MAIN).unwrap().inits().is_empty());
    }

    #[test]
    fn rates_follow_what_is_recorded_and_who_stopped_is_no_tenant() {
        let mut homes = recorded();
        assert_eq!(homes.get(MAIN).unwrap().rate_bps(), RATE_UNKNOWN_BPS);
        homes.count(1000);
        assert_eq!(homes.get(MAIN).unwrap().rate_bps(), 500);
        assert_eq!(homes.tenants(&0).count(), 1);
        (0..=IDLE_COUNTS_MAX).for_each(|_| homes.count(1000));
        assert_eq!(
            (
                homes.get(MAIN).unwrap().rate_bps(),
                homes.tenants(&0).count()
            ),
            (0, 0)
        );
    }

    #[test]
    fn each_stream_of_a_camera_has_its_own_home() {
        let sub = StreamId {
            kind: StreamKind::Sub,
            ..MAIN
        };
        let mut homes = recorded();
        homes.settle(sub, 1, NOTHING);
        let meta = ChunkMeta {
            stream: StreamKind::Sub,
            ..chunk(TrackKind::Video, 0, 500)
        };
        homes.took(&meta, 3, 7, NOTHING);
        homes.count(1000);
        let rates = [MAIN, sub].map(|stream| homes.get(stream).unwrap().rate_bps());
        assert_eq!(rates, [500, 3]);
        assert_eq!(
            [0, 1].map(|volume| homes.tenants(&volume).next().unwrap().0),
            [MAIN, sub]
        );
        // The loss of one volume is the loss of its stream.
        assert_eq!(homes.settle(sub, 0, NOTHING), Some(at(500, 510)));
        assert_eq!(homes.settle(MAIN, 1, NOTHING), Some(at(0, 40)));
    }
}
