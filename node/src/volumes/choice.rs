//! Which volume a stream goes to, and which streams leave one that is too slow. Pure.
//!
//! A stream stays where it is while its volume takes records. A stream that needs a volume goes
//! where its footage will last longest: of the volumes whose disk is not known to be too slow for
//! it, the one with the most room for each byte per second that would then be recorded there.

use holdfast_storage::ids::StreamId;
use std::cmp::Reverse;

/// Whether a volume takes records now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Takes,
    /// It takes longer than `lag_max` to make records durable, or its buffer fills up. It keeps the
    /// cameras that fit.
    Slow,
    /// An operator wants it empty.
    Retiring,
    /// The disk is full, and nothing on it may be deleted.
    Full,
    /// No write reaches the disk.
    Hung,
    /// A write or flush failed; this `Volume` takes nothing more.
    Failed,
    /// It is not open (yet).
    Away,
    /// Another cluster recorded to it; this one only serves what it holds.
    Adopted,
}

impl Standing {
    /// New cameras may come.
    pub(super) fn takes(self) -> bool {
        self == Self::Takes
    }

    /// Whether accepted records are, or will be, stored.
    pub(super) fn stores(self) -> bool {
        matches!(self, Self::Takes | Self::Slow | Self::Retiring)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Takes => "active",
            Self::Slow => "slow",
            Self::Retiring => "retiring",
            Self::Full => "full",
            Self::Hung => "hung",
            Self::Failed => "failed",
            Self::Away => "away",
            Self::Adopted => "adopted",
        }
    }

    #[cfg(test)]
    pub(super) const ALL: [Self; 8] = [
        Self::Takes,
        Self::Slow,
        Self::Retiring,
        Self::Full,
        Self::Hung,
        Self::Failed,
        Self::Away,
        Self::Adopted,
    ];
}

/// One volume as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) index: u16,
    pub(super) standing: Standing,
    /// The part of the disk that Holdfast may use: free space and its own segments.
    pub(super) room_bytes: u64,
    /// What its cameras record together, in bytes per second.
    pub(super) load_bps: u64,
    /// If its disk was too slow lately: the most that it was last seen to take, in bytes per
    /// second.
    pub(super) bandwidth_bps: Option<u64>,
}

/// The share of a disk's measured bandwidth that cameras may take, in percent: retention and
/// playback need some too.
const BANDWIDTH_PERCENT: u64 = 80;

impl Seat {
    fn fits(&self, more_bps: u64) -> bool {
        self.bandwidth_bps
            .is_none_or(|most| fits(self.load_bps.saturating_add(more_bps), most))
    }
}

fn fits(load_bps: u64, bandwidth_bps: u64) -> bool {
    load_bps <= bandwidth_bps / 100 * BANDWIDTH_PERCENT
}

/// The volume for a stream of `rate_bps` that has none, or must leave its own. `before` is the
/// volume to which a former process recorded it: it goes back there if possible.
pub(super) fn choose(seats: &[Seat], rate_bps: u64, before: Option<u16>) -> Option<u16> {
    let open = || {
        seats
            .iter()
            .filter(|seat| seat.standing.takes() && seat.fits(rate_bps))
    };
    if let Some(seat) = open().find(|seat| Some(seat.index) == before) {
        return Some(seat.index);
    }
    // Right after the start the room is not counted yet.
    let is_room_known = open().all(|seat| seat.room_bytes > 0);
    let lasts_s = |seat: &Seat| {
        let load_bps = seat.load_bps.saturating_add(rate_bps).max(1);
        if is_room_known {
            seat.room_bytes / load_bps
        } else {
            u64::MAX / load_bps
        }
    };
    // Of equals, the one with the lowest index.
    open()
        .max_by_key(|seat| (lasts_s(seat), u16::MAX - seat.index))
        .map(|seat| seat.index)
}

/// A stream on a volume that is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    pub(super) stream: StreamId,
    pub(super) priority: u8,
    pub(super) rate_bps: u64,
}

