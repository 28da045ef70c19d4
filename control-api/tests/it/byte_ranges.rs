//! Partial answers: the footage for a client that resumes, or a player that seeks.

use crate::support::client::{Answer, Client, TOKEN};
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::ids::TrackKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

fn export_path(to_ms: i64) -> String {
    format!(
        "/api/v1/cameras/{CAMERA}/export.mp4?from={T0}&to={}",
        T0.plus_micros(to_ms * 1000)
    )
}

fn recorded() -> Fake {
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264("320x180", 9, 0));
    fake.record(1, 3, &clip::aac(44_100, 9));
    fake
}

/// An entry of each kind with bytes, as a playlist names it.
async fn media_paths(client: &Client) -> Vec<String> {
    let hls = format!("/api/v1/cameras/{CAMERA}/hls");
    let playlist = client
        .get(&format!(
            "{hls}/index.m3u8?from={T0}&to={}",
            T0.plus_micros(9_000_000)
        ))
        .await;
    let playlist = m3u8_rs::parse_media_playlist_res(&playlist.bytes).unwrap();
    let segment = &playlist.segments[0];
    let map = &segment.map.as_ref().unwrap().uri;
    let inits = map.strip_prefix("init.mp4?").unwrap();
    let cell = T0.micros() / 4_000_000;
    let cell = format!("cell.m4s?number={cell}&base={}&{inits}", T0.micros());
    let within = [map.clone(), segment.uri.clone(), cell, "gap.m4s".to_owned()];
    within
        .into_iter()
        .map(|path| format!("{hls}/{path}"))
        .chain([export_path(9000)])
        .collect()
}

#[tokio::test]
async fn every_media_answers_in_parts() {
    if !ffmpeg::is_there() {
        return;
    }
    let client = Client::of(&recorded());
    for path in media_paths(&client).await {
        let whole = client.get(&path).await;
        let length = whole.bytes.len();
        let tag = whole.header("etag").to_owned();
        assert!(tag.starts_with('"'), "{path}: {tag} is strong");
        assert_eq!(
            (
                whole.header("content-length"),
                whole.header("accept-ranges")
            ),
            (&*length.to_string(), "bytes")
        );
        let head = client.ask("HEAD", &path, &[("range", "bytes=0-1")]).await;
        assert_eq!(
            (head.status.as_u16(), head.bytes.len(), &head.headers),
            (200, 0, &whole.headers),
            "{path}"
        );
        for (range, from, to) in [
            ("bytes=0-9", 0, 10),
            ("bytes=10-", 10, length),
            ("bytes=-7", length - 7, length),
            (
                &*format!("bytes={}-{}", length / 3, length / 2),
                length / 3,
                length / 2 + 1,
            ),
            ("bytes=5-999999999", 5, length),
        ] {
            let part = client
                .ask("GET", &path, &[("range", range), ("if-range", &tag)])
                .await;
            assert_eq!(
                (part.status.as_u16(), part.header("etag")),
                (206, &*tag),
                "{path} {range}"
            );
            assert_eq!(
                part.header("content-range"),
                format!("bytes {from}-{}/{length}", to - 1)
            );
            assert_eq!(part.header("content-length"), (to - from).to_string());
            assert!(part.bytes == whole.bytes[from..to], "{path} {range}");
        }
        let beyond = client
            .ask("GET", &path, &[("range", &*format!("bytes={length}-"))])
            .await;
        assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));
        assert_eq!(beyond.refusal(), (416, "range-not-satisfiable".to_owned()));
        for headers in [
            &[("range", "bytes=0-1,3-4")][..],
            &[("range", "bytes=0-1"), ("if-range", "\"other\"")],
        ] {
            let answer = client.ask("GET", &path, headers).await;
            assert!(
                answer.status.as_u16() == 200 && answer.bytes == whole.bytes,
                "{path} {headers:?}"
            );
        }
        for (method, range) in [
            ("GET", "bytes=0-1"),
            ("HEAD", "bytes=0-1"),
            ("GET", "bytes=999999999-"),
        ] {
            let answer = client
                .ask(
                    method,
                    &path,
                    &[("if-match", "\"other\""), ("range", range)],
                )
                .await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("etag")),
                (412, &*tag),
                "{path} {range}"
            );
        }
        let meant = client
            .ask("GET", &path, &[("if-match", &tag), ("range", "bytes=0-9")])
            .await;
        assert!(
            meant.status.as_u16() == 206 && meant.bytes == whole.bytes[..10],
            "{path}"
        );
        let known = client
            .ask(
                "GET",
                &path,
                &[("if-none-match", &tag), ("range", "bytes=0-1")],
            )
            .await;
        assert_eq!(
            (
                known.status.as_u16(),
                known.bytes.len(),
                known.header("etag")
            ),
            (304, 0, &*tag),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_may_be_kept_is_said() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = recorded();
    let client = Client::of(&fake);
    let paths = media_paths(&client).await;
    let found = async || {
        let mut found = Vec::new();
        for path in &paths {
            found.push(client.get(path).await.header("cache-control").to_owned());
        }
        found
    };
    let mut expected = [
        "private, max-age=31536000, immutable",
        "private, max-age=300",
        "no-store",
        "no-store",
        "private, no-cache",
    ];
    assert_eq!(found().await, expected);
    // A moment later there may be more.
    fake.with(|state| state.late = Some("node 2 is slow to answer".to_owned()));
    expected[1] = "no-store";
    assert_eq!(found().await, expected);
}

