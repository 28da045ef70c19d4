//! `holdfast status`: the page for operators when something is wrong. Its exit code reports the
//! state of the cluster.

use super::table::printable;
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_control_api::wire::{Disk, Finding, NextFailure, Status, StatusState};
use holdfast_storage::time::Timestamp;
use std::process::ExitCode;

/// Nothing is lost, but something is not as it should be.
const DEGRADED: u8 = 10;
/// A camera that should be recorded is not.
const FOOTAGE_IS_BEING_LOST: u8 = 20;

/// Findings of one kind that are shown; `--json` has them all.
const LINES_MAX: usize = 20;
/// The most nodes that are shown of those whose failure would cost a camera.
const COSTS_MAX: usize = 5;

pub(super) async fn run(options: ApiOptions, out: Output) -> Result<ExitCode, CliError> {
    let status: Status = Api::new(&options)?.get(&["status"], &[]).await?;
    out.print(&status, describe)?;
    Ok(code(status.state))
}

fn code(state: StatusState) -> ExitCode {
    match state {
        StatusState::Well => ExitCode::SUCCESS,
        StatusState::Degraded => DEGRADED.into(),
        StatusState::FootageIsBeingLost => FOOTAGE_IS_BEING_LOST.into(),
    }
}

fn describe(status: &Status) -> String {
    let mut lines = findings(status);
    lines.extend(disks(&status.disks));
    lines.extend(next_failure(&status.next_failure));
    let width = |column: fn(&Line) -> &str| {
        lines
            .iter()
            .map(|line| column(line).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (label, subject) = (width(|line| &line.label), width(|line| &line.subject));
    let mut text = printable(&status.verdict);
    for line in &lines {
        let row = format!(
            "{:<label$}  {:<subject$}  {}",
            line.label, line.subject, line.text
        );
        text.push('\n');
        text.push_str(row.trim_end());
    }
    text
}

/// The three columns of a line.
struct Line {
    label: String,
    subject: String,
    text: String,
}

impl Line {
    fn new(label: &str, subject: &str, text: &str) -> Self {
        Self {
            label: label.to_owned(),
            subject: printable(subject),
            text: printable(text),
        }
    }
}

fn findings(status: &Status) -> Vec<Line> {
    let mut lines = Vec::new();
    for of_kind in status.findings.chunk_by(|one, next| one.code == next.code) {
        lines.extend(
            of_kind
                .iter()
                .take(LINES_MAX)
                .map(|finding| line(finding, status.at)),
        );
        let more = of_kind.len().saturating_sub(LINES_MAX);
        if more > 0 {
            lines.push(Line::new(
                "",
                "",
                &format!("and {more} more; --json lists them"),
            ));
        }
    }
    if status.findings_left_out > 0 {
        lines.push(Line::new(
            "",
            "",
            &format!("and {} more that are not listed", status.findings_left_out),
        ));
    }
    lines
}

fn line(finding: &Finding, now: Timestamp) -> Line {
    let since = finding
        .since
        .map(|since| format!("since {}  ", time(since, now)))
        .unwrap_or_default();
    let mend = finding
        .mend
        .as_ref()
        .map(|mend| format!("  fix: {mend}"))
        .unwrap_or_default();
    Line::new(
        &finding.code.replace('-', " "),
        &finding.subject,
        &format!("{since}{}{mend}", finding.what),
    )
}

fn disks(disks: &[Disk]) -> Vec<Line> {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let line = |disk: &Disk| {
        let room = disk.full_in_seconds.map_or_else(
            || "nothing is written".to_owned(),
            |seconds| {
                format!(
                    "room for {} at the present rate, then the oldest goes",
                    duration(seconds)
                )
            },
        );
        let text = format!(
            "{}  {}, {:.1} of {:.1} GiB free, {room}",
            disk.path,
            disk.state,
            gib(disk.free_bytes),
            gib(disk.size_bytes)
        );
        Line::new("disk", &disk.node_name, &text)
    };
    disks.iter().map(line).collect()
}

/// The costly nodes; that the others cost nothing is shown once.
fn next_failure(costs: &[NextFailure]) -> Vec<Line> {
    let mut costly: Vec<&NextFailure> = costs.iter().filter(|next| next.cameras_lost > 0).collect();
    costly.sort_by_key(|next| std::cmp::Reverse(next.cameras_lost));
    if costs.is_empty() {
        return Vec::new();
    }
    let others = costs.len() - costly.len();
    let shown = costly.iter().take(COSTS_MAX).map(|next| {
        let more = if next.cameras_lost > next.some.len() {
            ", …"
        } else {
            ""
        };
        let count = next.cameras_lost;
        Line::new(
            "next failure",
            &next.node_name,
            &format!("would cost {count} ({}{more})", next.some.join(", ")),
        )
    });
    let none = match (costly.len(), others) {
        (_, 0) => None,
        (0, _) => Some(Line::new(
            "next failure",
            "any node",
            "would cost no camera",
        )),
        (_, 1) => Some(Line::new(
            "next failure",
            "1 other node",
            "would cost no camera",
        )),
        (_, others) => Some(Line::new(
            "next failure",
            &format!("{others} other nodes"),
            "would cost no camera",
        )),
    };
    shown.chain(none).collect()
}

/// The time of day, with the date if it is another day, and how long ago that is.
fn time(at: Timestamp, now: Timestamp) -> String {
    let (text, today) = (at.to_string(), now.to_string());
    let (day, clock) = (
        text.get(..10).unwrap_or_default(),
        text.get(11..19).unwrap_or(&text),
    );
    let shown = if today.starts_with(day) {
        format!("{clock}Z")
    } else {
        format!("{day} {clock}Z")
    };
    let seconds = u64::try_from(now.micros_since(at).max(0)).unwrap_or(0) / 1_000_000;
    format!("{shown} ({})", duration(seconds))
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_control_api::wire::{Mode, Severity};
    use holdfast_storage::ids::NodeId;

    const NOW: Timestamp = Timestamp(1_795_341_600_000_000);

    fn finding(code: &str, subject: &str, ago_s: i64) -> Finding {
        Finding {
            severity: Severity::Loss,
            code: code.to_owned(),
            subject: subject.to_owned(),
            since: Some(NOW.plus_micros(-ago_s * 1_000_000)),
            what: "the camera refused the user name or password (RTSP 401)".to_owned(),
            mend: Some(format!("holdfast camera edit {subject} --password-file -")),
            camera: None,
            node: None,
        }
    }

    fn next(name: &str, cameras_lost: usize) -> NextFailure {
        let some = ["vault", "hall", "gate"]
            .map(str::to_owned)
            .into_iter()
            .take(cameras_lost)
            .collect();
        NextFailure {
            node: NodeId(1),
            node_name: name.to_owned(),
            cameras_lost,
            some,
        }
    }

    fn status(findings: Vec<Finding>) -> Status {
        let disk = Disk {
            node: NodeId(1),
            node_name: "rec1".to_owned(),
            volume: 0,
            path: "/srv/v0".to_owned(),
            state: "active".to_owned(),
            free_bytes: 1 << 30,
            size_bytes: 4 << 30,
            full_in_seconds: Some(43_200),
        };
        Status {
            at: NOW,
            state: StatusState::FootageIsBeingLost,
            verdict: "FOOTAGE IS BEING LOST: 1 of 206 cameras is not recorded".to_owned(),
            mode: Mode::Cluster,
            cameras: 206,
            cameras_recorded: 205,
            nodes: 3,
            nodes_alive: 3,
            findings,
            findings_left_out: 0,
            disks: vec![disk],
            next_failure: vec![next("rec1", 0), next("rec3", 3)],
        }
    }

    #[test]
    fn the_page_says_what_is_wrong_since_when_and_what_to_type() {
        let text = describe(&status(vec![
            finding("not-recorded", "lift", 320),
            finding("node-down", "rec2", 172_800),
        ]));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("FOOTAGE IS BEING LOST"));
        assert_eq!(
            lines[1],
            "not recorded  lift          since 09:54:40Z (5 min)  the camera refused the user name \
             or password (RTSP 401)  fix: holdfast camera edit lift --password-file -"
        );
        assert!(
            lines[2].contains("since 2026-11-20 10:00:00Z (2 days)"),
            "{text}"
        );
        assert!(
            lines[3].contains("/srv/v0  active, 1.0 of 4.0 GiB free, room for 12 h"),
            "{text}"
        );
        assert!(
            lines[4].ends_with("rec3          would cost 3 (vault, hall, gate)"),
            "{text}"
        );
        assert!(
            lines[5].ends_with("1 other node  would cost no camera"),
            "{text}"
        );
    }

    #[test]
    fn thousands_of_the_same_are_a_page() {
        let many = (0..3000)
            .map(|n| finding("not-recorded", &format!("cam{n}"), 9))
            .collect();
        let text = describe(&status(many));
        assert!(
            text.lines().count() < 30 && text.contains("and 2980 more"),
            "{text}"
        );
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert!(
            !describe(&status(vec![finding("not-recorded", "\u{1b}[2J", 9)])).contains('\u{1b}')
        );
    }
}
