//! Test cameras in a process of their own, which is not counted.

use crate::Outcome;
use holdfast_node::demo::binary::holdfast_beside_this;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Ended when dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Cameras of 2 Mbit/s at random phases, and their `host:port`.
///
/// # Errors
/// `holdfast-camera` is not built beside this program, or says what is not understood.
pub fn serve_cameras(count: u32) -> Outcome<(Process, String)> {
    let program = holdfast_beside_this()?.with_file_name("holdfast-camera");
    let mut command = Command::new(&program);
    command.args(["--cameras", &count.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let missing =
        |error| format!("cannot start {}: {error}; build it: cargo build -p holdfast-camera", program.display());
    let mut cameras = Process(command.spawn().map_err(missing)?);
    let mut line = String::new();
    BufReader::new(cameras.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address = line.split("rtsp://").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned);
    Ok((cameras, address.ok_or_else(|| format!("the cameras say {line:?}"))?))
}
