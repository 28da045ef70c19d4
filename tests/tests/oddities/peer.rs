//! ffmpeg as a peer and a judge: it copies the same cameras, and decodes both its copy and the
//! export.

use crate::judge::Seen;
use crate::table::Row;
use holdfast_camera::{ClockOddity, Handle, Oddity, PayloadOddity};
use holdfast_chaos::site::Site;
use holdfast_chaos::{Error, Result, ffmpeg};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::task::JoinHandle;

/// ffmpeg probes a stream for some seconds before it begins.
const PATIENCE: Duration = Duration::from_secs(8);
/// Where a copy begins and ends slightly changes the number of messages.
const TOLERANCE: f64 = 1.25;

/// Copies each camera into a file with ffmpeg; `None` for cameras that it does not copy, and if it
/// is not installed.
pub(crate) async fn copies(
    folder: PathBuf,
    urls: Vec<(String, bool)>,
    window: Duration,
) -> Vec<Option<PathBuf>> {
    if !ffmpeg::is_installed().await {
        eprintln!("LEFT OUT: ffmpeg's own copy, for want of ffmpeg");
        return vec![None; urls.len()];
    }
    let copying: Vec<JoinHandle<Option<PathBuf>>> = urls
        .into_iter()
        .enumerate()
        .map(|(at, (url, is_udp))| {
            tokio::spawn(copy(
                folder.join(format!("peer-{at}.mkv")),
                url,
                is_udp,
                window,
            ))
        })
        .collect();
    let mut files = Vec::new();
    for copy in copying {
        files.push(copy.await.ok().flatten());
    }
    files
}

/// Like [`copies`], for all rows, in parallel with the caller.
pub(crate) fn copy_all(
    folder: &Path,
    server: &Handle,
    rows: &[Row],
    window: Duration,
) -> impl Future<Output = Vec<Option<PathBuf>>> + use<> {
    let url = |(number, row): (u32, &Row)| {
        let login = row
            .oddity
            .login()
            .map(|(user, password)| format!("{user}:{password}@"))
            .unwrap_or_default();
        (
            server
                .url(number)
                .replacen("rtsp://", &format!("rtsp://{login}"), 1),
            row.oddity.needs_udp(),
        )
    };
    let urls = (1..).zip(rows).map(url).collect();
    let copying = tokio::spawn(copies(folder.to_owned(), urls, window));
    async move { copying.await.unwrap() }
}

/// ffmpeg's messages about the export, if there are more than about its own copy.
pub(crate) async fn complaints(
    site: &Site,
    row: &Row,
    seen: &Seen,
    peer: Option<&Path>,
) -> Result<Option<String>> {
    let (Some(file), true) = (&seen.file, ffmpeg::is_installed().await) else {
        return Ok(None);
    };
    let path = site.dir().join(format!("{}.mp4", row.name()));
    std::fs::write(&path, file).map_err(|source| Error::Io {
        what: "write the export".into(),
        source,
    })?;
    // Its copy lost other packets, or began at another picture.
    if matches!(
        row.oddity,
        Oddity::Loss(_) | Oddity::Payload(PayloadOddity::OpenGop)
    ) {
        return Ok(None);
    }
    // Messages about the times of its own output concern neither file.
    let of_decoders = |said: String| -> String {
        said.lines()
            .filter(|line| !line.starts_with("[null @"))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let said = of_decoders(ffmpeg::complaints(&path).await?);
    let of_peer = match peer {
        Some(peer) => of_decoders(ffmpeg::complaints(peer).await?),
        // Without a copy to compare with, a clock that no player can follow is no reason to
        // complain.
        None if matches!(
            row.oddity,
            Oddity::Clock(ClockOddity::ClockBackward | ClockOddity::ClockFrozen)
        ) =>
        {
            return Ok(None);
        }
        None => String::new(),
    };
    let (said_lines, peer_lines) = (said.lines().count(), of_peer.lines().count());
    let first = said.lines().next().unwrap_or_default();
    // The copy is shorter: the number of messages grows with the number of frames.
    let peer_frames = peer.map_or(0, frames_of).max(1);
    let of_as_many =
        peer_lines as f64 * (seen.footage.frames.len() as f64 / peer_frames as f64).max(1.0);
    let is_worse = said_lines as f64 > of_as_many * TOLERANCE;
    Ok(is_worse.then(|| {
        format!("ffmpeg says {said_lines} lines of it, {peer_lines} of its own copy: {first}")
    }))
}

/// Number of stamps in another program's file: one for each frame.
fn frames_of(file: &Path) -> usize {
    let bytes = std::fs::read(file).unwrap_or_default();
    bytes
        .windows(16)
        .filter(|window| *window == b"holdfast:stamp-1")
        .count()
}

async fn copy(file: PathBuf, url: String, is_udp: bool, window: Duration) -> Option<PathBuf> {
    let transport = if is_udp { "udp" } else { "tcp" };
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args([
            "-nostdin",
            "-v",
            "quiet",
            "-rtsp_transport",
            transport,
            "-i",
            &url,
        ])
        .args([
            "-map",
            "0:v:0",
            "-c",
            "copy",
            "-t",
            &window.as_secs().to_string(),
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(window + PATIENCE, ffmpeg.status()).await;
    // A copy that was ended early is a copy, too; an empty file is not.
    drop(ended);
    std::fs::metadata(&file)
        .is_ok_and(|file| file.len() > 1000)
        .then_some(file)
}
