//! Exports: one playable file across recorders, parameter changes, gaps and damage.

use crate::support::client::{Answer, Client};
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_control_api::limits::EXPORT_UNITS_MAX;
use holdfast_storage::cmaf::probe;
use holdfast_storage::ids::TrackKind;
use std::collections::BTreeMap;

async fn export(client: &Client, from_ms: i64, to_ms: i64) -> Answer {
    let (from, to) = (T0.plus_micros(from_ms * 1000), T0.plus_micros(to_ms * 1000));
    client
        .get(&format!(
            "/api/v1/cameras/{CAMERA}/export.mp4?from={from}&to={to}"
        ))
        .await
}

async fn strict_export(client: &Client, from_ms: i64, to_ms: i64) -> Answer {
    let (from, to) = (T0.plus_micros(from_ms * 1000), T0.plus_micros(to_ms * 1000));
    client
        .get(&format!(
            "/api/v1/cameras/{CAMERA}/export.mp4?from={from}&to={to}&strict=true"
        ))
        .await
}

/// Chunks that are replaced by nothing.
fn left_out(answer: &Answer) -> usize {
    boxes(&answer.bytes)
        .iter()
        .filter(|kind| *kind == b"free")
        .count()
}

/// The kinds of the boxes that make up a file.
fn boxes(mut file: &[u8]) -> Vec<[u8; 4]> {
    let mut kinds = Vec::new();
    while !file.is_empty() {
        let (size, rest) = file.split_first_chunk::<4>().unwrap();
        kinds.push(*rest.first_chunk().unwrap());
        file = &file[u32::from_be_bytes(*size) as usize..];
    }
    kinds
}

fn length(answer: &Answer) -> u64 {
    answer.header("content-length").parse().unwrap()
}

/// Per track: where each chunk begins and ends, in ticks; `moof` numbers must count from 1.
fn chunk_times(file: &[u8]) -> BTreeMap<u32, Vec<(u64, u64)>> {
    let mut times: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (index, range) in probe::chunk_ranges(file).enumerate() {
        let info = probe::chunk_info(&file[range.unwrap()]).unwrap();
        assert_eq!(info.moof_sequence as usize, index + 1);
        times
            .entry(info.track_id)
            .or_default()
            .push((info.decode_time, info.decode_time + info.duration));
    }
    times
}

#[tokio::test]
async fn video_and_sound_of_two_recorders_and_two_sizes_are_one_file() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    let (small, large) = (clip::h264("320x180", 2, 0), clip::h264("640x360", 3, 2));
    fake.record(1, 0, &small);
    fake.record(1, 5, &clip::aac(44_100, 2));
    // The successor's clock is 30 ms behind, so its first frames overlap.
    fake.record(2, 1970, &large);
    fake.record(2, 2010, &clip::aac(44_100, 3));
    let answer = export(&Client::of(&fake), 0, 4970).await;
    assert_eq!(
        (
            answer.header("content-type"),
            answer.header("x-holdfast-gaps")
        ),
        ("video/mp4", "0")
    );
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"camera-7_2026-11-22T10-00-00.000000Z.mp4\""
    );
    assert_eq!(answer.header("x-holdfast-start"), T0.to_string());
    ffmpeg::bytes_decode(&answer.bytes);
    assert_eq!(
        ffmpeg::decoded_frames(&answer.bytes, "v:0"),
        small.frames.len() + large.frames.len()
    );
    ffmpeg::decodes_from(&answer.bytes, "3.2");
    for (track, times) in chunk_times(&answer.bytes) {
        assert!(
            times.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "track {track} goes back: {times:?}"
        );
        assert!(
            times[0].0 < 45_000,
            "track {track} begins at {}",
            times[0].0
        );
    }
    assert_eq!(left_out(&answer), 0);
}

#[tokio::test]
async fn h265_with_g711_is_exported() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    let video = clip::h265("320x180", 2);
    fake.record(1, 0, &video);
    fake.record(
        1,
        0,
        &clip::g711(holdfast_storage::cmaf::init::AudioCodec::PcmUlaw, 2),
    );
    let answer = export(&Client::of(&fake), 0, 2000).await;
    ffmpeg::bytes_decode(&answer.bytes);
    assert_eq!(
        ffmpeg::decoded_frames(&answer.bytes, "v:0"),
        video.frames.len()
    );
}

