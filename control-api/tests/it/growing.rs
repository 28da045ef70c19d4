//! Growing and live presentations: what players read repeatedly, and the answers to its URIs.

use crate::support::client::{Answer, Client, options};
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_control_api::{Options, router};
use holdfast_storage::cmaf::probe::{chunk_ranges, samples};
use holdfast_storage::time::Timestamp;
use m3u8_rs::{MediaPlaylist, MediaPlaylistType};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The time of the clients' clock, after [`T0`].
const NOW_MS: i64 = 3_600_000;

async fn get(client: &Client, uri: &str) -> Answer {
    client
        .get(&format!("/api/v1/cameras/{CAMERA}/hls/{uri}"))
        .await
}

/// The playlist that the opened one refers to.
async fn growing(client: &Client, query: &str) -> MediaPlaylist {
    let opened = get(client, &format!("index.m3u8?{query}")).await;
    let opened = m3u8_rs::parse_master_playlist_res(&opened.bytes).unwrap();
    assert!(opened.variants.len() == 1 && opened.variants[0].bandwidth > 0);
    let answer = get(client, &opened.variants[0].uri).await;
    m3u8_rs::parse_media_playlist_res(&answer.bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

fn is_gap(entry: &m3u8_rs::MediaSegment) -> bool {
    entry.unknown_tags.iter().any(|tag| tag.tag == "X-GAP")
}

fn range(from_ms: i64, to_ms: i64) -> String {
    format!(
        "from={}&to={}",
        T0.plus_micros(from_ms * 1000),
        T0.plus_micros(to_ms * 1000)
    )
}

#[tokio::test]
async fn live_shows_what_there_is_of_the_last_half_minute_and_each_frame_once() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    let video = clip::h264("320x180", 12, 0);
    fake.record(1, NOW_MS - 12_500, &video);
    let client = Client::of(&fake);
    let playlist = growing(&client, "live=true").await;
    assert!(!playlist.end_list && playlist.playlist_type.is_none());
    let gaps: Vec<_> = playlist.segments.iter().map(is_gap).collect();
    // hls.js never begins in a gap at the beginning.
    assert!(
        (5..=7).contains(&gaps.len()) && !gaps.iter().any(|gap| *gap),
        "{gaps:?}"
    );
    let mut frames = 0;
    for entry in &playlist.segments {
        let answer = get(&client, &entry.uri).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, "video/mp4"),
            "{}",
            entry.uri
        );
        let media = chunk_ranges(&answer.bytes)
            .filter_map(|range| samples(&answer.bytes[range.unwrap()]).ok());
        let here: usize = media.map(|samples| samples.len()).sum();
        assert_eq!(here == 0, is_gap(entry), "{}", entry.uri);
        frames += here;
    }
    let listed: f32 = playlist
        .segments
        .iter()
        .filter(|entry| !is_gap(entry))
        .map(|entry| entry.duration)
        .sum();
    assert!(
        frames >= 200 && (frames as f32 - listed * 25.0).abs() < 26.0,
        "{frames} frames in {listed} s"
    );
}

/// The time of the clock of the node that is opened early, after [`T0`].
static EARLY_MS: AtomicI64 = AtomicI64::new(NOW_MS);

fn early() -> Timestamp {
    T0.plus_micros(EARLY_MS.load(Ordering::Relaxed) * 1000)
}

