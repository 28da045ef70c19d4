//! A node's wall clock, set by a test: Debian's libfaketime between the node and the system. The
//! monotonic clock stays unchanged.

use crate::{Result, io_error};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Path of the library in Debian's package `libfaketime`, for each multiarch name.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// The wrapper finds each node's offset next to its configuration: `serve --config FILE`.
const SUFFIX: &str = ".wall";
/// The wrapper writes the ids of the node's processes there.
const PIDS_SUFFIX: &str = ".wall-pids";

/// A script in `dir` that runs `executable` with a wall clock of its own; `None` if libfaketime is
/// not installed.
///
/// # Errors
/// If the script cannot be written.
pub fn wrap(executable: &Path, dir: &Path) -> Result<Option<PathBuf>> {
    let Some(library) = LIBRARIES.iter().find(|library| Path::new(library).exists()) else {
        return Ok(None);
    };
    let wrapper = dir.join("holdfast-with-wall-clock");
    // Preloaded only for the node itself, which reads the file once a second, not each time it
    // reads the clock.
    let script = format!(
        "#!/bin/sh\necho $$ >> \"$3{PIDS_SUFFIX}\"\n\
         exec env LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE=\"$3{SUFFIX}\" \
         FAKETIME_CACHE_DURATION=1 DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 '{}' \"$@\"\n",
        executable.display()
    );
    let written = std::fs::write(&wrapper, script)
        .and_then(|()| std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)));
    written.map_err(io_error(format!("write {}", wrapper.display())))?;
    Ok(Some(wrapper))
}

/// Sets the wall clock of the node with this configuration, in seconds ahead of the system's; the
/// node notices within a second or two.
///
/// # Errors
/// If the file cannot be written.
pub fn set(config: &Path, ahead_seconds: i64) -> Result<()> {
    // Replaced atomically: the node must not read half a number.
    let (unfinished, file) = (
        with_suffix(config, ".wall-unfinished"),
        with_suffix(config, SUFFIX),
    );
    let written = std::fs::write(&unfinished, format!("{ahead_seconds:+}s\n"))
        .and_then(|()| std::fs::rename(&unfinished, &file));
    written.map_err(io_error(format!("write {}", file.display())))
}

/// Removes the shared memory files that libfaketime leaves for the node's processes.
pub fn clean_up(config: &Path) {
    let pids = std::fs::read_to_string(with_suffix(config, PIDS_SUFFIX)).unwrap_or_default();
    for pid in pids.lines() {
        for name in [
            format!("faketime_shm_{pid}"),
            format!("sem.faketime_sem_{pid}"),
        ] {
            // The file does not exist if the process was not started.
            let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }
}

fn with_suffix(config: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", config.display()))
}
