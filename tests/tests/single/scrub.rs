//! The scrub finds data that rots on the disk, reports it with camera and time, and the node no
//! longer serves it.

use crate::support::export_plays;
use crate::support::rot::turn_a_bit;
use holdfast_chaos::oracle::{count_all, count_one, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, ffmpeg, prometheus, wait, web};
use holdfast_control_api::playback::growing::SETTLED_AFTER;
use holdfast_control_api::wire;
use holdfast_node::config::ByteSize;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::{ChunkEntry, GapCause};
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use std::fs;
use std::time::Duration;
use tokio::time::sleep;

/// Several segments, at two seconds each.
const RECORDED: Duration = Duration::from_secs(8);

fn options() -> SiteOptions {
    let tune = |_: usize, config: &mut holdfast_node::config::Config| {
        config.storage.segment_seconds = 2;
        config.storage.scrub_bytes_per_second_max = ByteSize(1 << 30);
    };
    SiteOptions {
        tune,
        ..SiteOptions::new(1, 2)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_found_reported_and_left_out_and_the_rest_is_served() -> Result<()> {
    let mut site = Site::start(options()).await?;
    let from = wall_now();
    sleep(RECORDED).await;
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    assert_eq!(
        site.cluster.stop(0, STOP_TIMEOUT).await?.code(),
        Some(0),
        "{}",
        site.cluster.log_tail(0)
    );

    let camera = site.cameras()[0].clone();
    let class = site.cluster.config(0).volume_paths()[0].join("segments/default");
    let mut segments: Vec<_> = fs::read_dir(class)
        .expect("segments")
        .map(|entry| entry.expect("one").path())
        .collect();
    segments.sort();
    let (_, rotten) = turn_a_bit(&segments, camera.id, (from, to))?;

    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    let accepted = site
        .send(0, Method::POST, "nodes/1/scrub", None::<&()>)
        .await?;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let found = wait::until("the scrub finds the damage", SETTLE_TIMEOUT, async || {
        damaged(&site).await
    })
    .await?;
    assert_eq!(
        (found.camera, found.start, found.end),
        (camera.id, rotten.meta.start, rotten.meta.end())
    );
    is_reported(&site, &rotten).await?;

    let timeline = site.timeline(0, camera.id, from, to).await?;
    let gaps: Vec<_> = timeline
        .gaps
        .iter()
        .map(|gap| (gap.start, gap.end, gap.cause))
        .collect();
    // Nothing can be decoded up to the next keyframe; these cameras send one a second.
    let [(start, end, GapCause::Damaged)] = gaps[..] else {
        panic!("{gaps:?}")
    };
    assert_eq!(start, rotten.meta.start);
    assert!(
        (rotten.meta.end()..=start.plus_micros(1_100_000)).contains(&end),
        "{gaps:?} of {rotten:?}"
    );
    export_plays(&mut site, camera.id, from, to).await?;
    let verdict = count_one(&mut site, &camera, from, to).await?;
    assert!(
        (1..=30).contains(&verdict.loss.lost) && verdict.loss.gaps.len() == 1,
        "{verdict:?}"
    );
    hls_plays(&site, camera.id, from, to).await?;
    let other = site.cameras()[1].clone();
    expect_whole(&[count_one(&mut site, &other, from, to).await?])?;
    site.pass();
    Ok(())
}

/// The first damaged chunk that the node lists.
async fn damaged(site: &Site) -> std::result::Result<wire::DamagedChunk, String> {
    let answer: std::result::Result<Vec<wire::VolumeScrub>, _> = site
        .cluster
        .api(0)
        .map_err(|error| error.to_string())?
        .get(&["scrub"], &[])
        .await;
    let volumes = answer.map_err(|error| error.to_string())?;
    let first = volumes
        .iter()
        .flat_map(|volume| &volume.damaged)
        .next()
        .copied();
    first.ok_or_else(|| format!("{volumes:?}"))
}

/// In the metrics with the camera, in the log with camera and time.
async fn is_reported(site: &Site, rotten: &ChunkEntry) -> Result<()> {
    let page = site.metrics(0).await?;
    let label = format!("camera=\"{}\"", rotten.meta.camera);
    assert_eq!(
        prometheus::sum(&page, "holdfast_volume_damaged_chunks", Some(&label)),
        Some(1.0)
    );
    assert_eq!(
        prometheus::sum(&page, "holdfast_volume_damaged_chunks", None),
        Some(1.0)
    );
    assert_eq!(
        prometheus::sum(&page, "holdfast_volume_found_damaged_chunks_total", None),
        Some(1.0)
    );
    let log = fs::read_to_string(site.cluster.log_path(0)).expect("the log");
    let line = log
        .lines()
        .find(|line| line.contains("is damaged"))
        .expect("the log reports the damage");
    for part in [
        format!("camera={}", rotten.meta.camera),
        rotten.meta.start.to_string(),
        rotten.meta.end().to_string(),
    ] {
        assert!(line.contains(&part), "{part} is not in: {line}");
    }
    Ok(())
}

/// Fetches the whole presentation, and has ffmpeg decode it.
async fn hls_plays(
    site: &Site,
    camera: holdfast_storage::ids::CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<()> {
    let folder = format!("{}/api/v1/cameras/{camera}/hls", site.cluster.api_url(0));
    // Until then it grows.
    sleep(SETTLED_AFTER).await;
    let token = site.cluster.token().0.clone();
    let get = async |uri: &str| {
        web::send(
            Method::GET,
            &format!("{folder}/{uri}"),
            Some(&token),
            None::<&()>,
        )
        .await
    };
    let playlist = get(&format!("index.m3u8?from={from}&to={to}&gaps=entries"))
        .await?
        .text();
    assert!(playlist.contains("#EXT-X-GAP"), "{playlist}");
    let map = playlist
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\""))
        .expect("a map");
    let mut file = get(map.trim_end_matches('"')).await?.body;
    let media: Vec<&str> = playlist
        .lines()
        .filter(|line| line.starts_with("segment.m4s"))
        .collect();
    assert!(media.len() >= 2, "{playlist}");
    for uri in media {
        let answer = get(uri).await?;
        assert_eq!(answer.status, 200, "{uri}: {}", answer.text());
        file.extend(answer.body);
    }
    let path = site.dir().join("hls.mp4");
    fs::write(&path, &file).expect("a file");
    if ffmpeg::is_installed().await {
        assert_eq!(ffmpeg::complaints(&path).await?, "", "{playlist}");
    } else {
        eprintln!("LEFT OUT: decoding what HLS serves, for want of ffmpeg");
    }
    Ok(())
}
