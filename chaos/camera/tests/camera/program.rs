//! The `holdfast-camera` program: its output, and its commands.

use crate::client::PATIENCE;
use retina::client::{Session, SessionOptions};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

struct Program {
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Ends the process when dropped.
    _child: Child,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast-camera"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            input: child.stdin.take().unwrap(),
            lines,
            _child: child,
        }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("no line in time")
            .unwrap()
            .expect("the program ended")
    }

    async fn ask(&mut self, command: &str) -> String {
        self.input
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
        self.line().await
    }
}

async fn describe(url: &str) -> Result<(), retina::Error> {
    let url = url::Url::parse(url).unwrap();
    let described = Session::describe(url, SessionOptions::default());
    tokio::time::timeout(PATIENCE, described)
        .await
        .expect("no answer in time")
        .map(|_| ())
}

#[tokio::test]
async fn it_serves_cameras_and_obeys() {
    let mut program = Program::start(&["--cameras", "3"]);
    let listening = program.line().await;
    let base = listening
        .strip_prefix("listening ")
        .and_then(|line| line.strip_suffix("/cam/1 to 3"))
        .unwrap()
        .to_owned();
    describe(&format!("{base}/cam/3")).await.unwrap();
    assert_eq!(program.ask("off 3").await, "ok");
    assert_eq!(
        describe(&format!("{base}/cam/3"))
            .await
            .unwrap_err()
            .status_code(),
        Some(404)
    );
    describe(&format!("{base}/cam/2")).await.unwrap();
    assert_eq!(program.ask("freeze 4").await, "error: there is no camera 4");
    assert!(
        program
            .ask("dance 1")
            .await
            .starts_with("error: unknown command")
    );
    while program.line().await != "captured CAMERA SEQUENCE" {}
    let sent = program.ask("sent 1").await;
    let numbers: Vec<u64> = sent
        .strip_prefix("sent ")
        .unwrap()
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    assert_eq!((numbers[0], numbers[1], numbers[3]), (1, 0, 0));
    assert!(program.ask("captured 1 99999").await.ends_with(" -"));
}

#[tokio::test]
async fn it_says_why_it_does_not_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-camera"))
        .args(["--fps", "0"])
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "holdfast-camera: camera 1: 0 fps is not within 1 to 120\n"
    );
}
