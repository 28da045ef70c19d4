//! Cameras falter and continue: the timeline has the time and the cause, and everything still
//! plays.

use crate::support::export_plays;
use holdfast_camera::Picture;
use holdfast_chaos::oracle::{MARGIN, count_one, expect_covered, expect_whole};
use holdfast_chaos::site::{Site, SiteCamera, SiteOptions};
use holdfast_chaos::{Error, Result, coverage};
use holdfast_consensus::model::Transport;
use holdfast_control_api::playback::GAP_MICROS_MIN;
use holdfast_control_api::playback::growing::SETTLED_AFTER;
use holdfast_control_api::wire::{Gap, Timeline};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::cmaf::probe;
use holdfast_storage::time::Timestamp;
use m3u8_rs::{MediaPlaylist, MediaSegment};
use reqwest::Method;
use std::time::Duration;
use tokio::time::sleep;

const A_WHILE: Duration = Duration::from_secs(3);

const FREEZE: Duration = Duration::from_secs(5);

/// Of two losses so far apart, one at least is not at the end of a GOP.
const HALF_A_GOP: Duration = Duration::from_millis(500);

/// How often the end of a timeline is compared with the watermark.
const LOOKS: usize = 5;

/// The most that the bounds of a reported gap may be off, in microseconds.
const BOUNDS_US: i64 = 1_000_000;

