//! `junit.xml`: one test case for each check, so that CI systems show what broke. Pure.

use super::Report;
use crate::evidence::Verdict;
use std::fmt::Write;

pub(super) fn write(report: &Report) -> String {
    let count = |verdict| {
        report
            .checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let (tests, failures, skipped) = (
        report.checks.len(),
        count(Verdict::Broken),
        count(Verdict::NotJudged),
    );
    let seconds = (report.to_us - report.from_us) as f64 / 1e6;
    let name = escape(&format!("holdfast-chaos.{}", report.scenario));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"{skipped}\" time=\"{seconds:.3}\" timestamp=\"{}\">",
        report.began_at()
    );
    let _ = writeln!(
        xml,
        "  <properties><property name=\"seed\" value=\"{}\"/></properties>",
        report.seed
    );
    for check in &report.checks {
        let case = escape(&check.name);
        let text = escape(&check.text);
        let _ = match check.verdict {
            Verdict::Holds => writeln!(
                xml,
                "  <testcase classname=\"{name}\" name=\"{case}\" time=\"0\"/>"
            ),
            Verdict::NotJudged => writeln!(
                xml,
                "  <testcase classname=\"{name}\" name=\"{case}\" time=\"0\"><skipped \
                 message=\"{text}\"/></testcase>"
            ),
            Verdict::Broken => writeln!(
                xml,
                "  <testcase classname=\"{name}\" name=\"{case}\" time=\"0\"><failure \
                 message=\"{text}\">{}</failure></testcase>",
                escape(&format!(
                    "{}\nrepeat it: {}",
                    check.around.join("\n"),
                    report.repeat
                ))
            ),
        };
    }
    xml.push_str("</testsuite>\n");
    xml
}

/// XML 1.0 allows no control characters except tabs and line ends.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
