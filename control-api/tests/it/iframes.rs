//! Pictures for fast search: the playlists, and the contents of each picture.

use crate::support::client::{Answer, Client, TOKEN};
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_storage::cmaf::probe::samples;

async fn get(client: &Client, uri: &str) -> Answer {
    client
        .get(&format!("/api/v1/cameras/{CAMERA}/hls/{uri}"))
        .await
}

fn range(from_ms: i64, to_ms: i64) -> String {
    format!(
        "from={}&to={}",
        T0.plus_micros(from_ms * 1000),
        T0.plus_micros(to_ms * 1000)
    )
}

#[tokio::test]
async fn every_keyframe_of_a_range_is_a_picture_at_its_time_of_media() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 6, 0));
    fake.record(1, 3, &clip::aac(44_100, 6));
    fake.record(2, 66_000, &clip::h264("640x360", 3, 2));
    let client = Client::of(&fake);
    let main = get(&client, &format!("main.m3u8?{}", range(0, 70_000))).await;
    let main = m3u8_rs::parse_master_playlist_res(&main.bytes).unwrap();
    let (played, pictures) = (&main.variants[0], &main.variants[1]);
    assert!(
        !played.is_i_frame
            && pictures.is_i_frame
            && main.variants.iter().all(|one| one.bandwidth > 0)
    );
    let played = m3u8_rs::parse_media_playlist_res(&get(&client, &played.uri).await.bytes).unwrap();
    let listed = get(&client, &pictures.uri).await;
    let listed = m3u8_rs::parse_media_playlist_res(&listed.bytes).unwrap();
    assert!(listed.i_frames_only && listed.end_list);
    assert_eq!(listed.segments.len(), 9);
    let total = |playlist: &m3u8_rs::MediaPlaylist| {
        playlist
            .segments
            .iter()
            .map(|one| one.duration)
            .sum::<f32>()
    };
    assert!(
        (total(&played) - total(&listed)).abs() < 0.01,
        "{} {}",
        total(&played),
        total(&listed)
    );
    let (mut file, mut at) = (Vec::new(), 0.0);
    for picture in &listed.segments {
        if let Some(map) = &picture.map {
            file = get(&client, &map.uri).await.bytes.to_vec();
        }
        let answer = get(&client, &picture.uri).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("cache-control")),
            (200, "private, max-age=300")
        );
        let samples = samples(&answer.bytes).unwrap();
        assert!(samples.len() == 1 && samples[0].is_sync);
        assert!(
            (samples[0].decode_time as f32 / 90_000.0 - at).abs() < 0.001,
            "at {at}: {}",
            samples[0].decode_time
        );
        at += picture.duration;
        ffmpeg::bytes_decode(&[&file[..], &answer.bytes].concat());
        assert_eq!(
            ffmpeg::decoded_frames(&[&file[..], &answer.bytes].concat(), "v:0"),
            1
        );
    }
}

