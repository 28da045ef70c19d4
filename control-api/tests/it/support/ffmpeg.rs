//! Runs ffmpeg and ffprobe, which are independent of this code. Tests that need them print a
//! message if they are left out.

use std::path::Path;
use std::process::Command;

/// Whether ffmpeg is installed; prints a message to standard error if it is not.
pub(crate) fn is_there() -> bool {
    let found = Command::new("ffmpeg")
        .arg("-version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        eprintln!(
            "LEFT OUT: ffmpeg is not installed, so nothing independent has decoded these files \
             (apt-get install ffmpeg)"
        );
    }
    found
}

/// Runs `program` and returns its standard output.
pub(crate) fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    assert_eq!(errors, "", "{program} {args:?} complains");
    output.stdout
}

/// Decodes everything; panics if ffmpeg prints any message.
pub(crate) fn decodes_without_a_message(source: &str) {
    run(
        "ffmpeg",
        &["-v", "error", "-xerror", "-i", source, "-f", "null", "-"],
    );
}

/// Writes bytes to a file and decodes it.
pub(crate) fn bytes_decode(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), bytes);
    decodes_without_a_message(&path);
}

/// Decodes a file from a position on, as when a viewer seeks there.
pub(crate) fn decodes_from(bytes: &[u8], seconds: &str) {
    let dir = tempfile::tempdir().unwrap();
    run(
        "ffmpeg",
        &[
            "-v",
            "error",
            "-xerror",
            "-ss",
            seconds,
            "-i",
            &write(dir.path(), bytes),
            "-f",
            "null",
            "-",
        ],
    );
}

/// The number of frames that the decoder returns for a stream, `v:0` or `a:0`.
pub(crate) fn decoded_frames(bytes: &[u8], stream: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), bytes);
    let entries = [
        "-v",
        "error",
        "-count_frames",
        "-select_streams",
        stream,
        "-show_entries",
        "stream=nb_read_frames",
        "-of",
        "csv=p=0",
    ];
    let counted = run("ffprobe", &[&entries[..], &[&path]].concat());
    String::from_utf8(counted)
        .unwrap()
        .trim()
        .trim_end_matches(',')
        .parse()
        .unwrap()
}

/// The number of video frames that the decoder returns, and its messages about incomplete ones.
pub(crate) fn concealed_frames(bytes: &[u8]) -> (usize, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), bytes);
    let args = [
        "-v",
        "error",
        "-i",
        &path,
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
        "-f",
        "framecrc",
        "-",
    ];
    let output = Command::new("ffmpeg").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let frames = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    (frames, said)
}

/// The length according to the file, in seconds.
pub(crate) fn length_seconds(bytes: &[u8]) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), bytes);
    let entries = [
        "-v",
        "error",
        "-show_entries",
        "format=duration",
        "-of",
        "csv=p=0",
    ];
    String::from_utf8(run("ffprobe", &[&entries[..], &[&path]].concat()))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Presentation time of the first video packet, in seconds, according to the file's edit list.
pub(crate) fn first_time(bytes: &[u8]) -> f64 {
    packet_times(bytes).first().copied().expect("a packet")
}

/// The number of video packets that are not before the file's time 0.
pub(crate) fn frames_from_zero(bytes: &[u8]) -> usize {
    packet_times(bytes)
        .iter()
        .filter(|time| **time >= -0.001)
        .count()
}

fn packet_times(bytes: &[u8]) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), bytes);
    let args = [
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "packet=pts_time",
        "-of",
        "csv=p=0",
    ];
    let output = String::from_utf8(run("ffprobe", &[&args[..], &[&path]].concat())).unwrap();
    output
        .lines()
        .map(|line| line.trim_end_matches(',').parse().unwrap())
        .collect()
}

/// The flags of each video packet in order, as ffprobe names them: `K__` for a sync sample. Without
/// its parser, which treats every recovery point as a keyframe.
pub(crate) fn packet_flags(bytes: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), bytes);
    let (parser, entries) = ("nofillin+noparse", "packet=flags");
    let args = [
        "-v",
        "error",
        "-fflags",
        parser,
        "-select_streams",
        "v:0",
        "-show_packets",
        "-show_entries",
        entries,
        "-of",
        "csv=p=0",
    ];
    let output = String::from_utf8(run("ffprobe", &[&args[..], &[&path]].concat())).unwrap();
    output
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned())
        .collect()
}

fn write(dir: &Path, bytes: &[u8]) -> String {
    let path = dir.join("file.mp4");
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}
