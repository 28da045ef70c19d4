//! Each fault does what it claims and no more: the stamps stay true, and the session continues
//! unless the fault ends it.

use crate::client::{
    Player, describe, neighbours, sequences, server, stamp_of, status, tcp, udp, until,
};
use holdfast_camera::{Picture, SdpKind, Stamp, TimestampKind, count};
use retina::client::SetupOptions;
use std::time::Duration;

#[tokio::test]
async fn a_frozen_camera_sends_nothing_and_takes_no_numbers() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    let mut received = player.stamps(5).await[4].sequence;
    camera.freeze();
    let last = camera.sent().end - 1;
    while received < last {
        received = stamp_of(&player.frame().await.unwrap()).sequence;
    }
    assert!(player.is_silent_for(Duration::from_millis(300)).await);
    camera.resume();
    let next = stamp_of(&player.frame().await.unwrap());
    assert_eq!(next.sequence, last + 1);
    assert!(next.captured_us - camera.captured_us(last).unwrap() > 300_000);
}

#[tokio::test]
async fn dropped_frames_are_counted_exactly() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    let mut stamps = player.stamps(5).await;
    camera.drop_frames(7);
    stamps.extend(player.stamps(10).await);
    let sent = camera.sent_range(stamps[0].sequence..stamps[14].sequence + 1);
    let loss = count(1, &sent, &stamps);
    assert_eq!(
        (loss.sent, loss.recorded, loss.lost, loss.largest_gap_ms),
        (22, 15, 7, 320)
    );
    assert_eq!(
        (loss.gaps.len(), loss.doubled, loss.reordered, loss.foreign),
        (1, 0, 0, 0)
    );
}

#[tokio::test]
async fn dropped_packets_are_seen_as_holes() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, udp()).await;
    player.stamps(3).await;
    camera.drop_packets(3);
    let loss = lost_packets(&mut player, 20).await;
    assert_eq!(loss, 3);
}

#[tokio::test]
async fn reordered_packets_are_reordered_over_udp_only() {
    let (handle, camera) = server(|_| {}).await;
    let (mut by_udp, mut by_tcp) = (
        Player::play(&handle, udp()).await,
        Player::play(&handle, tcp()).await,
    );
    by_udp.stamps(3).await;
    camera.reorder_frames(3);
    // Retina accepts packets only in order, so each swapped pair costs it one.
    assert!(lost_packets(&mut by_udp, 20).await > 0);
    let mut frames = by_tcp.frames(20).await;
    assert_eq!(frames.iter().map(|frame| frame.loss()).sum::<u16>(), 0);
    assert!(neighbours(
        &frames
            .drain(..)
            .map(|frame| stamp_of(&frame))
            .collect::<Vec<Stamp>>()
    ));
}

#[tokio::test]
async fn timestamps_jump_by_what_is_asked_for_good() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    player.stamps(3).await;
    camera.jump_timestamps(2_000);
    let frames = player.frames(20).await;
    let steps = frames
        .windows(2)
        .map(|pair| pair[1].timestamp().timestamp() - pair[0].timestamp().timestamp());
    let odd: Vec<i64> = steps.filter(|step| *step != 3600).collect();
    assert!(odd.is_empty() || odd == [3600 + 180_000], "{odd:?}");
    let first = frames.last().unwrap().timestamp().elapsed();
    assert!(first > 180_000, "{first}");
    let later = Player::play(&handle, tcp())
        .await
        .frame()
        .await
        .unwrap()
        .timestamp()
        .elapsed();
    assert!(
        later.abs() < 9_000,
        "new sessions learn of the jump, yet the first frame is at {later}"
    );
    assert!(neighbours(&frames.iter().map(stamp_of).collect::<Vec<_>>()));
}

#[tokio::test]
async fn stuck_timestamps_make_frames_run_together() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    player.stamps(3).await;
    camera.set_timestamps(TimestampKind::Stuck);
    let frames = player.frames(10).await;
    let last = &frames[8..];
    assert_eq!(
        last[0].timestamp().timestamp(),
        last[1].timestamp().timestamp()
    );
    camera.set_timestamps(TimestampKind::Honest);
    let frames = player.frames(10).await;
    assert_eq!(
        frames[9].timestamp().timestamp() - frames[8].timestamp().timestamp(),
        3600
    );
}