#[tokio::test]
async fn an_export_is_put_together_from_parts_and_says_how_long_it_is() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = recorded();
    fake.record(2, 12_000, &clip::h264("640x360", 3, 2));
    let client = Client::of(&fake);
    let path = export_path(15_000);
    let whole = client.get(&path).await;
    let mut parts = Vec::new();
    while parts.len() < whole.bytes.len() {
        let range = format!("bytes={}-{}", parts.len(), parts.len() + 30_000);
        let part = client
            .ask(
                "GET",
                &path,
                &[("range", &range), ("if-range", whole.header("etag"))],
            )
            .await;
        assert_eq!(part.status.as_u16(), 206);
        parts.extend_from_slice(&part.bytes);
    }
    assert!(parts == whole.bytes);
    ffmpeg::bytes_decode(&parts);
    let length = ffmpeg::length_seconds(&parts);
    assert!(
        (14.99..15.01).contains(&length),
        "{length} s of 15 s, 3 of them a gap"
    );
    for at in ["0.5", "8.2", "13.3"] {
        ffmpeg::decodes_from(&parts, at);
    }
}

#[tokio::test]
async fn other_footage_begins_the_file_again() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = recorded();
    let client = Client::of(&fake);
    let path = export_path(9000);
    let before = client.get(&path).await;
    fake.lose(T0.plus_micros(8_000_000));
    let resumed = client
        .ask(
            "GET",
            &path,
            &[
                ("range", "bytes=1000-"),
                ("if-range", before.header("etag")),
            ],
        )
        .await;
    assert_eq!(resumed.status.as_u16(), 200);
    assert_ne!(resumed.header("etag"), before.header("etag"));
}

/// A node that is slow for a moment does not make a client begin again.
#[tokio::test]
async fn who_resumes_waits_for_who_is_late() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = recorded();
    let client = Client::of(&fake);
    let path = export_path(9000);
    let whole = client.get(&path).await;
    let (all, tag) = (
        fake.with(|state| state.entries.clone()),
        whole.header("etag"),
    );
    let late = |is_late: bool| {
        let is_listed =
            |entry: &&ChunkEntry| !is_late || entry.meta.start < T0.plus_micros(5_000_000);
        fake.with(|state| {
            state.late = is_late.then(|| "node 2 is slow to answer".to_owned());
            state.entries = all.iter().filter(is_listed).copied().collect();
        });
    };
    late(true);
    let resumed = [("range", "bytes=1000-"), ("if-range", tag)];
    for known in [&resumed[..], &[("if-match", tag)]] {
        let refused = client.ask("GET", &path, known).await;
        assert_eq!(refused.refusal(), (503, "footage-late".to_owned()));
        assert_eq!(refused.header("retry-after"), "1");
    }
    // Who has nothing gets what there is.
    let part = client.get(&path).await;
    assert_eq!(part.status.as_u16(), 200);
    assert_eq!(part.header("x-holdfast-late"), "node 2 is slow to answer");
    let part_tag = part.header("etag");
    assert_ne!(part_tag, tag);
    let of_part = [("range", "bytes=1000-"), ("if-range", part_tag)];
    assert_eq!(
        client.ask("GET", &path, &of_part).await.status.as_u16(),
        206
    );
    late(false);
    let resumed = client.ask("GET", &path, &resumed).await;
    assert_eq!(resumed.status.as_u16(), 206);
    assert_eq!(resumed.bytes, whole.bytes[1000..]);
    // The last one went away altogether.
    fake.lose(T0.plus_micros(8_000_000));
    let other = client.ask("GET", &path, &[("if-match", tag)]).await;
    assert_eq!(other.status.as_u16(), 412);
}

