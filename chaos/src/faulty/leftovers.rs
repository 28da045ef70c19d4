//! Notes the parts of a faulty disk in its directory, so that a later run can dismantle the disk of
//! a killed test.

use crate::{Result, io_error};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Followed by the id of the process that made it.
pub(super) const PREFIX: &str = "holdfast-faulty-";

/// Folder in which nbdfuse exposes the disk as a file: the mount point is the folder.
pub(super) const SHOWN: &str = "f";

pub(super) fn note(dir: &Path, name: &str, text: &str) -> Result<()> {
    fs::write(dir.join(name), text).map_err(io_error(format!("note a faulty disk's {name}")))
}

/// Dismantles the disks of processes that are gone.
pub(super) fn clean() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for dir in entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|dir| is_orphan(dir))
    {
        eprintln!(
            "dismantling the faulty disk that a killed test left in {}",
            dir.display()
        );
        // Nothing can be unmounted while its disk hangs. If no nbdkit answers, the disk does not
        // hang.
        drop(super::pause(&dir.join(super::PAUSE_SOCKET), false));
        take_apart(&dir);
        drop(fs::remove_dir_all(&dir));
    }
}

pub(super) fn is_orphan(dir: &Path) -> bool {
    let name = dir
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix(PREFIX));
    let pid = name.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    pid.is_some_and(|pid| !process(pid).exists())
}

fn process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// Unmounts, detaches and ends the parts. Tries each step, whether or not the earlier ones
/// succeeded.
pub(super) fn take_apart(dir: &Path) {
    let noted = |name: &str| fs::read_to_string(dir.join(name)).ok();
    if let Some(at) = noted("mounted") {
        // Lazily if a killed node still holds a file.
        let _ = quietly("umount", &[&at]) || quietly("umount", &["--lazy", &at]);
    }
    if let Some(device) =
        noted("device").filter(|device| backing(device).contains(&*dir.to_string_lossy()))
    {
        quietly("losetup", &["--detach", &device]);
    }
    let shown = dir.join(SHOWN).to_string_lossy().into_owned();
    let _ =
        quietly("fusermount3", &["-u", &shown]) || quietly("fusermount3", &["-u", "-z", &shown]);
    let pids = noted("pids").unwrap_or_default();
    for pid in pids
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(|pid| is_of(*pid, dir))
    {
        quietly("kill", &[&pid.to_string()]);
    }
}

/// The file behind a loop device now: the kernel reuses device numbers.
pub(super) fn backing(device: &str) -> String {
    let name = device.trim().trim_start_matches("/dev/");
    fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap_or_default()
}

/// Whether the process serves this very disk: the kernel reuses process ids.
fn is_of(pid: u32, dir: &Path) -> bool {
    let line = fs::read(process(pid).join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy())
}

fn quietly(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
