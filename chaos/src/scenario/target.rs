//! The target of a fault: named, or found when the fault begins.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader.
    Leader,
    /// The node with the most cameras, except the leader.
    Follower,
    /// Any running node that records, chosen by the seed.
    Any,
    All,
    /// The nodes that the last node fault hit.
    Same,
    /// A node by its number, from 1.
    Node(usize),
    OwnerOf(String),
    MirrorOf(String),
    SuccessorOf(String),
    Camera(String),
    /// A camera chosen by the seed.
    AnyCamera,
    AllCameras,
}

const FORMS: &str = "leader, follower, any, all, same, node1, owner-of:cam01, mirror-of:cam01, \
                     successor-of:cam01, cam01, any-camera, all-cameras";

impl Target {
    #[must_use]
    pub fn is_of_cameras(&self) -> bool {
        matches!(self, Self::Camera(_) | Self::AnyCamera | Self::AllCameras)
    }

    /// The camera that the target names.
    #[must_use]
    pub fn named_camera(&self) -> Option<&str> {
        match self {
            Self::OwnerOf(name)
            | Self::MirrorOf(name)
            | Self::SuccessorOf(name)
            | Self::Camera(name) => Some(name),
            _ => None,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no target; targets are {FORMS}");
        let camera = |name: &str| is_camera(name).then(|| name.to_owned()).ok_or_else(unknown);
        Ok(match text {
            "leader" => Self::Leader,
            "follower" => Self::Follower,
            "any" => Self::Any,
            "all" => Self::All,
            "same" => Self::Same,
            "any-camera" => Self::AnyCamera,
            "all-cameras" => Self::AllCameras,
            _ => match text.split_once(':') {
                Some(("owner-of", name)) => Self::OwnerOf(camera(name)?),
                Some(("mirror-of", name)) => Self::MirrorOf(camera(name)?),
                Some(("successor-of", name)) => Self::SuccessorOf(camera(name)?),
                Some(_) => return Err(unknown()),
                None if is_camera(text) => Self::Camera(text.to_owned()),
                None => {
                    let number = text
                        .strip_prefix("node")
                        .and_then(|number| number.parse().ok());
                    Self::Node(number.filter(|&number| number > 0).ok_or_else(unknown)?)
                }
            },
        })
    }
}

fn is_camera(name: &str) -> bool {
    name.strip_prefix("cam")
        .is_some_and(|number| number.len() >= 2 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("leader"),
            Self::Follower => f.write_str("follower"),
            Self::Any => f.write_str("any"),
            Self::All => f.write_str("all"),
            Self::Same => f.write_str("same"),
            Self::Node(number) => write!(f, "node{number}"),
            Self::OwnerOf(name) => write!(f, "owner-of:{name}"),
            Self::MirrorOf(name) => write!(f, "mirror-of:{name}"),
            Self::SuccessorOf(name) => write!(f, "successor-of:{name}"),
            Self::Camera(name) => f.write_str(name),
            Self::AnyCamera => f.write_str("any-camera"),
            Self::AllCameras => f.write_str("all-cameras"),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_written() {
        for text in FORMS.split(", ") {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "node0",
            "node",
            "cam",
            "cam1",
            "owner-of:",
            "owner-of:node1",
            "chief",
            "leader ",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