/// Where nothing at all is listed yet, nothing can be said of the footage.
#[tokio::test]
async fn what_only_the_late_have_may_come_in_a_moment() {
    let fake = Fake::new();
    let client = Client::of(&fake);
    let range = format!("from={T0}&to={}", T0.plus_micros(9_000_000));
    let paths = ["export.mp4", "hls/index.m3u8", "hls/pictures.m3u8"]
        .map(|path| format!("/api/v1/cameras/{CAMERA}/{path}?{range}"));
    for path in &paths {
        let found = client.get(path).await.refusal();
        assert_eq!(found, (404, "no-footage".to_owned()), "{path}");
    }
    fake.with(|state| state.late = Some("volume 1 of node 2 is slow to list".to_owned()));
    for path in &paths {
        let found = client.get(path).await.refusal();
        assert_eq!(found, (503, "footage-late".to_owned()), "{path}");
    }
}

/// A chunk that is found damaged: the promised length is kept.
#[tokio::test]
async fn a_damaged_chunk_moves_no_byte_of_the_others() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = recorded();
    let client = Client::of(&fake);
    let path = export_path(9000);
    let whole = client.get(&path).await;
    let torn = fake.chunks(TrackKind::Video)[7];
    fake.with(|state| state.damaged.insert(torn.location.offset));
    let damaged = client.get(&path).await;
    assert_eq!(damaged.bytes.len(), whole.bytes.len());
    let differ = damaged
        .bytes
        .iter()
        .zip(&whole.bytes)
        .filter(|(a, b)| a != b)
        .count();
    assert!(
        differ > 0 && differ <= torn.location.payload_bytes as usize,
        "{differ} bytes"
    );
    let at = damaged
        .bytes
        .iter()
        .zip(&whole.bytes)
        .position(|(a, b)| a != b)
        .unwrap();
    assert!(
        damaged.bytes[at..at + 12]
            .windows(4)
            .any(|kind| kind == b"free")
    );
}

/// The first place at which the bytes of two answers differ.
fn differ_at(one: &Answer, other: &Answer) -> usize {
    one.bytes
        .iter()
        .zip(&other.bytes)
        .position(|(a, b)| a != b)
        .unwrap()
}

#[tokio::test]
async fn what_was_lost_since_is_never_joined_to_what_a_client_has() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = recorded();
    let path = export_path(9000);
    let before = Client::of(&fake).get(&path).await;
    let (tag, torn) = (before.header("etag"), fake.chunks(TrackKind::Video)[7]);
    fake.with(|state| state.damaged.insert(torn.location.offset));
    let client = Client::of(&fake.restarted());
    let found = client.get(&path).await;
    let after = client.get(&path).await;
    assert!(found.bytes == after.bytes && after.bytes.len() == before.bytes.len());
    assert!(
        found.header("etag") == tag && after.header("etag") != tag,
        "it was found while it was sent"
    );
    let begins = differ_at(&before, &after);
    for resumed_at in [
        begins + 1,
        begins + torn.location.payload_bytes as usize / 2,
    ] {
        let client = Client::of(&fake.restarted());
        let range = format!("bytes={resumed_at}-");
        let resumed = client
            .ask("GET", &path, &[("range", &range), ("if-range", tag)])
            .await;
        assert_eq!(
            (resumed.status.as_u16(), resumed.header("etag")),
            (200, after.header("etag")),
            "{range}"
        );
        assert!(!resumed.broke_off && resumed.bytes == after.bytes);
        let part = Client::of(&fake.restarted())
            .ask("GET", &path, &[("range", &range)])
            .await;
        assert_eq!(
            (part.status.as_u16(), part.header("etag")),
            (206, after.header("etag")),
            "{range}"
        );
        assert!(part.bytes == after.bytes[resumed_at..]);
    }
    let (client, earlier) = (Client::of(&fake.restarted()), begins - 20_000);
    let range = format!("bytes={earlier}-");
    let joined = client
        .ask("GET", &path, &[("range", &range), ("if-range", tag)])
        .await;
    assert!(
        joined.status.as_u16() == 206 && joined.broke_off,
        "it breaks off where it would be another file"
    );
    assert!(
        joined.bytes.len() <= begins - earlier
            && before.bytes[earlier..].starts_with(&joined.bytes)
    );
    let again = client
        .ask("GET", &path, &[("range", &range), ("if-range", tag)])
        .await;
    assert!(again.status.as_u16() == 200 && again.bytes == after.bytes);
    let client = Client::of(&fake.restarted());
    let meant = client.ask("GET", &path, &[("if-match", tag)]).await;
    assert!(meant.broke_off && before.bytes.starts_with(&meant.bytes));
    assert_eq!(
        client
            .ask("GET", &path, &[("if-match", tag)])
            .await
            .refusal()
            .0,
        412
    );
    // A player names no version that it has.
    let played = Client::of(&fake.restarted())
        .ask("GET", &path, &[("range", &*range)])
        .await;
    assert!(!played.broke_off && played.bytes == after.bytes[earlier..]);
}