#[tokio::test(start_paused = true)]
async fn what_has_just_begun_is_answered_once_it_has_an_entry() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    let client = Client {
        router: router(
            fake.clone(),
            Options {
                now: early,
                ..options()
            },
        )
        .unwrap(),
    };
    let nothing = timeout(Duration::from_secs(1), get(&client, "index.m3u8?live=true")).await;
    assert!(
        nothing.unwrap().text().contains("growing.m3u8?from="),
        "where nothing is recorded no player waits"
    );
    fake.record(1, NOW_MS - 800, &clip::h264("320x180", 1, 0));
    for query in [
        "live=true".to_owned(),
        range(NOW_MS - 800, NOW_MS + 3_600_000),
    ] {
        let opening = timeout(Duration::from_secs(8), growing(&client, &query)).await;
        assert!(opening.is_err(), "{query}: it waits for what comes");
        let opening = timeout(Duration::from_secs(10), growing(&client, &query)).await;
        assert!(
            opening.unwrap().segments.is_empty(),
            "{query}: and not without end"
        );
    }
    let opened = tokio::spawn(async move { growing(&client, "live=true").await });
    sleep(Duration::from_secs(3)).await;
    assert!(!opened.is_finished());
    fake.record(1, NOW_MS + 200, &clip::h264("320x180", 4, 0));
    EARLY_MS.fetch_add(3000, Ordering::Relaxed);
    let playlist = timeout(Duration::from_secs(1), opened)
        .await
        .unwrap()
        .unwrap();
    assert!(!playlist.segments.is_empty() && !is_gap(&playlist.segments[0]));
}

#[tokio::test]
async fn a_range_that_has_not_ended_grows_and_lists_only_what_is_whole() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, NOW_MS - 10_000, &clip::h264("320x180", 10, 0));
    let client = Client::of(&fake);
    let playlist = growing(&client, &range(NOW_MS - 10_000, NOW_MS + 3_600_000)).await;
    assert_eq!(
        (playlist.end_list, playlist.playlist_type),
        (false, Some(MediaPlaylistType::Event))
    );
    assert_eq!((playlist.media_sequence, playlist.segments.len()), (0, 2));
    let nothing_yet = growing(&client, &range(NOW_MS + 1_800_000, NOW_MS + 3_600_000)).await;
    assert!(nothing_yet.segments.is_empty() && !nothing_yet.end_list);
}

/// Who has the end of a list does not ask for it again.
#[tokio::test]
async fn a_list_does_not_end_while_a_node_is_late_with_its_footage() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, NOW_MS - 60_000, &clip::h264("320x180", 10, 0));
    let client = Client::of(&fake);
    let past = range(NOW_MS - 60_000, NOW_MS - 30_000);
    let has_end = async || {
        let answer = get(&client, &format!("growing.m3u8?{past}")).await;
        let playlist = m3u8_rs::parse_media_playlist_res(&answer.bytes);
        playlist
            .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
            .end_list
    };
    assert!(has_end().await);
    fake.with(|state| state.late = Some("node 2 is slow to answer".to_owned()));
    assert!(!has_end().await);
}

#[tokio::test]
async fn what_was_listed_and_is_out_of_reach_now_answers_as_a_gap_does() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, NOW_MS - 12_000, &clip::h264("320x180", 10, 0));
    let client = Client::of(&fake);
    let listed = growing(&client, "live=true")
        .await
        .segments
        .into_iter()
        .find(|entry| !is_gap(entry))
        .unwrap();
    let gap = get(&client, "gap.m4s").await;
    fake.with(|state| state.unreachable = (0..100).collect());
    let answer = get(&client, &listed.uri).await;
    assert_eq!((answer.status.as_u16(), &answer.bytes), (200, &gap.bytes));
}

#[tokio::test]
async fn what_is_not_asked_rightly_is_refused() {
    let client = Client::of(&Fake::new());
    let init = "0".repeat(16);
    for (uri, status, code) in [
        (
            format!("index.m3u8?live=true&{}", range(0, 1000)),
            422,
            "live-range",
        ),
        ("growing.m3u8".to_owned(), 422, "range-missing"),
        (
            format!("growing.m3u8?{}", range(0, 7 * 3_600_000)),
            422,
            "range-too-long",
        ),
        (
            format!("cell.m4s?number={}&base=0&video={init}", i64::MAX),
            422,
            "range-empty",
        ),
        (
            "cell.m4s?number=1&base=0&video=zz".to_owned(),
            400,
            "malformed",
        ),
    ] {
        assert_eq!(
            get(&client, &uri).await.refusal(),
            (status, code.to_owned()),
            "{uri}"
        );
    }
}
