//! Runs a `holdfast` command that ends by itself.

use crate::{Error, Result, io_error};
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    /// Error messages and log.
    pub stderr: String,
}

/// Runs `holdfast` with these arguments; kills it after `within`.
///
/// # Errors
/// If it cannot be started or does not end in time.
pub async fn run<S: AsRef<OsStr>>(arguments: &[S], within: Duration) -> Result<Ended> {
    let executable = holdfast_node::demo::binary::holdfast_next_to_this()
        .map_err(io_error("find the binary"))?;
    let mut command = Command::new(executable);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.env_remove(holdfast_node::config::ADMIN_TOKEN_ENV);
    let output = timeout(within, command.output())
        .await
        .map_err(|_| Error::TimedOut {
            what: "the command ended".to_owned(),
            seconds: within.as_secs(),
            why: "it runs".to_owned(),
        })?;
    let output = output.map_err(io_error("run holdfast"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    })
}
