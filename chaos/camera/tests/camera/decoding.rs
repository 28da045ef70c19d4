//! An independent decoder decodes what the cameras send without a complaint.

use crate::client::{server, until};
use holdfast_camera::{Handle, Picture};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn ffprobe_decodes_every_frame() {
    if !is_installed("ffprobe").await {
        eprintln!(
            "LEFT OUT: ffprobe is not installed (Debian package ffmpeg), so no frame was decoded"
        );
        return;
    }
    for transport in ["tcp", "udp"] {
        let (handle, _camera) = server(|camera| camera.start_at_keyframe = true).await;
        let (frames, complaints) = probe(&handle, transport).await;
        assert!(frames.len() >= 40, "{frames:?}");
        assert!(frames.iter().all(|frame| frame == "640,360"), "{frames:?}");
        assert_eq!(complaints, "");
    }
}

#[tokio::test]
async fn ffprobe_follows_a_change_of_parameters() {
    if !is_installed("ffprobe").await {
        eprintln!(
            "LEFT OUT: ffprobe is not installed (Debian package ffmpeg), so no change was decoded"
        );
        return;
    }
    let (handle, camera) = server(|camera| camera.start_at_keyframe = true).await;
    let change = tokio::spawn(async move {
        until(|| camera.sessions() > 0).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        camera.set_picture(Picture::Small);
    });
    let (frames, complaints) = probe(&handle, "tcp").await;
    change.await.unwrap();
    assert_eq!(frames.first().map(String::as_str), Some("640,360"));
    assert_eq!(
        frames.last().map(String::as_str),
        Some("320,180"),
        "{frames:?}"
    );
    assert_eq!(complaints, "");
}

/// Width and height of each frame that ffprobe decodes in 3 s, and its messages.
async fn probe(handle: &Handle, transport: &str) -> (Vec<String>, String) {
    let probing = Command::new("ffprobe")
        .args([
            "-v",
            "warning",
            "-rtsp_transport",
            transport,
            "-read_intervals",
            "%+3",
            "-select_streams",
            "v",
        ])
        .args(["-show_entries", "frame=width,height", "-of", "csv=p=0"])
        .arg(handle.url(1))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, probing)
        .await
        .expect("ffprobe did not end")
        .unwrap();
    let frames = String::from_utf8(output.stdout).unwrap();
    let frames = frames
        .lines()
        .map(|line| line.split(',').take(2).collect::<Vec<_>>().join(","))
        .filter(|line| line.contains(','));
    (frames.collect(), String::from_utf8(output.stderr).unwrap())
}

async fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok()
}
