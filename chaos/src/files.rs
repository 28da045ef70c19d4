//! A limit on the files and sockets that a node may have open, as a shell or a service manager sets
//! it.

use crate::{Result, io_error};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A script in `dir` that runs `executable` with that limit, which `executable` cannot raise.
///
/// # Errors
/// If the script cannot be written.
pub(crate) fn wrap(executable: &Path, dir: &Path, files_max: u64) -> Result<PathBuf> {
    let wrapper = dir.join("holdfast-with-few-files");
    let script = format!(
        "#!/bin/sh\nulimit -n {files_max} && exec '{}' \"$@\"\n",
        executable.display()
    );
    let written = std::fs::write(&wrapper, script)
        .and_then(|()| std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)));
    written.map_err(io_error(format!("write {}", wrapper.display())))?;
    Ok(wrapper)
}
