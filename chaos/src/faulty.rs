//! A real filesystem on a disk that fails, hangs or slows down on command. Needs root and the
//! Debian packages `nbdkit libnbd-bin fuse3 e2fsprogs` (and `xfsprogs`).
//!
//! nbdkit serves a file as a disk, through filters for errors, pauses and rates. nbdfuse exposes
//! that disk as a file, a loop device turns the file into a block device, and the filesystem is on
//! that device. So the kernel itself meets the faults, for writes through io_uring, `O_DIRECT` and
//! the page cache alike.

mod leftovers;

use crate::{Error, Result, io_error};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// The longest that a part may take to start, or a pause to be confirmed.
const READY_MAX: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

const PAUSE_SOCKET: &str = "pause.sock";

const PROGRAMS: [&str; 5] = ["nbdkit", "nbdfuse", "fusermount3", "losetup", "mount"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// After a failed write it continues as soon as its disk does.
    Ext4WithoutJournal,
    /// After a failed write of its journal it is read-only until it is mounted again.
    Ext4,
    Xfs,
}

/// Dismantled in order when dropped, whatever state the disk is in.
#[derive(Debug)]
pub struct FaultyDisk {
    at: PathBuf,
    device: String,
    nbdkit: Child,
    nbdfuse: Child,
    // Last: the programs above use its contents.
    dir: TempDir,
}

impl FaultyDisk {
    /// A disk of `bytes`, mounted at `at`; `None`, with a line on standard error, if this process
    /// cannot have one. First cleans up what killed tests left behind.
    ///
    /// # Errors
    /// If a part does not start.
    pub fn mount(at: &Path, bytes: u64, filesystem: Filesystem) -> Result<Option<Self>> {
        if let Some(why) = missing(filesystem) {
            eprintln!("LEFT OUT: a faulty disk, because {why}");
            return Ok(None);
        }
        leftovers::clean();
        let prefix = format!("{}{}-", leftovers::PREFIX, std::process::id());
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .map_err(io_error("make a directory"))?;
        let image = dir.path().join("disk.img");
        File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .map_err(io_error("make a disk's file"))?;
        let nbdkit = serve(dir.path(), &image)?;
        // From here on, drop also dismantles a disk of which one part did not start.
        let mut disk = Self {
            at: at.to_owned(),
            device: String::new(),
            nbdfuse: idle()?,
            nbdkit,
            dir,
        };
        disk.show()?;
        disk.attach(filesystem)?;
        Ok(Some(disk))
    }

    /// Makes every write to the disk fail with EIO, or succeed again.
    ///
    /// # Errors
    /// If the control file cannot be made or removed.
    pub fn fail_writes(&self, fails: bool) -> Result<()> {
        self.say("fail-write", fails.then_some(""))
    }

    /// Makes every read of the disk fail with EIO, or succeed again.
    ///
    /// # Errors
    /// If the control file cannot be made or removed.
    pub fn fail_reads(&self, fails: bool) -> Result<()> {
        self.say("fail-read", fails.then_some(""))
    }

    /// Limits the disk to this many bytes a second; without a number, lifts the limit.
    ///
    /// # Errors
    /// If the control file cannot be made or removed.
    pub fn limit(&self, bytes_per_second: Option<u64>) -> Result<()> {
        let bits = bytes_per_second.map(|bytes| (bytes * 8).to_string());
        self.say("rate", bits.as_deref())
    }

    /// Makes requests hang (they neither finish nor fail), or continue.
    ///
    /// # Errors
    /// If nbdkit does not answer.
    pub fn hang(&self, hangs: bool) -> Result<()> {
        pause(&self.dir.path().join(PAUSE_SOCKET), hangs)
            .map_err(io_error("make the disk hang, or continue"))
    }

    /// Makes the disk continue when it is dropped. Drop it before the processes that use the disk:
    /// the kernel cannot end a process whose requests hang.
    #[must_use]
    pub fn resumes_on_drop(&self) -> ResumesOnDrop {
        ResumesOnDrop {
            socket: self.dir.path().join(PAUSE_SOCKET),
        }
    }

    fn say(&self, name: &str, text: Option<&str>) -> Result<()> {
        let path = self.dir.path().join(name);
        match text {
            Some(text) => {
                fs::write(&path, text).map_err(io_error(format!("write {}", path.display())))
            }
            None if path.exists() => {
                fs::remove_file(&path).map_err(io_error(format!("remove {}", path.display())))
            }
            None => Ok(()),
        }
    }

    /// Exposes the disk as a file.
    fn show(&mut self) -> Result<()> {
        let folder = self.dir.path().join(leftovers::SHOWN);
        fs::create_dir(&folder).map_err(io_error("make a directory"))?;
        let file = folder.join("disk");
        let mut command = Command::new("nbdfuse");
        command
            .arg(&file)
            .arg("--unix")
            .arg(self.dir.path().join("nbd.sock"));
        self.nbdfuse = spawn(&mut command)?;
        until_exists(&file)?;
        leftovers::note(
            self.dir.path(),
            "pids",
            &format!("{} {}", self.nbdkit.id(), self.nbdfuse.id()),
        )
    }

