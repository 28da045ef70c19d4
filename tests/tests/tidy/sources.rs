//! Source files: their size and their first line.

use super::{assert_none, files, read};

/// A longer file has more than one job.
const LINES_MAX: usize = 850;

/// rustfmt keeps code to it, but breaks no text and no comment.
const COLUMNS_MAX: usize = 100;

#[test]
fn no_file_has_more_than_one_job() {
    let sized = files("rs")
        .into_iter()
        .map(|path| (read(&path).lines().count(), path));
    let long = sized.filter(|(lines, _)| *lines > LINES_MAX);
    let findings: Vec<String> = long
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_none(&format!("files of more than {LINES_MAX} lines"), &findings);
}

#[test]
fn no_line_is_wider_than_the_others() {
    let mut findings = Vec::new();
    for path in files("rs") {
        let text = read(&path);
        let wide = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.chars().count() > COLUMNS_MAX && !line.starts_with("//! |"));
        findings.extend(wide.map(|(at, _)| format!("{}:{}", path.display(), at + 1)));
    }
    assert_none(
        &format!("lines of more than {COLUMNS_MAX} columns that are no row of a table"),
        &findings,
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = files("rs")
        .into_iter()
        .filter(|path| !read(path).lines().next().is_some_and(says_something));
    let findings: Vec<String> = silent.map(|path| path.display().to_string()).collect();
    assert_none(
        "files that do not begin with a `//!` line that says what they are for",
        &findings,
    );
}

/// One word is not a sentence: `//! x` says nothing.
fn says_something(line: &str) -> bool {
    line.strip_prefix("//! ")
        .is_some_and(|text| text.split_whitespace().count() >= 3)
}
