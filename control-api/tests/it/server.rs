//! The API on a real socket.

use crate::support::client::{TOKEN, options};
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_control_api::{router, serve};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

async fn start(fake: &Fake) -> (u16, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel();
    let app = router(fake.clone(), options()).unwrap();
    let shutdown = async {
        let _ = stopped.await;
    };
    (port, stop, tokio::spawn(serve(listener, app, shutdown)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ffmpeg_plays_a_playlist_and_an_export_over_http() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 9, 0));
    fake.record(1, 3, &clip::aac(44_100, 9));
    let (port, stop, server) = start(&fake).await;
    let token = TOKEN.replace(' ', "%20").replace('+', "%2B").replace('&', "%26");
    for path in ["hls/index.m3u8", "export.mp4"] {
        let to = T0.plus_micros(9_000_000);
        let url = format!("http://127.0.0.1:{port}/api/v1/cameras/{CAMERA}/{path}?from={T0}&to={to}&token={token}");
        let played = tokio::task::spawn_blocking(move || {
            let entries =
                ["-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames"];
            ffmpeg::decodes_without_a_message(&url);
            String::from_utf8(ffmpeg::run("ffprobe", &[&entries[..], &["-of", "default=nw=1:nk=1", &url]].concat()))
                .unwrap()
        });
        assert_eq!(played.await.unwrap().lines().next(), Some("225"), "{path}");
    }
    stop.send(()).unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn damaged_chunks_are_told_in_a_trailer_on_the_wire() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 2, 0));
    fake.with(|state| state.damaged.insert(3));
    let (port, _stop, _server) = start(&fake).await;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let path = format!("/api/v1/cameras/{CAMERA}/export.mp4?from={T0}&to={}", T0.plus_micros(2_000_000));
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    assert!(
        answer.ends_with(b"\r\n0\r\nx-holdfast-damaged-chunks: 1\r\nx-holdfast-deleted-chunks: 0\r\n\r\n"),
        "{:?}",
        String::from_utf8_lossy(&answer[answer.len() - 60..])
    );
}

#[tokio::test]
async fn a_stopping_server_closes_idle_connections_at_once() {
    let (port, stop, server) = start(&Fake::new()).await;
    let mut idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(1), server).await.unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