/// Numbers of the cameras at the server.
const STALLED: u32 = 1;
const LOSSY: u32 = 2;
const CHANGING: u32 = 3;
const STEADY: u32 = 4;
const SHUFFLED: u32 = 5;
const JUMPING: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hiccups_are_reported_with_their_cause_and_everything_still_plays() -> Result<()> {
    let mut site = Site::prepare(SiteOptions::new(1, JUMPING)).await?;
    site.cluster.form().await?;
    for number in STALLED..=JUMPING {
        let transport = if number == SHUFFLED {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        site.add_served(number, &format!("cam{number}"), transport)
            .await?;
    }
    site.wait_recorded_beyond(wall_now()).await?;
    let from = wall_now();
    sleep(A_WHILE).await;
    let (frozen_at, resumed_at) = hiccup(&site).await?;
    sleep(A_WHILE).await;
    let to = wall_now();
    site.wait_recorded_beyond(to.plus(MARGIN)).await?;

    for number in [STEADY, JUMPING, CHANGING] {
        let camera = site.camera(number)?.clone();
        expect_whole([&count_one(&mut site, &camera, from, to).await?])?;
    }
    let shuffled = site.camera(SHUFFLED)?.clone();
    let verdict = count_one(&mut site, &shuffled, from, to).await?;
    println!(
        "of the camera with packets out of order {} frames are lost",
        verdict.loss.lost
    );
    assert!(
        verdict.loss.lost <= 50 && verdict.loss.foreign == 0,
        "{verdict:?}"
    );
    stall_is_reported(
        &site,
        site.camera(STALLED)?,
        (from, to),
        (frozen_at, resumed_at),
    )
    .await?;
    loss_is_reported(&mut site, from, to).await?;
    for camera in site.cameras().to_vec() {
        expect_covered(&site, 0, camera.id, from, to).await?;
        export_plays(&mut site, camera.id, from, to).await?;
        playlist_plays(&site, &camera, from, to).await?;
    }
    ends_at_the_watermark(&site, site.camera(STEADY)?, from).await?;
    site.pass();
    Ok(())
}

/// Causes all hiccups at once; returns the interval in which one camera was frozen.
async fn hiccup(site: &Site) -> Result<(Timestamp, Timestamp)> {
    site.camera(CHANGING)?.handle.set_picture(Picture::Small);
    lose_packets(site)?;
    site.camera(SHUFFLED)?.handle.reorder_frames(10);
    site.camera(JUMPING)?.handle.jump_timestamps(3_600_000);
    let frozen_at = wall_now();
    site.camera(STALLED)?.handle.freeze();
    sleep(HALF_A_GOP).await;
    lose_packets(site)?;
    sleep(FREEZE - HALF_A_GOP).await;
    site.camera(STALLED)?.handle.resume();
    let resumed_at = wall_now();
    site.camera(CHANGING)?.handle.set_picture(Picture::Main);
    site.camera(JUMPING)?.handle.jump_timestamps(-7_200_000);
    Ok((frozen_at, resumed_at))
}

/// Loses several frames: less than 100 ms is no gap in a timeline. Where they are the last ones of
/// a GOP, no frame that is left refers to them.
fn lose_packets(site: &Site) -> Result<()> {
    site.camera(LOSSY)?.handle.drop_packets(30);
    Ok(())
}

async fn stall_is_reported(
    site: &Site,
    camera: &SiteCamera,
    (from, to): (Timestamp, Timestamp),
    (frozen_at, resumed_at): (Timestamp, Timestamp),
) -> Result<()> {
    let timeline = site.timeline(0, camera.id, from, to).await?;
    let stalls: Vec<&Gap> = timeline
        .gaps
        .iter()
        .filter(|gap| gap.cause == GapCause::CameraStalled)
        .collect();
    let [stall] = stalls.as_slice() else {
        panic!("one stall: {timeline:?}")
    };
    let off = [
        stall.start.micros_since(frozen_at),
        stall.end.micros_since(resumed_at),
    ];
    println!("the reported stall is {off:?} us off");
    // It begins with the last frame; it ends with the first keyframe of the next session, up to a
    // GOP after the resumption.
    assert!(
        off[0].abs() <= BOUNDS_US && (-BOUNDS_US..=2 * BOUNDS_US).contains(&off[1]),
        "{off:?}: {timeline:?}"
    );
    Ok(())
}

async fn loss_is_reported(site: &mut Site, from: Timestamp, to: Timestamp) -> Result<()> {
    let camera = site.camera(LOSSY)?.clone();
    let timeline = site.timeline(0, camera.id, from, to).await?;
    assert!(
        timeline
            .gaps
            .iter()
            .any(|gap| gap.cause == GapCause::PacketsLost),
        "{timeline:?}"
    );
    let verdict = count_one(site, &camera, from, to).await?;
    assert!(
        timeline.spans.iter().any(|span| span.damaged),
        "what refers to lost frames: {timeline:?}"
    );
    // It is served nevertheless.
    assert!((1..=50).contains(&verdict.loss.lost), "{verdict:?}");
    Ok(())
}

/// The timeline ends with durable footage, not with footage that is expected to become durable. A
/// report may be late, but not each time.
async fn ends_at_the_watermark(site: &Site, camera: &SiteCamera, from: Timestamp) -> Result<()> {
    let mut ends = Vec::new();
    for _ in 0..LOOKS {
        let (before, end, after) = end_and_watermarks(site, camera, from).await?;
        let latest = after.map(|mark| mark.plus_micros(holdfast_storage::timeline::HOLE_US_MIN));
        if before <= end && end <= latest {
            return Ok(());
        }
        ends.push((before, end, after));
    }
    panic!("{ends:?}");
}

/// Where the timeline ends, and the watermarks before and after it was fetched.
async fn end_and_watermarks(
    site: &Site,
    camera: &SiteCamera,
    from: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>, Option<Timestamp>)> {
    let watermark = |timeline: &Timeline| coverage::extent(timeline).map(|(_, end)| end);
    let before = site
        .ask(0)
        .await?
        .cameras
        .into_iter()
        .find(|known| known.id == camera.id);
    let timeline = site
        .timeline(0, camera.id, from, wall_now().plus(Duration::from_secs(60)))
        .await?;
    // A node's report about its recorders is a tick or two old.
    sleep(Duration::from_millis(500)).await;
    let after = site
        .ask(0)
        .await?
        .cameras
        .into_iter()
        .find(|known| known.id == camera.id);
    let [before, after] =
        [before, after].map(|known| known.and_then(|known| known.recording.watermark));
    assert!(
        coverage::faults(&timeline).is_empty(),
        "{:?}",
        coverage::faults(&timeline)
    );
    Ok((before, watermark(&timeline), after))
}

/// The playlist has a gap wherever the timeline has one that it can show, and every segment that it
/// lists plays.
async fn playlist_plays(
    site: &Site,
    camera: &SiteCamera,
    from: Timestamp,
    to: Timestamp,
) -> Result<()> {
    let base = format!("cameras/{}/hls", camera.id);
    // Until then it grows.
    sleep(SETTLED_AFTER).await;
    let answer = site
        .send(
            0,
            Method::GET,
            &format!("{base}/index.m3u8?from={from}&to={to}&gaps=entries"),
            None::<&()>,
        )
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let playlist = m3u8_rs::parse_media_playlist_res(text.as_bytes())
        .map_err(|error| Error::Wrong(format!("{error}: {text}")))?;
    let gaps: Vec<usize> = (0..playlist.segments.len())
        .filter(|&at| is_gap(&playlist.segments[at]))
        .collect();
    let known_gaps = site.timeline(0, camera.id, from, to).await?.gaps;
    let can_show = known_gaps
        .iter()
        .any(|gap| gap.end.micros_since(gap.start) >= GAP_MICROS_MIN);
    assert!(
        !can_show || !gaps.is_empty(),
        "EXT-X-GAP is where the timeline has a gap: {known_gaps:?}:\n{text}"
    );
    let may_skip = [STALLED, LOSSY, SHUFFLED].contains(&camera.handle.id());
    assert!(
        may_skip || gaps.is_empty(),
        "nothing is missing, and yet there is EXT-X-GAP:\n{text}"
    );
    segments_begin_with_keyframes(site, &base, &playlist).await
}

fn is_gap(segment: &MediaSegment) -> bool {
    segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP")
}

async fn segments_begin_with_keyframes(
    site: &Site,
    base: &str,
    playlist: &MediaPlaylist,
) -> Result<()> {
    let mut fetched = 0;
    for segment in playlist.segments.iter().filter(|segment| !is_gap(segment)) {
        if let Some(map) = &segment.map {
            let init = site
                .send(0, Method::GET, &format!("{base}/{}", map.uri), None::<&()>)
                .await?;
            assert_eq!(
                (init.status, init.body.get(4..8)),
                (200, Some(b"ftyp".as_slice())),
                "{}",
                map.uri
            );
        }
        let media = site
            .send(
                0,
                Method::GET,
                &format!("{base}/{}", segment.uri),
                None::<&()>,
            )
            .await?;
        assert_eq!(media.status, 200, "{}: {}", segment.uri, media.text());
        let range = probe::chunk_ranges(&media.body)
            .next()
            .expect("a chunk")
            .expect("a sound chunk");
        let samples =
            probe::samples(&media.body[range]).map_err(|error| Error::Wrong(error.to_string()))?;
        assert!(
            segment.uri.contains("within_gop=true")
                || samples.first().is_some_and(|sample| sample.is_sync),
            "{} begins with {:?}",
            segment.uri,
            samples.first()
        );
        assert!(
            segment.program_date_time.is_some() || fetched > 0,
            "the first segment has no date"
        );
        fetched += 1;
    }
    assert!(fetched > 0, "the playlist lists no segment");
    Ok(())
}
