//! One node stops in order, or is killed: received frames survive the former, durable ones the
//! latter.

use holdfast_chaos::oracle::{count_one, expect_whole};
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, wait};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

/// The bench measures a hundred.
const ORDERLY_STOPS: usize = 20;

const KILLS: usize = 4;

/// At most a chunk, a flush and a frame are at risk, 0.8 s, and what a busy machine's disk takes;
/// the bench measures the figure.
const KILL_LOSS_MAX: Duration = Duration::from_secs(3);

/// How long after its start a node may take until it records again, with other tests running at the
/// same time.
const RESUME_MAX: Duration = Duration::from_secs(20);

/// How long a frame may be in transit: a camera stamps it when it is due, and sends it when the
/// machine allows. Later ones had not been received when the signal came.
const ON_ITS_WAY_US: i64 = 300_000;

/// How long to record between two stops.
const RUN: Duration = Duration::from_millis(900);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_loses_nothing_twenty_times_of_twenty() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(1, 3)).await?;
    let mut runs = Vec::new();
    for _ in 0..ORDERLY_STOPS {
        runs.push(run_until(&mut site, RUN, Ending::Orderly).await?);
    }
    site.wait_recorded_beyond(wall_now()).await?;
    for (from, to) in runs {
        for camera in site.cameras().to_vec() {
            let received = to.plus_micros(-ON_ITS_WAY_US);
            expect_whole([&count_one(&mut site, &camera, from, received).await?])?;
        }
    }
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_at_most_the_last_moment_and_recording_resumes_at_once() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(1, 3)).await?;
    let mut runs = Vec::new();
    for kill in 0..KILLS {
        // At any point between two flushes, and longer than what may be lost.
        let length = Duration::from_millis(4000 + 137 * kill as u64);
        runs.push(run_until(&mut site, length, Ending::Killed).await?);
    }
    site.wait_recorded_beyond(wall_now()).await?;
    for (from, to) in runs {
        for camera in site.cameras().to_vec() {
            let verdict = count_one(&mut site, &camera, from, to).await?;
            let lost_ms = verdict.loss.worst_gap_ms();
            println!("{}: {lost_ms} ms lost", camera.name);
            let killed_us = u64::try_from(to.micros()).unwrap_or(0);
            let is_last = |next| {
                camera
                    .handle
                    .captured_us(next)
                    .is_none_or(|captured_us| captured_us >= killed_us)
            };
            let at_the_end = verdict.loss.gaps.iter().all(|gap| is_last(gap.to));
            assert!(verdict.loss.gaps.len() <= 1 && at_the_end, "{verdict:?}");
            assert!(lost_ms <= KILL_LOSS_MAX.as_millis() as u64, "{verdict:?}");
        }
    }
    site.pass();
    Ok(())
}

enum Ending {
    Orderly,
    Killed,
}

/// Records for `length`, ends the node and starts it again. Returns the interval that must be there
/// afterwards.
async fn run_until(
    site: &mut Site,
    length: Duration,
    ending: Ending,
) -> Result<(Timestamp, Timestamp)> {
    let from = resumed(site).await?;
    sleep(length).await;
    let to = wall_now();
    match ending {
        Ending::Killed => site.cluster.kill(0).await?,
        Ending::Orderly => {
            let ended = site.cluster.stop(0, STOP_TIMEOUT).await?;
            assert_eq!(ended.code(), Some(0), "{}", site.cluster.log_tail(0));
        }
    }
    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    Ok((from, to))
}

/// Waits until every camera is durable beyond now; returns the earliest of their watermarks.
async fn resumed(site: &mut Site) -> Result<Timestamp> {
    let started = wall_now();
    wait::until("recording resumed at once", RESUME_MAX, async || {
        let look = site.ask(0).await.map_err(|error| error.to_string())?;
        let marks: Vec<_> = look
            .cameras
            .iter()
            .map(|camera| camera.recording.watermark)
            .collect();
        let all: Option<Vec<Timestamp>> = marks.iter().copied().collect();
        let least = all
            .and_then(|all| all.into_iter().min())
            .filter(|least| *least > started);
        least.ok_or_else(|| format!("{marks:?}, since {started}"))
    })
    .await
}
