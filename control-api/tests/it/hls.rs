//! HLS: playlists as m3u8-rs reads them, and the answers to their URIs.

use crate::support::client::{Answer, Client};
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::{Epoch, NodeId, StreamKind};
use m3u8_rs::MediaPlaylist;

async fn playlist_answer(client: &Client, from_ms: i64, to_ms: i64, more: &str) -> Answer {
    let (from, to) = (T0.plus_micros(from_ms * 1000), T0.plus_micros(to_ms * 1000));
    client
        .get(&format!(
            "/api/v1/cameras/{CAMERA}/hls/index.m3u8?from={from}&to={to}{more}"
        ))
        .await
}

async fn playlist(client: &Client, from_ms: i64, to_ms: i64) -> MediaPlaylist {
    playlist_with(client, from_ms, to_ms, "").await
}

async fn playlist_with(client: &Client, from_ms: i64, to_ms: i64, more: &str) -> MediaPlaylist {
    let answer = playlist_answer(client, from_ms, to_ms, more).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, "application/vnd.apple.mpegurl"),
        "{}",
        answer.text()
    );
    m3u8_rs::parse_media_playlist_res(&answer.bytes).unwrap()
}

async fn fetch(client: &Client, uri: &str) -> Answer {
    let answer = client
        .get(&format!("/api/v1/cameras/{CAMERA}/hls/{uri}"))
        .await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("content-type"),
            answer.broke_off
        ),
        (200, "video/mp4", false),
        "{}",
        answer.text()
    );
    answer
}

fn is_gap(segment: &m3u8_rs::MediaSegment) -> bool {
    segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP")
}

#[tokio::test]
async fn every_segment_decodes_with_its_own_init_and_nothing_is_missing() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    let (small, large) = (clip::h264("320x180", 10, 0), clip::h264("640x360", 3, 2));
    fake.record(1, 0, &small);
    fake.record(1, 7, &clip::aac(44_100, 10));
    fake.record(2, 12_000, &large);
    fake.record(2, 12_009, &clip::aac(44_100, 3));
    let client = Client::of(&fake);
    let playlist = playlist(&client, 0, 15_000).await;
    assert!(playlist.end_list);
    assert_eq!(playlist.segments.len(), 4);
    assert!(
        !playlist
            .segments
            .iter()
            .any(|segment| is_gap(segment) || segment.discontinuity)
    );
    assert!(
        playlist.segments[3].map.is_some(),
        "another recorder has other parameters"
    );
    let (mut map, mut frames) = (Vec::new(), 0);
    for segment in playlist.segments.iter().filter(|segment| !is_gap(segment)) {
        if let Some(found) = &segment.map {
            map = fetch(&client, &found.uri).await.bytes.to_vec();
        }
        let file = [&map[..], &fetch(&client, &segment.uri).await.bytes].concat();
        ffmpeg::bytes_decode(&file);
        frames += ffmpeg::decoded_frames(&file, "v:0");
        assert!(ffmpeg::decoded_frames(&file, "a:0") > 10);
    }
    assert_eq!(frames, small.frames.len() + large.frames.len());
    let date = playlist.segments[3]
        .program_date_time
        .unwrap()
        .timestamp_micros();
    assert_eq!(date, T0.plus_micros(12_000_000).micros());
}

#[tokio::test]
async fn a_gap_at_the_end_is_shown_as_far_as_the_ledger_knows_it() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 2, 0));
    let (start, end) = (T0.plus_micros(2_000_000), T0.plus_micros(4_000_000));
    let (stream, cause) = (StreamKind::Main, GapCause::CameraStalled);
    let gap = Gap {
        camera: CAMERA,
        stream,
        node: NodeId(1),
        epoch: Epoch(1),
        start,
        end,
        cause,
        frames_missing: None,
    };
    fake.with(|state| state.gaps.push(gap));
    let playlist = playlist_with(&Client::of(&fake), 0, 60_000, "&gaps=entries").await;
    let gap_seconds: f32 = playlist
        .segments
        .iter()
        .filter(|segment| is_gap(segment))
        .map(|segment| segment.duration)
        .sum();
    assert_eq!(gap_seconds, 2.0);
}

#[tokio::test]
async fn the_uris_of_a_playlist_opened_by_query_carry_the_token_on() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 2, 0));
    let client = Client::of(&fake);
    let token = "a%20token/with%2Bsigns%26more";
    let bare = async |uri: String| {
        let request = axum::http::Request::get(format!("/api/v1/cameras/{CAMERA}/hls/{uri}"))
            .body(axum::body::Body::empty());
        client.send(request.unwrap()).await
    };
    let (from, to) = (T0.plus_micros(-1_000_000), T0.plus_micros(2_000_000));
    let answer = bare(format!(
        "index.m3u8?from={from}&to={to}&gaps=entries&token={token}"
    ))
    .await;
    let playlist = m3u8_rs::parse_media_playlist_res(&answer.bytes).unwrap();
    let map = playlist.segments[0].map.clone().unwrap().uri;
    let uris = [
        map,
        playlist.segments[0].uri.clone(),
        playlist.segments[1].uri.clone(),
    ];
    let statuses = uris.map(async |uri| bare(uri).await.status.as_u16());
    assert_eq!(futures::future::join_all(statuses).await, [200, 200, 200]);
    let with_header = playlist_answer(&client, 0, 2000, "").await;
    assert!(!with_header.text().contains("token"));
}

#[tokio::test]
async fn missing_footage_and_wrong_requests_are_reported() {
    let client = Client::of(&Fake::new());
    assert_eq!(
        playlist_answer(&client, 0, 1000, "").await.refusal(),
        (404, "no-footage".to_owned())
    );
    assert_eq!(
        playlist_answer(&client, 0, 7 * 3_600_000, "")
            .await
            .refusal(),
        (422, "range-too-long".to_owned())
    );
    let base = format!("/api/v1/cameras/{CAMERA}/hls");
    let init = "0".repeat(16);
    let cases = [
        (format!("init.mp4?video={init}"), 404, "not-found"),
        ("init.mp4?video=zz".to_owned(), 400, "malformed"),
        ("init.mp4".to_owned(), 400, "malformed"),
        (
            format!("segment.m4s?from=1&to=2&base=0&video={init}"),
            404,
            "no-footage",
        ),
        (
            format!("segment.m4s?from=2&to=1&base=0&video={init}"),
            422,
            "range-empty",
        ),
        (
            format!(
                "segment.m4s?from=-9223372036854775808&to=9223372036854775807&base=0&video={init}"
            ),
            422,
            "range-too-long",
        ),
    ];
    for (path, status, code) in cases {
        assert_eq!(
            client.get(&format!("{base}/{path}")).await.refusal(),
            (status, code.to_owned()),
            "{path}"
        );
    }
}
