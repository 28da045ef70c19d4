//! A naive client plays the hostile cameras: each sends what it claims, within its rate, and ends
//! when it should.

#![allow(
    clippy::disallowed_methods,
    reason = "a rate is measured by the real clock"
)]

use crate::client::{PATIENCE, until};
use holdfast_camera::Hostile;
use holdfast_camera::hostile::{HostileCamera, HostileOptions};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a client stays.
const MOMENT: Duration = Duration::from_millis(500);
const RATE_BPS_MAX: u64 = 80_000_000;

fn start(hostile: Hostile) -> HostileCamera {
    HostileCamera::start(&HostileOptions {
        rate_bps_max: Some(RATE_BPS_MAX),
        ..HostileOptions::new(hostile)
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_gallery_plays_and_lets_go() {
    let cameras: Vec<HostileCamera> = Hostile::ALL.iter().map(|&hostile| start(hostile)).collect();
    for camera in &cameras {
        let hostile = camera.hostile();
        let bytes = visit(camera).await;
        let is_silent = matches!(hostile, Hostile::NeverReads | Hostile::HangsUp);
        assert!(is_silent || bytes > 0, "{hostile} sends nothing");
        until(|| camera.connections() == 0).await;
        assert_eq!(camera.strayed(), 0, "{hostile}");
    }
    let stopping = tokio::task::spawn_blocking(move || drop(cameras));
    tokio::time::timeout(PATIENCE, stopping)
        .await
        .expect("they end when they are dropped")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_units_come_as_fast_as_they_may_and_no_faster() {
    let camera = start(Hostile::TinyUnits);
    let (began, mut bytes) = (Instant::now(), 0);
    while bytes <= 100_000 {
        assert!(
            began.elapsed() < PATIENCE,
            "{bytes} bytes in {:?}",
            began.elapsed()
        );
        bytes += visit(&camera).await;
    }
    let most = RATE_BPS_MAX / 8 * (began.elapsed().as_millis() as u64 + 500) / 1000;
    assert!(
        camera.sent_bytes() < most,
        "{} bytes, at most {most}",
        camera.sent_bytes()
    );
}

/// Describes, sets up and plays without waiting for answers, reads for a moment, and hangs up.
async fn visit(camera: &HostileCamera) -> u64 {
    let mut stream = TcpStream::connect(camera.address()).await.unwrap();
    let url = camera.url();
    let transport = if camera.hostile().needs_udp() {
        "RTP/AVP;unicast;client_port=40000-40001"
    } else {
        "RTP/AVP/TCP;unicast;interleaved=0-1"
    };
    let requests = format!(
        "DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n\
         SETUP {url}/track1 RTSP/1.0\r\nCSeq: 2\r\nTransport: {transport}\r\n\r\n\
         PLAY {url} RTSP/1.0\r\nCSeq: 3\r\n\r\n"
    );
    // A camera that hangs up may do so before it has read everything.
    let _ = stream.write_all(requests.as_bytes()).await;
    let mut block = vec![0; 64 * 1024];
    // The first bytes may take long on a busy machine; later ones need not be waited for.
    let is_silent = matches!(camera.hostile(), Hostile::NeverReads | Hostile::HangsUp);
    let patience = if is_silent { MOMENT } else { PATIENCE };
    let mut bytes = match tokio::time::timeout(patience, stream.read(&mut block)).await {
        Ok(Ok(read)) => read as u64,
        _ => return 0,
    };
    let reading = async {
        while let Ok(read @ 1..) = stream.read(&mut block).await {
            bytes += read as u64;
        }
    };
    // Most cameras send endlessly.
    let _ = tokio::time::timeout(MOMENT, reading).await;
    bytes
}
