//! Every camera that should be recorded, with its name, from the moment it is added: exported by
//! the node that owns it, or by the leader if the owner is dead or there is none.

use super::Families;
use crate::host::member::Member;
use holdfast_consensus::model::{Camera, Protection};
use holdfast_consensus::observe::heartbeat::RecorderState;
use prometheus::core::Collector;
use prometheus::{IntGaugeVec, Opts};

pub(super) fn cameras(member: &Member) -> Families {
    let help = "1 for each camera that should be recorded, with what it is called.";
    let info = IntGaugeVec::new(
        Opts::new("holdfast_camera_info", help),
        &["camera", "name", "protection", "retention_class"],
    )?;
    let help =
        "1 while a camera that should be recorded is, else 0; also before it was ever recorded.";
    let recorded = IntGaugeVec::new(
        Opts::new("holdfast_camera_recorded_info", help),
        &["camera"],
    )?;
    let (state, sight) = (member.consensus.state(), member.sight.borrow().clone());
    let (me, leads) = (
        member.identity.node,
        member.consensus.leadership().borrow().is_leader,
    );
    for (id, assignment) in state.assignments.iter() {
        let is_ours = match assignment.owner {
            Some(owner) => owner == me || (leads && !sight.is_alive(owner)),
            None => leads,
        };
        let Some(camera) = state.cameras.get(id).filter(|_| is_ours) else {
            continue;
        };
        let shown = sight.recorder(id, assignment);
        let is_recorded = shown.is_some_and(|(_, shown)| shown.state == RecorderState::Recording);
        info.with_label_values(&labels(camera).each_ref().map(String::as_str))
            .set(1);
        recorded
            .with_label_values(&[&id.to_string()])
            .set(i64::from(is_recorded));
    }
    Ok(info
        .collect()
        .into_iter()
        .chain(recorded.collect())
        .collect())
}

fn labels(camera: &Camera) -> [String; 4] {
    let protection = match camera.spec.protection {
        Protection::Standard => "standard",
        Protection::Gapless => "gapless",
    };
    let spec = &camera.spec;
    [
        camera.id.to_string(),
        spec.name.to_string(),
        protection.to_owned(),
        spec.retention_class.to_string(),
    ]
}
