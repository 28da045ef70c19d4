//! Metric names: all begin with `holdfast_` and end with a unit.

use super::{assert_none, files, read};
use std::path::{Path, PathBuf};

/// Permitted ends of a name: a base unit of Prometheus, `total` for counters, `info`, or the things
/// that a gauge counts.
const UNITS: [&str; 21] = [
    "seconds",
    "bytes",
    "ratio",
    "total",
    "info",
    "volts",
    "celsius",
    "nodes",
    "cameras",
    "segments",
    "chunks",
    "frames",
    "sessions",
    "connections",
    "requests",
    "volumes",
    "recorders",
    "subscribers",
    "threads",
    "files",
    "term",
];

/// Names in the sources that share the prefix but are not metrics: crates, as tracing and rustdoc
/// write them.
const CRATES: [&str; 8] = [
    "holdfast_node",
    "holdfast_storage",
    "holdfast_consensus",
    "holdfast_control_api",
    "holdfast_camera",
    "holdfast_chaos",
    "holdfast_tests",
    "holdfast_benches",
];

/// Ends of the calls whose first string literal is a metric's name: `IntGauge::new(` is a
/// `Gauge::new(`, `HistogramOpts::new(` an `Opts::new(`.
const CONSTRUCTORS: [&str; 4] = ["Opts::new(", "Counter::new(", "Gauge::new(", "Desc::new("];

/// String literals of one line that look like one of our metrics.
pub(super) fn prefixed(line: &str) -> Vec<&str> {
    let literals = line.split('"').skip(1).step_by(2);
    let name = |text: &&str| {
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    literals
        .filter(name)
        .filter(|text| text.starts_with("holdfast_") && !CRATES.contains(text))
        .collect()
}

/// The literal at the beginning of a constructor's arguments, if there is one.
pub(super) fn constructed(text: &str) -> Vec<&str> {
    let calls = CONSTRUCTORS
        .iter()
        .flat_map(|constructor| text.split(constructor).skip(1));
    calls
        .filter_map(|arguments| arguments.trim_start().strip_prefix('"')?.split('"').next())
        .collect()
}

fn fault(name: &str) -> Option<&'static str> {
    let Some(rest) = name.strip_prefix("holdfast_") else {
        return Some("does not begin with holdfast_");
    };
    let unit = rest.rsplit('_').next().unwrap_or_default();
    (!UNITS.contains(&unit)).then_some("does not end with a unit (UNITS lists them)")
}

/// Sources that create metrics, without this test's own examples.
pub(super) fn sources() -> Vec<PathBuf> {
    files("rs")
        .into_iter()
        .filter(|path| !path.starts_with(Path::new("tests/tests/tidy")))
        .collect()
}

#[test]
fn names_have_the_prefix_and_a_unit() {
    let mut findings = Vec::new();
    for path in sources() {
        let text = read(&path);
        let names = text.lines().flat_map(prefixed).chain(constructed(&text));
        findings.extend(
            names.filter_map(|name| Some(format!("{}: {name} {}", path.display(), fault(name)?))),
        );
    }
    findings.dedup();
    assert_none("metric names", &findings);
}

#[test]
fn names_are_found_and_judged() {
    assert_eq!(
        prefixed(r#"gauge("holdfast_disk_free_bytes", "holdfast_storage", "Holdfast")"#),
        ["holdfast_disk_free_bytes"]
    );
    assert_eq!(constructed("IntGauge::new(\n    \"up\", \"help\")"), ["up"]);
    assert_eq!(
        [
            fault("up").is_some(),
            fault("holdfast_disk_free").is_some(),
            fault("holdfast_frames_total").is_some()
        ],
        [true, true, false]
    );
}
