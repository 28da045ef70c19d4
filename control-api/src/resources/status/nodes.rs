//! Nodes that are down, out of duty, or whose clocks are off.

use super::Known;
use super::{Finding, Severity};
use holdfast_consensus::model::{Duty, Node, Role};
use holdfast_consensus::observe::clocks::{OFFSET_MAX, Offset};
use holdfast_storage::ids::NodeId;
use std::collections::BTreeMap;

/// If a camera's owner changed this long before its node was seen to be down, the failure is not
/// the reason.
const MOVED_BEFORE_US: i64 = 10_000_000;

fn finding(
    severity: Severity,
    code: &str,
    subject: &Node,
    what: String,
    mend: Option<String>,
) -> Finding {
    let (code, name) = (code.to_owned(), subject.spec.name.to_string());
    Finding {
        severity,
        code,
        subject: name,
        since: None,
        what,
        mend,
        camera: None,
        node: Some(subject.id),
    }
}

pub(super) fn down(known: &Known<'_>) -> Vec<Finding> {
    let is_down = |node: NodeId| {
        known
            .sight
            .verdicts
            .get(&node)
            .is_some_and(|verdict| verdict.is_suspect())
    };
    let down = known.state.nodes.values().filter(|node| is_down(node.id));
    let found = down.map(|node| {
        let who = if node.spec.role == Role::Witness {
            "the witness does not answer"
        } else {
            "it does not answer"
        };
        let mend = format!(
            "start it; if it is lost for good: holdfast nodes remove {} --force",
            node.spec.name
        );
        let what = format!("{who}{}", cost(known, node.id));
        let since = known.down_since.get(&node.id).copied();
        Finding {
            since,
            ..finding(Severity::Degraded, "node-down", node, what, Some(mend))
        }
    });
    found.collect()
}

/// Where its cameras moved, and how many still wait.
fn cost(known: &Known<'_>, dead: NodeId) -> String {
    let since = known.down_since.get(&dead);
    let mut moved: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (camera, now) in known.state.assignments.iter() {
        let [.., before, last] = known.state.tenures(camera) else {
            continue;
        };
        let is_its = before.node == dead
            && since.is_some_and(|since| last.from.micros_since(*since) >= -MOVED_BEFORE_US);
        if let Some(owner) = now.owner.filter(|owner| is_its && *owner == last.node) {
            *moved.entry(owner).or_default() += 1;
        }
    }
    let to: Vec<String> = moved
        .iter()
        .map(|(node, count)| format!("{} {count}", known.node_name(*node)))
        .collect();
    let mut found = match moved.values().sum::<usize>() {
        0 => String::new(),
        1 => format!("; its camera moved: {}", to.join(", ")),
        count => format!("; its {count} cameras moved: {}", to.join(", ")),
    };
    let left = known.state.owned_by(dead).count();
    if left > 0 {
        found.push_str(&format!("; {left} that it owns wait for another node"));
    }
    found
}

pub(super) fn clocks(known: &Known<'_>) -> Vec<Finding> {
    let limit_us = i64::try_from(OFFSET_MAX.as_micros()).unwrap_or(i64::MAX);
    let off =
        known.sight.clocks.iter().filter(|(node, offset)| {
            known.sight.is_alive(**node) && offset.micros.abs() > limit_us
        });
    let found = off.filter_map(|(node, Offset { micros, .. })| {
        let way = if *micros > 0 { "ahead of" } else { "behind" };
        let ms = micros.abs() / 1000;
        let what =
            format!("its clock is {ms} ms {way} this node's: recordings do not fit together");
        let mend = Some("see that NTP runs on both".to_owned());
        Some(finding(
            Severity::Degraded,
            "clock-off",
            known.state.nodes.get(*node)?,
            what,
            mend,
        ))
    });
    found.collect()
}

/// An operator wanted it: nothing is wrong.
pub(super) fn out_of_duty(known: &Known<'_>) -> Vec<Finding> {
    let nodes = known
        .state
        .nodes
        .values()
        .filter(|node| known.sight.is_alive(node.id));
    let idle = nodes.filter_map(|node| {
        let (what, mend) = match node.duty {
            Duty::Active => return None,
            Duty::Draining => (
                "it is drained: it is given no cameras",
                Some(format!("holdfast cluster undrain {}", node.spec.name)),
            ),
            Duty::Stopping => ("it is stopping", None),
        };
        Some(finding(
            Severity::Note,
            "out-of-duty",
            node,
            what.to_owned(),
            mend,
        ))
    });
    idle.collect()
}
