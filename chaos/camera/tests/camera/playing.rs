//! Retina plays the cameras: stamps, transports, credentials, several sessions.

use crate::client::{
    Player, describe, neighbours, sequences, server, stamp_of, status, tcp, udp, until,
};
use holdfast_camera::{CameraOptions, CameraServer, Credentials, Error, Options, Sound, sound};
use retina::codec::CodecItem;
use std::time::Duration;

#[tokio::test]
async fn frames_arrive_over_tcp_with_stamps_in_order_and_on_time() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    let frames = player.frames(60).await;
    let stamps: Vec<_> = frames.iter().map(stamp_of).collect();
    assert!(neighbours(&stamps), "{:?}", sequences(&stamps));
    assert!(
        stamps.iter().all(|stamp| stamp.camera == 1
            && camera.captured_us(stamp.sequence) == Some(stamp.captured_us))
    );
    assert!(
        stamps
            .windows(2)
            .all(|pair| pair[1].captured_us - pair[0].captured_us == 40_000)
    );
    assert!(
        frames
            .windows(2)
            .all(|pair| pair[1].timestamp().timestamp() - pair[0].timestamp().timestamp() == 3600)
    );
    assert_eq!(frames.iter().map(|frame| frame.loss()).sum::<u16>(), 0);
    assert_eq!(player.picture(), (640, 360));
}

#[tokio::test]
async fn the_bitrate_is_as_set_and_keyframes_come_once_a_second() {
    for bitrate_bps in [500_000u64, 4_000_000] {
        let (handle, _camera) = server(|camera| camera.bitrate_bps = bitrate_bps).await;
        let frames = Player::play(&handle, tcp()).await.frames(50).await;
        let bits: u64 = frames
            .iter()
            .map(|frame| frame.data().len() as u64 * 8)
            .sum();
        assert!(
            bits.abs_diff(bitrate_bps * 2) < bitrate_bps / 5,
            "{bits} bits in 2 s at {bitrate_bps} bit/s"
        );
        assert_eq!(
            frames
                .iter()
                .filter(|frame| frame.is_random_access_point())
                .count(),
            2
        );
    }
}

#[tokio::test]
async fn frame_rate_and_gop_are_as_set() {
    let (handle, _camera) = server(|camera| (camera.fps, camera.gop_frames) = (50, 10)).await;
    let frames = Player::play(&handle, tcp()).await.frames(60).await;
    assert!(
        frames
            .windows(2)
            .all(|pair| pair[1].timestamp().timestamp() - pair[0].timestamp().timestamp() == 1800)
    );
    let keyframes: Vec<u64> = frames
        .iter()
        .filter(|frame| frame.is_random_access_point())
        .map(|frame| stamp_of(frame).sequence)
        .collect();
    assert!(
        keyframes.len() >= 5 && keyframes.windows(2).all(|pair| pair[1] - pair[0] == 10),
        "{keyframes:?}"
    );
}

#[tokio::test]
async fn frames_arrive_over_udp() {
    let (handle, _camera) = server(|_| {}).await;
    let stamps = Player::play(&handle, udp()).await.stamps(60).await;
    assert!(neighbours(&stamps), "{:?}", sequences(&stamps));
}

#[tokio::test]
async fn sound_comes_with_the_picture_over_both_transports() {
    for transport in [tcp(), udp()] {
        let (handle, _camera) = server(|camera| camera.sound = Some(Sound::MuLaw)).await;
        let mut player = Player::play(&handle, transport).await;
        let (mut frames, mut samples) = (0, 0);
        while frames < 25 {
            match player.item().await.unwrap().unwrap() {
                CodecItem::VideoFrame(_) => frames += 1,
                CodecItem::AudioFrame(audio) => samples += audio.data().len(),
                _ => {}
            }
        }
        assert!(
            (23 * 320..=26 * 320).contains(&samples),
            "{samples} samples in 25 frames"
        );
    }
}

#[tokio::test]
async fn frames_of_sound_arrive_with_stamps_as_they_were_sent() {
    for codec in [Sound::MuLaw, Sound::Aac] {
        let (handle, camera) = server(|camera| camera.sound = Some(codec)).await;
        let mut player = Player::play(&handle, tcp()).await;
        let mut stamps = Vec::new();
        while stamps.len() < 20 {
            if let CodecItem::AudioFrame(frame) = player.item().await.unwrap().unwrap() {
                stamps.push(sound::find(frame.data()).expect("it is whole"));
            }
        }
        assert!(neighbours(&stamps), "{codec:?}: {:?}", sequences(&stamps));
        assert!(stamps.iter().all(|stamp| stamp.camera == camera.id()));
        let sent = camera.sound_between(stamps[0].captured_us, stamps[19].captured_us + 1);
        let numbers: Vec<u64> = sent.iter().map(|sent| sent.sequence).collect();
        assert_eq!(numbers, sequences(&stamps), "{codec:?}");
    }
}