#[tokio::test]
async fn parameters_change_in_the_middle_of_the_stream() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    let mut stamps = player.stamps(5).await;
    camera.set_picture(Picture::Small);
    loop {
        let frame = player.frame().await.unwrap();
        stamps.push(stamp_of(&frame));
        if frame.has_new_parameters() && player.picture() == (320, 180) {
            assert!(frame.is_random_access_point());
            break;
        }
    }
    assert!(neighbours(&stamps), "{:?}", sequences(&stamps));
    assert!(
        stamps.len() < 25,
        "the change came {} frames late",
        stamps.len()
    );
}

#[tokio::test]
async fn garbage_spoils_as_many_frames_as_asked_for_and_no_more() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    player.stamps(3).await;
    camera.garbage_frames(4);
    let ordered = camera.sent().end;
    // Retina ends the session at an H.264 packet that it cannot read, or passes on frames without a
    // stamp.
    let mut spoiled = false;
    for _ in 0..15 {
        match player.item().await {
            Some(Ok(retina::codec::CodecItem::VideoFrame(frame))) => {
                spoiled |= holdfast_camera::stamp::find(frame.data()).is_none();
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => {
                spoiled = true;
                break;
            }
        }
    }
    assert!(spoiled);
    until(|| camera.sent().end >= ordered + 5).await;
    assert!(neighbours(
        &Player::play(&handle, tcp()).await.stamps(20).await
    ));
}

#[tokio::test]
async fn a_kick_closes_the_sessions_and_lets_new_ones_in() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    player.stamps(3).await;
    camera.kick();
    assert!(ends(&mut player).await);
    assert!(neighbours(
        &Player::play(&handle, tcp()).await.stamps(3).await
    ));
}

#[tokio::test]
async fn a_camera_that_is_off_is_not_found() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    player.stamps(1).await;
    camera.switch_off();
    assert!(ends(&mut player).await);
    assert_eq!(status(&describe(&handle, None).await.err().unwrap()), 404);
    camera.switch_on();
    Player::play(&handle, tcp()).await.stamps(1).await;
}

#[tokio::test]
async fn sessions_are_refused_and_those_that_play_go_on() {
    let (handle, camera) = server(|_| {}).await;
    let mut player = Player::play(&handle, tcp()).await;
    let mut described = describe(&handle, None).await.unwrap();
    camera.refuse_sessions(true);
    assert_eq!(
        status(
            &described
                .setup(0, SetupOptions::default().transport(tcp()))
                .await
                .unwrap_err()
        ),
        503
    );
    assert_eq!(status(&describe(&handle, None).await.err().unwrap()), 503);
    assert!(neighbours(&player.stamps(10).await));
}

#[tokio::test]
async fn no_more_sessions_than_the_limit_and_a_place_comes_free() {
    let (handle, camera) = server(|_| {}).await;
    camera.limit_sessions(Some(1));
    let first = Player::play(&handle, tcp()).await;
    assert_eq!(
        status(&Player::try_play(&handle, tcp(), None).await.err().unwrap()),
        453
    );
    drop(first);
    until(|| camera.sessions() == 0).await;
    Player::play(&handle, tcp()).await.stamps(1).await;
}

#[tokio::test]
async fn descriptions_lie_as_asked() {
    let (handle, camera) = server(|_| {}).await;
    camera.set_sdp(SdpKind::Absurd);
    assert!(describe(&handle, None).await.is_err());
    for (kind, media, encoding) in [
        (SdpKind::NoVideo, "audio", "pcmu"),
        (SdpKind::Mjpeg, "video", "jpeg"),
        (SdpKind::Vp8, "video", "vp8"),
    ] {
        camera.set_sdp(kind);
        let described = describe(&handle, None).await.unwrap();
        let stream = &described.streams()[0];
        assert_eq!((stream.media(), stream.encoding_name()), (media, encoding));
    }
}

async fn lost_packets(player: &mut Player, frames: usize) -> u32 {
    let mut lost = 0;
    for _ in 0..frames {
        lost += u32::from(player.frame().await.unwrap().loss());
    }
    lost
}

/// Whether the camera closes the connection.
async fn ends(player: &mut Player) -> bool {
    for _ in 0..200 {
        match player.item().await {
            None | Some(Err(_)) => return true,
            Some(Ok(_)) => {}
        }
    }
    false
}
