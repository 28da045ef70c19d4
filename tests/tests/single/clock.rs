//! The wall clock of a node is stepped while it records: no frame is lost, recorded time never goes
//! back, and durable footage stays unchanged.

use crate::support::export_plays;
use holdfast_camera::count;
use holdfast_chaos::site::{SETTLE_TIMEOUT, STOP_TIMEOUT, Site, SiteCamera, SiteOptions};
use holdfast_chaos::{Error, Result, coverage, prometheus, wait};
use holdfast_control_api::wire::{Span, Timeline};
use holdfast_node::demo::footage;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;

const CAMERAS: u32 = 2;

/// Settings of the wall clock, one after the other, in seconds ahead of the system's: back a
/// little, ahead by 90 s, back by 90 s.
const STEPS: [i64; 3] = [-2, 88, -2];

/// How long to record between two steps.
const A_WHILE: Duration = Duration::from_secs(3);

/// Reaches beyond all recorded times.
const MARGIN: Duration = Duration::from_secs(200);

/// A step is noticed at a packet, and takes effect at a keyframe; libfaketime checks for one once a
/// second.
const SLACK_US: i64 = 5_000_000;

const STEPS_METRIC: &str = "holdfast_clock_steps_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_the_wall_clock_lose_no_frame_and_recorded_time_never_goes_back() -> Result<()> {
    let Some(mut site) = Site::prepare_with_wall_clocks(SiteOptions::new(1, CAMERAS)).await? else {
        eprintln!("LEFT OUT: steps of the wall clock, for want of the Debian package libfaketime");
        return Ok(());
    };
    site.cluster.form().await?;
    site.add_all().await?;
    site.wait_recorded_beyond(wall_now()).await?;
    let from = wall_now();
    record_a_while(&site).await?;
    let mut recorded_ahead = 0;
    for (number, ahead) in STEPS.into_iter().enumerate() {
        step(&site, number + 1, ahead).await?;
        recorded_ahead = recorded_ahead.max(ahead);
        watermarks_are(&site, recorded_ahead).await?;
    }
    let log = std::fs::read_to_string(site.cluster.log_path(0))
        .map_err(|error| Error::Wrong(error.to_string()))?;
    assert!(log.contains("the system's wall clock stepped"), "{log}");
    let to = wall_now();
    record_a_while(&site).await?;
    judge(&mut site, from, to).await?;

    // Recorded time does not go back in the next process either, whose clock is still behind the
    // recording.
    let (before, begun) = (snapshots(&site).await?, watermarks(&site).await?);
    site.cluster.stop(0, STOP_TIMEOUT).await?;
    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    record_on(&site, &begun).await?;
    unchanged(&site, &before).await?;
    site.pass();
    Ok(())
}

/// Sets the clock while everything records; footage that was durable before must be the same
/// afterwards.
async fn step(site: &Site, number: usize, ahead: i64) -> Result<()> {
    let before = snapshots(site).await?;
    site.set_wall_clock(0, ahead)?;
    wait::until(
        "every recorder has seen the step",
        SETTLE_TIMEOUT,
        async || {
            let page = site.metrics(0).await.map_err(|error| error.to_string())?;
            let seen = prometheus::sum(&page, STEPS_METRIC, None).unwrap_or_default();
            if seen == (number * CAMERAS as usize) as f64 {
                Ok(())
            } else {
                Err(format!("{seen} steps"))
            }
        },
    )
    .await?;
    record_a_while(site).await?;
    unchanged(site, &before).await
}

async fn record_a_while(site: &Site) -> Result<()> {
    record_on(site, &watermarks(site).await?).await
}

/// Waits until every camera has recorded for a while longer.
async fn record_on(site: &Site, begun: &[(CameraId, Timestamp)]) -> Result<()> {
    wait::until("recording continues", SETTLE_TIMEOUT, async || {
        let now = watermarks(site).await.map_err(|error| error.to_string())?;
        let is_on = now
            .iter()
            .zip(begun)
            .all(|(now, begun)| now.1 >= begun.1.plus(A_WHILE));
        if is_on {
            Ok(())
        } else {
            Err(format!("{now:?} after {begun:?}"))
        }
    })
    .await
}

