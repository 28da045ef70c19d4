//! What this node's volumes delete, and which deletions are only announced: for the API, metrics
//! and readiness.

use super::Volumes;
use super::status::VolumeStatus;
use holdfast_storage::retention::{PeerClocks, RetentionOrder, RetentionStatus};
use serde::{Deserialize, Serialize};

/// The joint judgement of a node's volumes on its wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeTime {
    /// Every volume that is open trusts it.
    pub(crate) is_trusted: bool,
    /// No volume contradicts it, though it has not proven itself on all of them: enough to record
    /// by it, not to delete by it.
    pub(crate) is_likely: bool,
    /// And at least one of them has more evidence than the clock itself.
    pub(crate) may_vouch: bool,
}

impl NodeTime {
    fn of<'a>(volumes: impl Iterator<Item = &'a RetentionStatus> + Clone) -> Self {
        let every = |says: fn(&RetentionStatus) -> bool| {
            volumes.clone().next().is_some() && volumes.clone().all(says)
        };
        let is_trusted = every(|volume| volume.is_time_trusted);
        Self {
            is_trusted,
            is_likely: every(|volume| volume.is_time_likely),
            may_vouch: is_trusted && volumes.clone().any(|volume| volume.may_vouch),
        }
    }
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeRetention {
    pub(crate) volume: u16,
    pub(crate) path: String,
    pub(crate) status: RetentionStatus,
}

impl Volumes {
    pub(crate) fn set_peer_clocks(&self, peers: PeerClocks) {
        self.handles()
            .iter()
            .for_each(|handle| handle.set_peer_clocks(peers));
    }

    pub(crate) fn time(&self) -> NodeTime {
        // A failed volume does not check the clock any more.
        let opened = self.opened();
        let alive = opened.iter().filter(|volume| !volume.has_failed());
        let volumes: Vec<RetentionStatus> = alive.map(|volume| volume.handle.retention()).collect();
        NodeTime::of(volumes.iter())
    }

    pub(crate) fn retention(&self) -> Vec<VolumeRetention> {
        let of = |status: VolumeStatus| VolumeRetention {
            volume: status.index,
            path: status.path,
            status: status.stats.retention,
        };
        self.statuses().into_iter().map(of).collect()
    }

    /// Gives an operator's order to one volume or to all.
    pub(crate) fn order_retention(&self, volume: Option<u16>, order: &RetentionOrder) {
        let handles = self.handles();
        let meant = handles
            .iter()
            .filter(|handle| volume.is_none_or(|volume| handle.options().index == volume));
        meant.for_each(|handle| handle.order_retention(order.clone()));
    }

    /// What an operator should know about deletions, in words; empty if all is as usual.
    pub(crate) fn retention_notes(&self) -> Vec<String> {
        self.retention().iter().flat_map(notes).collect()
    }
}

fn notes(volume: &VolumeRetention) -> Vec<String> {
    let path = &volume.path;
    let RetentionStatus {
        paused,
        announced,
        clamped_free_bytes_min,
        ..
    } = &volume.status;
    let paused = paused.filter(|pause| pause.is_notable());
    let mut notes: Vec<String> = paused
        .iter()
        .map(|pause| format!("volume {path}: nothing is deleted for its age: {pause}"))
        .collect();
    notes.extend(announced.iter().map(|announced| {
        let what = announced
            .class
            .as_ref()
            .map_or_else(|| "free space".to_owned(), |class| format!("class {class}"));
        let when = match announced.begins_in_s {
            None => "was cancelled".to_owned(),
            Some(0) => "is under way at a bounded rate".to_owned(),
            Some(s) => format!(
                "begins in {s} s; `holdfast retention release` begins it now, `cancel` drops it"
            ),
        };
        format!(
            "volume {path}: the limits of {what} would delete {} of {} bytes: this {when}",
            announced.bytes, announced.stored_bytes
        )
    }));
    notes.extend(clamped_free_bytes_min.map(|bytes| {
        format!(
            "volume {path}: free_bytes_min is above half of the volume; {bytes} bytes stay \
                 free instead"
        )
    }));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::retention::{Announced, Pause, State};

    fn status(is_time_trusted: bool, may_vouch: bool) -> RetentionStatus {
        RetentionStatus {
            is_time_trusted,
            is_time_likely: is_time_trusted,
            may_vouch,
            ..RetentionStatus::default()
        }
    }

    #[test]
    fn a_node_is_certain_of_its_clock_where_every_volume_is() {
        let of = |volumes: &[RetentionStatus]| NodeTime::of(volumes.iter());
        assert_eq!(
            of(&[]),
            NodeTime::default(),
            "without a volume nothing is known"
        );
        assert_eq!(
            of(&[status(true, true), status(false, false)]),
            NodeTime::default()
        );
        let trusted = NodeTime {
            is_trusted: true,
            is_likely: true,
            may_vouch: true,
        };
        assert_eq!(of(&[status(true, true), status(true, false)]), trusted);
        assert_eq!(
            of(&[status(true, false)]),
            NodeTime {
                may_vouch: false,
                ..trusted
            }
        );
        let unproven = RetentionStatus {
            is_time_likely: true,
            ..status(false, false)
        };
        let likely = NodeTime {
            is_likely: true,
            ..NodeTime::default()
        };
        assert_eq!(
            of(&[status(true, true), unproven]),
            likely,
            "one may record by it, and not delete"
        );
    }

    #[test]
    fn an_operator_is_shown_what_is_unusual_and_nothing_else() {
        let volume = |status| VolumeRetention {
            volume: 0,
            path: "/d".to_owned(),
            status,
        };
        let quiet = RetentionStatus {
            paused: Some(Pause::Settling),
            ..status(false, false)
        };
        assert_eq!(notes(&volume(quiet)), [""; 0]);
        let announced = |state, begins_in_s| Announced {
            class: Some("default".to_owned()),
            bytes: 900,
            stored_bytes: 1000,
            state,
            begins_in_s,
        };
        let loud = RetentionStatus {
            paused: Some(Pause::PeersDisagree { disagreeing: 2 }),
            announced: vec![
                announced(State::Waiting, Some(60)),
                announced(State::Cancelled, None),
            ],
            clamped_free_bytes_min: Some(500),
            ..status(false, false)
        };
        let notes = notes(&volume(loud));
        assert_eq!(notes.len(), 4);
        assert!(notes[0].contains("2 other members"), "{notes:?}");
        assert!(
            notes[1].contains("900 of 1000 bytes: this begins in 60 s"),
            "{notes:?}"
        );
        assert!(notes[2].ends_with("was cancelled"), "{notes:?}");
    }
}
