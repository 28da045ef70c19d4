//! Reads `from` and `to` of a query: RFC 3339, in order, not longer than a limit.

use crate::error::ApiError;
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// A half-open interval of wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Range {
    /// # Errors
    /// [`crate::error::ErrorKind::Malformed`] if one is missing or is no time;
    /// [`crate::error::ErrorKind::Invalid`] if the range is empty or longer than `longest`.
    pub fn parse(
        from: Option<&str>,
        to: Option<&str>,
        longest: Duration,
    ) -> Result<Self, ApiError> {
        let range = Self {
            from: time("from", from)?,
            to: time("to", to)?,
        };
        range.check(longest)
    }

    /// # Errors
    /// [`crate::error::ErrorKind::Invalid`] if the range is empty or longer than `longest`.
    pub fn check(self, longest: Duration) -> Result<Self, ApiError> {
        if self.from >= self.to {
            let detail = format!("`from` ({}) must be before `to` ({})", self.from, self.to);
            return Err(ApiError::invalid(detail).code("range-empty"));
        }
        if self.to > self.from.plus(longest) {
            let hours = longest.as_secs() / 3600;
            let detail = format!(
                "from {} to {} is longer than {hours} h; ask for shorter ranges one after the \
                 other",
                self.from, self.to
            );
            return Err(ApiError::invalid(detail).code("range-too-long"));
        }
        Ok(self)
    }
}

/// A time in a query.
pub(crate) fn time(name: &str, value: Option<&str>) -> Result<Timestamp, ApiError> {
    let Some(value) = value else {
        let detail = format!(
            "the query has no `{name}`; add it in RFC 3339, for example \
             `{name}=2026-11-22T10:00:00Z`"
        );
        return Err(ApiError::invalid(detail).code("range-missing"));
    };
    value.parse().map_err(|error| {
        let hint = if value.contains(' ') {
            "; write `+` as `%2B`, or end the time with `Z`"
        } else {
            ""
        };
        let detail = format!(
            "`{name}` is {value:?}, which is not RFC 3339 ({error}), for example \
                     `2026-11-22T10:00:00Z`{hint}"
        );
        ApiError::malformed(detail).code("range-unreadable")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn code(from: Option<&str>, to: Option<&str>) -> &'static str {
        Range::parse(from, to, HOUR).unwrap_err().code
    }

    #[test]
    fn accepts_up_to_the_limit_and_no_more() {
        let from = Some("2026-11-22T10:00:00Z");
        let range = Range::parse(from, Some("2026-11-22T12:00:00+01:00"), HOUR).unwrap();
        assert_eq!(range.to.micros_since(range.from), 3_600_000_000);
        assert_eq!(
            code(from, Some("2026-11-22T11:00:00.000001Z")),
            "range-too-long"
        );
    }

    #[test]
    fn says_which_end_is_wrong_and_how() {
        let good = Some("2026-11-22T10:00:00Z");
        assert_eq!(code(None, good), "range-missing");
        assert_eq!(code(good, good), "range-empty");
        let error = Range::parse(good, Some("2026-11-22T10:00:00 01:00"), HOUR).unwrap_err();
        assert_eq!(error.code, "range-unreadable");
        assert!(
            error.detail.contains("`to`") && error.detail.contains("%2B"),
            "{}",
            error.detail
        );
    }
}
