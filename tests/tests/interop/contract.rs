//! The API against its OpenAPI document: schemathesis makes requests from the document, right and
//! wrong ones, and compares the answers with it.

use crate::site::{Site, Source};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As `pip freeze` prints them.
const VERSIONS: &str = include_str!("../../schemathesis-constraints.txt");
const VERSIONS_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis-constraints.txt");
const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis.toml");
/// Requests made at random for each operation, after those for each limit of its schema.
const REQUESTS: &str = "20";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python and PyPI: cargo xtask verify"]
async fn requests_made_from_the_openapi_document_are_answered_as_it_says() {
    let site = Site::start().await;
    let nothing_there = Source {
        url: "rtsp://127.0.0.1:1/".to_owned(),
        ..Source::default()
    };
    site.add("gate", &nothing_there).await;
    let document = format!("{}/api/v1/openapi.json", site.cluster.api_url(0));
    let token = format!("Authorization: Bearer {}", site.cluster.token().0);
    let folder = site.dir().to_owned();
    let report = tokio::task::spawn_blocking(move || {
        Command::new(schemathesis())
            // It leaves what it found, and what it tried, in its folder.
            .current_dir(folder)
            .args(["--config-file", SETTINGS, "run", &document])
            .args(["--header", &token, "--phases", "coverage,fuzzing"])
            .args(["--max-examples", REQUESTS, "--seed", "1"])
            .arg("--continue-on-failure")
            .output()
            .unwrap()
    });
    let report = report.await.unwrap();
    println!("{}", String::from_utf8_lossy(&report.stdout));
    let stderr = String::from_utf8_lossy(&report.stderr);
    assert!(report.status.success(), "{}: {stderr}", report.status);
}

/// The program, installed once from the package registry. What it depends on is pinned too: other
/// versions may make other requests.
fn schemathesis() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let (program, installed) = (
        folder.join("bin/schemathesis"),
        folder.join("constraints.txt"),
    );
    let is_current = fs::read_to_string(&installed).is_ok_and(|text| text == VERSIONS);
    if !is_current {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let install = ["install", "--quiet", "schemathesis", "--constraint"];
        run(Command::new(folder.join("bin/pip"))
            .args(install)
            .arg(VERSIONS_FILE));
        fs::write(&installed, VERSIONS).unwrap();
    }
    program
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}
