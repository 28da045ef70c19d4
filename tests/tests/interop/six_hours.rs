//! Times the longest export of one file: its size, the time to its first byte, and the time for all
//! of it. `benches/RESULTS.md` has the figures.

use crate::site::{self, Source, seconds};
use crate::written::Written;
use holdfast_chaos::site::STOP_TIMEOUT;
use holdfast_control_api::limits::PLAYBACK_RANGE_MAX;
use holdfast_control_api::wire;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::VolumeOptions;
use holdfast_storage::ids::CameraId;
use std::time::{Duration, Instant};

/// Each piece is a recording of its own, as long as a segment.
const PIECE_SECONDS: i64 = 60;
/// From the request to the first byte, on a busy machine: the layout of the whole file is computed
/// before any footage is read.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes and reads six hours of footage: cargo xtask verify"]
async fn an_export_of_six_hours_begins_at_once_and_is_whole() {
    let mut site = site::Site::start().await;
    let source = Source {
        url: "rtsp://127.0.0.1:9/none".to_owned(),
        ..Source::default()
    };
    let camera = site.add("yard", &source).await;
    let cluster: wire::Cluster = site
        .cluster
        .api(0)
        .unwrap()
        .get(&["cluster"], &[])
        .await
        .unwrap();
    let node = cluster.this_node.unwrap();
    site.cluster.stop(0, STOP_TIMEOUT).await.unwrap();
    let whole = PLAYBACK_RANGE_MAX.as_secs() as i64;
    let began = wall_now().plus_micros(-(whole + 600) * 1_000_000);
    let at = |second: i64| began.plus(seconds(second));
    let pieces = (0..whole / PIECE_SECONDS)
        .map(|piece| (at(piece * PIECE_SECONDS), PIECE_SECONDS))
        .collect();
    let volume = site.cluster.config(0).volume_paths()[0].clone();
    let options = VolumeOptions::new(volume, node, cluster.id.unwrap().parse().unwrap());
    Written {
        camera: CameraId(u32::try_from(camera).unwrap()),
        node,
        pieces,
    }
    .write(options)
    .await;
    site.cluster.start(0).unwrap();
    site.cluster.wait_ready(0).await.unwrap();

    let (api, token) = (site.cluster.api_url(0), &site.cluster.token().0);
    let url = format!(
        "{api}/api/v1/cameras/{camera}/export.mp4?from={began}&to={}&token={token}",
        at(whole)
    );
    let begun = Instant::now();
    let mut answer = reqwest::get(&url)
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let (mut bytes, mut first) = (0, None);
    while let Some(piece) = answer.chunk().await.unwrap() {
        first.get_or_insert_with(|| begun.elapsed());
        bytes += piece.len() as u64;
    }
    let (first, all) = (first.unwrap(), begun.elapsed());
    println!("{bytes} bytes of 6 h, the first after {first:.2?}, all after {all:.2?}");
    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!(
        (header("content-length"), header("x-holdfast-gap-ms")),
        (&*bytes.to_string(), "0")
    );
    assert!(first < FIRST_BYTE_MAX, "{first:?}");
}
