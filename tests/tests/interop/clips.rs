//! Elementary streams for the cameras to play, made once by ffmpeg and kept in cargo's folder for
//! test files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Frames per second of both video clips.
pub(crate) const FPS: f64 = 25.0;
/// Keyframes are this far apart.
pub(crate) const GOP_FRAMES: u64 = 25;

/// A whole number of GOPs, so that a loop of the clip begins with a keyframe.
const SECONDS: &str = "8";

/// A moving picture that differs in every frame, as cameras send it: no B-frames, parameter sets
/// before each keyframe, and access unit delimiters, at which the player splits.
const H264: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-profile:v",
    "high",
    "-pix_fmt",
    "yuv420p",
    "-b:v",
    "500k",
    "-g",
    "25",
    "-keyint_min",
    "25",
    "-sc_threshold",
    "0",
    "-bf",
    "0",
    "-x264-params",
    "aud=1:repeat-headers=1",
    "-f",
    "h264",
];
const H265: &[&str] = &[
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-pix_fmt",
    "yuv420p",
    "-b:v",
    "500k",
    "-x265-params",
    "keyint=25:min-keyint=25:scenecut=0:bframes=0:aud=1:repeat-headers=1:log-level=error",
    "-f",
    "hevc",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clip {
    H264,
    H265,
    Aac,
    Alaw,
    Mulaw,
}

impl Clip {
    /// Path of the file, which is made if it does not exist.
    pub(crate) fn path(self) -> PathBuf {
        static MAKING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = MAKING.lock().unwrap();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.file_name());
        if !path.exists() {
            let unfinished = path.with_extension("unfinished");
            self.make(&unfinished);
            std::fs::rename(&unfinished, &path).unwrap();
        }
        path
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::H264 => "interop-1.h264",
            Self::H265 => "interop-1.h265",
            Self::Aac => "interop-1.aac",
            Self::Alaw => "interop-1.al",
            Self::Mulaw => "interop-1.ul",
        }
    }

    fn make(self, path: &Path) {
        let video = format!("testsrc2=size=320x240:rate={FPS}:duration={SECONDS}");
        let audio = |rate: u32| format!("sine=frequency=440:sample_rate={rate}:duration={SECONDS}");
        let (source, codec): (String, &[&str]) = match self {
            Self::H264 => (video, H264),
            Self::H265 => (video, H265),
            Self::Aac => (
                audio(16_000),
                &["-c:a", "aac", "-b:a", "32k", "-ac", "1", "-f", "adts"],
            ),
            Self::Alaw => (audio(8_000), &["-c:a", "pcm_alaw", "-f", "alaw"]),
            Self::Mulaw => (audio(8_000), &["-c:a", "pcm_mulaw", "-f", "mulaw"]),
        };
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg
            .args([
                "-hide_banner",
                "-loglevel",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                &source,
            ])
            .args(codec)
            .arg(path);
        let status = ffmpeg
            .status()
            .unwrap_or_else(|error| panic!("ffmpeg cannot be run ({error}); install it"));
        assert!(status.success(), "ffmpeg could not make {}", path.display());
    }
}
