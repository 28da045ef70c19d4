//! The house rules as a test: what STYLE and DESIGN ask for, and no reviewer should have to look for.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/metrics.rs"]
mod metrics;
#[path = "tidy/operations.rs"]
mod operations;
#[path = "tidy/sources.rs"]
mod sources;

use std::path::{Path, PathBuf};

/// Folders that are not ours to judge.
const FOREIGN: [&str; 3] = ["target", ".git", "node_modules"];

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below the workspace whose name ends with `.extension`, with paths relative to it, sorted.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                let name = entry.file_name();
                folders.extend((!FOREIGN.iter().any(|&foreign| name == foreign)).then_some(path));
            } else if path.extension().is_some_and(|end| end == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} file found below {}", root().display());
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with every finding, not only the first.
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn the_shipped_configuration_parses() {
    holdfast_node::config::Config::load(&root().join("deploy/config/node.toml")).unwrap();
}
