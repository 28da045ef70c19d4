//! Misbehaving clients: none of them stalls the camera or another client.

use crate::client::{PATIENCE, Player, neighbours, server, tcp, until};
use holdfast_camera::Handle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_session_and_stalls_no_other() {
    let (handle, camera) = server(|camera| camera.bitrate_bps = 20_000_000).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(handle.address()).await.unwrap();
    play_by_hand(&handle, &mut slow).await;
    let mut player = Player::play(&handle, tcp()).await;
    let mut stamps = Vec::new();
    while camera.sessions() == 2 {
        stamps.extend(player.stamps(5).await);
        assert!(stamps.len() < 500, "the slow session is still alive");
    }
    assert_eq!(camera.sessions_shed(), 1);
    stamps.extend(player.stamps(5).await);
    assert!(neighbours(&stamps));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_answered_or_closed() {
    let (handle, _camera) = server(|_| {}).await;
    let url = handle.url(1);
    let cases = [
        (format!("DESCRIBE {url} RTSP/1.0\r\n\r\n"), "400"),
        (
            "DESCRIBE rtsp://x/other RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_owned(),
            "404",
        ),
        (
            format!("DESCRIBE {url}99 RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
            "404",
        ),
        (format!("RECORD {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"), "405"),
        (
            format!("PLAY {url} RTSP/1.0\r\nCSeq: 1\r\nSession: 7\r\n\r\n"),
            "454",
        ),
        (
            format!(
                "SETUP {url}/track1 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;multicast\r\n\r\n"
            ),
            "461",
        ),
        (
            format!("SETUP {url}/track2 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n"),
            "404",
        ),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n".to_owned(), "200"),
    ];
    for (request, code) in cases {
        let mut stream = TcpStream::connect(handle.address()).await.unwrap();
        let answer = ask(&mut stream, &request).await;
        assert!(
            answer.starts_with(&format!("RTSP/1.0 {code} ")),
            "{request}{answer}"
        );
    }
}

#[tokio::test]
async fn noise_and_endless_headers_end_the_connection() {
    let (handle, _camera) = server(|_| {}).await;
    let endless = [b"OPTIONS * RTSP/1.0\r\nX: ".to_vec(), vec![b'x'; 100_000]].concat();
    for bytes in [b"\x16\x03\x01 GET / \r\n\r\n\r\n".to_vec(), endless] {
        let mut stream = TcpStream::connect(handle.address()).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(&bytes).await;
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 64]))
            .await
            .expect("it was not closed in time");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    Player::play(&handle, tcp()).await.stamps(2).await;
}

#[tokio::test]
async fn a_torn_down_session_is_gone_and_its_connection_goes_on() {
    let (handle, camera) = server(|_| {}).await;
    camera.freeze();
    let mut stream = TcpStream::connect(handle.address()).await.unwrap();
    let session = play_by_hand(&handle, &mut stream).await;
    assert_eq!(camera.sessions(), 1);
    let url = handle.url(1);
    let alive = ask(
        &mut stream,
        &format!("GET_PARAMETER {url} RTSP/1.0\r\nCSeq: 3\r\nSession: {session}\r\n\r\n"),
    )
    .await;
    assert!(alive.starts_with("RTSP/1.0 200 "), "{alive}");
    let gone = ask(
        &mut stream,
        &format!("TEARDOWN {url} RTSP/1.0\r\nCSeq: 4\r\nSession: {session}\r\n\r\n"),
    )
    .await;
    assert!(gone.starts_with("RTSP/1.0 200 "), "{gone}");
    assert_eq!(camera.sessions(), 0);
    let after = ask(
        &mut stream,
        &format!("PLAY {url} RTSP/1.0\r\nCSeq: 5\r\nSession: {session}\r\n\r\n"),
    )
    .await;
    assert!(after.starts_with("RTSP/1.0 454 "), "{after}");
}

#[tokio::test]
async fn a_connection_that_breaks_gives_its_place_back() {
    let (handle, camera) = server(|_| {}).await;
    let mut stream = TcpStream::connect(handle.address()).await.unwrap();
    play_by_hand(&handle, &mut stream).await;
    drop(stream);
    until(|| camera.sessions() == 0).await;
}

/// Sets up and plays camera 1 over this connection, and returns the session's id.
async fn play_by_hand(handle: &Handle, stream: &mut TcpStream) -> String {
    let url = handle.url(1);
    let setup = format!(
        "SETUP {url}/track1 RTSP/1.0\r\nCSeq: 1\r\n\
         Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
    );
    let answer = ask(stream, &setup).await;
    let session = answer
        .lines()
        .find_map(|line| line.strip_prefix("Session: "))
        .expect("no session")
        .to_owned();
    let session = session.split(';').next().unwrap().to_owned();
    let played = ask(
        stream,
        &format!("PLAY {url}/ RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n"),
    )
    .await;
    assert!(played.starts_with("RTSP/1.0 200 "), "{played}");
    session
}

async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("no answer in time");
    String::from_utf8(answer).unwrap()
}
