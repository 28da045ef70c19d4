//! An actor: who requested a change. Every entry of the log names one.

use super::text::{TextRule, checked_text};
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;

const NAME_CHARS_MAX: usize = 128;

checked_text!(
    /// A person or a program that uses the API, by the name of its token: 1 to 128 characters.
    OperatorName,
    "operator",
    rule TextRule::ForPeople {
        chars_max: NAME_CHARS_MAX
    }
);

impl OperatorName {
    /// The holder of the API's one token.
    #[must_use]
    pub fn admin() -> Self {
        Self("admin".to_owned())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// The cluster itself, when no member acts yet: a node that founds or joins it.
    System,
    Node(NodeId),
    Operator(OperatorName),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Operator(name) => write!(f, "operator {:?}", name.as_str()),
        }
    }
}
