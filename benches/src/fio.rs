//! fio as the yardstick for the disk: the same kernel interface, the same block length, one stream.

use crate::Outcome;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Command;

#[derive(Clone, Debug)]
pub struct Fio {
    /// The file that is written; created for each run, removed afterwards.
    pub file: PathBuf,
    pub bytes: u64,
    /// Writes in flight.
    pub depth: usize,
    /// An `fdatasync` after so many blocks.
    pub sync_blocks: u64,
}

/// Of each write.
pub const BLOCK_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Speed {
    pub bytes_per_second: f64,
    pub cpu_seconds_per_gb: f64,
}

impl Fio {
    /// # Errors
    /// fio is not installed (Debian package `fio`), failed, or its output is not understood.
    pub fn run(&self) -> Outcome<Speed> {
        let mut fio = Command::new("fio");
        fio.args([
            "--name=peer",
            "--ioengine=io_uring",
            "--direct=1",
            "--rw=write",
            "--output-format=json",
        ]);
        fio.arg(format!("--filename={}", self.file.display()))
            .arg(format!("--bs={BLOCK_BYTES}"));
        fio.arg(format!("--size={}", self.bytes))
            .arg(format!("--iodepth={}", self.depth));
        fio.arg(format!("--fdatasync={}", self.sync_blocks));
        let output = fio
            .output()
            .map_err(|error| format!("cannot run fio (Debian package `fio`): {error}"))?;
        if self.file.exists() {
            std::fs::remove_file(&self.file)?;
        }
        if !output.status.success() {
            return Err(format!("fio failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        speed_of(&output.stdout, |job| &job.write)
    }
}

/// How fast fio reads whole files one after the other, past the page cache, four blocks in flight.
///
/// # Errors
/// As [`Fio::run`].
pub fn read_speed(files: &[PathBuf]) -> Outcome<Speed> {
    // fio splits names at colons.
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string().replace(':', "\\:"))
        .collect();
    let mut fio = Command::new("fio");
    fio.args([
        "--name=peer",
        "--readonly",
        "--ioengine=io_uring",
        "--direct=1",
        "--rw=read",
        "--output-format=json",
    ]);
    fio.args(["--file_service_type=sequential", "--iodepth=4"])
        .arg(format!("--bs={BLOCK_BYTES}"));
    fio.arg(format!("--filename={}", names.join(":")));
    let output = fio
        .output()
        .map_err(|error| format!("cannot run fio (Debian package `fio`): {error}"))?;
    if !output.status.success() {
        return Err(format!("fio failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    speed_of(&output.stdout, |job| &job.read)
}

#[derive(Deserialize)]
struct Output {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    write: Transfer,
    read: Transfer,
    /// Percent of the run time.
    usr_cpu: f64,
    sys_cpu: f64,
}

#[derive(Deserialize)]
struct Transfer {
    io_bytes: u64,
    /// Milliseconds.
    runtime: f64,
}

fn speed_of(json: &[u8], transfer: fn(&Job) -> &Transfer) -> Outcome<Speed> {
    let output: Output = serde_json::from_slice(json)?;
    let job = output.jobs.first().ok_or("fio ran no job")?;
    let transfer = transfer(job);
    let (bytes, seconds) = (transfer.io_bytes as f64, transfer.runtime / 1e3);
    let cpu_seconds = (job.usr_cpu + job.sys_cpu) / 100.0 * seconds;
    Ok(Speed {
        bytes_per_second: bytes / seconds,
        cpu_seconds_per_gb: cpu_seconds / (bytes / 1e9),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_read_from_what_fio_prints() {
        let json = br#"{"jobs":[{
            "write":{"io_bytes":2000000000,"runtime":4000},"read":{"io_bytes":0,"runtime":0},
            "usr_cpu":2.0,"sys_cpu":3.0}]}"#;
        let speed = speed_of(json, |job| &job.write).unwrap();
        assert!(
            (speed.bytes_per_second - 5e8).abs() < 1.0
                && (speed.cpu_seconds_per_gb - 0.1).abs() < 1e-9
        );
        assert!(speed_of(b"{}", |job| &job.read).is_err());
    }
}