/// The offsets of the boxes of a file.
fn box_offsets(file: &[u8]) -> Vec<u64> {
    let (mut offsets, mut at) = (Vec::new(), 0);
    while let Some(size) = file.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        offsets.push(at as u64);
        at += u32::from_be_bytes(*size) as usize;
    }
    offsets
}

#[tokio::test]
async fn any_part_of_torn_footage_is_that_part_of_the_whole() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    fake.record(1, 0, &clip::h264_of_one_gop("320x180", 3));
    fake.record(1, 3, &clip::aac(44_100, 3));
    fake.record(2, 5000, &clip::h264_of_one_gop("320x180", 4));
    fake.record(2, 5003, &clip::aac(44_100, 4));
    fake.record(1, 9100, &clip::h264("320x180", 2, 0));
    // One was never stored, one is deleted, and two are damaged, with audio immediately before the
    // second.
    fake.lose(T0.plus_micros(7_600_000));
    let chunks = fake.chunks(TrackKind::Video);
    fake.with(|state| {
        state
            .damaged
            .extend([0, 8].map(|chunk: usize| chunks[chunk].location.offset));
        state.deleted.insert(chunks[3].location.offset);
    });
    let mut random = 7_u64;
    for strict in [false, true] {
        let path = format!("{}&strict={strict}", export_path(11_100));
        let client = Client::of(&fake.restarted());
        let found = client.get(&path).await;
        let whole = client.get(&path).await;
        assert!(found.bytes == whole.bytes && whole.header("etag") != found.header("etag"));
        let length = whole.bytes.len() as u64;
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % length
        };
        let anywhere = (0..150).map(|number| match (next(), next()) {
            (one, other) if number % 4 == 0 => (one, one + other % 100),
            (one, other) => (one.min(other), one.max(other)),
        });
        let anywhere: Vec<_> = anywhere.collect();
        let at_boxes = box_offsets(&whole.bytes)
            .into_iter()
            .map(|at| (at, at + next() % 80_000));
        for (from, to) in anywhere.into_iter().chain(at_boxes.collect::<Vec<_>>()) {
            let range = format!("bytes={from}-{to}");
            let expected = &whole.bytes[from as usize..=to.min(length - 1) as usize];
            let part = client
                .ask(
                    "GET",
                    &path,
                    &[("range", &*range), ("if-range", whole.header("etag"))],
                )
                .await;
            assert!(
                part.status.as_u16() == 206 && part.bytes == expected,
                "{range}, strict: {strict}"
            );
            let fresh = Client::of(&fake.restarted())
                .ask("GET", &path, &[("range", &*range)])
                .await;
            assert!(
                fresh.status.as_u16() == 206 && fresh.bytes == expected,
                "{range}, strict: {strict}, restarted"
            );
        }
    }
}

