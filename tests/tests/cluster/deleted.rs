//! Retention deletes footage while another node sends it.

use holdfast_camera::CameraOptions;
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Error, Result, wait};
use holdfast_node::config::{ByteSize, Config, DEFAULT_RETENTION_CLASS, RetentionClass};
use holdfast_node::demo::footage;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// 2.5 MB/s: the range has far more bytes than sockets and buffers on the way hold.
const CAMERA_BPS: u64 = 20_000_000;

/// Length of the exported range.
const RANGE: Duration = Duration::from_secs(14);

/// At least this much is deleted before the client continues.
const DELETED: Duration = Duration::from_secs(7);

/// Twenty seconds.
const CLASS_BYTES_MAX: u64 = 48 << 20;

const FPS: u64 = 25;

fn tune(_: usize, config: &mut Config) {
    config.storage.segment_seconds = 1;
    config.storage.segment_bytes_max = ByteSize(20 << 20);
    config.storage.buffer_bytes_max = ByteSize(20 << 20);
    let class = DEFAULT_RETENTION_CLASS.to_owned();
    config.retention = vec![RetentionClass {
        class,
        age_days: None,
        bytes_max: Some(ByteSize(CLASS_BYTES_MAX)),
    }];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_on_its_way_is_left_out_and_the_rest_is_served() -> Result<()> {
    let camera = |id| CameraOptions {
        bitrate_bps: CAMERA_BPS,
        ..CameraOptions::new(id)
    };
    let mut site = Site::start(SiteOptions {
        nodes: 2,
        cameras: (1..=2).map(camera).collect(),
        tune,
    })
    .await?;
    let from = wall_now();
    let to = from.plus(RANGE);
    site.wait_recorded_beyond(to).await?;
    // The first node serves, the other one deletes.
    let camera = site
        .owned_by(1)
        .await?
        .into_iter()
        .next()
        .expect("the second node records a camera");

    let mut download = Download::begin(&site, camera.id, from, to).await?;
    wait::until("the beginning is deleted", SETTLE_TIMEOUT, async || {
        let timeline = site
            .timeline(0, camera.id, from, wall_now())
            .await
            .map_err(|error| error.to_string())?;
        let start = timeline.spans.first().map(|span| span.start);
        if start.is_some_and(|start| start > from.plus(DELETED)) {
            Ok(())
        } else {
            Err(format!("{start:?}"))
        }
    })
    .await?;
    let file = download.rest().await?;
    let left_out = left_out(&file);
    assert!(
        left_out > 0,
        "an empty box stands for each chunk that was deleted"
    );
    let stamps = footage::stamps_of(&file).map_err(|error| Error::Wrong(error.to_string()))?;
    let numbers: Vec<u64> = stamps.iter().map(|stamp| stamp.sequence).collect();
    let holes: Vec<u64> = numbers
        .windows(2)
        .map(|pair| pair[1] - pair[0] - 1)
        .filter(|lost| *lost > 0)
        .collect();
    println!(
        "{} frames, without {holes:?}; {left_out} chunks left out",
        numbers.len()
    );
    assert_eq!(holes.len(), 1, "one piece is missing");
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    // From the keyframe before the range to the chunk that contains its end.
    assert!(
        (first..last).count() as u64 >= FPS * (RANGE.as_secs() - 1),
        "from {first} to {last}: the end is missing"
    );
    site.pass();
    Ok(())
}

/// A client that stops reading for a while.
struct Download {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Download {
    /// Waits until the answer has begun; the client then stops reading.
    async fn begin(site: &Site, camera: CameraId, from: Timestamp, to: Timestamp) -> Result<Self> {
        let url = site.cluster.api_url(0);
        let host = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host)
            .await
            .map_err(io("reach the node"))?;
        let token = &site.cluster.token().0;
        let request = format!(
            "GET /api/v1/cameras/{camera}/export.mp4?from={from}&to={to} HTTP/1.1\r\n\
             host: {host}\r\n\
             authorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(io("ask for an export"))?;
        let mut received = vec![0; 4096];
        stream
            .read_exact(&mut received)
            .await
            .map_err(io("read an export"))?;
        Ok(Self { stream, received })
    }

    /// The body of the whole answer, with the promised length.
    async fn rest(&mut self) -> Result<Vec<u8>> {
        let reading = timeout(SETTLE_TIMEOUT, self.stream.read_to_end(&mut self.received)).await;
        reading
            .map_err(|_| Error::Wrong("the export does not end".to_owned()))?
            .map_err(io("read an export"))?;
        let cut = || Error::Wrong("the export was broken off".to_owned());
        let begin = find(&self.received, b"\r\n\r\n").ok_or_else(cut)? + 4;
        let head = String::from_utf8_lossy(&self.received[..begin]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let body = &self.received[begin..];
        if Some(body.len()) == length {
            Ok(body.to_vec())
        } else {
            Err(cut())
        }
    }
}

/// Counts the empty boxes at the top level of a file.
fn left_out(mut file: &[u8]) -> usize {
    let mut count = 0;
    while let Some((size, rest)) = file.split_first_chunk::<4>() {
        count += usize::from(rest.starts_with(b"free"));
        file = file
            .get(u32::from_be_bytes(*size).max(8) as usize..)
            .unwrap_or_default();
    }
    count
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        what: what.to_owned(),
        source,
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
