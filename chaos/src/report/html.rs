//! `report.html`: one self-contained page that can be read offline. Pure.

use super::junit::escape;
use super::lanes::Stretch;
use super::{Figures, NodeUse, Report};
use crate::evidence::Verdict;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Dimensions of the picture, in pixels.
const LABEL_WIDTH: f64 = 90.0;
const TIME_WIDTH: f64 = 990.0;
/// Room for the last label.
const RIGHT_MARGIN: f64 = 20.0;
const LANE_HEIGHT: f64 = 16.0;
const LANE_PITCH: f64 = 20.0;
const HEAD_HEIGHT: f64 = 34.0;

/// The most rows in the table of gaps.
const ROWS_MAX: usize = 300;

/// Columns of the histogram.
const BINS: usize = 24;

const COLOURS: [&str; 9] = [
    "#3b75af", "#ef8636", "#519e3e", "#8d69b8", "#84584e", "#d57dbe", "#7f7f7f", "#bcbd45",
    "#54b4c7",
];

const STYLE: &str = "\
    body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1120px;padding:0 16px;\
    color:#1d2733;background:#fff}\
    h1{margin:0 0 4px}h2{margin:28px 0 8px;font-size:18px}\
    table{border-collapse:collapse;width:100%}\
    td,th{padding:4px 8px;border-bottom:1px solid #dde3ea;text-align:left;vertical-align:top}\
    td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
    .holds{color:#1a7f37}.broken{color:#c1121f;font-weight:600}.not-judged{color:#8a6d00}\
    .badge{display:inline-block;padding:2px 12px;border-radius:12px;color:#fff;font-weight:600}\
    .badge.holds{background:#1a7f37}.badge.broken{background:#c1121f}\
    pre{background:#f5f7fa;padding:8px;overflow-x:auto;font-size:12px}\
    code{background:#f5f7fa;padding:1px 4px}.muted{color:#5b6876}svg{max-width:100%;height:auto}\
    svg text{font:11px system-ui,sans-serif;fill:#1d2733}";

pub(super) fn write(report: &Report) -> String {
    let mut page = String::new();
    let title = escape(&format!("{}: {}", report.scenario, report.verdict()));
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n"
    );
    head(&mut page, report);
    checks(&mut page, report);
    page.push_str("<h2>What happened</h2>\n");
    picture(&mut page, report);
    histogram(&mut page, &report.figures);
    causes(&mut page, &report.figures);
    uses(&mut page, report);
    gaps(&mut page, report);
    page.push_str("</body></html>\n");
    page
}

fn head(page: &mut String, report: &Report) {
    let verdict = report.verdict();
    let Figures {
        frames_sent,
        frames_lost_standard,
        frames_lost_gapless,
        gap_worst_ms,
        gap_median_ms,
        ..
    } = &report.figures;
    let lost = frames_lost_standard + frames_lost_gapless;
    let seconds = (report.to_us - report.from_us) as f64 / 1e6;
    let _ = write!(
        page,
        "<h1>{} <span class=\"badge {verdict}\">{verdict}</span></h1>\n<p>{}</p>\n\
         <p><b>{lost}</b> of {frames_sent} frames lost ({frames_lost_standard} standard, \
         {frames_lost_gapless} gapless); interruptions <b>{gap_median_ms} ms</b> median, \
         <b>{gap_worst_ms} ms</b> worst.</p>\n\
         <p class=\"muted\">{} nodes ({}), {} cameras, {seconds:.0} s from {}; seed {}; {}.<br>\
         Repeat it: <code>{}</code></p>\n",
        escape(&report.scenario),
        escape(&report.about),
        report.nodes.len(),
        escape(&report.place),
        report.cameras,
        report.began_at(),
        report.seed,
        escape(&report.machine),
        escape(&report.repeat)
    );
}

fn checks(page: &mut String, report: &Report) {
    page.push_str("<h2>What had to hold</h2>\n<table>\n");
    for check in &report.checks {
        let (class, word) = match check.verdict {
            Verdict::Holds => ("holds", "holds"),
            Verdict::Broken => ("broken", "BROKEN"),
            Verdict::NotJudged => ("not-judged", "not judged"),
        };
        let around = match &*check.around.join("\n") {
            "" => String::new(),
            lines => format!("<pre>{}</pre>", escape(lines)),
        };
        let (name, text) = (escape(&check.name), escape(&check.text));
        let _ = writeln!(
            page,
            "<tr><td \
             class=\"{class}\">{word}</td><td><code>{name}</code></td><td>{text}{around}</td></tr>"
        );
    }
    page.push_str("</table>\n");
}

/// Maps an instant to its position in the picture.
struct Scale {
    from_us: i64,
    to_us: i64,
}

impl Scale {
    fn x(&self, at_us: i64) -> f64 {
        let share = (at_us - self.from_us) as f64 / (self.to_us - self.from_us).max(1) as f64;
        LABEL_WIDTH + share.clamp(0.0, 1.0) * TIME_WIDTH
    }

    fn bar(
        &self,
        stretch: &Stretch,
        y: f64,
        height: f64,
        colour: &str,
        title: &str,
        more: &str,
    ) -> String {
        let (from, to) = (self.x(stretch.from_us), self.x(stretch.to_us));
        format!(
            "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"{more}><title>{}</title></rect>\n",
            (to - from).max(1.0),
            escape(title)
        )
    }
}

fn picture(page: &mut String, report: &Report) {
    let scale = Scale {
        from_us: report.from_us,
        to_us: report.to_us,
    };
    let colours: BTreeMap<&str, &str> = report
        .nodes
        .iter()
        .map(String::as_str)
        .zip(COLOURS.into_iter().cycle())
        .collect();
    let lanes = report.lanes.nodes.len() + report.lanes.cameras.len();
    let height = HEAD_HEIGHT + LANE_PITCH * (lanes as f64 + 0.5) + 24.0;
    let width = LABEL_WIDTH + TIME_WIDTH + RIGHT_MARGIN;
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">"
    );
    faults(page, report, &scale, height - 20.0);
    let mut y = HEAD_HEIGHT;
    for lane in &report.lanes.nodes {
        label(page, &lane.name, y);
        let colour = colours
            .get(lane.name.as_str())
            .copied()
            .unwrap_or("#7f7f7f");
        for stretch in &lane.answered {
            page.push_str(&scale.bar(
                stretch,
                y,
                LANE_HEIGHT,
                colour,
                &format!("{} answers", lane.name),
                " opacity=\"0.55\"",
            ));
        }
        for stretch in &lane.led {
            page.push_str(&scale.bar(stretch, y, 4.0, "#111", &format!("{} leads", lane.name), ""));
        }
        y += LANE_PITCH;
    }
    y += LANE_PITCH / 2.0;
    for lane in &report.lanes.cameras {
        label(page, &lane.name, y);
        for stretch in &lane.recorded {
            let colour = colours
                .get(stretch.node.as_str())
                .copied()
                .unwrap_or("#7f7f7f");
            let how = if stretch.is_provisional {
                " (successor)"
            } else {
                ""
            };
            let title = format!("{} recorded by {}{how}", lane.name, stretch.node);
            page.push_str(&scale.bar(stretch, y, LANE_HEIGHT, colour, &title, ""));
        }
        for stretch in &lane.lost {
            let ms = (stretch.to_us - stretch.from_us) / 1000;
            page.push_str(&scale.bar(
                stretch,
                y,
                LANE_HEIGHT,
                "#e30613",
                &format!("{} lost {ms} ms", lane.name),
                "",
            ));
        }
        y += LANE_PITCH;
    }
    axis(page, report, &scale, height - 6.0);
    page.push_str(
        "</svg>\n<p class=\"muted\">Nodes: coloured while their API answers, black line while they \
         lead. Cameras: the colour of the node that recorded, red where frames are lost. Grey: \
         faults.",
    );
    if report.lanes.cameras_left_out > 0 {
        let _ = write!(
            page,
            " {} cameras with fewer losses are not shown.",
            report.lanes.cameras_left_out
        );
    }
    page.push_str("</p>\n");
}

fn faults(page: &mut String, report: &Report, scale: &Scale, bottom: f64) {
    for (number, fault) in report.faults.iter().enumerate() {
        let (from, to) = (
            scale.x(fault.on_us),
            scale.x(fault.off_us.unwrap_or(report.to_us)),
        );
        let whom = [fault.nodes.clone(), fault.cameras.clone()]
            .concat()
            .join(" ");
        let what = escape(&format!("{} {whom}", fault.action));
        let _ = write!(
            page,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#8894a3\" \
             opacity=\"0.22\"><title>{what}</title></rect>\n\
             <text x=\"{from:.1}\" y=\"{:.1}\">{what}</text>\n",
            HEAD_HEIGHT - 4.0,
            (to - from).max(2.0),
            bottom - HEAD_HEIGHT + 4.0,
            // Neighbouring labels do not overlap.
            12.0 + 14.0 * (number % 2) as f64
        );
    }
}

fn label(page: &mut String, name: &str, y: f64) {
    let _ = writeln!(
        page,
        "<text x=\"0\" y=\"{:.1}\">{}</text>",
        y + 12.0,
        escape(name)
    );
}

fn axis(page: &mut String, report: &Report, scale: &Scale, y: f64) {
    let seconds = ((report.to_us - report.from_us) / 1_000_000).max(1);
    let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200]
        .into_iter()
        .find(|step| seconds / step <= 12);
    let step = step.unwrap_or(14_400);
    for tick in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
        let x = scale.x(report.from_us + tick * 1_000_000);
        let _ = writeln!(
            page,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{tick} s</text>"
        );
    }
}

fn histogram(page: &mut String, figures: &Figures) {
    let gaps: Vec<u64> = figures
        .failovers
        .iter()
        .map(|failover| failover.gap_ms)
        .filter(|gap| *gap > 0)
        .collect();
    let whole = figures.failovers.len() - gaps.len();
    let _ = write!(
        page,
        "<h2>Failover times</h2>\n<p>{} cameras of the nodes that were hit lost frames, {whole} \
         lost none.</p>\n",
        gaps.len()
    );
    let Some(most) = gaps.iter().max().copied() else {
        return;
    };
    let width_ms = (most / BINS as u64 + 1).next_multiple_of(50);
    let mut bins = [0_u32; BINS];
    for gap in &gaps {
        bins[usize::try_from(gap / width_ms)
            .unwrap_or(BINS - 1)
            .min(BINS - 1)] += 1;
    }
    let tallest = f64::from(bins.iter().max().copied().unwrap_or(1).max(1));
    page.push_str("<svg viewBox=\"0 0 1100 170\" width=\"1100\" height=\"170\" role=\"img\">\n");
    for (at, count) in bins.into_iter().enumerate() {
        let (x, height) = (10.0 + 45.0 * at as f64, 120.0 * f64::from(count) / tallest);
        let from = at as u64 * width_ms;
        let _ = write!(
            page,
            "<rect x=\"{x}\" y=\"{:.1}\" width=\"41\" height=\"{height:.1}\" \
             fill=\"#3b75af\"><title>{from} to {} ms: {count}</title></rect>\n\
             <text x=\"{x}\" y=\"158\">{from}</text>\n",
            140.0 - height,
            from + width_ms
        );
        if count > 0 {
            let _ = writeln!(
                page,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{count}</text>",
                x + 20.0,
                135.0 - height
            );
        }
    }
    page.push_str(
        "</svg>\n<p class=\"muted\">Milliseconds from the last frame before to the first after, by \
         camera.</p>\n",
    );
}

fn causes(page: &mut String, figures: &Figures) {
    if figures.lost_by_cause.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Lost frames by cause</h2>\n<table><tr><th>cause in the timeline</th>\
         <th class=\"n\">runs</th><th class=\"n\">frames</th>\
         <th class=\"n\">ms together</th></tr>\n",
    );
    for (cause, lost) in &figures.lost_by_cause {
        let cause = escape(cause);
        let _ = writeln!(
            page,
            "<tr><td>{cause}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td \
             class=\"n\">{}</td></tr>",
            lost.runs, lost.frames, lost.ms
        );
    }
    page.push_str("</table>\n");
}

fn uses(page: &mut String, report: &Report) {
    if report.uses.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Memory and open files</h2>\n\
         <table><tr><th>node</th><th>MiB resident</th><th>descriptors</th></tr>\n",
    );
    for NodeUse {
        node,
        resident_mib,
        descriptors,
    } in &report.uses
    {
        let node = escape(node);
        let _ = writeln!(
            page,
            "<tr><td>{node}</td><td>{resident_mib}</td><td>{descriptors}</td></tr>"
        );
    }
    page.push_str("</table>\n<p class=\"muted\">Medians of the run's first and last third.</p>\n");
}