/// The streams that have to leave a slow volume so that the rest fits what its disk takes: the
/// least important first, which of one priority are the sub streams.
pub(super) fn leavers(mut tenants: Vec<Tenant>, bandwidth_bps: u64) -> Vec<StreamId> {
    let importance = |tenant: &Tenant| (tenant.priority, tenant.stream.is_main());
    tenants.sort_by_key(|tenant| (importance(tenant), Reverse(tenant.stream)));
    let mut load_bps: u64 = tenants.iter().map(|tenant| tenant.rate_bps).sum();
    let mut leaving = Vec::new();
    for tenant in tenants {
        if fits(load_bps, bandwidth_bps) {
            break;
        }
        load_bps -= tenant.rate_bps;
        leaving.push(tenant.stream);
    }
    leaving
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{CameraId, StreamKind};
    use proptest::prelude::*;

    const GB: u64 = 1 << 30;

    fn seat(index: u16, standing: Standing, room_gb: u64, load_bps: u64) -> Seat {
        Seat {
            index,
            standing,
            room_bytes: room_gb * GB,
            load_bps,
            bandwidth_bps: None,
        }
    }

    #[test]
    fn cameras_spread_in_proportion_to_the_room() {
        let mut seats = [
            seat(0, Standing::Takes, 100, 0),
            seat(1, Standing::Takes, 300, 0),
        ];
        for _ in 0..40 {
            let index = choose(&seats, 1000, None).unwrap();
            seats[usize::from(index)].load_bps += 1000;
        }
        assert_eq!([seats[0].load_bps, seats[1].load_bps], [10_000, 30_000]);
    }

    #[test]
    fn cameras_spread_evenly_while_the_room_is_not_known() {
        let mut seats = [
            seat(0, Standing::Takes, 0, 0),
            seat(1, Standing::Takes, 300, 0),
        ];
        for _ in 0..10 {
            let index = choose(&seats, 1000, None).unwrap();
            seats[usize::from(index)].load_bps += 1000;
        }
        assert_eq!([seats[0].load_bps, seats[1].load_bps], [5000, 5000]);
    }

    #[test]
    fn only_a_volume_that_takes_records_and_is_fast_enough_is_chosen() {
        for standing in Standing::ALL
            .into_iter()
            .filter(|standing| *standing != Standing::Takes)
        {
            let seats = [seat(0, standing, 900, 0), seat(1, Standing::Takes, 1, 0)];
            assert_eq!(choose(&seats, 1, Some(0)), Some(1), "{standing:?}");
            assert_eq!(choose(&seats[..1], 1, Some(0)), None, "{standing:?}");
        }
        let slow = Seat {
            bandwidth_bps: Some(10_000),
            ..seat(0, Standing::Takes, 900, 7000)
        };
        let seats = [slow, seat(1, Standing::Takes, 1, 0)];
        assert_eq!(
            [choose(&seats, 1000, None), choose(&seats, 1001, None)],
            [Some(0), Some(1)]
        );
    }

    #[test]
    fn a_camera_goes_back_to_where_it_was() {
        let seats = [
            seat(0, Standing::Takes, 900, 0),
            seat(1, Standing::Takes, 1, 50_000),
        ];
        assert_eq!(choose(&seats, 1, Some(1)), Some(1));
        assert_eq!(choose(&seats, 1, Some(7)), Some(0));
    }

    fn tenant(camera: u32, priority: u8, rate_bps: u64) -> Tenant {
        Tenant {
            stream: StreamId::main(CameraId(camera)),
            priority,
            rate_bps,
        }
    }

    #[test]
    fn the_least_important_leave_until_the_rest_fits() {
        let tenants = vec![
            tenant(1, 200, 400),
            tenant(2, 10, 300),
            tenant(3, 10, 300),
            tenant(4, 100, 400),
        ];
        assert_eq!(leavers(tenants.clone(), 2000), []);
        assert_eq!(
            leavers(tenants.clone(), 1000),
            [3, 2].map(|camera| StreamId::main(CameraId(camera)))
        );
        assert_eq!(leavers(tenants, 0).len(), 4);
    }

    #[test]
    fn sub_streams_leave_before_the_main_streams_of_their_priority() {
        let sub = |camera, priority| {
            let main = tenant(camera, priority, 100);
            let stream = StreamId {
                kind: StreamKind::Sub,
                ..main.stream
            };
            Tenant { stream, ..main }
        };
        let tenants = vec![
            tenant(1, 10, 400),
            sub(1, 10),
            tenant(2, 10, 400),
            sub(2, 10),
            sub(3, 200),
        ];
        let leaving = leavers(tenants.clone(), 1200);
        assert_eq!(leaving, [tenants[3].stream, tenants[1].stream]);
        let leaving = leavers(tenants.clone(), 1000);
        let of = [3, 1, 2].map(|at: usize| tenants[at].stream);
        assert_eq!(leaving, of);
    }

    proptest! {
        /// The cameras that stay fit, none leaves in vain, and none leaves before a less important
        /// one.
        #[test]
        fn what_stays_fits_and_no_more_leave_than_must(
            all in prop::collection::vec((0_u8..4, 0_u64..1000), 0..20),
            bandwidth_bps in 0_u64..10_000,
        ) {
            let tenants: Vec<_> = all
                .iter()
                .zip(0..)
                .map(|((priority, rate), id)| tenant(id, *priority, *rate))
                .collect();
            let leaving = leavers(tenants.clone(), bandwidth_bps);
            let of = |stream: &StreamId| tenants[stream.camera.0 as usize];
            let stays = tenants.iter().filter(|tenant| !leaving.contains(&tenant.stream));
            let load: u64 = stays.clone().map(|tenant| tenant.rate_bps).sum();
            prop_assert!(fits(load, bandwidth_bps));
            if let Some(last) = leaving.last() {
                prop_assert!(!fits(load + of(last).rate_bps, bandwidth_bps), "{last} left in vain");
                prop_assert!(stays.clone().all(|tenant| tenant.priority >= of(last).priority));
            }
        }
    }
}
