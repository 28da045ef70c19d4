//! Debian packages that tests need: looked up, installed if root, else named.

use std::process::{Command, Stdio};

/// GStreamer's RTSP server plays cameras of foreign make; ffmpeg decodes what was recorded, VLC,
/// GStreamer and Chromium play it; libfaketime steps a node's wall clock; `python3-venv`
/// installs schemathesis from PyPI.
const INTEROP: [&str; 16] = [
    "ffmpeg",
    "python3",
    "python3-venv",
    "python3-gi",
    "gir1.2-gst-rtsp-server-1.0",
    "gir1.2-gst-plugins-base-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-libav",
    "gstreamer1.0-plugins-base-apps",
    "vlc-bin",
    "vlc-plugin-base",
    "chromium",
    "glib-networking",
    "libfaketime",
];

/// Disks that fail, hang, slow down and lose power on command (root only).
pub(crate) const DISKS: [&str; 5] = ["nbdkit", "libnbd-bin", "fuse3", "e2fsprogs", "xfsprogs"];

/// Network namespaces and the faults in them (root only).
pub(crate) const NETWORK: [&str; 4] = ["iproute2", "iptables", "nftables", "util-linux"];

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packages {
    Present,
    /// And this user may not install them; the command for root.
    Missing {
        install_line: String,
    },
}

/// What interop tests need: the packages, and npm from anywhere, which fetches hls.js.
///
/// # Errors
/// An installation fails.
pub(crate) fn ensure_interop() -> Result<Packages, String> {
    let npm = if runs("npm") { &[][..] } else { &["npm"][..] };
    ensure(&[&INTEROP[..], npm].concat())
}

/// Has all of `wanted` installed, as far as this user may.
///
/// # Errors
/// An installation fails.
pub(crate) fn ensure(wanted: &[&str]) -> Result<Packages, String> {
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        println!("all {} packages are installed", wanted.len());
        return Ok(Packages::Present);
    }
    if !is_root() {
        let install_line = install_line(&missing);
        println!("missing: {}\nas root: {install_line}", missing.join(" "));
        return Ok(Packages::Missing { install_line });
    }
    apt(&["update"])?;
    apt(&[
        &["install", "-y", "--no-install-recommends"],
        missing.as_slice(),
    ]
    .concat())?;
    match missing.iter().find(|package| !is_installed(package)) {
        None => Ok(Packages::Present),
        Some(package) => Err(format!("{package} is still missing after its installation")),
    }
}

fn install_line(missing: &[&str]) -> String {
    format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    )
}

fn runs(program: &str) -> bool {
    let asked = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

fn is_installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query")
        .args(["-W", "-f", "${Status}", package])
        .stderr(Stdio::null())
        .output();
    asked.is_ok_and(|output| output.stdout.ends_with(b"ok installed"))
}

pub(crate) fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").output();
    asked.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt(args: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`apt-get {}` ended with {status}", args.join(" "))),
        Err(error) => Err(format!(
            "cannot run apt-get: {error}; install the packages in this system's own way"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_package_is_not_installed() {
        assert!(!is_installed("holdfast-no-such-package"));
    }

    #[test]
    fn an_absent_program_does_not_run() {
        assert!(!runs("holdfast-no-such-program") && runs("cargo"));
    }

    #[test]
    fn the_line_for_root_updates_first() {
        assert!(install_line(&["a", "b"]).starts_with("apt-get update && apt-get install"));
        assert!(install_line(&["a", "b"]).ends_with(" a b"));
    }
}