fn gaps(page: &mut String, report: &Report) {
    if report.gaps.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Gaps</h2>\n<table><tr><th>camera</th><th class=\"n\">at s</th>\
         <th class=\"n\">ms</th><th class=\"n\">frames</th><th>first frame</th>\
         <th>cause</th><th>node</th><th>fault</th></tr>\n",
    );
    for gap in report.gaps.iter().take(ROWS_MAX) {
        let at = (gap.from_us - report.from_us) as f64 / 1e6;
        let fault = report
            .faults
            .iter()
            .find(|fault| Some(fault.fault) == gap.fault);
        let fault = fault
            .map(|fault| format!("{} {}", fault.action, fault.nodes.join(" ")))
            .unwrap_or_default();
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{at:.2}</td><td class=\"n\">{}</td><td \
             class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&gap.camera),
            gap.gap_ms,
            gap.frames,
            gap.from_sequence,
            escape(&gap.cause),
            escape(gap.node.as_deref().unwrap_or("")),
            escape(&fault)
        );
    }
    page.push_str("</table>\n");
    if report.gaps.len() > ROWS_MAX {
        let _ = writeln!(
            page,
            "<p class=\"muted\">{} more are in report.json.</p>",
            report.gaps.len() - ROWS_MAX
        );
    }
}
