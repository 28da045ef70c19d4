//! Labels of nodes, and the labels that a camera requires of the nodes that record it.

use super::text::{Invalid, TextRule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const LABELS_MAX: usize = 32;
pub const LABEL_KEY: TextRule = TextRule::Identifier {
    bytes_max: 63,
    also: "-_./",
};
pub const LABEL_VALUE: TextRule = TextRule::Printable { bytes_max: 256 };

/// At most [`LABELS_MAX`]. A key is an identifier with `-`, `_`, `.` and `/`; a value may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether all of `asked` are among these, with the same values.
    #[must_use]
    pub fn have(&self, asked: &Self) -> bool {
        asked
            .0
            .iter()
            .all(|(key, value)| self.0.get(key) == Some(value))
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = Invalid;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("labels", why);
        if labels.len() > LABELS_MAX {
            return Err(invalid(format!(
                "has {} entries; at most {LABELS_MAX} are allowed",
                labels.len()
            )));
        }
        for (key, value) in &labels {
            LABEL_KEY
                .check(key)
                .map_err(|why| invalid(format!("has a key that {why}")))?;
            LABEL_VALUE
                .check(value)
                .map_err(|why| invalid(format!("has a value at {key:?} that {why}")))?;
        }
        Ok(Self(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, Invalid> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Labels::try_from(pairs.collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn keys_values_and_their_number_have_limits() {
        assert!(labels(&[("site/floor", "north 2"), ("x", "")]).is_ok());
        for bad in [
            ("", "v"),
            ("a b", "v"),
            (&"k".repeat(64), "v"),
            ("k", "a\tb"),
            ("k", &"v".repeat(257)),
        ] {
            assert!(labels(&[bad]).is_err(), "{bad:?}");
        }
        let many = (0..=LABELS_MAX).map(|n| (n.to_string(), String::new()));
        let error = Labels::try_from(many.collect::<BTreeMap<_, _>>()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`labels` has 33 entries; at most 32 are allowed"
        );
    }

    #[test]
    fn asked_labels_must_all_be_there() {
        let node = labels(&[("zone", "a"), ("floor", "1")]).unwrap();
        assert!(node.have(&labels(&[("zone", "a")]).unwrap()) && node.have(&Labels::default()));
        assert!(
            !node.have(&labels(&[("zone", "b")]).unwrap())
                && !node.have(&labels(&[("rack", "")]).unwrap())
        );
    }
}
