//! Runs the system's own programs (ip, nft, mount) and returns their output.

use crate::{Error, Result, io_error};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];

/// Its standard output.
///
/// # Errors
/// If it cannot be run, or failed.
pub(super) fn run(words: &[&str]) -> Result<String> {
    feed(words, "")
}

/// Like [`run`], with `input` on its standard input.
pub(super) fn feed(words: &[&str], input: &str) -> Result<String> {
    let shown = words.join(" ");
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(io_error(format!("run `{shown}`")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the program ends without reading its input, its own message has the reason.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child
        .wait_with_output()
        .map_err(io_error(format!("run `{shown}`")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Wrong(format!(
        "`{shown}` ended with {}: {}",
        output.status,
        said.trim()
    )))
}

pub(super) fn is_installed(program: &str) -> bool {
    FOLDERS
        .into_iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
