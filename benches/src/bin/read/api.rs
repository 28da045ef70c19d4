//! Through a node's API: the first byte of a random instant, and whole exports, with their cost to
//! the node.

use crate::footage::Footage;
use crate::{Instants, Random, Reading};
use holdfast_benches::rig::Rig;
use holdfast_benches::{Outcome, clock, process};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The range that is requested for an instant.
const INSTANT_US: i64 = 1_000_000;

const IDLE_WINDOW: Duration = Duration::from_secs(4);
const LIST_MAX: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    pub(crate) fn of(rig: &Rig) -> Outcome<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .build()?;
        Ok(Self {
            http,
            url: rig.cluster.api_url(0),
            token: rig.cluster.token().0.clone(),
        })
    }

    pub(crate) async fn text(&self, path: &str) -> Outcome<String> {
        Ok(self.get(path).await?.text().await?)
    }

    /// Length of the body.
    pub(crate) async fn fetch(&self, path: &str) -> Outcome<u64> {
        let mut answer = self.get(path).await?;
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await? {
            bytes += piece.len() as u64;
        }
        Ok(bytes)
    }

    async fn get(&self, path: &str) -> Outcome<reqwest::Response> {
        let answer = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .send()
            .await?;
        if !answer.status().is_success() {
            return Err(
                format!("GET {path}: {}: {}", answer.status(), answer.text().await?).into(),
            );
        }
        Ok(answer)
    }

    /// Waits until the node lists every segment.
    pub(crate) async fn wait_listed(&self) -> Outcome<()> {
        let waiting = async {
            while !self.text("/metrics").await?.lines().any(|line| {
                line.starts_with("holdfast_volume_unlisted_segments") && line.ends_with(" 0")
            }) {
                sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        };
        timeout(LIST_MAX, waiting)
            .await
            .map_err(|_| "the node does not list its segments")?
    }
}

fn export_path(camera: CameraId, from: Timestamp, to: Timestamp) -> String {
    format!("/api/v1/cameras/{camera}/export.mp4?from={from}&to={to}")
}

/// Milliseconds from the request to the first byte of footage.
pub(crate) async fn instants(
    client: &Client,
    footage: &Footage,
    count: usize,
    random: &mut Random,
) -> Outcome<Instants> {
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let (camera, at) = random.instant(footage);
        let path = export_path(camera, at, at.plus_micros(INSTANT_US));
        let started = clock::now();
        let mut answer = client.get(&path).await?;
        answer.chunk().await?.ok_or("an export is empty")?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
        while answer.chunk().await?.is_some() {}
    }
    Ok(Instants(took))
}

/// The idle node's share of a second of CPU: on a busy machine an export takes long, and the idle
/// work would count as the export's.
pub(crate) async fn idle_share(rig: &Rig) -> Outcome<f64> {
    let (before, started) = (node_cpu(rig)?, clock::now());
    sleep(IDLE_WINDOW).await;
    Ok(node_cpu(rig)?.saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64())
}

fn node_cpu(rig: &Rig) -> Outcome<Duration> {
    process::cpu(rig.cluster.pid(0).ok_or("the node has ended")?)
}

/// Exports each camera's footage, one after the other. CPU is the node's, minus its `idle_share`.
pub(crate) async fn export(
    rig: &Rig,
    client: &Client,
    footage: &Footage,
    cameras: usize,
    idle_share: f64,
) -> Outcome<Reading> {
    let (cpu, started) = (node_cpu(rig)?, clock::now());
    let mut bytes = 0;
    for camera in footage.cameras.clone().take(cameras).map(CameraId) {
        bytes += client
            .fetch(&export_path(camera, footage.from, footage.to()))
            .await?;
    }
    let took = started.elapsed();
    Ok(Reading {
        bytes,
        took,
        cpu: node_cpu(rig)?
            .saturating_sub(cpu)
            .saturating_sub(took.mul_f64(idle_share)),
    })
}
