//! A script that runs a node in the network namespace named in a file next to its configuration.

use crate::{Result, io_error};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Nodes are started with `serve --config FILE`; the file FILE with this suffix has the name of the
/// namespace.
const SUFFIX: &str = ".netns";

/// A script in `dir` that runs `executable` in its namespace. It execs the node, which so keeps the
/// process id.
///
/// # Errors
/// If the script cannot be written.
pub(super) fn wrap(executable: &Path, dir: &Path) -> Result<PathBuf> {
    let wrapper = dir.join("holdfast-in-namespace");
    let run = "exec nsenter --net=\"$(cat \"$3.netns\")\" --";
    let script = format!("#!/bin/sh\n{run} '{}' \"$@\"\n", executable.display());
    let written = std::fs::write(&wrapper, script)
        .and_then(|()| std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)));
    written.map_err(io_error(format!("write {}", wrapper.display())))?;
    Ok(wrapper)
}

/// Sets the namespace of the node with this configuration.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn place(config: &Path, namespace: &Path) -> Result<()> {
    let file = PathBuf::from(format!("{}{SUFFIX}", config.display()));
    std::fs::write(&file, namespace.to_string_lossy().as_bytes())
        .map_err(io_error(format!("write {}", file.display())))
}
