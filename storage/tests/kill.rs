//! kill -9: data passed to the kernel survives the process, flushed or not.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::disk::IoChoice;
use holdfast_storage::{Volume, VolumeOptions};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::*;

const CHILD_DIR: &str = "HOLDFAST_KILL_TEST_DIR";

/// The time that a record may wait before it is passed to the kernel, plus what a write takes on a
/// busy disk: io_uring writes past the kernel's cache.
const AT_RISK: Duration = Duration::from_millis(1_500);

/// The child's part: records until it is killed and prints what it appended. No flush happens in
/// time.
#[tokio::test]
async fn child_records_until_killed() {
    let Some(path) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let options = VolumeOptions {
        path: path.into(),
        flush_interval: Duration::from_secs(60),
        ..Dir::new().options()
    };
    let (_volume, handle) = Volume::open(VolumeOptions {
        io: IoChoice::Auto,
        ..options
    })
    .unwrap();
    append(&handle, init(1));
    for sequence in 0..10_000 {
        append(&handle, chunk(1, sequence, 20_000));
        println!("appended {sequence}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_killed_process_loses_only_what_came_in_its_last_moments() {
    let dir = Dir::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_records_until_killed", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut appended: Vec<(u32, Instant)> = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
    {
        if let Some(sequence) = line
            .strip_prefix("appended ")
            .and_then(|number| number.parse().ok())
        {
            appended.push((sequence, Instant::now()));
        }
        if appended.len() == 300 {
            break;
        }
    }
    child.kill().unwrap();
    let killed_at = Instant::now();
    child.wait().unwrap();
    let safe: Vec<u32> = appended
        .iter()
        .filter(|(_, at)| killed_at - *at > AT_RISK)
        .map(|(sequence, _)| *sequence)
        .collect();
    assert!(safe.len() > 50, "the child was too slow: {appended:?}");

    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    let found = stored(&handle, 1);
    assert!(
        found.starts_with(&safe),
        "appended long before: {safe:?}, found: {found:?}"
    );
    close(volume, handle).await;
}
