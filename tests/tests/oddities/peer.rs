//! ffmpeg as a peer and a judge: what it copies of the same camera, and what it says when it
//! decodes either.

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

/// ffmpeg looks at a stream for some seconds before it begins.
const PATIENCE: Duration = Duration::from_secs(8);
/// Where a copy begins and ends changes what is said of it a little.
const TOLERANCE: f64 = 1.25;

/// Copies each camera into a file with ffmpeg; `None` for what it does not copy, and where it is
/// not installed.
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

/// As [`copies`], of all rows, while the caller does something else.
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

/// What ffmpeg says of the export, where that is more than it says of its own copy.
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
    // Its copy lost other packets, and began at another picture.
    if matches!(
        row.oddity,
        Oddity::Loss(_) | Oddity::Payload(PayloadOddity::OpenGop)
    ) {
        return Ok(None);
    }
    // What it says of times of its own output is about neither file.
    let of_decoders = |said: String| -> String {
        said.lines()
            .filter(|line| !line.starts_with("[null @"))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let said = of_decoders(ffmpeg::complaints(&path).await?);
    let of_peer = match peer {
        Some(peer) => of_decoders(ffmpeg::complaints(peer).await?),
        // It has no copy to compare with: then a clock that no player can follow is no reason to
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
    // The copy is shorter: what is said comes with the frames.
    let peer_frames = peer.map_or(0, frames_of).max(1);
    let of_as_many =
        peer_lines as f64 * (seen.footage.frames.len() as f64 / peer_frames as f64).max(1.0);
    let is_worse = said_lines as f64 > of_as_many * TOLERANCE;
    Ok(is_worse.then(|| {
        format!("ffmpeg says {said_lines} lines of it, {peer_lines} of its own copy: {first}")
    }))
}

/// Stamps in a file of others: each frame has one.
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
    // What it had written when it was ended is a copy, too; a file of nothing is none.
    drop(ended);
    std::fs::metadata(&file)
        .is_ok_and(|file| file.len() > 1000)
        .then_some(file)
}
