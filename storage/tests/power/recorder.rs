//! The recorder as a separate process, and the reader of its output.

use super::load::Orders;
use super::testimony::Testimony;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A recorder without output for this long has failed.
const START_MAX: Duration = Duration::from_secs(20);

/// Killed when dropped.
pub(crate) struct Recorder {
    child: Child,
    listener: Option<JoinHandle<Testimony>>,
}

impl Recorder {
    /// Returns once it records. `note` receives each line first.
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

    /// Kills it and reads the rest of its output: everything that it reported must hold, including
    /// its last lines.
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
