//! Small and read-only filesystems, on machines that allow mounting them (as root).

use crate::{Result, io_error};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount that is unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A tmpfs of `bytes`; `None` if this process may not mount.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn tmpfs(at: &Path, bytes: u64) -> Result<Option<Self>> {
        mount(
            at,
            &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"],
        )
    }

    /// A real ext4 of `bytes` in a file next to `at`; `None` if this process may not mount, or
    /// `mkfs.ext4` is missing.
    ///
    /// # Errors
    /// If the file or the directory cannot be made.
    pub fn ext4(at: &Path, bytes: u64) -> Result<Option<Self>> {
        let image = at.with_extension("ext4");
        let file =
            std::fs::File::create(&image).map_err(io_error(format!("make {}", image.display())))?;
        file.set_len(bytes)
            .map_err(io_error(format!("make {} longer", image.display())))?;
        // No blocks are reserved for root: how full the disk is does not depend on the user who
        // asks.
        if !said_yes(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-m", "0"])
                .arg(&image),
        ) {
            return Ok(None);
        }
        mount(at, &["-o", "loop", &image.to_string_lossy()])
    }

    /// A bind mount of `source` at `at`; `None` if this process may not mount.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn bind(source: &Path, at: &Path) -> Result<Option<Self>> {
        mount(at, &["--bind", &source.to_string_lossy()])
    }

    /// Like [`Self::bind`], read-only.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn bind_read_only(source: &Path, at: &Path) -> Result<Option<Self>> {
        let Some(mounted) = Self::bind(source, at)? else {
            return Ok(None);
        };
        Ok(said_yes(
            Command::new("mount")
                .args(["-o", "remount,bind,ro"])
                .arg(at),
        )
        .then_some(mounted))
    }

    /// Makes everything below `at` read-only; `None` if this process may not.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn read_only(at: &Path) -> Result<Option<Self>> {
        Self::bind_read_only(at, at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, as a killed process may still hold a file; if even that fails, there is nothing
        // left to try.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

fn mount(at: &Path, arguments: &[&str]) -> Result<Option<Mount>> {
    std::fs::create_dir_all(at).map_err(io_error(format!("make {}", at.display())))?;
    let mounted = said_yes(Command::new("mount").args(arguments).arg(at));
    Ok(mounted.then(|| Mount { at: at.to_owned() }))
}

fn said_yes(command: &mut Command) -> bool {
    let output: io::Result<_> = command.output();
    output.is_ok_and(|output| output.status.success())
}
