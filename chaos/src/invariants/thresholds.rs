//! The thresholds that a scenario sets in `[expect]`.

use super::{Outcome, moves};
use crate::evidence::DEADLY_KILL;
use crate::evidence::Evidence;
use crate::figures;
use crate::history::What;
use crate::scenario::{Class, Expect};

/// One check for each threshold that is set.
pub(super) fn check(evidence: &Evidence) -> Vec<(String, Outcome)> {
    let figures = figures::of(evidence);
    let Expect {
        gap_worst_ms,
        gap_worst_others_ms,
        gap_median_ms,
        lost_frames_standard_max,
        lost_frames_gapless_max,
        lost_frames_unaffected_max,
        deadly_kills_max,
        settled_within_s,
        api_answered_percent_min,
        playback_answered_percent_min,
        ..
    } = &evidence.expect;
    let at_most = |name: &str, limit: Option<u64>, found: u64, unit: &str| {
        let outcome = |limit: u64| {
            judged(
                found <= limit,
                format!("{found} {unit}, at most {limit}"),
                first_loss(evidence),
            )
        };
        limit.map(|limit| (name.to_owned(), outcome(limit)))
    };
    let unaffected = |camera: &&super::CameraEvidence| !evidence.is_affected(&camera.name);
    let lost_unaffected = evidence
        .cameras
        .iter()
        .filter(unaffected)
        .map(|camera| camera.loss.lost)
        .sum();
    let settled = settled_within_s.map(|limit| {
        let took = evidence.settled_after.map(|took| took.as_secs_f64());
        let shown = took.map_or_else(|| "not at all".to_owned(), |took| format!("{took:.1} s"));
        let outcome = judged(
            took.is_some_and(|took| took <= limit),
            format!("{shown}, at most {limit} s"),
            None,
        );
        ("settled_within_s".to_owned(), outcome)
    });
    let checks = [
        at_most("gap_worst_ms", *gap_worst_ms, figures.gap_worst_ms, "ms"),
        at_most(
            "gap_worst_others_ms",
            *gap_worst_others_ms,
            figures::gap_worst_of_others(evidence),
            "ms",
        ),
        at_most("gap_median_ms", *gap_median_ms, figures.gap_median_ms, "ms"),
        at_most(
            "lost_frames_standard_max",
            *lost_frames_standard_max,
            lost(evidence, Class::Standard),
            "frames",
        ),
        at_most(
            "lost_frames_gapless_max",
            *lost_frames_gapless_max,
            lost(evidence, Class::Gapless),
            "frames",
        ),
        at_most(
            "lost_frames_unaffected_max",
            *lost_frames_unaffected_max,
            lost_unaffected,
            "frames",
        ),
        at_most(
            "deadly_kills_max",
            *deadly_kills_max,
            deadly_kills(evidence),
            "nodes ended by deadly cameras",
        ),
        moves::check(evidence),
        settled,
        answered(
            evidence,
            "api_answered_percent_min",
            "api",
            *api_answered_percent_min,
        ),
        answered(
            evidence,
            "playback_answered_percent_min",
            "playback",
            *playback_answered_percent_min,
        ),
    ];
    checks.into_iter().flatten().collect()
}

fn judged(holds: bool, text: String, at_us: Option<i64>) -> Outcome {
    if holds {
        Outcome::Holds(text)
    } else {
        Outcome::Broken { what: text, at_us }
    }
}

fn lost(evidence: &Evidence, class: Class) -> u64 {
    evidence
        .cameras
        .iter()
        .filter(|camera| camera.class == class)
        .map(|camera| camera.loss.lost)
        .sum()
}

fn deadly_kills(evidence: &Evidence) -> u64 {
    evidence
        .faults
        .iter()
        .filter(|fault| fault.action == DEADLY_KILL)
        .count() as u64
}

/// When the first lost frame was captured.
fn first_loss(evidence: &Evidence) -> Option<i64> {
    let gaps = evidence
        .cameras
        .iter()
        .flat_map(|camera| camera.loss.gaps.iter().map(|gap| camera.captured(gap).0));
    gaps.min()
}

fn answered(
    evidence: &Evidence,
    name: &str,
    kind: &str,
    least: Option<f64>,
) -> Option<(String, Outcome)> {
    let least = least?;
    let load = evidence.events.iter().find_map(|event| match &event.what {
        What::Load {
            kind: of,
            asked,
            answered,
            first_error,
        } if of == kind => Some((*asked, *answered, first_error)),
        _ => None,
    });
    let outcome = match load {
        None | Some((0, ..)) => Outcome::NotJudged("nothing was asked".to_owned()),
        Some((asked, answered, first_error)) => {
            let percent = answered as f64 * 100.0 / asked as f64;
            let error = first_error
                .as_ref()
                .map(|error| format!("; the first that was not: {error}"))
                .unwrap_or_default();
            let text = format!("{answered} of {asked} ({percent:.2} %), at least {least} %{error}");
            judged(percent >= least, text, None)
        }
    };
    Some((name.to_owned(), outcome))
}
