//! What the cluster's owner decided for all of it: how much headroom is asked for, and what happens when a node comes back. Types only.

use serde::{Deserialize, Serialize};

/// What happens to a camera that would leave others, or itself, unrecorded after the loss of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadroomRule {
    /// It is taken, and the answer says so.
    #[default]
    Warn,
    /// It is refused.
    Strict,
}

/// Whether cameras go back to the node that they prefer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failback {
    /// They stay where they are until they must move, or a rebalance is asked for.
    #[default]
    Stay,
    /// Once that node has been able to record for [`Policy::failback_after_s`].
    Prefer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub headroom: HeadroomRule,
    /// Not only any one node's loss is to be survived, but that of any failure domain.
    pub headroom_over_domains: bool,
    pub failback: Failback,
    /// Seconds.
    pub failback_after_s: u32,
}

impl Default for Policy {
    fn default() -> Self {
        let (headroom, failback) = (HeadroomRule::default(), Failback::default());
        Self { headroom, headroom_over_domains: false, failback, failback_after_s: 300 }
    }
}

/// A change of one of them. New kinds come last, as with commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyChange {
    Headroom(HeadroomRule),
    HeadroomOverDomains(bool),
    Failback(Failback),
    FailbackAfterS(u32),
    /// Kept beside the drills ([`crate::drill::Drills::every_s`]): what a policy looks like within a stored state is fixed.
    DrillEveryS(u32),
}

impl Policy {
    pub fn change(&mut self, change: PolicyChange) {
        match change {
            PolicyChange::Headroom(rule) => self.headroom = rule,
            PolicyChange::HeadroomOverDomains(over) => self.headroom_over_domains = over,
            PolicyChange::Failback(failback) => self.failback = failback,
            PolicyChange::FailbackAfterS(seconds) => self.failback_after_s = seconds,
            PolicyChange::DrillEveryS(_) => {}
        }
    }
}
