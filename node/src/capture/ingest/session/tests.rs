//! Sessions with scripted cameras: the yielded frames, and the class of each failure.

use super::script::{AUDIO, Script, ScriptedCamera, Then, VIDEO};
use super::*;
use crate::capture::ingest::media::{MediaFrame, TrackParameters, VideoCodec};
use bytes::Bytes;
use holdfast_consensus::model::{Credentials, Secret};
use holdfast_storage::ids::TrackKind;
use md5::Digest as _;
use std::io::{Read, Write};
use std::sync::atomic::Ordering::SeqCst;

fn source(url: String, password: Option<&str>) -> Source {
    let login =
        |text: &str| Credentials::new("user".to_owned(), Some(Secret(text.to_owned()))).unwrap();
    Source {
        credentials: password.map(login),
        ..Source::new(&url).unwrap()
    }
}

fn deadlines() -> Deadlines {
    let short = Duration::from_millis(1500);
    Deadlines {
        describe: short,
        setup: short,
        play: short,
        stall: short,
        teardown: short,
    }
}

async fn open(script: Script) -> Result<Session, SessionError> {
    let camera = ScriptedCamera::start(script);
    open_source(&source(camera.url(), None)).await
}

async fn open_source(source: &Source) -> Result<Session, SessionError> {
    Session::open(source, deadlines(), &CameraMemory::default()).await
}

async fn error_of(script: Script) -> SessionError {
    let media: String = script.media.chars().take(200).collect();
    match open(script).await {
        Ok(_) => panic!("the session was opened with {media}"),
        Err(error) => error,
    }
}

/// Frames until the session ends, and how it ended.
async fn watch(mut session: Session, frames_max: usize) -> (Vec<MediaFrame>, Option<SessionError>) {
    let mut frames = Vec::new();
    while frames.len() < frames_max {
        match session.next().await {
            Ok(SessionItem::Frame(frame)) => frames.push(frame),
            Ok(SessionItem::Report(..)) => {}
            Err(error) => return (frames, Some(error)),
        }
    }
    (frames, None)
}

#[tokio::test]
async fn yields_frames_with_parameters_first() {
    let (frames, _) = watch(open(Script::default()).await.unwrap(), 25).await;
    assert!(
        frames[0].access.is_some() && frames[10].access.is_some() && frames[1].access.is_none()
    );
    let expected = TrackParameters::Video {
        codec: VideoCodec::H264,
        config: Bytes::new(),
        width: 640,
        height: 360,
        pixel_aspect_ratio: None,
        timescale: 90_000,
    };
    match frames[0].parameters.as_deref().cloned() {
        Some(TrackParameters::Video {
            config,
            codec,
            width,
            height,
            timescale,
            ..
        }) => {
            assert_eq!(config[0], 1, "an AVCDecoderConfigurationRecord");
            let found = TrackParameters::Video {
                codec,
                config: Bytes::new(),
                width,
                height,
                pixel_aspect_ratio: None,
                timescale,
            };
            assert_eq!(found, expected);
        }
        other => panic!("{other:?}"),
    }
    assert!(frames[1..].iter().all(|frame| frame.parameters.is_none()));
    assert!(
        frames
            .windows(2)
            .all(|pair| pair[1].rtp - pair[0].rtp == 1800)
    );
    assert_eq!(
        frames[1].data[..5],
        [0, 0, 3, 32, 0x41],
        "a NAL unit with its length"
    );
}

#[tokio::test]
async fn audio_comes_with_video() {
    let media = format!("{VIDEO}{AUDIO}");
    let (frames, _) = watch(
        open(Script {
            media,
            ..Script::default()
        })
        .await
        .unwrap(),
        20,
    )
    .await;
    let audio: Vec<_> = frames
        .iter()
        .filter(|frame| frame.track == TrackKind::Audio)
        .collect();
    assert!(
        audio.len() >= 8
            && audio
                .iter()
                .all(|frame| frame.length == Some(160) && frame.timescale == 8000)
    );
    assert!(matches!(
        audio[0].parameters.as_deref(),
        Some(TrackParameters::Audio { channels: 1, .. })
    ));
}

