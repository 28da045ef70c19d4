//! Cameras of `tests/interop/gst_cameras.py`, in a process of their own.

use crate::clips::{Clip, FPS};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Time for the script to load GStreamer and to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    None,
    Digest,
    Basic,
}

pub(crate) const USER: &str = "viewer";
pub(crate) const PASSWORD: &str = "p:ä s/w";

/// The process ends when this handle is dropped.
pub(crate) struct GstCameras {
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl GstCameras {
    pub(crate) async fn start(count: usize, video: Clip, audio: Option<Clip>, auth: Auth) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/gst_cameras.py");
        // The system's python has GStreamer's bindings; another python on the path may not.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg("--video").arg(video.path());
        command.args(["--count", &count.to_string(), "--fps", &FPS.to_string()]);
        if let Some(audio) = audio {
            command.arg("--audio").arg(audio.path());
        }
        if auth != Auth::None {
            command.args(["--user", USER, "--password", PASSWORD]);
        }
        if auth == Auth::Basic {
            command.arg("--basic");
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 runs");
        let (commands, answers) = (
            process.stdin.take().unwrap(),
            process.stdout.take().unwrap(),
        );
        let mut cameras = Self {
            _process: process,
            commands,
            answers: BufReader::new(answers).lines(),
            port: 0,
        };
        cameras.port = cameras.answer("ready").await.try_into().unwrap();
        cameras
    }

    /// The URL of camera `number`, from 1.
    pub(crate) fn url(&self, number: usize) -> String {
        format!("rtsp://127.0.0.1:{}/cam{number}", self.port)
    }

    /// `freeze N`, `resume N`, `drop N FRAMES`, `jump N MILLISECONDS`, `kick N`.
    pub(crate) async fn command(&mut self, line: &str) {
        self.commands
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        self.commands.flush().await.unwrap();
    }

    /// Number of connections that clients have opened so far.
    pub(crate) async fn connections(&mut self) -> u64 {
        self.command("connections").await;
        self.answer("connections").await
    }

    async fn answer(&mut self, word: &str) -> u64 {
        let line = timeout(ANSWER_TIMEOUT, self.answers.next_line())
            .await
            .expect("the cameras answer in time");
        let line = line
            .unwrap()
            .expect("the cameras are alive; their standard error says why they ended");
        line.strip_prefix(word)
            .unwrap_or_else(|| panic!("`{line}` instead of `{word}`"))
            .trim()
            .parse()
            .unwrap()
    }
}