#[tokio::test]
async fn a_gap_stays_a_gap_in_time_and_is_counted() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 2, 0));
    fake.record(2, 5000, &clip::h264("320x180", 2, 0));
    let answer = export(&Client::of(&fake), 0, 7000).await;
    assert_eq!(
        (
            answer.header("x-holdfast-gaps"),
            answer.header("x-holdfast-gap-ms")
        ),
        ("1", "3000")
    );
    let times = &chunk_times(&answer.bytes)[&1];
    assert!(
        times
            .windows(2)
            .any(|pair| pair[1].0 - pair[0].1 == 3 * 90_000),
        "{times:?}"
    );
    ffmpeg::bytes_decode(&answer.bytes);
}

#[tokio::test]
async fn an_export_begins_at_the_keyframe_before_its_range() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 3, 0));
    let answer = export(&Client::of(&fake), 1700, 2200).await;
    assert_eq!(
        answer.header("x-holdfast-start"),
        T0.plus_micros(1_000_000).to_string()
    );
    assert_eq!(ffmpeg::decoded_frames(&answer.bytes, "v:0"), 25 + 13);
}

/// Like a camera that sends keyframes only on changes.
#[tokio::test]
async fn a_keyframe_long_before_the_range_is_found_and_the_file_is_shown_from_the_range_on() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264_of_one_gop("320x180", 30));
    let client = Client::of(&fake);
    let answer = export(&client, 28_000, 29_000).await;
    let headers = ["start", "gaps", "lead-in-ms"]
        .map(|name| answer.header(&format!("x-holdfast-{name}")).to_owned());
    assert_eq!(
        headers,
        [T0.to_string(), "0".to_owned(), "28000".to_owned()]
    );
    ffmpeg::bytes_decode(&answer.bytes);
    // All of it is there to be decoded; the requested time is 0.
    let first = ffmpeg::first_time(&answer.bytes);
    assert!((-28.1..=-27.9).contains(&first), "{first}");
    // One second, and the rest of its last chunk.
    let shown = ffmpeg::frames_from_zero(&answer.bytes);
    assert!((25..=39).contains(&shown), "{shown} frames");
    let retention = fake.chunks(TrackKind::Video)[0].meta.start;
    fake.lose(retention);
    let (status, code) = export(&client, 28_000, 29_000).await.refusal();
    assert_eq!((status, code.as_str()), (404, "keyframe-gone"));
}

#[tokio::test]
async fn a_damaged_chunk_is_left_out_and_what_refers_to_it_is_concealed() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 3, 0));
    let torn = fake
        .chunks(TrackKind::Video)
        .into_iter()
        .find(|entry| entry.meta.start == T0.plus_micros(1_000_000))
        .unwrap();
    fake.with(|state| state.damaged.insert(torn.location.offset));
    let client = Client::of(&fake);
    let answer = export(&client, 0, 3000).await;
    assert!(!answer.broke_off);
    assert_eq!(left_out(&answer), 1);
    let (shown, said) = ffmpeg::concealed_frames(&answer.bytes);
    assert_eq!(
        shown, 62,
        "all but the 13 frames of the damaged chunk: {said}"
    );
    let answer = strict_export(&client, 0, 3000).await;
    assert_eq!(left_out(&answer), 2, "the rest of the GOP, too");
    assert_eq!(
        ffmpeg::decoded_frames(&answer.bytes, "v:0"),
        50,
        "the second GOP refers to its keyframe"
    );
    ffmpeg::bytes_decode(&answer.bytes);
}

