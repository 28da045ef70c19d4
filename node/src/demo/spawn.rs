//! Starts child processes from one thread that runs as long as this process.
//!
//! A node started with `--parent-pid` asks the kernel to kill it when its parent dies, and the
//! kernel means the *thread* that forked (prctl(2), PR_SET_PDEATHSIG). If a runtime's thread
//! started a node, the node would die with that thread.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

struct Job {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

static SPAWNER: Mutex<Option<SyncSender<Job>>> = Mutex::new(None);

/// # Errors
/// As [`Command::spawn`], or if the spawning thread cannot be started.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = sync_channel(1);
    let gone = |_| io::Error::other("the spawning thread is gone");
    spawner()?
        .send(Job { command, reply })
        .map_err(|_| io::Error::other("the spawning thread is gone"))?;
    answer.recv().map_err(gone)?
}

/// Starts the thread, unless it runs: children are born in the namespaces of the thread that starts
/// it.
///
/// # Errors
/// The thread cannot be started.
pub fn prepare() -> io::Result<()> {
    spawner().map(drop)
}

fn spawner() -> io::Result<SyncSender<Job>> {
    let mut slot = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sender) = &*slot {
        return Ok(sender.clone());
    }
    let (sender, jobs) = sync_channel(1);
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || work(&jobs))?;
    Ok(slot.insert(sender).clone())
}

fn work(jobs: &Receiver<Job>) {
    for mut job in jobs {
        // The caller may have given up; its child is then killed.
        if let Err(unwanted) = job.reply.send(job.command.spawn())
            && let Ok(mut child) = unwanted.0
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
