//! The house rules as tests, so that no reviewer has to look for violations.

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
#[path = "tidy/structure.rs"]
mod structure;

use holdfast_tests::tree::{files, read, root};

/// Fails with every finding, not only the first.
fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn the_shipped_configuration_parses() {
    holdfast_node::config::Config::load(&root().join("deploy/config/node.toml")).unwrap();
}
