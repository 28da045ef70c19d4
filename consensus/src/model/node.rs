//! A node: what it reports about itself, and its duty.

use super::Labels;
use super::key::KeyHash;
use super::text::{Invalid, TextRule, checked_text, shown};
use crate::codec::CLUSTER_VERSION;
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

pub const NODES_MAX: usize = 100;
pub const CAMERA_CAPACITY_MAX: u32 = 100_000;
/// The camera capacity of a node without an explicit one.
pub const CAMERA_CAPACITY_DEFAULT: u32 = 500;
const NAME_BYTES_MAX: usize = 64;
const FAILURE_DOMAIN_BYTES_MAX: usize = 64;
const ADDR_BYTES_MAX: usize = 260;

checked_text!(
    /// A node's name: 1 to 64 ASCII letters, digits, `-`, `_` and `.`.
    NodeName,
    "name",
    rule TextRule::Identifier {
        bytes_max: NAME_BYTES_MAX,
        also: "-_."
    }
);

checked_text!(
    /// Nodes with the same failure domain fail together. Empty: the node fails alone.
    #[derive(Default)]
    FailureDomain,
    "failure_domain",
    rule TextRule::Printable {
        bytes_max: FAILURE_DOMAIN_BYTES_MAX
    }
);

checked_text!(
    /// `host:port` at which others can connect: a name or an address, and a port from 1.
    HostPort,
    "address",
    host_port
);

fn host_port(text: &str) -> Result<(), String> {
    let is_host = |host: &str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    };
    let is_good = match text.parse::<SocketAddr>() {
        Ok(address) => address.port() != 0 && !address.ip().is_unspecified(),
        Err(_) => text.rsplit_once(':').is_some_and(|(host, port)| {
            is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
        }),
    };
    if is_good && text.len() <= ADDR_BYTES_MAX {
        return Ok(());
    }
    let form = "write for example \"nvr1.example.org:8480\" or \"[2001:db8::1]:8480\"";
    Err(format!(
        "is {}, which is not host:port of at most {ADDR_BYTES_MAX} bytes; {form}",
        shown(text)
    ))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    #[default]
    Recorder,
    /// Votes, records nothing.
    Witness,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// May own cameras.
    #[default]
    Active,
    /// An operator requested that it own none.
    Draining,
    /// Its process is stopping and owns none until it reports for duty again.
    Stopping,
}

/// A node's report about itself when it joins or starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub name: NodeName,
    /// The address at which other members reach it (Raft, heartbeats, chunk reads).
    pub peer_addr: HostPort,
    /// The address of its API.
    pub api_addr: HostPort,
    pub role: Role,
    pub failure_domain: FailureDomain,
    /// How many cameras it may record at once.
    pub camera_capacity: u32,
    /// The most bits per second of all cameras that it may record at once; `None`: as many as
    /// `camera_capacity` allows.
    pub bitrate_capacity_bps: Option<u64>,
    /// The labels that cameras may require ([`super::CameraSpec::node_labels`]).
    pub labels: Labels,
    /// The newest version of the cluster's commands that it understands
    /// ([`crate::codec::CLUSTER_VERSION`]).
    pub version: u16,
}

impl NodeSpec {
    /// A recorder with the defaults except for its name and addresses.
    ///
    /// # Errors
    /// One of them is not valid.
    pub fn new(name: &str, peer_addr: &str, api_addr: &str) -> Result<Self, Invalid> {
        Ok(Self {
            name: name.parse()?,
            peer_addr: peer_addr
                .parse()
                .map_err(|error: Invalid| error.named("peer_addr"))?,
            api_addr: api_addr
                .parse()
                .map_err(|error: Invalid| error.named("api_addr"))?,
            role: Role::default(),
            failure_domain: FailureDomain::default(),
            camera_capacity: CAMERA_CAPACITY_DEFAULT,
            bitrate_capacity_bps: None,
            labels: Labels::default(),
            version: CLUSTER_VERSION,
        })
    }

    /// # Errors
    /// A capacity is out of range, or a recorder has none.
    pub fn check(&self) -> Result<(), Invalid> {
        check_capacity(self.role, self.camera_capacity, self.bitrate_capacity_bps)
    }
}

/// # Errors
/// A capacity is out of range, or a recorder has none.
pub fn check_capacity(role: Role, cameras: u32, bitrate_bps: Option<u64>) -> Result<(), Invalid> {
    if cameras > CAMERA_CAPACITY_MAX {
        let why = format!("is {cameras}; at most {CAMERA_CAPACITY_MAX} cameras are supported");
        return Err(Invalid::new("camera_capacity", why));
    }
    if role == Role::Recorder && cameras == 0 {
        let why = "is 0 on a recorder; raise it, or set role = \"witness\"";
        return Err(Invalid::new("camera_capacity", why));
    }
    if bitrate_bps == Some(0) {
        return Err(Invalid::new(
            "bitrate_capacity_bps",
            "is 0; use at least 1, or leave it out for no limit",
        ));
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub spec: NodeSpec,
    pub duty: Duty,
    /// Of the key that its connections are made with.
    pub key: KeyHash,
    /// As it was invited.
    pub may_vote: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_others_can_connect_to() {
        for good in [
            "n1:1",
            "127.0.0.1:8480",
            "[2001:db8::1]:8480",
            "nvr-1.example.org:8480",
        ] {
            assert!(good.parse::<HostPort>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "n1",
            "n1:",
            "n1:0",
            ":1",
            "0.0.0.0:1",
            "[::]:1",
            "a b:1",
            "2001:db8::1:8480",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
        assert_eq!(
            NodeSpec::new("n1", "n1:1", "n1").unwrap_err().field,
            "api_addr"
        );
    }

    #[test]
    fn a_recorder_has_room_and_a_witness_need_not() {
        let node = NodeSpec::new("n1", "n1:1", "n1:2").unwrap();
        assert_eq!(node.check(), Ok(()));
        let empty = NodeSpec {
            camera_capacity: 0,
            ..node.clone()
        };
        assert_eq!(empty.check().unwrap_err().field, "camera_capacity");
        assert_eq!(
            NodeSpec {
                role: Role::Witness,
                ..empty
            }
            .check(),
            Ok(())
        );
        let huge = NodeSpec {
            camera_capacity: CAMERA_CAPACITY_MAX + 1,
            ..node.clone()
        };
        assert!(
            huge.check()
                .unwrap_err()
                .to_string()
                .contains("is 100001; at most 100000")
        );
        let none = NodeSpec {
            bitrate_capacity_bps: Some(0),
            ..node
        };
        assert_eq!(none.check().unwrap_err().field, "bitrate_capacity_bps");
    }
}