async fn watermarks(site: &Site) -> Result<Vec<(CameraId, Timestamp)>> {
    let cameras = site.ask(0).await?.cameras;
    Ok(cameras
        .iter()
        .map(|camera| {
            (
                camera.id,
                camera.recording.watermark.unwrap_or(Timestamp::MIN),
            )
        })
        .collect())
}

/// Checks that watermarks are as far ahead of the system's clock as recorded time: as the wall
/// clock, or as before a step back.
async fn watermarks_are(site: &Site, ahead: i64) -> Result<()> {
    for (camera, watermark) in watermarks(site).await? {
        let off = watermark.micros_since(wall_now()) - ahead * 1_000_000;
        assert!(
            (-SLACK_US..=SLACK_US).contains(&off),
            "the watermark of camera {camera} is {off} us off {ahead} s"
        );
    }
    Ok(())
}

/// Each camera's timeline, up to its watermark.
async fn snapshots(site: &Site) -> Result<Vec<Timeline>> {
    let mut snapshots = Vec::new();
    for (camera, watermark) in watermarks(site).await? {
        snapshots.push(
            site.timeline(0, camera, watermark.plus_micros(-200_000_000), watermark)
                .await?,
        );
    }
    Ok(snapshots)
}

async fn unchanged(site: &Site, before: &[Timeline]) -> Result<()> {
    for (before, (_, watermark)) in before.iter().zip(watermarks(site).await?) {
        assert!(
            watermark >= before.to,
            "the watermark went back from {} to {watermark}",
            before.to
        );
        let now = site
            .timeline(0, before.camera, before.from, before.to)
            .await?;
        assert_eq!((lasting(&now), &now.gaps), (lasting(before), &before.gaps));
    }
    Ok(())
}

/// The spans without the flag that changes as time passes: whether they are in the future.
fn lasting(timeline: &Timeline) -> Vec<Span> {
    timeline
        .spans
        .iter()
        .map(|span| Span {
            in_future: false,
            ..span.clone()
        })
        .collect()
}

async fn judge(site: &mut Site, from: Timestamp, to: Timestamp) -> Result<()> {
    let (begin, end) = (
        from.plus_micros(-(MARGIN.as_micros() as i64)),
        to.plus(MARGIN),
    );
    for SiteCamera { handle, id, name } in site.cameras().to_vec() {
        let stamps = footage::stamps(&site.api()?, id, begin, end).await?;
        let loss = count(
            handle.id(),
            &handle.sent_between(from.micros() as u64, to.micros() as u64),
            &stamps,
        );
        assert!(
            loss.sent > 0 && (loss.lost, loss.reordered, loss.foreign) == (0, 0, 0),
            "{name}: {loss:?}"
        );
        let timeline = site.timeline(0, id, begin, end).await?;
        let faults = coverage::faults(&timeline);
        assert!(faults.is_empty(), "{name}: {faults:?}");
        let in_order = timeline
            .spans
            .is_sorted_by_key(|span| (span.epoch, span.start, span.end));
        assert!(in_order, "{name}: {:?}", timeline.spans);
        let steps_on: Vec<_> = timeline
            .gaps
            .iter()
            .filter(|gap| gap.cause == GapCause::Unknown)
            .collect();
        let [step_on] = steps_on[..] else {
            panic!("{name}: one step on, which is a gap: {:?}", timeline.gaps)
        };
        // Recorded time had not followed the first step back: it jumps from 2 s ahead of that clock
        // to the one set ahead.
        let off = step_on.end.micros_since(step_on.start) - 88_000_000;
        assert!(
            off.abs() <= SLACK_US,
            "{name}: the gap is {off} us off: {step_on:?}"
        );
        export_plays(site, id, begin, end).await?;
    }
    Ok(())
}
