//! Findings about the cluster as a whole. A single node has none of them.

use super::Known;
use super::{Finding, Mode, Severity};
use holdfast_consensus::decide::headroom::Victim;
use holdfast_consensus::model::Duty;
use holdfast_storage::ids::NodeId;

/// Names of cameras that a sentence lists.
const NAMES_MAX: usize = 5;

fn finding(severity: Severity, code: &str, subject: &str, what: String, mend: &str) -> Finding {
    Finding {
        severity,
        code: code.to_owned(),
        subject: subject.to_owned(),
        since: None,
        what,
        mend: Some(mend.to_owned()),
        camera: None,
        node: None,
    }
}

/// Its data directory is old or a copy, or it was removed: what it knows of the others is old, too.
pub(super) fn takes_no_part(known: &Known<'_>) -> Vec<Finding> {
    let found = known.stands_apart.iter().map(|why| {
        let mend =
            "docs/operations.md says which data directories may be put back, docs/disaster.md how \
             a node joins again";
        finding(Severity::Degraded, "takes-no-part", "this node", why.clone(), mend)
    });
    found.collect()
}

pub(super) fn no_leader(known: &Known<'_>) -> Vec<Finding> {
    if known.stands_apart.is_some() || known.leader.is_some() || known.mode() == Mode::None {
        return Vec::new();
    }
    let alone = known
        .state
        .nodes
        .keys()
        .next()
        .filter(|_| known.mode() == Mode::Single);
    let subject = alone.map_or_else(|| "cluster".to_owned(), |node| known.node_name(node));
    let (what, mend) = match alone {
        Some(_) => (
            "changes wait, recordings continue",
            "see its log if it stays so",
        ),
        None => (
            "no leader: recordings continue, changes and handoffs wait",
            "start the nodes that are down: a majority of the voters must be there",
        ),
    };
    vec![finding(
        Severity::Degraded,
        "no-leader",
        &subject,
        what.to_owned(),
        mend,
    )]
}

pub(super) fn too_little_headroom(known: &Known<'_>) -> Vec<Finding> {
    let headroom = known.headroom.filter(|_| known.mode() == Mode::Cluster);
    let Some((victim, lost)) = headroom.and_then(|headroom| headroom.worst.as_ref()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = lost
        .iter()
        .take(NAMES_MAX)
        .map(|camera| known.camera_name(*camera))
        .collect();
    if lost.len() > NAMES_MAX {
        names.push(format!("{} more", lost.len() - NAMES_MAX));
    }
    let (subject, when) = match victim {
        // Those are listed one by one.
        Victim::None => return Vec::new(),
        Victim::Node(node) => (known.node_name(*node), "if it died now"),
        Victim::Domain(domain) => (format!("failure domain {domain}"), "if it failed now"),
    };
    let count = if lost.len() == 1 {
        "1 camera".to_owned()
    } else {
        format!("{} cameras", lost.len())
    };
    let what = format!(
        "{when}, {count} would not be recorded: {}",
        names.join(", ")
    );
    let mend = "add a node, or raise camera_capacity where the machines allow it";
    vec![finding(
        Severity::Degraded,
        "no-headroom",
        &subject,
        what,
        mend,
    )]
}

/// Notes: nothing is wrong.
pub(super) fn worth_knowing(known: &Known<'_>) -> Vec<Finding> {
    let state = known.state;
    let note = |code, what, mend| finding(Severity::Note, code, "cluster", what, mend);
    let mut notes = Vec::new();
    if state
        .nodes
        .values()
        .map(|node| node.spec.version)
        .min()
        .is_some_and(|by_all| by_all > state.version)
    {
        let what = "every node runs a newer version than the cluster uses".to_owned();
        notes.push(note("not-finalised", what, "holdfast cluster finalize"));
    }
    if state.rebalancing_since.is_some() {
        let what = "cameras are moving to spread evenly".to_owned();
        notes.push(note(
            "rebalancing",
            what,
            "nothing to do: it ends by itself",
        ));
    } else if let Some(what) = imbalance(known) {
        notes.push(note("uneven", what, "holdfast cluster rebalance"));
    }
    notes
}

/// One node has so many more cameras than another that a failover must have caused it.
fn imbalance(known: &Known<'_>) -> Option<String> {
    let nodes = known
        .state
        .nodes
        .values()
        .filter(|node| node.duty == Duty::Active && node.spec.camera_capacity > 0);
    let shares = nodes
        .filter(|node| known.sight.can_record(node.id))
        .map(|node| {
            let owned = known.state.owned_by(node.id).count();
            (
                owned as f64 / f64::from(node.spec.camera_capacity),
                owned,
                node.id,
            )
        });
    let shares: Vec<(f64, usize, NodeId)> = shares.collect();
    let least = shares
        .iter()
        .min_by(|one, other| one.0.total_cmp(&other.0))?;
    let most = shares
        .iter()
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    let is_uneven = most.1 >= least.1 + 2 && most.0 >= 2.0 * least.0;
    let name = |node| known.node_name(node);
    is_uneven.then(|| {
        format!(
            "{} has {} cameras, {} has {}",
            name(most.2),
            most.1,
            name(least.2),
            least.1
        )
    })
}