#[tokio::test]
async fn sender_reports_have_the_wall_time_of_frames() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    let report = loop {
        if let CodecItem::Rtcp(packet) = player.item().await.unwrap().unwrap() {
            break packet;
        }
    };
    let sender = report.pkts().find_map(|packet| {
        packet
            .as_sender_report()
            .unwrap()
            .map(|report| report.ntp_timestamp())
    });
    let unix_s = (sender.unwrap().0 >> 32) - 2_208_988_800;
    assert!(unix_s.abs_diff(camera.now_us() / 1_000_000) <= 1);
}

#[tokio::test]
async fn two_sessions_see_the_same_frames() {
    let (handle, camera) = server(|_| {}).await;
    let (mut one, mut other) = (
        Player::play(&handle, tcp()).await,
        Player::play(&handle, udp()).await,
    );
    assert_eq!(camera.sessions(), 2);
    let (one, other) = tokio::join!(one.frames(40), other.frames(40));
    let first = stamp_of(&other[0]).sequence;
    let shared: Vec<_> = one
        .iter()
        .filter(|frame| stamp_of(frame).sequence >= first)
        .collect();
    assert!(shared.len() > 20);
    for (one, other) in shared.into_iter().zip(&other) {
        assert_eq!(one.data(), other.data());
        assert_eq!(stamp_of(one), stamp_of(other));
    }
}

#[tokio::test]
async fn a_session_starts_at_the_current_frame_or_at_a_keyframe_as_set() {
    let phase = Some(Duration::from_millis(0));
    let (handle, camera) = server(|camera| camera.phase = phase).await;
    until(|| camera.sent().end > 5).await;
    assert!(
        !Player::play(&handle, tcp())
            .await
            .frame()
            .await
            .unwrap()
            .is_random_access_point()
    );
    let (handle, camera) =
        server(|camera| (camera.phase, camera.start_at_keyframe) = (phase, true)).await;
    until(|| camera.sent().end > 5).await;
    let first = Player::play(&handle, tcp()).await.frame().await.unwrap();
    assert!(first.is_random_access_point());
    assert_eq!(stamp_of(&first).sequence, 25);
}

#[tokio::test]
async fn keyframes_of_different_cameras_are_not_aligned() {
    let cameras = (1..=20).map(CameraOptions::new).collect();
    let handle = CameraServer::start(Options {
        cameras,
        seed: Some(1),
        ..Options::default()
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let starts: std::collections::BTreeSet<u64> = handle
        .cameras()
        .filter_map(|camera| camera.captured_us(0))
        .map(|at| at / 1000 % 40)
        .collect();
    assert!(starts.len() > 8, "{starts:?}");
}

#[tokio::test]
async fn credentials_are_asked_for() {
    let (user, password) = ("ann".to_owned(), "s3cret".to_owned());
    let digest = Credentials::Digest {
        user: user.clone(),
        password: password.clone(),
    };
    for credentials in [digest, Credentials::Basic { user, password }] {
        let (handle, _camera) = server(|camera| camera.credentials = credentials.clone()).await;
        for login in [Some(("ann", "wrong")), Some(("bob", "s3cret"))] {
            assert_eq!(status(&describe(&handle, login).await.err().unwrap()), 401);
        }
        assert!(describe(&handle, None).await.is_err());
        let mut player = Player::try_play(&handle, tcp(), Some(("ann", "s3cret")))
            .await
            .unwrap();
        assert!(neighbours(&player.stamps(5).await));
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let (handle, _camera) = server(|_| {}).await;
    let again = CameraServer::bind(Options {
        bind: handle.address(),
        ..Options::default()
    })
    .await;
    let error = again.unwrap_err();
    assert!(
        matches!(error, Error::Bind { .. })
            && error.to_string().contains(&handle.address().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn stopping_frees_the_port_and_ends_the_sessions() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    player.frame().await.unwrap();
    let address = handle.address();
    handle.stop().await;
    while player.item().await.is_some_and(|item| item.is_ok()) {}
    assert_eq!(camera.sessions(), 0);
    CameraServer::bind(Options {
        bind: address,
        ..Options::default()
    })
    .await
    .unwrap();
}
