//! Space for disk images: a folder of this process. Everything mounted in it is unmounted again,
//! including what a killed run left behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PREFIX: &str = "holdfast-power-";

/// The kernel releases a killed process's files some time after its end.
const UMOUNT_ATTEMPTS_MAX: u32 = 100;

const UMOUNT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a command and returns its output.
///
/// # Errors
/// It cannot be run, or failed; with its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let shown = || format!("`{program} {}`", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{}: {error}", shown()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!(
        "{}: {}: {}",
        shown(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Why these tests cannot run here, if they cannot.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    if run("id", &["-u"]).as_deref() != Ok("0") {
        return Some("only root may mount".to_owned());
    }
    let absent = programs
        .iter()
        .find(|program| run("sh", &["-c", &format!("command -v {program}")]).is_err());
    if let Some(program) = absent {
        return Some(format!(
            "{program} is not installed (cargo xtask power installs the packages)"
        ));
    }
    if programs.contains(&"nbdfuse") && !Path::new("/dev/fuse").exists() {
        return Some("there is no /dev/fuse".to_owned());
    }
    run("losetup", &["-f"])
        .err()
        .map(|why| format!("there are no loop devices: {why}"))
}

/// Prints that a test did not run.
pub(crate) fn leave_out(what: &str, why: &str) {
    eprintln!("\n*** LEFT OUT: {what}: {why} ***\n");
}

pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// In memory if there is space: a cut costs the same there, and spares this machine's disk.
    pub(crate) fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        leftovers(&base).iter().for_each(|path| remove(path));
        let path = base.join(format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            super::load::now_us()
        ));
        std::fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Folders of processes that have ended.
fn leftovers(base: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(base).unwrap().map(|entry| entry.unwrap());
    let is_orphan = |name: &str| {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_orphan))
        .map(|entry| entry.path())
        .collect()
}

/// Detaches the loop devices of a folder, unmounts what is mounted below it, innermost first, and
/// deletes it.
fn remove(path: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(Path::new);
    let mut below: Vec<&Path> = points.filter(|at| at.starts_with(path)).collect();
    // Later mounts may be on top of earlier ones.
    below.reverse();
    // Detaching a mounted device takes effect when it is unmounted, and only then can the folder of
    // its image be unmounted.
    let detached = loops_below(path).into_iter().map(|device| detach(&device));
    let problems = detached
        .chain(below.into_iter().map(unmount))
        .filter_map(Result::err);
    problems.for_each(|problem| eprintln!("{problem}"));
    if let Err(error) = std::fs::remove_dir_all(path) {
        eprintln!("{} stays behind: {error}", path.display());
    }
}

fn loops_below(path: &Path) -> Vec<String> {
    let listed = run(
        "losetup",
        &["--list", "--noheadings", "--output", "NAME,BACK-FILE"],
    )
    .unwrap_or_default();
    let pairs = listed.lines().filter_map(|line| line.split_once(' '));
    let below = pairs.filter(|(_, file)| Path::new(file.trim()).starts_with(path));
    below.map(|(device, _)| device.to_owned()).collect()
}

/// # Errors
/// It is still in use.
pub(crate) fn unmount(at: &Path) -> Result<(), String> {
    let mut outcome = Ok(());
    for _ in 0..UMOUNT_ATTEMPTS_MAX {
        outcome = run("umount", &[text(at)]).map(|_| ());
        if outcome.is_ok() {
            return outcome;
        }
        std::thread::sleep(UMOUNT_PAUSE);
    }
    outcome
}

/// # Errors
/// It is no loop device, or still in use.
pub(crate) fn detach(device: &str) -> Result<(), String> {
    run("losetup", &["--detach", device]).map(|_| ())
}