    fn attach(&mut self, filesystem: Filesystem) -> Result<()> {
        let file = self.dir.path().join(leftovers::SHOWN).join("disk");
        self.device = run(Command::new("losetup").args(["--find", "--show"]).arg(file))?
            .trim()
            .to_owned();
        leftovers::note(self.dir.path(), "device", &self.device)?;
        run(make(filesystem).arg(&self.device))?;
        fs::create_dir_all(&self.at).map_err(io_error(format!("make {}", self.at.display())))?;
        leftovers::note(self.dir.path(), "mounted", &self.at.to_string_lossy())?;
        run(Command::new("mount").arg(&self.device).arg(&self.at)).map(drop)
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        // If a step fails here, the next disk that is made cleans up.
        drop(self.limit(None));
        drop(self.fail_writes(false));
        drop(self.fail_reads(false));
        drop(self.hang(false));
        leftovers::take_apart(self.dir.path());
        for child in [&mut self.nbdfuse, &mut self.nbdkit] {
            // The child may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// See [`FaultyDisk::resumes_on_drop`].
#[derive(Debug)]
pub struct ResumesOnDrop {
    socket: PathBuf,
}

impl Drop for ResumesOnDrop {
    fn drop(&mut self) {
        // The socket may be gone already.
        drop(pause(&self.socket, false));
    }
}

fn pause(socket: &Path, hangs: bool) -> io::Result<()> {
    let mut socket = UnixStream::connect(socket)?;
    socket.set_read_timeout(Some(READY_MAX))?;
    socket.write_all(if hangs { b"p" } else { b"r" })?;
    socket.read_exact(&mut [0])
}

/// Why this process cannot have a faulty disk.
fn missing(filesystem: Filesystem) -> Option<String> {
    let is_root = fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !is_root {
        return Some("this process is not root".to_owned());
    }
    let maker = if filesystem == Filesystem::Xfs {
        "mkfs.xfs"
    } else {
        "mkfs.ext4"
    };
    let wanted = PROGRAMS.into_iter().chain([maker]);
    let absent: Vec<&str> = wanted.filter(|program| !is_installed(program)).collect();
    if !absent.is_empty() {
        return Some(format!(
            "there is no {} (Debian: nbdkit libnbd-bin fuse3 e2fsprogs xfsprogs)",
            absent.join(", ")
        ));
    }
    let devices = ["/dev/fuse", "/dev/loop-control"];
    devices
        .into_iter()
        .find(|device| !Path::new(device).exists())
        .map(|device| format!("there is no {device}"))
}

fn is_installed(program: &str) -> bool {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"];
    folders
        .into_iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

fn serve(dir: &Path, image: &Path) -> Result<Child> {
    let mut command = Command::new("nbdkit");
    command
        .args(["--foreground", "--exit-with-parent", "--unix"])
        .arg(dir.join("nbd.sock"));
    command
        .args(["--filter=pause", "--filter=error", "--filter=rate", "file"])
        .arg(image);
    let path = |key: &str, name: &str| format!("{key}={}", dir.join(name).display());
    command.args([
        "error=EIO",
        "error-pwrite-rate=100%",
        "error-pread-rate=100%",
    ]);
    command.args([
        path("error-pwrite-file", "fail-write"),
        path("error-pread-file", "fail-read"),
    ]);
    command.args([
        path("rate-file", "rate"),
        path("pause-control", PAUSE_SOCKET),
    ]);
    let child = spawn(&mut command)?;
    until_exists(&dir.join("nbd.sock"))?;
    Ok(child)
}

/// A placeholder child until there is a program to run.
fn idle() -> Result<Child> {
    spawn(&mut Command::new("true"))
}

fn make(filesystem: Filesystem) -> Command {
    let (program, arguments): (_, &[&str]) = match filesystem {
        Filesystem::Ext4WithoutJournal => ("mkfs.ext4", &["-q", "-O", "^has_journal"]),
        Filesystem::Ext4 => ("mkfs.ext4", &["-q"]),
        Filesystem::Xfs => ("mkfs.xfs", &["-q"]),
    };
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn spawn(command: &mut Command) -> Result<Child> {
    // nbdkit would log every error that it injects.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().map_err(io_error(format!(
        "start {}",
        command.get_program().to_string_lossy()
    )))
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .map_err(io_error(format!("run {program}")))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(Error::Wrong(format!(
        "{program} ended with {status}: {}",
        String::from_utf8_lossy(&stderr)
    )))
}

fn until_exists(path: &Path) -> Result<()> {
    for _ in 0..READY_MAX.as_millis() / LOOK_INTERVAL.as_millis() {
        if path.exists() {
            return Ok(());
        }
        sleep(LOOK_INTERVAL);
    }
    let what = format!("{} is there", path.display());
    Err(Error::TimedOut {
        what,
        seconds: READY_MAX.as_secs(),
        why: "it is not".to_owned(),
    })
}

#[cfg(test)]
mod tests;
