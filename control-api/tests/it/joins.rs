//! HLS serves exactly the recorded frames segment by segment: where two segments join, nothing is
//! missing and nothing is doubled.

use crate::support::client::Client;
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use axum::body::Body;
use axum::http::Request;
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::cmaf::probe::{chunk_info, chunk_ranges, samples};
use holdfast_storage::ids::TrackKind;
use std::collections::BTreeMap;

/// The number of frames of the range in all segments of its playlist, by track.
async fn served(fake: &Fake, from_ms: i64, to_ms: i64) -> BTreeMap<u32, usize> {
    let client = Client::of(fake);
    let base = format!("/api/v1/cameras/{CAMERA}/hls");
    let (from, to) = (T0.plus_micros(from_ms * 1000), T0.plus_micros(to_ms * 1000));
    let answer = client
        .get(&format!("{base}/index.m3u8?from={from}&to={to}"))
        .await;
    let playlist = m3u8_rs::parse_media_playlist_res(&answer.bytes).unwrap();
    assert!(playlist.segments.len() > 3, "{}", answer.text());
    let mut frames = BTreeMap::new();
    for segment in &playlist.segments {
        let answer = client.get(&format!("{base}/{}", segment.uri)).await;
        assert_eq!(answer.status, 200, "{}: {}", segment.uri, answer.text());
        for chunk in chunk_ranges(&answer.bytes) {
            let chunk = &answer.bytes[chunk.unwrap()];
            *frames
                .entry(chunk_info(chunk).unwrap().track_id)
                .or_default() += samples(chunk).unwrap().len();
        }
    }
    frames
}

#[tokio::test]
async fn no_sound_is_missing_where_segments_join() {
    if !ffmpeg::is_there() {
        return;
    }
    let (video, audio) = (clip::h264("320x180", 20, 0), clip::aac(16_000, 20));
    for offset_ms in [0, 90, 210, 330, 450] {
        let fake = Fake::new();
        fake.record(1, 0, &video);
        fake.record(1, offset_ms, &audio);
        let frames: Vec<usize> = served(&fake, 0, 20_000).await.into_values().collect();
        // Audio after the last picture may be left out.
        let end = T0.plus_micros(19_700_000);
        let before_end = |chunk: &&ChunkEntry| chunk.meta.start < end;
        let sound: u32 = fake
            .chunks(TrackKind::Audio)
            .iter()
            .filter(before_end)
            .map(|chunk| chunk.meta.frames)
            .sum();
        assert!(
            frames[0] == video.frames.len() && frames[1] >= sound as usize,
            "{frames:?} of {sound}, {offset_ms} ms"
        );
    }
}

#[tokio::test]
async fn no_chunk_comes_twice_where_two_nodes_record_the_same() {
    if !ffmpeg::is_there() {
        return;
    }
    let (video, audio) = (clip::h264("320x180", 20, 0), clip::aac(16_000, 20));
    for ahead_ms in [-3, -1, 1, 3] {
        let fake = Fake::new();
        fake.record(1, ahead_ms, &video);
        fake.record(1, ahead_ms, &audio);
        fake.record(2, 0, &video);
        fake.record(2, 0, &audio);
        let frames = served(&fake, 0, 20_000).await;
        let recorded = [video.frames.len(), audio.frames.len()];
        assert_eq!(
            frames.values().copied().collect::<Vec<_>>(),
            recorded,
            "{ahead_ms} ms"
        );
    }
}

#[tokio::test]
async fn a_segment_is_kept_by_clients_until_other_chunks_are_chosen() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 8, 0));
    let client = Client::of(&fake);
    let base = format!("/api/v1/cameras/{CAMERA}/hls");
    let playlist = client
        .get(&format!(
            "{base}/index.m3u8?from={T0}&to={}",
            T0.plus_micros(8_000_000)
        ))
        .await;
    let playlist = m3u8_rs::parse_media_playlist_res(&playlist.bytes).unwrap();
    let uri = format!("{base}/{}", playlist.segments[0].uri);
    let first = client.get(&uri).await;
    assert_eq!(first.header("cache-control"), "private, max-age=300");
    let tag = first.header("etag").to_owned();
    let again = async || {
        let token = format!("Bearer {}", crate::support::client::TOKEN);
        let request = Request::get(&uri)
            .header("authorization", token)
            .header("if-none-match", &tag);
        client.send(request.body(Body::empty()).unwrap()).await
    };
    let kept = again().await;
    assert_eq!(
        (kept.status.as_u16(), kept.bytes.len(), kept.header("etag")),
        (304, 0, tag.as_str())
    );
    fake.lose(fake.chunks(TrackKind::Video)[1].meta.start);
    let changed = again().await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), tag);
}
