//! The API on a real socket.

use crate::support::client::{TOKEN, options};
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_control_api::ports::Process;
use holdfast_control_api::{ConnectionLimits, ServerMetrics, ServerOptions, router, serve};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const ROOMY: ConnectionLimits = ConnectionLimits {
    max: 1024,
    per_address_max: 64,
};

async fn start(fake: &Fake) -> (u16, oneshot::Sender<()>, JoinHandle<()>) {
    start_with(fake, ROOMY, || false).await
}

async fn start_with(
    fake: &Fake,
    limits: ConnectionLimits,
    files_short: fn() -> bool,
) -> (u16, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel();
    let app = router(fake.clone(), options()).unwrap();
    let shutdown = async {
        let _ = stopped.await;
    };
    let metrics = ServerMetrics::register(&fake.metrics())
        .unwrap()
        .of_port("api");
    let options = ServerOptions {
        limits,
        files_short: Arc::new(files_short),
        metrics,
        door: None,
    };
    (
        port,
        stop,
        tokio::spawn(serve(listener, app, options, shutdown)),
    )
}

/// From its own address, on a connection that stays open.
async fn ask(client: &mut TcpStream, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64 << 10];
    let count = client.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

async fn connect(port: u16, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind((Ipv4Addr::new(127, 0, 0, last), 0).into())
        .unwrap();
    socket
        .connect((Ipv4Addr::LOCALHOST, port).into())
        .await
        .unwrap()
}

/// Whether the server closes the connection, without sending anything.
async fn is_closed(client: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_secs(10), client.read(&mut [0; 64])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
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
    let token = TOKEN
        .replace(' ', "%20")
        .replace('+', "%2B")
        .replace('&', "%26");
    for path in ["hls/index.m3u8", "export.mp4"] {
        let to = T0.plus_micros(9_000_000);
        let url = format!(
            "http://127.0.0.1:{port}/api/v1/cameras/{CAMERA}/{path}?from={T0}&to={to}&token={token}"
        );
        let played = tokio::task::spawn_blocking(move || {
            let entries = [
                "-v",
                "error",
                "-count_frames",
                "-select_streams",
                "v:0",
                "-show_entries",
                "stream=nb_read_frames",
            ];
            ffmpeg::decodes_without_a_message(&url);
            String::from_utf8(ffmpeg::run(
                "ffprobe",
                &[&entries[..], &["-of", "default=nw=1:nk=1", &url]].concat(),
            ))
            .unwrap()
        });
        assert_eq!(played.await.unwrap().lines().next(), Some("225"), "{path}");
    }
    stop.send(()).unwrap();
    server.await.unwrap();
}

/// The length was promised: a client that gets less knows that the answer is incomplete.
#[tokio::test]
async fn an_export_that_breaks_off_ends_before_its_length_on_the_wire() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 2, 0));
    fake.with(|state| state.unreachable.insert(3));
    let (port, _stop, _server) = start(&fake).await;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let path = format!(
        "/api/v1/cameras/{CAMERA}/export.mp4?from={T0}&to={}",
        T0.plus_micros(2_000_000)
    );
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert!(
        !head.contains("transfer-encoding") && answer.len() - end < length.parse().unwrap(),
        "{head}"
    );
}

#[tokio::test]
async fn a_stopping_server_closes_idle_connections_at_once() {
    let (port, stop, server) = start(&Fake::new()).await;
    let mut idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), server)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn strangers_make_room_in_their_order_and_clients_never_do() {
    let fake = Fake::new();
    let limits = ConnectionLimits {
        max: 16,
        per_address_max: 8,
    };
    let (port, _stop, _server) = start_with(&fake, limits, || false).await;
    let mut clients = Vec::new();
    for last in 1..=15 {
        let mut client = connect(port, last).await;
        assert!(
            ask(&mut client, "/api/v1/cameras")
                .await
                .starts_with("HTTP/1.1 200"),
            "{last}"
        );
        clients.push(client);
    }
    let mut half = connect(port, 100).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost")
        .await
        .unwrap();
    // The last place is for clients without a token, in turn: one more client gets that answer.
    let mut late = connect(port, 101).await;
    assert!(is_closed(&mut half).await, "it makes room for the next");
    let refused = ask(&mut late, "/api/v1/cameras").await;
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("overloaded"),
        "{refused}"
    );
    assert!(
        is_closed(&mut late).await,
        "what there is no room for is closed after its answer"
    );
    let mut scraper = connect(port, 102).await;
    let page = ask(&mut scraper, "/metrics").await;
    for line in [
        "holdfast_accepted_connections_total{port=\"api\"} 18",
        "holdfast_evicted_connections_total{port=\"api\",reason=\"port_full\"} 1",
        "holdfast_open_connections{port=\"api\",state=\"authorised\"} 15",
        "holdfast_open_connections{port=\"api\",state=\"stranger\"} 1",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is not in:\n{page}"
        );
    }
    for client in &mut clients {
        assert!(
            ask(client, "/api/v1/cameras")
                .await
                .starts_with("HTTP/1.1 200")
        );
    }
}

#[tokio::test]
async fn where_files_are_short_a_few_are_answered_and_no_more_is_let_in() {
    let fake = Fake::new();
    let limits = ConnectionLimits { max: 256, ..ROOMY };
    let (port, _stop, _server) = start_with(&fake, limits, || true).await;
    let mut clients = Vec::new();
    for last in 1..=8 {
        let mut client = connect(port, last).await;
        assert!(
            ask(&mut client, "/api/v1/cameras")
                .await
                .starts_with("HTTP/1.1 200"),
            "{last}"
        );
        clients.push(client);
    }
    assert!(is_closed(&mut connect(port, 9).await).await);
    clients.pop();
    let mut next = connect(port, 10).await;
    assert!(ask(&mut next, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (port, _stop, _server) = start(&Fake::new()).await;
    let mut client = connect(port, 1).await;
    let head = [
        b"GET /healthz HTTP/1.1\r\nx: ".as_slice(),
        &[b'x'; 32 << 10],
        b"\r\n",
    ]
    .concat();
    client.write_all(&head).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}
