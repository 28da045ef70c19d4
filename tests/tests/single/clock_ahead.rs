//! A node boots with a wall clock that is two years ahead and is corrected seconds later: no
//! footage is deleted because of its age, and recording returns to true time by itself.

use crate::support::export_plays;
use holdfast_chaos::site::{STOP_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Error, Result, wait};
use holdfast_control_api::wire::{FutureFootage, VolumeRetention};
use holdfast_node::config::{Config, DEFAULT_RETENTION_CLASS, RetentionClass};
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

const TWO_YEARS_S: i64 = 2 * 365 * 24 * 3600;

/// Longer than the interval of retention.
const WRONG_FOR: Duration = Duration::from_secs(12);

/// A minute to return to true time, and a margin for a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(90);

fn tune(_: usize, config: &mut Config) {
    config.storage.segment_seconds = 2;
    let class = DEFAULT_RETENTION_CLASS.to_owned();
    config.retention = vec![RetentionClass {
        class,
        age_days: Some(30),
        bytes_max: None,
    }];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_two_years_ahead_at_a_start_costs_seconds_and_no_footage() -> Result<()> {
    let options = SiteOptions {
        tune,
        ..SiteOptions::new(1, 1)
    };
    let Some(mut site) = Site::prepare_with_wall_clocks(options).await? else {
        eprintln!(
            "LEFT OUT: a clock that is ahead at a start, for want of the Debian package libfaketime"
        );
        return Ok(());
    };
    site.cluster.form().await?;
    site.add_all().await?;
    site.wait_recorded_beyond(wall_now()).await?;
    let from = wall_now();
    sleep(Duration::from_secs(6)).await;
    let to = wall_now().plus_micros(-2_000_000);
    site.cluster.stop(0, STOP_TIMEOUT).await?;
    let before = segments(&site)?;
    assert!(before.len() >= 2, "{before:?}");

    site.set_wall_clock(0, TWO_YEARS_S)?;
    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    wait::until("it records, two years ahead", BACK_WITHIN, async || {
        let ahead = ahead_us(&site).await?;
        if ahead > 1_000_000 * (TWO_YEARS_S - 60) {
            Ok(())
        } else {
            Err(format!("{ahead} us"))
        }
    })
    .await?;
    sleep(WRONG_FOR).await;
    assert!(
        before.is_subset(&segments(&site)?),
        "nothing is deleted by a clock alone"
    );

    site.set_wall_clock(0, 0)?;
    wait::until("it records at true time", BACK_WITHIN, async || {
        let ahead = ahead_us(&site).await?;
        if ahead.abs() < 5_000_000 {
            Ok(())
        } else {
            Err(format!("{ahead} us"))
        }
    })
    .await?;
    assert!(before.is_subset(&segments(&site)?));
    let camera = site.cameras()[0].id;
    export_plays(&mut site, camera, from, to).await?;
    let back = wall_now();
    site.wait_recorded_beyond(back.plus_micros(4_000_000))
        .await?;
    export_plays(&mut site, camera, back, back.plus_micros(3_000_000)).await?;
    remove_what_was_ahead(&mut site).await?;
    assert!(before.is_subset(&segments(&site)?));
    export_plays(&mut site, camera, from, to).await?;

    // The next process does not begin at the clock's earlier time either.
    site.cluster.stop(0, STOP_TIMEOUT).await?;
    let restarted = wall_now();
    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    site.wait_recorded_beyond(restarted).await?;
    let ahead = ahead_us(&site).await.map_err(Error::Wrong)?;
    assert!(ahead.abs() < 5_000_000, "{ahead} us ahead after a restart");
    site.pass();
    Ok(())
}

async fn ahead_us(site: &Site) -> std::result::Result<i64, String> {
    let look = site.ask(0).await.map_err(|error| error.to_string())?;
    let watermark = look
        .cameras
        .first()
        .and_then(|camera| camera.recording.watermark);
    // Between two epochs there is no watermark.
    Ok(watermark
        .ok_or("nothing is durable in this epoch yet")?
        .micros_since(wall_now()))
}

/// Footage recorded ahead is listed, and an operator can remove it, except for a segment that also
/// has true times.
async fn remove_what_was_ahead(site: &mut Site) -> Result<()> {
    let listed = future(site).await?;
    let recorded_us = |listed: &[FutureFootage]| -> i64 {
        listed
            .iter()
            .map(|ahead| ahead.span.end.micros_since(ahead.span.start))
            .sum()
    };
    assert!(recorded_us(&listed) > 8_000_000, "{listed:?}");
    let body = serde_json::json!({});
    // The first process was too short to be certain of its clock: for this one, an operator
    // vouches.
    let refused = site
        .api()?
        .call(Method::POST, &["retention", "remove-future"], Some(&body))
        .await;
    let refusal = refused.map(drop).map_err(|error| error.to_string());
    assert!(
        refusal
            .as_ref()
            .is_err_and(|error| error.contains("not certain of the time")),
        "{refusal:?}"
    );
    site.api()?
        .call(Method::POST, &["retention", "release"], Some(&body))
        .await?;
    wait::until("the time is certain", BACK_WITHIN, async || {
        let api = site.cluster.api(0).map_err(|error| error.to_string())?;
        let volumes: Vec<VolumeRetention> = api
            .get(&["retention"], &[])
            .await
            .map_err(|error| error.to_string())?;
        if volumes.iter().all(|volume| volume.time_is_certain) {
            Ok(())
        } else {
            Err(format!("{volumes:?}"))
        }
    })
    .await?;
    site.api()?
        .call(Method::POST, &["retention", "remove-future"], Some(&body))
        .await?;
    wait::until("what was ahead is gone", BACK_WITHIN, async || {
        let api = site.cluster.api(0).map_err(|error| error.to_string())?;
        let left: Vec<FutureFootage> = api
            .get(&["retention", "future"], &[])
            .await
            .map_err(|error| error.to_string())?;
        let left_us = recorded_us(&left);
        if left_us < 5_000_000 {
            Ok(())
        } else {
            Err(format!("{left_us} us are left"))
        }
    })
    .await
}

async fn future(site: &mut Site) -> Result<Vec<FutureFootage>> {
    Ok(site.api()?.get(&["retention", "future"], &[]).await?)
}

fn segments(site: &Site) -> Result<BTreeSet<PathBuf>> {
    let folder = site.cluster.config(0).volume_paths()[0]
        .join("segments")
        .join(DEFAULT_RETENTION_CLASS);
    let wrong = |error: std::io::Error| Error::Wrong(format!("{}: {error}", folder.display()));
    let entries = std::fs::read_dir(&folder).map_err(wrong)?;
    entries
        .map(|entry| Ok(entry.map_err(wrong)?.path()))
        .collect()
}
