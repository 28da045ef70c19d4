//! Documents: paths that they name exist, and decisions are dated.

use super::{assert_none, files, read, root};
use std::path::{Path, PathBuf};

/// A path in a document begins with one of these, so that `application/json` is not taken for one.
const FOLDERS: [&str; 11] = [
    "node",
    "consensus",
    "storage",
    "control-api",
    "chaos",
    "deploy",
    "tests",
    "benches",
    "docs",
    "xtask",
    ".ci",
];

/// Words in backquotes that look like paths of this repository, without `::items`, line numbers and
/// the like.
fn cited_paths(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| is_path(word))
        .map(|word| word.trim_end_matches('/').to_owned())
        .collect()
}

fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    word.split_once('/')
        .is_some_and(|(folder, _)| FOLDERS.contains(&folder))
        && word.chars().all(plain)
}

/// Targets of relative links, without their fragments.
fn linked_paths(text: &str) -> Vec<String> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let relative = targets.filter(|target| !target.contains(':') && !target.starts_with('#'));
    relative
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

fn prose() -> Vec<PathBuf> {
    files("md")
}

#[test]
fn cited_paths_exist() {
    let mut findings = Vec::new();
    for document in prose() {
        let text = read(&document);
        let folder = document.parent().unwrap_or(Path::new("")).to_owned();
        let cited = cited_paths(&text).into_iter().map(PathBuf::from);
        let linked = linked_paths(&text)
            .into_iter()
            .map(|target| folder.join(target));
        let missing = cited
            .chain(linked)
            .filter(|path| !root().join(path).exists());
        findings
            .extend(missing.map(|path| format!("{} names {}", document.display(), path.display())));
    }
    assert_none("paths in documents that do not exist", &findings);
}

#[test]
fn decisions_are_dated() {
    let decisions: Vec<PathBuf> = prose()
        .into_iter()
        .filter(|path| path.starts_with("docs/decisions"))
        .collect();
    assert!(!decisions.is_empty(), "docs/decisions has no decision");
    let undated = decisions.iter().filter(|path| {
        !path
            .file_name()
            .is_some_and(|name| is_dated(&name.to_string_lossy()))
    });
    let findings: Vec<String> = undated.map(|path| path.display().to_string()).collect();
    assert_none(
        "decisions whose name does not begin with YYYY-MM-DD-",
        &findings,
    );
}

fn is_dated(name: &str) -> bool {
    let shape = b"0000-00-00-";
    let fits = |(byte, &shape): (u8, &u8)| {
        if shape == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == shape
        }
    };
    name == "README.md" || name.len() > shape.len() && name.bytes().zip(shape).all(fits)
}

#[test]
fn paths_are_distinguished_from_other_words() {
    let text = "`storage/src/ids.rs`, `docs/`, `application/json`, `storage::ids`, `node/<name>` \
                [a](b.md#c) [d](https://e/f)";
    assert_eq!(cited_paths(text), ["storage/src/ids.rs", "docs"]);
    assert_eq!(linked_paths(text), ["b.md"]);
    assert!(
        is_dated("2026-11-22-shared-log.md")
            && !is_dated("shared-log.md")
            && !is_dated("2026-11-2-x.md")
    );
}
