//! What the cluster serves of a camera: its stamps, found in the frames of the exported MP4.

use crate::client::Api;
use crate::terminal::error::{CliError, ExitKind};
use holdfast_camera::{Stamp, stamp};
use holdfast_storage::cmaf::{self, probe};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// Footage that is fetched at once, so that memory does not grow with the length of a run.
const WINDOW: Duration = Duration::from_secs(120);

/// By how much neighbouring windows overlap: an export begins and ends at frames near the requested
/// times. Frames found twice count once.
const OVERLAP: Duration = Duration::from_secs(5);

/// A node runs a few exports at a time and refuses more; how often and how long to retry.
const RETRIES_MAX: u32 = 40;
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The largest export of one window, in bytes.
const EXPORT_BYTES_MAX: usize = 1 << 30;

/// Every stamp in what the cluster serves between the two instants; empty if nothing was recorded.
///
/// # Errors
/// The export fails, is too large or damaged.
pub async fn stamps(
    api: &Api,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Stamp>, CliError> {
    let mut found = Vec::new();
    for (from, to) in windows(from, to) {
        let file = match export(api, camera, from, to).await {
            Err(error) if error.kind == ExitKind::NotFound => continue,
            file => file?,
        };
        let stamps = stamps_of(&file);
        found.extend(stamps.map_err(|error| {
            CliError::failed(format!("the export of camera {camera} is damaged: {error}"))
        })?);
    }
    Ok(found)
}

fn windows(from: Timestamp, to: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let starts = std::iter::successors(Some(from), |start| Some(start.plus(WINDOW)));
    starts
        .take_while(move |start| *start < to)
        .map(move |start| (start, start.plus(WINDOW).plus(OVERLAP).min(to)))
}

/// One MP4 of everything between the two instants, whole in memory.
///
/// # Errors
/// The export fails, is too large or breaks off; [`ExitKind::NotFound`] if nothing was recorded.
pub async fn export(
    api: &Api,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<u8>, CliError> {
    let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
    let mut response = open(api, camera, &query).await?;
    let broken = |error: reqwest::Error| {
        CliError::failed(format!("the export of camera {camera} broke off: {error}"))
    };
    let mut file = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if file.len() + piece.len() > EXPORT_BYTES_MAX {
            return Err(CliError::failed(format!(
                "the export of camera {camera} is larger than {EXPORT_BYTES_MAX} bytes"
            )));
        }
        file.extend_from_slice(&piece);
    }
    Ok(file)
}

async fn open(
    api: &Api,
    camera: CameraId,
    query: &[(&str, &str)],
) -> Result<reqwest::Response, CliError> {
    let mut retries = 0;
    loop {
        match api
            .download(&["cameras", &camera.to_string(), "export.mp4"], query)
            .await
        {
            Err(error) if error.kind == ExitKind::Unavailable && retries < RETRIES_MAX => {
                retries += 1
            }
            answer => return answer,
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// The stamps of all samples of a fragmented MP4, in its order.
///
/// # Errors
/// A chunk is damaged.
pub fn stamps_of(file: &[u8]) -> Result<Vec<Stamp>, cmaf::Error> {
    let mut found = Vec::new();
    for range in probe::chunk_ranges(file) {
        let chunk = &file[range?];
        let samples = probe::samples(chunk)?;
        found.extend(
            samples.iter().filter_map(|sample| {
                stamp::find(&chunk[sample.offset..sample.offset + sample.size])
            }),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::chunk::AccessPoint;
    use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
    use holdfast_storage::ids::TrackKind;

    #[test]
    fn stamps_are_found_in_every_chunk_of_a_file() {
        let stamp = |sequence| Stamp {
            camera: 4,
            sequence,
            captured_us: 9,
        };
        let frame = |sequence| {
            let nal = stamp(sequence).encode(0);
            let length = u32::try_from(nal.len()).unwrap().to_be_bytes();
            Frame {
                data: [&length[..], &nal].concat().into(),
                decode_time: sequence * 3600,
                duration: 3600,
                composition_offset: 0,
                access: (sequence == 0).then_some(AccessPoint::Sync),
            }
        };
        let chunk = |sequence: u64| {
            build_chunk(
                TrackKind::Video,
                1,
                Timestamp(0),
                &[frame(sequence), frame(sequence + 1)],
            )
            .unwrap()
            .concat()
        };
        let file = [&[0, 0, 0, 8][..], b"ftyp", &chunk(0), &chunk(2)].concat();
        assert_eq!(stamps_of(&file).unwrap(), [0, 1, 2, 3].map(stamp));
        assert!(stamps_of(&file[..file.len() - 1]).is_err());
    }

    #[test]
    fn windows_cover_the_range_and_overlap() {
        let second = |seconds: i64| Timestamp(seconds * 1_000_000);
        let cut: Vec<_> = windows(second(0), second(250)).collect();
        assert_eq!(
            cut,
            [
                (second(0), second(125)),
                (second(120), second(245)),
                (second(240), second(250))
            ]
        );
        assert_eq!(windows(second(0), second(40)).count(), 1);
    }
}
