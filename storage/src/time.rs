//! Wall time as it is stored: microseconds since the Unix epoch, UTC. Nothing here reads a clock.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An instant of wall time, in microseconds since 1970-01-01T00:00:00Z.
///
/// Binary formats store the integer; JSON and `Display` use RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const MIN: Self = Self(i64::MIN);
    pub const MAX: Self = Self(i64::MAX);

    #[must_use]
    pub fn from_system(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Err(before) => Self(-i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX)),
        }
    }

    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// This instant plus `micros`, saturating at the type's bounds.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }

    /// Microseconds from `earlier` to `self`; negative if `self` is the earlier one.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This instant as a count of `timescale` ticks per second since the Unix epoch (the `tfdt` of
    /// every chunk), rounded down.
    #[must_use]
    pub fn ticks(self, timescale: u32) -> u64 {
        let ticks = i128::from(self.0.max(0)) * i128::from(timescale) / 1_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The instant of a count of `timescale` ticks per second since the Unix epoch, rounded down.
    #[must_use]
    pub fn from_ticks(ticks: u64, timescale: u32) -> Self {
        let micros = i128::from(ticks) * 1_000_000 / i128::from(timescale.max(1));
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;
    /// Parses RFC 3339, for example `2026-11-22T10:00:00.25Z`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        chrono::DateTime::parse_from_rfc3339(text).map(|time| Self(time.timestamp_micros()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_rfc_3339() {
        let time = Timestamp(1_795_341_600_250_000);
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        assert!(time.to_string().ends_with('Z'));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn ticks_round_down_and_come_back_within_one_tick() {
        let time = Timestamp(1_795_341_600_123_456);
        let back = Timestamp::from_ticks(time.ticks(90_000), 90_000);
        assert!(back <= time && time.micros_since(back) <= 12);
    }
}
