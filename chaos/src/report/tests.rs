//! Reports are written from made-up evidence: figures, page, XML and table agree with it.

use super::*;
use crate::evidence::Check;
use crate::history::{Event, What};
use crate::invariants::check_all;
use crate::invariants::tests::evidence;

fn report(broken: bool) -> Report {
    let mut evidence = evidence(200, 50..75);
    evidence.events.push(Event {
        at_us: 3_000_000,
        what: What::Said {
            text: "a < b".to_owned(),
        },
    });
    if broken {
        evidence.expect.gap_worst_ms = Some(10);
    }
    let checks: Vec<Check> = check_all(&evidence);
    let options = RunOptions {
        scenario: crate::scenario::Scenario::load("leader-kill").unwrap(),
        place: crate::scenario::Place::Processes,
        seed: 7,
        label: None,
        namespaces: None,
        attach: None,
        out: std::path::PathBuf::new(),
        repeat: "holdfast-chaos run leader-kill --seed 7".to_owned(),
        machine: "a <machine>".to_owned(),
        keep: false,
    };
    Report::new(&options, &evidence, checks)
}

#[test]
fn figures_are_those_of_the_gaps() {
    let report = report(false);
    let figures = &report.figures;
    assert_eq!(
        (
            figures.frames_sent,
            figures.frames_lost_standard,
            figures.gap_worst_ms
        ),
        (200, 25, 26 * 40)
    );
    assert_eq!(
        (figures.cameras_interrupted, figures.failovers[0].gap_ms),
        (1, 26 * 40)
    );
    assert_eq!(
        (
            figures.lost_by_cause["node_down"].frames,
            report.gaps[0].fault
        ),
        (25, Some(0))
    );
}

#[test]
fn one_lost_frame_has_its_cause_too() {
    let figures = crate::figures::of(&evidence(200, 50..51));
    assert_eq!(
        figures.lost_by_cause["node_down"].frames, 1,
        "{:?}",
        figures.lost_by_cause
    );
}

#[test]
fn what_is_written_can_be_read_again_and_is_well_formed() {
    let (dir, report) = (tempfile::tempdir().unwrap(), report(true));
    report.write_to(dir.path()).unwrap();
    assert_eq!(Report::read(dir.path()).unwrap(), report);
    let xml = std::fs::read_to_string(dir.path().join("junit.xml")).unwrap();
    assert!(
        xml.contains("failures=\"1\"")
            && xml.contains("name=\"gap_worst_ms\"")
            && xml.contains("--seed 7"),
        "{xml}"
    );
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(
        page.contains("a &lt;machine&gt;") && !page.contains("<machine>"),
        "text is escaped"
    );
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it needs nothing else"
    );
    for tag in ["table", "svg", "p", "tr", "h2"] {
        let count = |start: &str| page.matches(start).count();
        let opened = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
        assert_eq!(opened, count(&format!("</{tag}>")), "{tag}");
    }
}

#[test]
fn a_broken_threshold_is_said_with_what_was_around() {
    let report = report(true);
    assert!(!report.holds());
    let summary = report.summary();
    assert!(
        summary.contains("BROKEN") && summary.contains("gap_worst_ms") && summary.contains("a < b"),
        "{summary}"
    );
    assert!(
        self::report(false).holds(),
        "{}",
        self::report(false).summary()
    );
}

#[test]
fn the_table_has_a_line_a_scenario() {
    let text = table::write(
        &[report(false), report(true)],
        "holdfast-chaos run leader-kill",
    );
    let line = text
        .lines()
        .find(|line| line.starts_with("| leader-kill"))
        .unwrap();
    assert_eq!(
        line,
        "| leader-kill | processes | 1 | 2 | 1 | 1040 | 1040 | 1040 | 50 | 0 | 0 | 0 | - | \
         gap_worst_ms 1x |"
    );
    assert!(table::distribution(&[report(false), report(true)]).starts_with("1 of 2 runs hold"));
}