#[tokio::test]
async fn a_range_that_has_not_ended_ends_with_what_is_durable() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    let now_ms = 3_600_000;
    fake.record(1, now_ms - 10_000, &clip::h264("320x180", 9, 0));
    let client = Client::of(&fake);
    let path = |to_ms: i64| {
        let (from, to) = (
            T0.plus_micros((now_ms - 10_000) * 1000),
            T0.plus_micros(to_ms * 1000),
        );
        format!("/api/v1/cameras/{CAMERA}/export.mp4?from={from}&to={to}")
    };
    let growing = client.get(&path(now_ms + 60_000)).await;
    let ended = client.get(&path(now_ms - 1000)).await;
    assert!(growing.header("etag") == ended.header("etag") && growing.bytes == ended.bytes);
    assert_eq!(
        growing.header("x-holdfast-gaps"),
        "0",
        "what has yet to come is no gap"
    );
    assert_eq!(ffmpeg::decoded_frames(&growing.bytes, "v:0"), 9 * 25);
    fake.record(1, now_ms - 1000, &clip::h264("320x180", 1, 0));
    assert_ne!(
        client.get(&path(now_ms + 60_000)).await.header("etag"),
        growing.header("etag")
    );
}

/// A node behind a tap that counts the bytes that clients get from it.
async fn tapped(client: &Client) -> (u16, Arc<AtomicU64>) {
    let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = node.local_addr().unwrap();
    let router = client.router.clone();
    tokio::spawn(async move { axum::serve(node, router).await });
    // Bytes that are sent but not read yet are in the sockets' buffers: few, otherwise they would
    // count.
    let tap = TcpSocket::new_v4().unwrap();
    tap.set_send_buffer_size(16 << 10).unwrap();
    tap.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let tap = tap.listen(16).unwrap();
    let (port, taken) = (
        tap.local_addr().unwrap().port(),
        Arc::new(AtomicU64::new(0)),
    );
    let count = taken.clone();
    tokio::spawn(async move {
        while let Ok((outside, _)) = tap.accept().await {
            let (inside, count) = (TcpStream::connect(at).await.unwrap(), count.clone());
            tokio::spawn(async move {
                let ((mut ask, mut answer), (mut answered, mut asked)) =
                    (outside.into_split(), inside.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut ask, &mut asked).await });
                let mut piece = vec![0; 4096];
                while let Ok(length @ 1..) = answered.read(&mut piece).await {
                    count.fetch_add(length as u64, Ordering::Relaxed);
                    if answer.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_seeks_in_an_export_by_url_reads_little_of_it() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::new();
    let clip = clip::h264("640x360", 60, 0);
    (0..10).for_each(|minute| fake.record(1, minute * 60_000, &clip));
    let client = Client::of(&fake);
    let path = export_path(600_000);
    let length: u64 = client
        .ask("HEAD", &path, &[])
        .await
        .header("content-length")
        .parse()
        .unwrap();
    let (port, taken) = tapped(&client).await;
    let token: String = TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = format!("http://127.0.0.1:{port}{path}&token={token}");
    let seen = tokio::task::spawn_blocking(move || {
        let entries = [
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ];
        let duration =
            String::from_utf8(ffmpeg::run("ffprobe", &[&entries[..], &[&*url]].concat())).unwrap();
        let args = [
            "-v",
            "error",
            "-xerror",
            "-ss",
            "480.5",
            "-i",
            &url,
            "-frames:v",
            "1",
            "-f",
            "framemd5",
            "-",
        ];
        let frame = String::from_utf8(ffmpeg::run("ffmpeg", &args)).unwrap();
        (
            duration,
            frame.lines().filter(|line| !line.starts_with('#')).count(),
        )
    });
    let (duration, frames) = seen.await.unwrap();
    assert_eq!((duration.trim(), frames), ("600.000000", 1));
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < length / 4, "{taken} of {length} bytes");
}

#[tokio::test]
async fn a_part_is_read_from_its_own_chunks_only() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = recorded();
    let client = Client::of(&fake);
    let path = export_path(9000);
    let whole: Answer = client.get(&path).await;
    // Reading anything else would break the answer off.
    let last = fake.with(|state| {
        let last = state.chunk_count() - 1;
        state.unreachable = (0..last).collect();
        last
    });
    assert!(last > 20);
    let part = client.ask("GET", &path, &[("range", "bytes=-200")]).await;
    assert!(
        part.status.as_u16() == 206
            && !part.broke_off
            && part.bytes == whole.bytes[whole.bytes.len() - 200..]
    );
    let head = client.ask("GET", &path, &[("range", "bytes=0-99")]).await;
    assert!(
        head.status.as_u16() == 206 && head.bytes == whole.bytes[..100],
        "the head needs no chunk"
    );
}
