//! Sizes in bytes as people write them: `1073741824`, `1_073_741_824`, `"1GiB"`, `"500MB"`.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number of bytes. Written as an integer, or as text with a unit: B, KiB, MiB, GiB, TiB (powers
/// of 1024), kB, MB, GB, TB (of 1000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| {
                text.trim()
                    .strip_suffix(unit)
                    .map(|digits| (digits, *factor))
            })
            .unwrap_or((text, 1));
        digits
            .trim()
            .replace('_', "")
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "`{text}` is not a size; write whole bytes, or for example \"512MiB\" or \
                     \"4GiB\""
                )
            })
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that divides it, so that printing and parsing agree exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS[..4]
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size: whole bytes, or text such as \"4GiB\"")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes)
            .map(ByteSize)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("4GiB", 4 << 30),
            ("4 GiB", 4 << 30),
            ("500MB", 500_000_000),
            ("1_000", 1000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "4gib", "20000000TiB"] {
            assert!(
                text.parse::<ByteSize>()
                    .unwrap_err()
                    .contains("is not a size"),
                "{text}"
            );
        }
    }

    #[test]
    fn prints_so_that_it_parses_back() {
        for bytes in [0, 1, 1023, 1 << 20, (1 << 30) + 1, 4 << 40, 500_000_000] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!(ByteSize(4 << 30).to_string(), "4GiB");
    }
}
