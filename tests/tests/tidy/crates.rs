//! Crates: permitted imports, permitted duplicate versions, permitted sources of dependencies.

use super::{assert_none, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Imports go from later to earlier layers only. The test cameras belong to no layer: `node` and
/// all above may serve them.
const LAYERS: [&[&str]; 7] = [
    &["holdfast-storage", "holdfast-camera"],
    &["holdfast-consensus"],
    &["holdfast-control-api"],
    &["holdfast"],
    &["holdfast-chaos", "holdfast-consensus-simulator"],
    &["holdfast-tests", "holdfast-benches"],
    &["xtask"],
];

/// The first layer that may import the test cameras.
const CAMERA_USERS_FROM: usize = 3;

/// Crates that are in the build in more than one version, and the crates that hold the older one
/// back. A new duplicate fails: take another version, or add it here with its reason.
const DOUBLED: [(&str, &str); 20] = [
    ("base64", "0.22: retina and its http-auth; 0.23: reqwest"),
    ("bitflags", "1: io-uring under tokio-uring 0.5"),
    (
        "console",
        "0.15: similar-asserts under openraft's test suite; 0.16: indicatif",
    ),
    ("convert_case", "0.6: derive_more 1"),
    ("cpufeatures", "0.2: sha2 0.10 under http-auth"),
    ("derive_more", "1: codeq under raft-log"),
    ("derive_more-impl", "as derive_more"),
    ("embedded-io", "both optional in postcard"),
    ("getrandom", "0.2: rand 0.8"),
    ("nom", "7: m3u8-rs and rtsp-types"),
    ("parking_lot", "0.11: sled"),
    ("parking_lot_core", "as parking_lot"),
    ("rand", "0.8: retina and its http-auth"),
    ("rand_core", "as rand"),
    ("socket2", "0.4: tokio-uring; 0.5: retina"),
    (
        "synstructure",
        "0.13: x509-parser, which is optional in rcgen and not built",
    ),
    ("syn", "2: half of all derive macros"),
    ("thiserror", "1: raft-log, mp4-atom, rtp-types"),
    ("thiserror-impl", "as thiserror"),
    ("untrusted", "0.7: as synstructure"),
];

/// The output of `cargo metadata` for Linux on this architecture.
pub(crate) fn metadata() -> Value {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            &target,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// Whether a crate of the workspace may import another one.
fn may_import(importer: &str, imported: &str) -> bool {
    match (layer(importer), layer(imported)) {
        (Some(above), Some(_)) if imported == "holdfast-camera" => above >= CAMERA_USERS_FROM,
        (Some(_), Some(_)) if importer == "holdfast-camera" => false,
        (Some(above), Some(below)) => above > below,
        _ => false,
    }
}

fn workspace_packages(metadata: &Value) -> Vec<&Value> {
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| members.contains(text(package, "id")))
        .collect()
}

#[test]
fn imports_go_one_way() {
    let metadata = metadata();
    let packages = workspace_packages(&metadata);
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|package| text(package, "name"))
        .collect();
    let mut findings = Vec::new();
    for package in &packages {
        let importer = text(package, "name");
        let imports = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dependency| text(dependency, "name"));
        // A crate names itself if its own tests need one of its features.
        for imported in imports.filter(|name| names.contains(name) && *name != importer) {
            if !may_import(importer, imported) {
                findings.push(format!("{importer} imports {imported}"));
            }
        }
    }
    assert_none("imports against the layers in LAYERS", &findings);
}

#[test]
fn every_crate_has_its_layer() {
    let metadata = metadata();
    let names = workspace_packages(&metadata)
        .into_iter()
        .map(|package| text(package, "name"));
    let findings: Vec<String> = names
        .filter(|&name| layer(name).is_none())
        .map(str::to_owned)
        .collect();
    assert_none("crates without a layer (add them to LAYERS)", &findings);
}

#[test]
fn the_layers_forbid_what_they_should() {
    assert!(may_import("holdfast-consensus", "holdfast-storage"));
    assert!(!may_import("holdfast-storage", "holdfast-consensus"));
    assert!(!may_import("holdfast-camera", "holdfast-storage"));
    assert!(may_import("holdfast", "holdfast-camera"));
    assert!(!may_import("holdfast-control-api", "holdfast-camera"));
    assert!(!may_import("holdfast-tests", "holdfast-benches"));
}

#[test]
fn no_new_crate_is_doubled() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        versions
            .entry(text(package, "name"))
            .or_default()
            .insert(text(package, "version"));
    }
    let doubled: BTreeMap<_, _> = versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .collect();
    let known: BTreeSet<&str> = DOUBLED.iter().map(|(name, _)| *name).collect();
    let new = doubled
        .iter()
        .filter(|(name, _)| !known.contains(*name))
        .map(|(name, versions)| format!("new: {name} {versions:?}"));
    let gone = known
        .iter()
        .filter(|name| !doubled.contains_key(*name))
        .map(|name| format!("no longer doubled, remove it: {name}"));
    assert_none(
        "doubled crates other than those in DOUBLED",
        &new.chain(gone).collect::<Vec<_>>(),
    );
}

#[test]
fn dependencies_come_from_the_registry() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let foreign = packages.iter().filter(|package| {
        package["source"]
            .as_str()
            .is_some_and(|source| !source.starts_with("registry+"))
    });
    let findings: Vec<String> = foreign
        .map(|package| format!("{} from {}", text(package, "name"), text(package, "source")))
        .collect();
    assert_none("dependencies from elsewhere than a registry", &findings);
}
