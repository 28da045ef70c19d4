//! Starts `holdfast-chaos` as a user would, and reads its output while it runs.

use holdfast_node::demo::binary::holdfast_next_to_this;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The longest that an awaited output may take.
const SAID_MAX: Duration = Duration::from_secs(120);

pub(crate) struct Program {
    child: Child,
    said: Receiver<String>,
}

fn executable() -> PathBuf {
    let path = holdfast_next_to_this()
        .unwrap()
        .with_file_name("holdfast-chaos");
    assert!(
        path.is_file(),
        "no {}; build it first: cargo build --workspace",
        path.display()
    );
    path
}

/// Runs it to its end: exit code, standard output, standard error.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(executable())
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

impl Program {
    /// Starts it in `dir`, which it also uses for temporary files.
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(executable());
        command
            .args(arguments)
            .current_dir(dir)
            .env("TMPDIR", dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, said) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| drop(sender.send(line)))
        });
        Self { child, said }
    }

    pub(crate) fn wait_says(&self, what: &str) {
        let mut before = Vec::new();
        loop {
            let line = self.said.recv_timeout(SAID_MAX);
            let line = line
                .unwrap_or_else(|_| panic!("it never said `{what}`, but:\n{}", before.join("\n")));
            if line.contains(what) {
                return;
            }
            before.push(line);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
