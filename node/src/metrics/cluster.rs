//! What this node knows of its cluster: Raft, the replicated state, the next failure, drills.

use super::Families;
use crate::host::member::Member;
use holdfast_consensus::model::Outcome;
use holdfast_storage::time::Timestamp;
use prometheus::core::Collector;
use prometheus::{GaugeVec, IntGauge, Opts};

/// Raft, and the part that this node takes in it.
pub(super) fn raft(member: &Member) -> Families {
    let leader = member.consensus.leader();
    let identity = member.consensus.identity();
    made(&[
        (
            "holdfast_raft_term",
            "Raft's term.",
            member.consensus.leadership().borrow().term,
        ),
        (
            "holdfast_raft_leader_info",
            "1 while this node leads and a majority answers it.",
            u64::from(leader == Some(member.identity.node)),
        ),
        (
            "holdfast_raft_leader_known_info",
            "1 while a leader is known that can make changes: a majority of the voters stands \
             behind it.",
            u64::from(leader.is_some()),
        ),
        (
            "holdfast_member_fenced_info",
            "1 while this node takes no part: its data directory is old or a copy, or it was \
             removed.",
            u64::from(identity.standing().borrow().is_final()),
        ),
        (
            "holdfast_cluster_refused_nodes",
            "Members of which this node refuses a process: its data directory is old, or a copy \
             runs too.",
            identity.refused().len() as u64,
        ),
    ])
}

/// The replicated state.
pub(super) fn cluster(member: &Member) -> Families {
    let state = member.consensus.state();
    let sight = member.sight.borrow().clone();
    let alive = state
        .nodes
        .keys()
        .filter(|node| sight.is_alive(*node))
        .count();
    let unassigned = state
        .assignments
        .values()
        .filter(|assignment| assignment.owner.is_none())
        .count();
    made(&[
        (
            "holdfast_cluster_nodes",
            "Members of the cluster.",
            state.nodes.len() as u64,
        ),
        (
            "holdfast_cluster_alive_nodes",
            "Members that this node sees alive.",
            alive as u64,
        ),
        (
            "holdfast_cluster_cameras",
            "Cameras of the cluster.",
            state.cameras.len() as u64,
        ),
        (
            "holdfast_cluster_unassigned_cameras",
            "Cameras without an owner.",
            unassigned as u64,
        ),
        (
            "holdfast_owned_cameras",
            "Cameras that this node owns.",
            state.owned_by(member.identity.node).count() as u64,
        ),
    ])
}

/// Nothing until it has been computed, nor for a single node: nothing could take over from it.
pub(super) fn headroom(member: &Member) -> Families {
    let is_cluster = member.consensus.state().nodes.len() > 1;
    let Some(headroom) = member.headroom.borrow().clone().filter(|_| is_cluster) else {
        return Ok(Vec::new());
    };
    let survives = headroom.survives_any_node && headroom.survives_any_domain != Some(false);
    made(&[
        (
            "holdfast_failover_headroom_survives_info",
            "1 while every camera would still be recorded if any one node (or failure domain, \
             where asked for) died now.",
            u64::from(survives),
        ),
        (
            "holdfast_failover_headroom_lost_cameras",
            "Cameras that would not be recorded after the worst single loss.",
            headroom.cameras_lost() as u64,
        ),
        (
            "holdfast_failover_headroom_spare_cameras",
            "Cameras of 4 Mbit/s that could be added and would survive any single loss.",
            u64::from(headroom.spare_cameras),
        ),
        (
            "holdfast_cluster_waiting_cameras",
            "Cameras that are not recorded because no node that may record them has room.",
            headroom.waiting.len() as u64,
        ),
    ])
}

/// Of cameras that this node owns and that were drilled.
pub(super) fn drills(member: &Member, now: Timestamp) -> Families {
    let gauge = |name, help| GaugeVec::new(Opts::new(name, help), &["camera"]);
    let gap = gauge(
        "holdfast_drill_last_gap_seconds",
        "How long the camera would not have been recorded, as its last drill measured; absent if \
         that drill got no keyframe.",
    )?;
    let age = gauge(
        "holdfast_drill_last_age_seconds",
        "Since the camera's last drill ended, passed or failed.",
    )?;
    let passed = gauge(
        "holdfast_drill_last_passed_info",
        "1 where the camera's last drill passed, 0 where it failed.",
    )?;
    let state = member.consensus.state();
    for result in state
        .owned_by(member.identity.node)
        .filter_map(|camera| state.drills.results.get(camera))
    {
        let camera = result.camera.to_string();
        if let Some(gap_us) = result.gap_us {
            gap.with_label_values(&[&camera]).set(gap_us as f64 / 1e6);
        }
        age.with_label_values(&[&camera])
            .set(now.micros_since(result.ended_at) as f64 / 1e6);
        passed
            .with_label_values(&[&camera])
            .set(f64::from(u8::from(result.outcome == Outcome::Passed)));
    }
    Ok([gap, age, passed]
        .into_iter()
        .flat_map(|gauge| gauge.collect())
        .collect())
}

/// A gauge for each name, with its help and its value.
fn made(gauges: &[(&str, &str, u64)]) -> Families {
    let mut families = Vec::new();
    for (name, help, value) in gauges {
        let gauge = IntGauge::new(*name, *help)?;
        gauge.set(i64::try_from(*value).unwrap_or(i64::MAX));
        families.extend(gauge.collect());
    }
    Ok(families)
}
