//! Parses points in time as people type them. Pure: the present is an argument.

use holdfast_storage::time::Timestamp;

/// RFC 3339, `now`, or an offset back from `now`: `-90s`, `-10m`, `-2h`, `-1d`.
///
/// # Errors
/// Names what is accepted.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if text == "now" {
        return Ok(now);
    }
    text.strip_prefix('-')
        .and_then(offset_us)
        .map(|offset| now.plus_micros(-offset))
        .or_else(|| text.parse().ok())
        .ok_or_else(|| {
            format!(
                "`{text}` is not a time; write 2026-11-22T10:00:00Z, `now`, or -90s, -10m, -2h, -1d"
            )
        })
}

fn offset_us(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text
        .strip_suffix(unit)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits
        .parse::<i64>()
        .ok()?
        .checked_mul(seconds)?
        .checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    #[test]
    fn reads_absolute_and_relative_times() {
        assert_eq!(parse("now", NOW), Ok(NOW));
        assert_eq!(parse("-10m", NOW), Ok(NOW.plus_micros(-600_000_000)));
        assert_eq!(parse("-1d", NOW), Ok(NOW.plus_micros(-86_400_000_000)));
        assert_eq!(
            parse("1970-01-01T01:00:01+01:00", NOW),
            Ok(Timestamp(1_000_000))
        );
    }

    #[test]
    fn refuses_the_rest_with_examples() {
        for text in [
            "",
            "-",
            "-m",
            "10m",
            "--5m",
            "-5",
            "-5w",
            "-99999999999999999d",
            "-1é",
            "yesterday",
        ] {
            assert!(parse(text, NOW).unwrap_err().contains("-10m"), "{text}");
        }
    }
}
