//! One real node, and requests to it about a camera.

use holdfast_control_api::wire::Timeline;
use holdfast_node::client::Api;
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::demo::cluster::{Cluster, ClusterOptions};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::time::Timestamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Time for a camera to reach the state that a test waits for.
const STATE_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) cluster: Cluster,
    api: Api,
}

/// How to reach a camera.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) url: String,
    pub(crate) credentials: Option<(&'static str, &'static str)>,
    pub(crate) udp: bool,
}

/// An export with the headers that describe its gaps.
pub(crate) struct Export {
    pub(crate) path: PathBuf,
    pub(crate) gaps: u64,
    pub(crate) gap_ms: u64,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options =
            ClusterOptions::new(holdfast_next_to_this().unwrap(), dir.path().to_owned(), 1);
        let mut cluster = Cluster::create(&options).unwrap();
        cluster.form().await.unwrap();
        let api = cluster.api(0).unwrap();
        Self { dir, cluster, api }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a camera, and returns its number.
    pub(crate) async fn add(&self, name: &str, source: &Source) -> u64 {
        let (username, password) = source.credentials.unzip();
        let transport = if source.udp { "udp" } else { "tcp" };
        let source = json!({
            "url": source.url, "username": username, "password": password, "transport": transport,
        });
        let camera = json!({"name": name, "source": source});
        let answer = self
            .api
            .call(reqwest::Method::POST, &["cameras"], Some(&camera));
        answer.await.unwrap()["id"].as_u64().unwrap()
    }

    /// Changes the camera's configuration.
    pub(crate) async fn change(&self, id: u64, change: &Value) {
        self.api
            .call(
                reqwest::Method::PATCH,
                &["cameras", &id.to_string()],
                Some(change),
            )
            .await
            .unwrap();
    }

    pub(crate) async fn camera(&self, id: u64) -> Value {
        self.api
            .get(&["cameras", &id.to_string()], &[])
            .await
            .unwrap()
    }

    /// Waits until `is` holds for the camera; returns the camera in that state.
    pub(crate) async fn wait(&self, id: u64, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let seen = timeout(STATE_TIMEOUT, async {
            loop {
                let camera = self.camera(id).await;
                if is(&camera) {
                    return camera;
                }
                sleep(POLL_INTERVAL).await;
            }
        });
        match seen.await {
            Ok(camera) => camera,
            Err(_) => panic!(
                "not {what}: {}\n{}",
                self.camera(id).await,
                self.cluster.log_tail(0)
            ),
        }
    }

    /// Waits until the camera is being recorded; returns a time from which on it certainly is.
    pub(crate) async fn wait_recording(&self, id: u64) -> Timestamp {
        let camera = self
            .wait(id, "recording", |camera| {
                camera["recording"]["state"] == "recording"
            })
            .await;
        watermark(&camera).unwrap_or_else(wall_now)
    }

    /// Waits until everything before `time` is durable.
    pub(crate) async fn wait_durable(&self, id: u64, time: Timestamp) {
        self.wait(id, "durable", |camera| {
            watermark(camera).is_some_and(|watermark| watermark >= time)
        })
        .await;
    }

    pub(crate) async fn timeline(&self, id: u64, from: Timestamp, to: Timestamp) -> Timeline {
        let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
        self.api
            .get(&["cameras", &id.to_string(), "timeline"], &query)
            .await
            .unwrap()
    }

    pub(crate) async fn export(&self, id: u64, from: Timestamp, to: Timestamp) -> Export {
        let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
        let response = self
            .api
            .download(&["cameras", &id.to_string(), "export.mp4"], &query)
            .await
            .unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().parse().unwrap();
        let (gaps, gap_ms) = (header("x-holdfast-gaps"), header("x-holdfast-gap-ms"));
        let path = self.dir().join(format!("camera-{id}.mp4"));
        std::fs::write(&path, response.bytes().await.unwrap()).unwrap();
        Export { path, gaps, gap_ms }
    }

    /// The URL of the playlist for a player.
    pub(crate) fn playlist_url(&self, id: u64, from: Timestamp, to: Timestamp) -> String {
        let (api, token) = (self.cluster.api_url(0), &self.cluster.token().0);
        format!("{api}/api/v1/cameras/{id}/hls/index.m3u8?from={from}&to={to}&token={token}")
    }

    /// The playlist once it is closed, which is some seconds after the range's end.
    pub(crate) async fn playlist(&self, id: u64, from: Timestamp, to: Timestamp) -> String {
        let url = self.playlist_url(id, from, to);
        let closed = timeout(STATE_TIMEOUT, async {
            loop {
                let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
                if text.contains("#EXT-X-ENDLIST") {
                    return text;
                }
                sleep(POLL_INTERVAL).await;
            }
        });
        closed.await.expect("the playlist is closed in time")
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = reqwest::get(format!("{}/metrics", self.cluster.api_url(0)))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}"))
            .parse()
            .unwrap()
    }
}

fn watermark(camera: &Value) -> Option<Timestamp> {
    camera["recording"]["watermark"].as_str()?.parse().ok()
}

pub(crate) fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.unsigned_abs())
}
