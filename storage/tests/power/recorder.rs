//! The recorder as a process of its own, and who listens to it.

use super::load::Orders;
use super::testimony::Testimony;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A recorder that says nothing for so long has failed.
const START_MAX: Duration = Duration::from_secs(20);

/// Killed when dropped.
pub(crate) struct Recorder {
    child: Child,
    listener: Option<JoinHandle<Testimony>>,
}

impl Recorder {
    /// Returns once it records. `note` is told each line before anyone else.
    ///
    /// # Errors
    /// It does not begin.
    pub(crate) fn start(
        orders: &Orders,
        note: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, String> {
        let mut child = orders.start();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (began, has_begun) = mpsc::channel();
        let listener = std::thread::spawn(move || {
            let mut testimony = Testimony::default();
            for line in lines.map_while(Result::ok) {
                note(&line);
                testimony.hear(&line);
                if line.starts_with("began ") {
                    began.send(()).ok();
                }
            }
            testimony
        });
        let recorder = Self {
            child,
            listener: Some(listener),
        };
        has_begun
            .recv_timeout(START_MAX)
            .map_err(|_| "the recorder does not begin".to_owned())?;
        Ok(recorder)
    }

    /// Kills it and hears it out: whatever it said must hold, also what it said last.
    pub(crate) fn end(&mut self) -> Testimony {
        self.kill();
        self.listener
            .take()
            .map(|listener| listener.join().unwrap())
            .unwrap_or_default()
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.kill();
    }
}
