//! Names of nodes in certificates and in handshakes.

use holdfast_storage::ids::NodeId;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;
use webpki::EndEntityCert;

/// A node's name in its certificate, a SPIFFE ID: `spiffe://CLUSTER/node/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeUri {
    pub cluster: Uuid,
    pub node: NodeId,
}

impl NodeUri {
    /// The name in a certificate, if it is one of a node.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = EndEntityCert::try_from(certificate).ok()?;
        parsed.valid_uri_names().find_map(|uri| uri.parse().ok())
    }
}

impl fmt::Display for NodeUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/node/{}", self.cluster, self.node)
    }
}

impl FromStr for NodeUri {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (cluster, node) = text
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once("/node/"))
            .ok_or(())?;
        let name = Self {
            cluster: cluster.parse().map_err(|_| ())?,
            node: node.parse().map_err(|_| ())?,
        };
        // One name, one spelling.
        (name.to_string() == text).then_some(name).ok_or(())
    }
}

/// What a client passes to its verifier as the server's name: which node it dialled.
pub(super) fn expected(node: Option<NodeId>) -> String {
    match node {
        Some(node) => format!("{node}.node.invalid"),
        None => "any.node.invalid".to_owned(),
    }
}

/// The node that [`expected`] named: `Some(None)` is any.
pub(super) fn parse_expected(name: &str) -> Option<Option<NodeId>> {
    match name.strip_suffix(".node.invalid")? {
        "any" => Some(None),
        node => node.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        let name = NodeUri {
            cluster: Uuid::from_u128(7),
            node: NodeId(3),
        };
        let text = name.to_string();
        assert_eq!(text, "spiffe://00000000-0000-0000-0000-000000000007/node/3");
        assert_eq!(text.parse(), Ok(name));
        for other in [
            "spiffe://00000000-0000-0000-0000-000000000007/node/03",
            "spiffe://00000000000000000000000000000007/node/3",
            "spiffe://00000000-0000-0000-0000-000000000007/node/+3",
            "spiffe://00000000-0000-0000-0000-000000000007/node/3/x",
            "https://00000000-0000-0000-0000-000000000007/node/3",
            "",
        ] {
            assert_eq!(other.parse::<NodeUri>(), Err(()), "{other}");
        }
    }

    #[test]
    fn the_dialled_node_passes_through_a_server_name() {
        for node in [None, Some(NodeId(1)), Some(NodeId(u64::MAX))] {
            let name = expected(node);
            assert!(rustls::pki_types::ServerName::try_from(name.as_str()).is_ok());
            assert_eq!(parse_expected(&name), Some(node));
        }
        assert_eq!(parse_expected("x.node.invalid"), None);
        assert_eq!(parse_expected("3"), None);
    }
}
