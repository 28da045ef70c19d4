//! Scenario scripts, one behaviour per file. After a change: `UPDATE_GOLDENFILES=1 cargo test -p
//! holdfast-consensus --test scripts`, then read the difference.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of test functions"
)]

mod hearing;
mod site;

use goldenscript::Runner;
use std::path::PathBuf;

/// Runs every script of `folder`, each on a fresh runner.
fn run_all<R: Runner + Default>(folder: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scripts")
        .join(folder);
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        println!("{}", script.display());
        goldenscript::run(&mut R::default(), &script).unwrap();
    }
}

#[test]
fn state() {
    run_all::<site::Site>("state");
}

#[test]
fn placement() {
    run_all::<site::Site>("placement");
}

#[test]
fn steward() {
    run_all::<site::Site>("steward");
}

#[test]
fn desired() {
    run_all::<site::Site>("desired");
}

#[test]
fn liveness() {
    run_all::<hearing::Hearing>("liveness");
}
