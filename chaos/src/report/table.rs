//! The table over many runs, for a document: one line for each scenario. Pure.

use super::Report;
use crate::evidence::Verdict;
use crate::figures::Figures;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Invariants whose violation means that a reported watermark was wrong.
const OF_WATERMARKS: [&str; 2] = ["durable-stays", "watermarks-forward"];

/// A Markdown document: how the runs were made, and a table with one line for each scenario.
#[must_use]
pub fn write(reports: &[Report], command: &str) -> String {
    let mut by_scenario: BTreeMap<(&str, u64), Vec<&Report>> = BTreeMap::new();
    for report in reports {
        by_scenario
            .entry((&report.scenario, report.cameras))
            .or_default()
            .push(report);
    }
    let machine = reports
        .first()
        .map(|report| report.machine.as_str())
        .unwrap_or_default();
    let date = reports
        .first()
        .map(|report| report.began_at().to_string())
        .unwrap_or_default();
    let mut text = format!(
        "# Results of the chaos scenarios\n\nMade by `{command}`; {}; {machine}.\n\n\
         Interruptions are from the capture of the last frame before a gap to that of the first \
         frame after it, over the cameras of the nodes that a fault hit; `unaffected` are frames \
         lost by all other cameras. Each figure is over all runs.\n\n",
        date.split('T').next().unwrap_or_default()
    );
    text.push_str(
        "| scenario | place | cameras | runs | holds | median gap ms | p95 | worst | lost standard \
         | lost gapless | unaffected lost | watermark violations | whole again s | broken |\n",
    );
    text.push_str("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n");
    for ((scenario, cameras), runs) in by_scenario {
        let holds = runs.iter().filter(|run| run.holds()).count();
        let mut gaps: Vec<u64> = runs.iter().flat_map(|run| interruptions(run)).collect();
        gaps.sort_unstable();
        let lost_of =
            |class: fn(&Figures) -> u64| runs.iter().map(|run| class(&run.figures)).sum::<u64>();
        let whole = runs
            .iter()
            .filter_map(|run| run.figures.whole_after_ms)
            .max();
        let at = |percent| percentile(&gaps, percent);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {scenario} | {} | {cameras} | {} | {holds} | {} | {} | {} | {} | {} | {} | {} | {} \
             | {} |",
            runs[0].place,
            runs.len(),
            at(50),
            at(95),
            at(100),
            lost_of(|figures| figures.frames_lost_standard),
            lost_of(|figures| figures.frames_lost_gapless),
            runs.iter().map(|run| unaffected_lost(run)).sum::<u64>(),
            broken_checks(&runs)
                .filter(|name| OF_WATERMARKS.contains(name))
                .count(),
            whole.map_or_else(|| "-".to_owned(), |ms| format!("{:.1}", ms as f64 / 1000.0)),
            broken(&runs)
        );
    }
    text
}

/// How long each affected camera was not recorded; only of cameras that lost frames.
fn interruptions(report: &Report) -> impl Iterator<Item = u64> {
    report
        .figures
        .failovers
        .iter()
        .map(|failover| failover.gap_ms)
        .filter(|gap| *gap > 0)
}

fn unaffected_lost(report: &Report) -> u64 {
    let is_affected = |camera: &str| {
        report
            .faults
            .iter()
            .any(|fault| fault.affected.iter().any(|name| name == camera))
    };
    report
        .gaps
        .iter()
        .filter(|gap| !is_affected(&gap.camera))
        .map(|gap| gap.frames)
        .sum()
}

fn broken(runs: &[&Report]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in broken_checks(runs) {
        *counts.entry(name).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(name, count)| format!("{name} {count}x"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn broken_checks<'a>(runs: &[&'a Report]) -> impl Iterator<Item = &'a str> {
    let checks = runs.iter().flat_map(|run| &run.checks);
    checks
        .filter(|check| check.verdict == Verdict::Broken)
        .map(|check| check.name.as_str())
}

/// Nearest-rank percentile of sorted values; 0 if there are none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Human-readable distribution of the results of several runs of one scenario.
#[must_use]
pub fn distribution(reports: &[Report]) -> String {
    let mut gaps: Vec<u64> = reports.iter().flat_map(interruptions).collect();
    gaps.sort_unstable();
    let holds = reports.iter().filter(|report| report.holds()).count();
    let at = |percent| percentile(&gaps, percent);
    let lost: Vec<String> = reports
        .iter()
        .map(|report| {
            (report.figures.frames_lost_standard + report.figures.frames_lost_gapless).to_string()
        })
        .collect();
    format!(
        "{holds} of {} runs hold; {} interruptions: {} ms least, {} ms median, {} ms at 90 %, {} \
         ms worst; frames lost a run: {}\n",
        reports.len(),
        gaps.len(),
        at(0),
        at(50),
        at(90),
        at(100),
        lost.join(" ")
    )
}
