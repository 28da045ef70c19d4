//! Tests of the faulty disk itself: each fault, set and lifted.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]

use super::*;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

const BYTES: u64 = 64 << 20;

/// "Input/output error".
const EIO: i32 = 5;

fn write(at: &Path) -> io::Result<()> {
    let mut file = File::create(at.join("file"))?;
    file.write_all(&[7; 1 << 20])?;
    file.sync_all()
}

#[test]
fn it_fails_hangs_and_slows_down_on_command_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("mnt");
    let Some(disk) = FaultyDisk::mount(&at, BYTES, Filesystem::Ext4WithoutJournal).unwrap() else {
        return;
    };
    write(&at).unwrap();

    disk.fail_writes(true).unwrap();
    assert_eq!(write(&at).unwrap_err().raw_os_error(), Some(EIO));
    disk.fail_writes(false).unwrap();
    write(&at).unwrap();

    disk.hang(true).unwrap();
    let (report, done) = mpsc::channel();
    let path = at.clone();
    let writer = std::thread::spawn(move || report.send(write(&path)));
    assert!(matches!(
        done.recv_timeout(Duration::from_secs(1)),
        Err(RecvTimeoutError::Timeout)
    ));
    disk.hang(false).unwrap();
    done.recv_timeout(READY_MAX).unwrap().unwrap();
    writer.join().unwrap().unwrap();

    disk.limit(Some(1 << 20)).unwrap();
    let started = Instant::now();
    (0..4).for_each(|_| write(&at).unwrap());
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "4 MiB at 1 MiB/s took {:?}",
        started.elapsed()
    );

    let (dir, device) = (disk.dir.path().to_owned(), disk.device.clone());
    drop(disk);
    assert!(!dir.exists() && !at.join("file").exists());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(
        !mounts.contains(&*dir.to_string_lossy()) && !mounts.contains(&*at.to_string_lossy()),
        "{mounts}"
    );
    assert!(!leftovers::backing(&device).contains(&*dir.to_string_lossy()));
}

#[test]
fn only_directories_of_processes_that_are_gone_are_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let named = |name: String| dir.path().join(name);
    assert!(!leftovers::is_orphan(&named(format!(
        "{}{}-x",
        leftovers::PREFIX,
        std::process::id()
    ))));
    assert!(leftovers::is_orphan(&named(format!(
        "{}{}-x",
        leftovers::PREFIX,
        u32::MAX
    ))));
    assert!(!leftovers::is_orphan(&named(format!(
        "{}x",
        leftovers::PREFIX
    ))));
    assert!(!leftovers::is_orphan(&named(
        "holdfast-site-1-x".to_owned()
    )));
}
