//! Small and read-only filesystems, where the machine lets us mount them (as root).

use crate::{Result, io_error};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount that is taken away when dropped.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A filesystem in memory of `bytes`; `None` where this process may not mount.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn tmpfs(at: &Path, bytes: u64) -> Result<Option<Self>> {
        mount(
            at,
            &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"],
        )
    }

    /// A real ext4 of `bytes` in a file beside `at`; `None` where this process may not mount, or
    /// has no `mkfs.ext4`.
    ///
    /// # Errors
    /// Where the file or the directory cannot be made.
    pub fn ext4(at: &Path, bytes: u64) -> Result<Option<Self>> {
        let image = at.with_extension("ext4");
        let file =
            std::fs::File::create(&image).map_err(io_error(format!("make {}", image.display())))?;
        file.set_len(bytes)
            .map_err(io_error(format!("make {} longer", image.display())))?;
        // All of it is everybody's: how full the disk is does not depend on who asks.
        if !said_yes(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-m", "0"])
                .arg(&image),
        ) {
            return Ok(None);
        }
        mount(at, &["-o", "loop", &image.to_string_lossy()])
    }

    /// What is at `source`, at `at` too; `None` where this process may not mount.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn bind(source: &Path, at: &Path) -> Result<Option<Self>> {
        mount(at, &["--bind", &source.to_string_lossy()])
    }

    /// As [`Self::bind`], read-only.
    ///
    /// # Errors
    /// Where the directory cannot be made.
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

    /// Makes everything below `at` read-only; `None` where this process may not.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn read_only(at: &Path) -> Result<Option<Self>> {
        Self::bind_read_only(at, at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, should a killed process still hold a file; there is nothing to be done where even
        // that fails.
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
