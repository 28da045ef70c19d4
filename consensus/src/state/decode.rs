//! States that earlier versions wrote. A state only ever grew at its end, so what an earlier one lacks is what it would have ended with.

use super::ClusterState;
use crate::drill::Drills;
use crate::policy::Policy;

/// No holds, and none ever made: what a state ended with before there were any.
const WITHOUT_HOLDS: &[u8] = &[0, 0];

/// No rules, no traits, the default policy, no rebalance: what came after the holds.
const WITHOUT_PLACEMENT: &[u8] = &[0, 0, 0, 0, 0, 0xac, 0x02, 0];

/// No drills, none ever begun and none by themselves: what came after those.
const WITHOUT_DRILLS: &[u8] = &[0, 0, 0, 0, 0];

/// What an earlier version's state lacks at its end, and whether a state has nothing of that.
type Earlier = (&'static [&'static [u8]], fn(&ClusterState) -> bool);

impl ClusterState {
    /// Reads a state that [`serde::Serialize`] wrote, also by an earlier version.
    ///
    /// # Errors
    /// The bytes are no state, or that of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let lacking: [Earlier; 3] = [
            (&[WITHOUT_DRILLS], Self::is_without_drills),
            (&[WITHOUT_PLACEMENT, WITHOUT_DRILLS], Self::is_without_placement),
            (&[WITHOUT_HOLDS, WITHOUT_PLACEMENT, WITHOUT_DRILLS], |state| {
                state.holds.is_empty() && state.is_without_placement()
            }),
        ];
        let error = match whole(bytes) {
            Err(error @ postcard::Error::DeserializeUnexpectedEnd) => error,
            other => return other,
        };
        let completed = lacking.iter().filter_map(|(tail, lacks)| {
            let completed = [bytes, &tail.concat()].concat();
            let state = whole(&completed).ok()?;
            // Else what was added has completed something else that was cut, a number perhaps.
            let is_whole = postcard::to_allocvec(&state).is_ok_and(|again| again == completed);
            (is_whole && lacks(&state)).then_some(state)
        });
        completed.into_iter().next().ok_or(error)
    }

    fn is_without_drills(&self) -> bool {
        self.drills == Drills::default()
    }

    fn is_without_placement(&self) -> bool {
        self.is_without_drills()
            && self.rules.is_empty()
            && self.traits.is_empty()
            && self.policy == Policy::default()
            && self.rebalancing_since.is_none()
    }
}

/// Nothing may be left over: it would be what a newer version knows and this one would forget.
fn whole(bytes: &[u8]) -> Result<ClusterState, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (state, []) => Ok(state),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::model::{HoldSpec, NodeSpec, NodeTraits, Role};
    use crate::policy::{Failback, PolicyChange};
    use holdfast_storage::ids::{CameraId, NodeId};
    use holdfast_storage::time::Timestamp;
    use uuid::Uuid;

    fn founded() -> ClusterState {
        let node = NodeSpec {
            name: "n1".into(),
            peer_addr: "n1:1".into(),
            api_addr: "n1:2".into(),
            role: Role::Witness,
            failure_domain: String::new(),
            camera_capacity: 0,
        };
        let mut state = ClusterState::default();
        state.apply(Command::Initialize { cluster: Uuid::nil(), node }).unwrap();
        state
    }

    fn with_hold() -> ClusterState {
        let mut state = founded();
        state.camera_last = CameraId(1);
        let spec = HoldSpec { reason: "case 7".into(), camera: CameraId(1), from: Timestamp(1), to: None };
        state.apply(Command::CreateHold { spec, at: Timestamp(2) }).unwrap();
        state
    }

    #[test]
    fn states_of_earlier_versions_are_read() {
        let bytes = postcard::to_allocvec(&founded()).unwrap();
        assert_eq!(ClusterState::decode(&bytes), Ok(founded()));
        let before_drills = bytes.strip_suffix(WITHOUT_DRILLS).unwrap();
        assert_eq!(ClusterState::decode(before_drills), Ok(founded()));
        let before_placement = before_drills.strip_suffix(WITHOUT_PLACEMENT).unwrap();
        assert_eq!(ClusterState::decode(before_placement), Ok(founded()));
        let before_holds = before_placement.strip_suffix(WITHOUT_HOLDS).unwrap();
        assert_eq!(ClusterState::decode(before_holds), Ok(founded()));

        let bytes = postcard::to_allocvec(&with_hold()).unwrap();
        let before_drills = bytes.strip_suffix(WITHOUT_DRILLS).unwrap();
        assert_eq!(ClusterState::decode(before_drills), Ok(with_hold()));
        assert_eq!(ClusterState::decode(before_drills.strip_suffix(WITHOUT_PLACEMENT).unwrap()), Ok(with_hold()));
    }

    #[test]
    fn a_state_that_is_cut_or_of_a_newer_version_is_refused() {
        let mut state = with_hold();
        let traits = NodeTraits { bitrate_capacity_bps: Some(1_000_000), ..NodeTraits::default() };
        state.apply(Command::ReportTraits { node: NodeId(1), traits }).unwrap();
        state.apply(Command::ChangePolicy(vec![PolicyChange::Failback(Failback::Prefer)])).unwrap();
        state.apply(Command::BeginRebalance { at: Timestamp(3) }).unwrap();
        state.apply(Command::ChangePolicy(vec![PolicyChange::DrillEveryS(7 * 24 * 3600)])).unwrap();
        let bytes = postcard::to_allocvec(&state).unwrap();
        assert_eq!(ClusterState::decode(&bytes), Ok(state));
        // Cut right before the holds, the rules or the drills it is of an earlier version; a snapshot file has a checksum against that.
        let read = (0..bytes.len()).filter(|cut| ClusterState::decode(&bytes[..*cut]).is_ok());
        assert_eq!(read.count(), 3);
        assert!(ClusterState::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
