//! Decodes a file with ffmpeg, as an independent judge.

use crate::{Error, Result, io_error};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// How long decoding may take.
const DECODE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether ffmpeg is installed on this machine.
pub async fn is_installed() -> bool {
    let asked = Command::new("ffmpeg")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    asked.is_ok_and(|status| status.success())
}

/// All messages of ffmpeg about the file; empty if it decodes without a message.
///
/// # Errors
/// If ffmpeg cannot be run or does not end.
pub async fn complaints(file: &Path) -> Result<String> {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .kill_on_drop(true);
    let output = timeout(DECODE_TIMEOUT, command.output())
        .await
        .map_err(|_| Error::TimedOut {
            what: "ffmpeg decoded the file".to_owned(),
            seconds: DECODE_TIMEOUT.as_secs(),
            why: "it runs".to_owned(),
        })?;
    let output = output.map_err(io_error("run ffmpeg"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() {
        said
    } else {
        format!("{}: {said}", output.status)
    })
}
