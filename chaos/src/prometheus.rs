//! Reads single values from a metrics page in the text format. Pure.

/// The sum over all series of a family, or over those that carry `label` (`state="recording"`).
/// `None` if there is no such series.
#[must_use]
pub fn sum(page: &str, family: &str, label: Option<&str>) -> Option<f64> {
    let values: Vec<f64> = page
        .lines()
        .filter_map(|line| value(line, family, label))
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn value(line: &str, family: &str, label: Option<&str>) -> Option<f64> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let wanted = name == family && label.is_none_or(|label| labels.contains(label));
    wanted.then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "# HELP a Things.\n# TYPE a gauge\na{state=\"up\"} 2\na{state=\"down\"} 3\nab 7\nb 1.5\n";

    #[test]
    fn series_are_summed_by_family_and_label() {
        assert_eq!(sum(PAGE, "a", None), Some(5.0));
        assert_eq!(sum(PAGE, "a", Some("state=\"down\"")), Some(3.0));
        assert_eq!(sum(PAGE, "b", None), Some(1.5));
        assert_eq!(sum(PAGE, "c", None), None);
    }
}