#[tokio::test]
async fn what_grows_has_a_picture_of_each_entry_under_its_number() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 3_600_000 - 14_000, &clip::h264("320x180", 5, 0));
    fake.record(2, 3_600_000 - 6000, &clip::h264("320x180", 6, 0));
    let client = Client::of(&fake);
    let grows = range(3_600_000 - 14_000, 7_200_000);
    for query in ["live=true", &*grows] {
        let main = get(&client, &format!("main.m3u8?{query}")).await;
        let main = m3u8_rs::parse_master_playlist_res(&main.bytes).unwrap();
        assert!(
            !main.variants[0].is_i_frame && main.variants[1].is_i_frame && main.variants.len() == 2,
            "{query}"
        );
        let list = async |uri: &str| {
            m3u8_rs::parse_media_playlist_res(&get(&client, uri).await.bytes).unwrap()
        };
        let (played, pictures) = (
            list(&main.variants[0].uri).await,
            list(&main.variants[1].uri).await,
        );
        assert!(pictures.i_frames_only && !played.i_frames_only && !pictures.end_list);
        assert_eq!(played.media_sequence, pictures.media_sequence);
        let times = |list: &m3u8_rs::MediaPlaylist| {
            list.segments
                .iter()
                .map(|one| one.duration)
                .collect::<Vec<_>>()
        };
        assert!(
            times(&played) == times(&pictures) && pictures.segments.len() > 2,
            "{:?}",
            times(&pictures)
        );
        let (mut file, mut at, mut shown, mut begins) = (Vec::new(), 0.0, 0, None);
        for picture in &pictures.segments {
            if let Some(map) = &picture.map {
                file = get(&client, &map.uri).await.bytes.to_vec();
            }
            let answer = get(&client, &picture.uri).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("cache-control")),
                (200, "no-store"),
                "{}",
                picture.uri
            );
            let is_gap = picture.unknown_tags.iter().any(|tag| tag.tag == "X-GAP");
            let media = holdfast_storage::cmaf::probe::chunk_ranges(&answer.bytes);
            let media: Vec<_> = media
                .filter_map(|range| samples(&answer.bytes[range.unwrap()]).ok())
                .collect();
            assert_eq!(
                media.iter().map(Vec::len).sum::<usize>(),
                usize::from(!is_gap),
                "{}",
                picture.uri
            );
            if let [sample] = media.concat()[..] {
                let decoded = sample.decode_time as f32 / 90_000.0;
                // The presentation's time 0 is where its first cell begins.
                let begins = *begins.get_or_insert(decoded - at);
                let decoded = decoded - begins;
                assert!((0.0..4.0).contains(&begins), "{begins}");
                assert!(
                    sample.is_sync && (at - 0.001..at + picture.duration).contains(&decoded),
                    "{decoded} at {at}"
                );
                assert_eq!(
                    ffmpeg::decoded_frames(&[&file[..], &answer.bytes].concat(), "v:0"),
                    1
                );
                shown += 1;
            }
            at += picture.duration;
        }
        assert!(shown > 2, "{shown}");
    }
}

#[tokio::test]
async fn what_has_no_pictures_says_so() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 2, 0));
    let client = Client::of(&fake);
    let refused = async |uri: String| get(&client, &uri).await.refusal();
    assert_eq!(
        refused(format!("main.m3u8?{}", range(60_000, 70_000))).await,
        (404, "no-footage".to_owned())
    );
    assert_eq!(
        refused(format!("pictures.m3u8?{}", range(3_599_000, 7_200_000))).await,
        (404, "no-footage".to_owned())
    );
    let init = "0".repeat(16);
    assert_eq!(
        refused(format!("picture.m4s?at=5&base=0&video={init}")).await,
        (404, "no-footage".to_owned())
    );
    assert_eq!(
        refused(format!("picture.m4s?at={}&base=0&video={init}", i64::MAX))
            .await
            .0,
        422
    );
}

#[tokio::test]
async fn ffmpeg_plays_the_pictures_of_a_range() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 6, 0));
    fake.record(2, 66_000, &clip::h264("320x180", 3, 0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Client::of(&fake).router;
    tokio::spawn(async move { axum::serve(listener, router).await });
    let token: String = TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (path, range) = (
        format!("/api/v1/cameras/{CAMERA}/hls/pictures.m3u8"),
        range(0, 70_000),
    );
    let url = format!("http://127.0.0.1:{port}{path}?{range}&token={token}");
    let times = tokio::task::spawn_blocking(move || {
        let packets = [
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "packet=pts_time",
            "-of",
            "csv=p=0",
        ];
        let found =
            String::from_utf8(ffmpeg::run("ffprobe", &[&packets[..], &[&url]].concat())).unwrap();
        ffmpeg::decodes_without_a_message(&url);
        found
            .lines()
            .map(|line| line.trim_end_matches(',').parse::<f64>().unwrap().round() as i64)
            .collect::<Vec<_>>()
    });
    assert_eq!(times.await.unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}