#[tokio::test]
async fn lost_packets_are_reported_with_the_next_frame() {
    let script = Script {
        after: 5,
        then: Then::Skip(3),
        ..Script::default()
    };
    let (frames, _) = watch(open(script).await.unwrap(), 10).await;
    let lost: Vec<_> = frames.iter().map(|frame| frame.lost_packets).collect();
    assert_eq!(lost, [0, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_closed_port_or_silence_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = open_source(&source(format!("rtsp://{port}/cam"), None))
        .await
        .err();
    assert!(
        matches!(refused, Some(SessionError::Unreachable(_))),
        "{refused:?}"
    );
    let silent = error_of(Script {
        silent: true,
        ..Script::default()
    })
    .await;
    assert_eq!(
        silent,
        SessionError::Unreachable("no answer within 1500 ms".to_owned())
    );
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_not_repeated() {
    let camera = ScriptedCamera::start(Script {
        auth: true,
        ..Script::default()
    });
    for password in [None, Some("hunter2")] {
        let error = open_source(&source(camera.url(), password))
            .await
            .err()
            .unwrap();
        assert_eq!(error, SessionError::AuthFailed(401));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    assert!(
        open_source(&source(camera.url(), Some("secret")))
            .await
            .is_ok()
    );
}

/// The bytes up to an empty line.
fn head_of(socket: &mut std::net::TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    head
}

#[tokio::test]
async fn a_realm_that_is_not_ascii_is_hashed_and_sent_back_byte_for_byte() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtsp://{}/cam", listener.local_addr().unwrap());
    let camera = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        head_of(&mut socket);
        let challenge = b"WWW-Authenticate: Digest realm=\"S\xfcd\", nonce=\"abc\"\r\n\r\n";
        socket
            .write_all(&[b"RTSP/1.0 401 X\r\nCSeq: 1\r\n", &challenge[..]].concat())
            .unwrap();
        let asked = head_of(&mut socket);
        socket
            .write_all(b"RTSP/1.0 404 X\r\nCSeq: 2\r\n\r\n")
            .unwrap();
        asked
    });
    let error = open_source(&source(url.clone(), Some("secret")))
        .await
        .err();
    assert_eq!(error, Some(SessionError::NotFound(404)));
    let asked = camera.join().unwrap();
    let md5 = |bytes: &[u8]| format!("{:x}", md5::Md5::digest(bytes));
    let (secret, request) = (
        md5(b"user:S\xfcd:secret"),
        md5(format!("DESCRIBE:{url}").as_bytes()),
    );
    let response = md5(format!("{secret}:abc:{request}").as_bytes());
    let has = |part: &[u8]| asked.windows(part.len()).any(|window| window == part);
    assert!(
        has(b"realm=\"S\xfcd\""),
        "{}",
        String::from_utf8_lossy(&asked)
    );
    assert!(
        has(format!("response=\"{response}\"").as_bytes()),
        "{}",
        String::from_utf8_lossy(&asked)
    );
}

#[tokio::test]
async fn wrong_paths_and_useless_tracks_are_named() {
    let not_found = error_of(Script {
        describe_status: 404,
        ..Script::default()
    })
    .await;
    assert_eq!(not_found, SessionError::NotFound(404));
    let audio_only = error_of(Script {
        media: AUDIO.to_owned(),
        ..Script::default()
    })
    .await;
    assert!(
        matches!(audio_only, SessionError::NoVideo(_)),
        "{audio_only:?}"
    );
    let media = "m=video 0 RTP/AVP 26\r\na=control:video\r\n".to_owned();
    let jpeg = error_of(Script {
        media,
        ..Script::default()
    })
    .await;
    assert_eq!(jpeg, SessionError::UnsupportedCodec("jpeg".to_owned()));
}

#[tokio::test]
async fn absurd_descriptions_are_errors_and_nothing_worse() {
    let absurd = [
        "m=video".to_owned(),
        "m=video -7 RTP/AVP 96\r\na=rtpmap:197 H264/90000\r\na=rtpmap:96 x/1\r\n".to_owned(),
        VIDEO.repeat(3000),
        format!("a={}\r\n", "x".repeat(1 << 20)),
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 \u{fffd}\u{0}/90000\r\n".to_owned(),
        "\u{0}\u{1}\u{2}".repeat(1000),
    ];
    for media in absurd {
        let start = media.chars().take(40).collect::<String>();
        let error = error_of(Script {
            media,
            ..Script::default()
        })
        .await;
        assert!(error.to_string().len() < 400, "{start}: {error}");
        assert!(
            matches!(
                error,
                SessionError::BadSdp(_)
                    | SessionError::NoVideo(_)
                    | SessionError::UnsupportedCodec(_)
            ),
            "{start}: {error:?}"
        );
    }
}

#[tokio::test]
async fn damaged_parameter_sets_end_the_session_at_the_latest_with_the_frames() {
    let media = VIDEO.replace("Z0LAFtoCgL/lwEQAAAMABAAAAwBQPFi6gA==", "Z0LA////////");
    match open(Script {
        media,
        ..Script::default()
    })
    .await
    {
        Err(error) => assert!(matches!(error, SessionError::BadSdp(_)), "{error:?}"),
        Ok(session) => {
            let (frames, _) = watch(session, 5).await;
            assert!(
                frames.iter().all(|frame| frame.parameters.is_none()),
                "no parameters, nothing recorded"
            );
        }
    }
}

#[tokio::test]
async fn how_a_session_ends_is_distinguished() {
    let after = 5;
    for (then, class) in [
        (Then::Freeze, "stalled"),
        (Then::Close, "ended"),
        (Then::Garbage, "protocol"),
    ] {
        let session = open(Script {
            after,
            then,
            ..Script::default()
        })
        .await
        .unwrap();
        let (frames, error) = watch(session, 100).await;
        assert_eq!(
            (frames.len(), error.as_ref().map(SessionError::class)),
            (5, Some(class)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn closing_tears_the_session_down() {
    let camera = ScriptedCamera::start(Script::default());
    let mut session = open_source(&source(camera.url(), None)).await.unwrap();
    session.next().await.unwrap();
    session.close().await;
    assert_eq!(camera.teardowns.load(SeqCst), 1);
}