/// A camera that sends a keyframe every few seconds over a link that loses packets.
#[tokio::test]
async fn after_lost_frames_an_export_continues_within_the_gop_and_decoders_conceal() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264_of_one_gop("320x180", 4));
    fake.lose(T0.plus_micros(1_040_000));
    let client = Client::of(&fake);
    let answer = export(&client, 0, 4000).await;
    let headers = ["gaps", "gap-ms", "damaged-ms"]
        .map(|name| answer.header(&format!("x-holdfast-{name}")).to_owned());
    assert_eq!(headers, ["1", "520", "2440"]);
    let (shown, said) = ffmpeg::concealed_frames(&answer.bytes);
    // A decoder that finds a hole in the frames' numbers may hold back what it showed for it.
    assert!(
        (100 - 13 - 2..=100 - 13).contains(&shown),
        "{shown} frames: {said}"
    );
    let is_decoders = |line: &str| line.starts_with("[h264 @");
    assert!(
        said.lines().all(is_decoders),
        "only the decoder may complain, of what it conceals: {said}"
    );
    let whole = strict_export(&client, 0, 4000).await;
    assert_eq!(
        (
            whole.header("x-holdfast-gap-ms"),
            whole.header("x-holdfast-damaged-ms")
        ),
        ("2960", "0")
    );
    ffmpeg::bytes_decode(&whole.bytes);
    assert_eq!(ffmpeg::decoded_frames(&whole.bytes, "v:0"), 26);
}

#[tokio::test]
async fn a_chunk_that_is_deleted_in_the_meantime_is_left_out() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 3, 0));
    let chunks = fake.chunks(TrackKind::Video);
    fake.with(|state| {
        state
            .deleted
            .extend(chunks[..2].iter().map(|entry| entry.location.offset))
    });
    let client = Client::of(&fake);
    let answer = export(&client, 0, 3000).await;
    assert!(!answer.broke_off);
    assert_eq!(left_out(&answer), 2);
    assert_eq!(ffmpeg::decoded_frames(&answer.bytes, "v:0"), 50);
    ffmpeg::bytes_decode(&answer.bytes);
    fake.with(|state| {
        state
            .deleted
            .extend(chunks.iter().map(|entry| entry.location.offset))
    });
    assert_eq!(
        export(&client, 0, 3000).await.refusal(),
        (404, "no-footage".to_owned())
    );
}

#[tokio::test]
async fn footage_that_cannot_be_fetched_breaks_the_transfer_off() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 3, 0));
    fake.with(|state| state.unreachable.insert(4));
    let client = Client::of(&fake);
    let answer = export(&client, 0, 3000).await;
    assert!(answer.broke_off && (answer.bytes.len() as u64) < length(&answer));
    fake.with(|state| state.unreachable.insert(0));
    assert_eq!(
        export(&client, 0, 3000).await.refusal(),
        (503, "unavailable".to_owned())
    );
}

#[tokio::test]
async fn a_change_of_codec_is_refused_with_its_time() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 1, 0));
    fake.record(1, 1500, &clip::h265("320x180", 1));
    let problem = export(&Client::of(&fake), 0, 3000).await.problem();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (422, "codec-change")
    );
    assert!(
        problem.detail.contains("avc1")
            && problem
                .detail
                .contains(&T0.plus_micros(1_500_000).to_string()),
        "{}",
        problem.detail
    );
}

#[tokio::test]
async fn nothing_recorded_is_not_found() {
    assert_eq!(
        export(&Client::of(&Fake::new()), 0, 3000).await.refusal(),
        (404, "no-footage".to_owned())
    );
}

#[tokio::test]
async fn running_exports_are_bounded_and_make_room_when_they_end() {
    if !ffmpeg::is_there() {
        return;
    }
    use tower::ServiceExt;
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 3, 0));
    let client = Client::of(&fake);
    let mut running = Vec::new();
    // Of up to half an hour each.
    for _ in 0..EXPORT_UNITS_MAX {
        let uri = format!(
            "/api/v1/cameras/{CAMERA}/export.mp4?from={T0}&to={}",
            T0.plus_micros(1_800_000_000)
        );
        let request = axum::http::Request::get(uri).header(
            "authorization",
            format!("Bearer {}", crate::support::client::TOKEN),
        );
        running.push(
            client
                .router
                .clone()
                .oneshot(request.body(axum::body::Body::empty()).unwrap())
                .await
                .unwrap(),
        );
    }
    assert_eq!(
        export(&client, 0, 3000).await.refusal(),
        (503, "overloaded".to_owned())
    );
    running.pop();
    assert_eq!(export(&client, 0, 3000).await.status.as_u16(), 200);
    assert_eq!(
        export(&client, 0, 1_800_001).await.refusal(),
        (503, "overloaded".to_owned()),
        "two of them"
    );
}
