//! No acknowledged command is lost: it is in the log at the acknowledged place, and every node's
//! state follows from the log.

use super::{Invariant, Seen, Site};
use holdfast_consensus::command::LogEntry;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::NodeId;

pub(super) struct Acknowledged;

impl Invariant for Acknowledged {
    fn name(&self) -> &'static str {
        "no acknowledged command is lost"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Acknowledged { index, entry } => acknowledged(site, *index, entry),
            Seen::Published { node, index, state } => published(site, *node, *index, state),
            _ => Ok(()),
        }
    }
}

fn acknowledged(site: &Site<'_>, index: u64, entry: &LogEntry) -> Result<(), String> {
    match site.world.decided(index) {
        Some(decided) if decided == entry => Ok(()),
        other => Err(format!(
            "\"{entry}\" was acknowledged as entry {index}, which is {other:?}"
        )),
    }
}

fn published(
    site: &Site<'_>,
    node: NodeId,
    index: u64,
    state: &ClusterState,
) -> Result<(), String> {
    let expected = site
        .world
        .truth_at(index)
        .ok_or_else(|| format!("node {node} is ahead of everyone, at {index}"))?;
    if state == expected {
        Ok(())
    } else {
        Err(format!("node {node} differs from the log at entry {index}"))
    }
}
