//! Collects the remaining evidence when a run is over: timelines, footage, logs.

use super::footage::{self, Footage};
use super::look;
use super::played::Players;
use crate::evidence::{CameraEvidence, Evidence, NodeEvidence, SoundEvidence};
use crate::history::{History, What};
use crate::invariants::{self};
use crate::oracle::MARGIN;
use crate::player::Showing;
use crate::scenario::{Class, Scenario};
use crate::site::SiteCamera;
use crate::stage::Stage;
use crate::{Error, Result, wait};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_camera::count;
use holdfast_control_api::wire::Timeline;
use holdfast_node::client::Api;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// Cameras whose footage is fetched at the same time: a node runs few exports at once.
const FETCHES_MAX: usize = 2;

/// How long to wait until everything recorded can be played: a dead node's footage returns with the
/// node.
const AVAILABLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most that stepped clocks may have shifted recordings.
const STEPPED_MARGIN: Duration = Duration::from_secs(200);

/// Log text that shows a crash.
const PANICS: [&str; 2] = ["panicked at", "stack overflow"];

/// # Errors
/// If no node answers.
pub(super) async fn evidence(
    stage: &Stage,
    scenario: &Scenario,
    history: &History,
    (from, to): (Timestamp, Timestamp),
    (settled_after, players, trouble): (Option<Duration>, Players, Vec<String>),
) -> Result<Evidence> {
    let status = look::status(stage).await.map_err(Error::Wrong)?;
    let index = stage.wanted().into_iter().next().unwrap_or(0);
    let api = stage.clients()?.swap_remove(index).1;
    let is_stepped = scenario
        .faults
        .iter()
        .any(|fault| fault.action == crate::scenario::ActionName::ClockStep);
    let margin = if is_stepped { STEPPED_MARGIN } else { MARGIN };
    let cameras: Vec<CameraEvidence> = stream::iter(stage.cameras().to_vec())
        .map(|(camera, class)| of_camera(&api, camera, class, (from, to), margin))
        .buffered(FETCHES_MAX)
        .try_collect()
        .await?;
    for camera in &cameras {
        for gap in &camera.loss.gaps {
            let (from_us, to_us) = camera.captured(gap);
            history.add(What::Lost {
                camera: camera.name.clone(),
                from_sequence: gap.from,
                frames: gap.to - gap.from,
                from_us,
                to_us,
                gap_ms: gap.gap_ms,
            });
        }
    }
    let faults = crate::invariants::faults_of(&history.events()?);
    let nodes = stage
        .names()
        .into_iter()
        .enumerate()
        .map(|(index, name)| NodeEvidence {
            panics: panics(stage, index),
            name,
        });
    let mut evidence = Evidence {
        from_us: from.micros(),
        to_us: to.micros(),
        faults,
        events: history.events()?,
        nodes: nodes.collect(),
        node_ids: status
            .cluster
            .nodes
            .iter()
            .map(|node| (node.id.to_string(), node.name.clone()))
            .collect(),
        cameras,
        showings: Vec::new(),
        settled_after,
        trouble,
        expect: scenario.expect.clone(),
    };
    let is_hit = |name: &str| evidence.is_affected(name);
    let as_sent = |showing: &Showing| invariants::is_as_sent(&evidence, showing);
    let showings = players.end(stage, &status, to, is_hit, as_sent).await?;
    evidence.showings = showings;
    Ok(evidence)
}

async fn of_camera(
    api: &Api,
    camera: SiteCamera,
    class: Class,
    (from, to): (Timestamp, Timestamp),
    margin: Duration,
) -> Result<CameraEvidence> {
    let (begin, end) = (from.plus_micros(-micros(margin)), to.plus(margin));
    let (timeline, unavailable) = timeline(api, camera.id, begin, end).await?;
    let fetched = footage::fetch(api, camera.id, begin, end).await;
    let (footage, damaged) = match fetched {
        Ok(footage) => (footage, None),
        Err(error) => (Footage::default(), Some(error.to_string())),
    };
    let at = |time: Timestamp| u64::try_from(time.micros()).unwrap_or(0);
    let mut sent = camera.handle.sent_between(at(from), at(to));
    // Frames that the camera itself spoiled cannot have been recorded.
    sent.retain(|sent| !camera.handle.is_hurt(sent.sequence));
    let held_us = camera
        .handle
        .oddity()
        .map_or(0, holdfast_camera::Oddity::held_us);
    let stamps: Vec<_> = footage.frames.iter().map(|found| found.stamp).collect();
    let loss = count(camera.handle.id(), &sent, &stamps);
    let sound_sent = camera.handle.sound_between(at(from), at(to));
    let stamps: Vec<_> = footage.sound.iter().map(|found| found.stamp).collect();
    let sound = SoundEvidence {
        loss: count(camera.handle.id(), &sound_sent, &stamps),
        sent: sound_sent,
        found: footage.sound,
        // The sound of an odd track carries no stamps.
        unstamped: camera.handle.sound().map_or(0, |_| footage.sound_unstamped),
    };
    Ok(CameraEvidence {
        name: camera.name,
        number: camera.handle.id(),
        class,
        sent,
        held_us: i64::try_from(held_us).unwrap_or(0),
        is_odd: camera.handle.oddity().is_some(),
        found: footage.frames,
        unstamped: footage.unstamped,
        loss,
        sound,
        timeline,
        unplayable: damaged.or(unavailable),
    })
}

/// The timeline once all of it can be played; otherwise the timeline as it is, and the reason.
async fn timeline(
    api: &Api,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<(Timeline, Option<String>)> {
    let ask = async || -> std::result::Result<Timeline, String> {
        let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
        let path = ["cameras", &camera.to_string(), "timeline"];
        api.get(&path, &query)
            .await
            .map_err(|error| error.to_string())
    };
    let whole = wait::until(
        "everything recorded can be played",
        AVAILABLE_TIMEOUT,
        async || {
            let timeline = ask().await?;
            match timeline.spans.iter().find(|span| !span.available) {
                None => Ok(timeline),
                Some(span) => Err(format!("{span:?}")),
            }
        },
    );
    match whole.await {
        Ok(timeline) => Ok((timeline, None)),
        Err(why) => Ok((ask().await.map_err(Error::Wrong)?, Some(why.to_string()))),
    }
}

fn panics(stage: &Stage, index: usize) -> Vec<String> {
    let text = stage.log_of(index);
    text.lines()
        .filter(|line| PANICS.iter().any(|word| line.contains(word)))
        .map(str::to_owned)
        .collect()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
