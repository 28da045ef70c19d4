//! Cameras in processes of their own, which are not measured: the project's, or GStreamer's.

use crate::Outcome;
use clap::ValueEnum;
use holdfast_node::demo::binary::holdfast_next_to_this;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The make of the cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Make {
    /// The project's own, which write a whole frame at once
    Own,
    /// GStreamer's RTSP server, which writes each packet separately as cameras do; a process a
    /// camera
    Gstreamer,
}

/// Cameras of 2 Mbit/s at random phases. They end when this is dropped.
pub struct Cameras {
    pub urls: Vec<String>,
    _processes: Vec<Process>,
}

/// Ended when dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cameras {
    /// Serves `count` cameras of 2 Mbit/s and 25 frames a second; their files are written below
    /// `dir`.
    ///
    /// # Errors
    /// A program is missing (the error names it), or its output is not understood.
    pub fn serve(make: Make, count: u32, dir: &Path) -> Outcome<Self> {
        match make {
            Make::Own => {
                let (process, address) = serve_cameras(count)?;
                let urls = (1..=count)
                    .map(|id| format!("rtsp://{address}/cam/{id}"))
                    .collect();
                Ok(Self {
                    urls,
                    _processes: vec![process],
                })
            }
            Make::Gstreamer => serve_gstreamer(count, &clip(dir)?),
        }
    }
}

/// The project's cameras, and their `host:port`.
///
/// # Errors
/// `holdfast-camera` is not built next to this program, or its output is not understood.
pub fn serve_cameras(count: u32) -> Outcome<(Process, String)> {
    let program = holdfast_next_to_this()?.with_file_name("holdfast-camera");
    let mut command = Command::new(&program);
    command
        .args(["--cameras", &count.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let missing = |error| {
        format!(
            "cannot start {}: {error}; build it: cargo build -p holdfast-camera",
            program.display()
        )
    };
    let mut cameras = Process(command.spawn().map_err(missing)?);
    let line = first_line(&mut cameras.0)?;
    let address = line
        .split("rtsp://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .map(str::to_owned);
    Ok((
        cameras,
        address.ok_or_else(|| format!("the cameras say {line:?}"))?,
    ))
}

/// A process for each camera: they send independently of each other, as real ones do.
fn serve_gstreamer(count: u32, clip: &Path) -> Outcome<Cameras> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/gst_cameras.py");
    let (mut processes, mut urls) = (Vec::new(), Vec::new());
    for _ in 0..count {
        // The system's python has GStreamer's bindings, whichever python is first on the path.
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(&script)
            .arg("--video")
            .arg(clip)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let missing =
            |error| format!("cannot start /usr/bin/python3 (Debian package `python3-gi`): {error}");
        let mut process = Process(command.spawn().map_err(missing)?);
        let line = first_line(&mut process.0)?;
        let port = line.trim().strip_prefix("ready ").ok_or_else(|| {
            format!(
                "GStreamer's cameras say {line:?}; {} names the Debian packages they need",
                script.display()
            )
        })?;
        urls.push(format!("rtsp://127.0.0.1:{port}/cam1"));
        processes.push(process);
        // Each begins to send when a client connects; two that are started at once would send in
        // step.
        sleep(Duration::from_millis(u64::from(
            uuid::Uuid::new_v4().as_fields().0 % 40,
        )));
    }
    Ok(Cameras {
        urls,
        _processes: processes,
    })
}

fn first_line(process: &mut Child) -> Outcome<String> {
    let mut line = String::new();
    BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok(line)
}

/// Ten seconds of H.264 at 2 Mbit/s with access unit delimiters, a keyframe every 2 s.
fn clip(dir: &Path) -> Outcome<PathBuf> {
    let path = dir.join("camera.h264");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-y", "-f", "lavfi"]);
    ffmpeg.args([
        "-i",
        "testsrc2=size=1280x720:rate=25:duration=10,noise=alls=12:allf=t",
    ]);
    ffmpeg.args([
        "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "50", "-bf", "0",
    ]);
    ffmpeg
        .args([
            "-x264-params",
            "aud=1:nal-hrd=cbr:bitrate=2000:vbv-maxrate=2000:vbv-bufsize=1000",
        ])
        .arg(&path);
    let missing = |error| format!("cannot start ffmpeg (Debian package `ffmpeg`): {error}");
    let status = ffmpeg.stdin(Stdio::null()).status().map_err(missing)?;
    if !status.success() {
        return Err(format!("ffmpeg could not make a clip: {status}").into());
    }
    Ok(path)
}
