//! The oracle: compares what the cameras sent with what the cluster serves, by the cameras' own
//! stamps.

use crate::site::{SETTLE_TIMEOUT, Site, SiteCamera};
use crate::{Error, Result, coverage, wait};
use holdfast_camera::{Loss, count};
use holdfast_node::demo::footage;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// The most that wall time in recordings may differ from a camera's own: the range fetched is this
/// much larger than the range counted.
pub const MARGIN: Duration = Duration::from_secs(1);

/// The result for one camera.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub name: String,
    pub loss: Loss,
}

/// Frames lost of every camera between the two instants. Waits until all of it is durable and
/// everything recorded can be played.
///
/// # Errors
/// If that does not happen in time, or footage cannot be fetched.
pub async fn count_all(site: &mut Site, from: Timestamp, to: Timestamp) -> Result<Vec<Verdict>> {
    site.wait_recorded_beyond(to.plus(MARGIN)).await?;
    let mut verdicts = Vec::new();
    for camera in site.cameras().to_vec() {
        wait_available(site, camera.id, from, to).await?;
        verdicts.push(count_one(site, &camera, from, to).await?);
    }
    Ok(verdicts)
}

/// Frames lost of one camera, according to the footage that can be played now.
///
/// # Errors
/// If footage cannot be fetched or is damaged.
pub async fn count_one(
    site: &mut Site,
    camera: &SiteCamera,
    from: Timestamp,
    to: Timestamp,
) -> Result<Verdict> {
    let api = site.api()?;
    let stamps = footage::stamps(&api, camera.id, back(from, MARGIN), to.plus(MARGIN)).await?;
    let sent = camera.handle.sent_between(micros(from), micros(to));
    Ok(Verdict {
        name: camera.name.clone(),
        loss: count(camera.handle.id(), &sent, &stamps),
    })
}

/// Waits until everything recorded in the range can be played: a dead node's footage returns with
/// the node.
///
/// # Errors
/// If that is not so in time.
pub async fn wait_available(
    site: &mut Site,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<()> {
    wait::until(
        "everything recorded can be played",
        SETTLE_TIMEOUT,
        async || {
            let index = site.running().map_err(|error| error.to_string())?;
            let timeline = site
                .timeline(index, camera, from, to)
                .await
                .map_err(|error| error.to_string())?;
            match timeline.spans.iter().find(|span| !span.available) {
                None => Ok(()),
                Some(span) => Err(format!("{span:?}")),
            }
        },
    )
    .await
}

/// Checks that no frame is lost, duplicated, out of order or another camera's.
///
/// # Errors
/// [`Error::Wrong`] with every camera that fails the check.
pub fn expect_whole<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Result<()> {
    let mut wrong = Vec::new();
    for Verdict { name, loss } in verdicts {
        if loss.sent == 0 || (loss.lost, loss.reordered, loss.foreign) != (0, 0, 0) {
            wrong.push(format!("{name}: {loss:?}"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Wrong(wrong.join("\n")))
    }
}

/// Checks that at most one run of frames is lost, for at most `longest`, and that everything before
/// and after it is there.
///
/// # Errors
/// [`Error::Wrong`] if the check fails.
pub fn expect_one_gap(verdict: &Verdict, longest: Duration) -> Result<()> {
    let Verdict { name, loss } = verdict;
    let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    if loss.gaps.len() > 1
        || loss.worst_gap_ms() > longest_ms
        || (loss.reordered, loss.foreign) != (0, 0)
    {
        return Err(Error::Wrong(format!(
            "{name}: more than one gap of {longest_ms} ms: {loss:?}"
        )));
    }
    Ok(())
}

/// Checks that the camera's timeline covers `from` to `to` exactly once, up to a tolerance.
///
/// # Errors
/// [`Error::Wrong`] if the check fails.
pub async fn expect_covered(
    site: &Site,
    index: usize,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<()> {
    let timeline = site.timeline(index, camera, from, to).await?;
    let mut faults = coverage::faults(&timeline);
    let tolerance = holdfast_storage::timeline::HOLE_US_MIN;
    match coverage::extent(&timeline) {
        Some((start, end)) => {
            faults.extend(
                (start.micros_since(from) > tolerance)
                    .then(|| format!("nothing covers the time before {start}")),
            );
            faults.extend(
                (to.micros_since(end) > tolerance)
                    .then(|| format!("nothing covers the time after {end}")),
            );
        }
        None => faults.push("it is empty".to_owned()),
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::Wrong(format!(
        "the timeline of camera {camera}: {}; it is {timeline:?}",
        faults.join("; ")
    )))
}

fn back(time: Timestamp, by: Duration) -> Timestamp {
    time.plus_micros(-i64::try_from(by.as_micros()).unwrap_or(0))
}

fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.micros()).unwrap_or(0)
}
