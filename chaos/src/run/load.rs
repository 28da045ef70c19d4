//! Viewers and API clients: the requests that they make, and how many of them are answered by nodes
//! that no fault holds.

use crate::history::{History, What};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::CameraId;
use holdfast_storage::random::Random;
use holdfast_storage::time::Timestamp;
use reqwest::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use url::Url;

/// A request that takes longer counts as not answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The time between a player's requests for a playlist.
const PLAYER_INTERVAL: Duration = Duration::from_secs(2);

/// The start of the range that a player asks for: recent footage, but none that is still being
/// recorded.
const PLAYED_FROM_US: i64 = -14_000_000;
const PLAYED_TO_US: i64 = -4_000_000;

/// Long enough to contain a keyframe.
const PLAYED_US_MIN: i64 = 3_000_000;

/// The most playlist entries that a player fetches each time.
const SEGMENTS_MAX: usize = 4;

/// The most requests in flight: bounds the load on a node that answers slowly.
const REQUESTS_MAX: usize = 64;

pub(super) const API: &str = "api";
pub(super) const PLAYBACK: &str = "playback";

/// Requests and answers, by kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Arc<Mutex<BTreeMap<&'static str, Sum>>>);

#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) first_error: Option<String>,
}

impl Sums {
    fn note(&self, kind: &'static str, outcome: Result<(), String>) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = sums.entry(kind).or_default();
        sum.asked += 1;
        match outcome {
            Ok(()) => sum.answered += 1,
            Err(why) => drop(sum.first_error.get_or_insert(why)),
        }
    }

    pub(super) fn write(&self, history: &History) {
        for (kind, sum) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Sum {
                asked,
                answered,
                first_error,
            } = sum.clone();
            history.add(What::Load {
                kind: (*kind).to_owned(),
                asked,
                answered,
                first_error,
            });
        }
    }
}

/// The clients' targets.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) urls: Vec<String>,
    pub(super) token: String,
    pub(super) cameras: Vec<CameraId>,
    /// Every camera was recorded by then.
    pub(super) began: Timestamp,
    /// Nodes that a fault holds: no requests go to them.
    pub(super) held: Arc<Mutex<BTreeSet<usize>>>,
    pub(super) sums: Sums,
}

/// Starts the load; dropping the result ends it.
///
/// # Errors
/// If HTTP cannot be set up.
pub(super) fn start(
    asker: &Asker,
    players: u32,
    api_per_second: u32,
    seed: u64,
) -> reqwest::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let http = Client::builder()
        .no_proxy()
        .timeout(ANSWER_TIMEOUT)
        .build()?;
    for number in 0..u64::from(players) {
        let (asker, http) = (asker.clone(), http.clone());
        let random = Random::new(seed.wrapping_add(number + 1));
        tasks.spawn(async move { asker.play(&http, random).await });
    }
    if api_per_second > 0 {
        let (asker, random) = (asker.clone(), Random::new(seed));
        let pace = Duration::from_secs(1) / api_per_second;
        tasks.spawn(async move { asker.ask(&http, random, pace).await });
    }
    Ok(tasks)
}

impl Asker {
    /// Sends requests until it is dropped. A failure does not count if a fault holds the node by
    /// then.
    async fn ask(&self, http: &Client, mut random: Random, pace: Duration) {
        let mut ticks = interval(pace);
        let mut under_way = JoinSet::new();
        loop {
            ticks.tick().await;
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= REQUESTS_MAX {
                self.sums.note(
                    API,
                    Err(format!("{REQUESTS_MAX} requests wait for an answer")),
                );
                continue;
            }
            let Some((node, camera)) = self.pick(&mut random) else {
                continue;
            };
            let now = wall_now();
            let path = match random.below(4) {
                0 => "cluster".to_owned(),
                1 => "cameras".to_owned(),
                2 => "nodes".to_owned(),
                _ => format!(
                    "cameras/{camera}/timeline?from={}&to={now}",
                    now.plus_micros(-30_000_000)
                ),
            };
            let (asker, http, url) = (self.clone(), http.clone(), self.url(node, &path));
            under_way.spawn(async move {
                let outcome = asker.get(&http, &url).await.map(drop);
                asker.note(API, node, outcome);
            });
        }
    }

    async fn play(&self, http: &Client, mut random: Random) {
        loop {
            sleep(PLAYER_INTERVAL).await;
            let now = wall_now();
            let (from, to) = (
                now.plus_micros(PLAYED_FROM_US).max(self.began),
                now.plus_micros(PLAYED_TO_US),
            );
            if to.micros_since(from) < PLAYED_US_MIN {
                continue;
            }
            if let Some((node, camera)) = self.pick(&mut random) {
                let outcome = self.play_once(http, node, camera, (from, to)).await;
                self.note(PLAYBACK, node, outcome);
            }
        }
    }

    async fn play_once(
        &self,
        http: &Client,
        node: usize,
        camera: CameraId,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<(), String> {
        let url = self.url(
            node,
            &format!(
                "cameras/{camera}/hls/index.m3u8?from={from}&to={to}&token={}",
                self.token
            ),
        );
        let playlist = self.get(http, &url).await?;
        let base = Url::parse(&url).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&playlist).into_owned();
        let entries: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .collect();
        if entries.is_empty() {
            return Err(format!("the playlist of camera {camera} is empty"));
        }
        for entry in entries.into_iter().rev().take(SEGMENTS_MAX) {
            let url = base.join(entry).map_err(|error| error.to_string())?;
            self.get(http, url.as_str()).await?;
        }
        Ok(())
    }

    fn note(&self, kind: &'static str, node: usize, outcome: Result<(), String>) {
        if outcome.is_ok() || !self.is_held(node) {
            self.sums.note(kind, outcome);
        }
    }

    fn is_held(&self, node: usize) -> bool {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&node)
    }

    fn pick(&self, random: &mut Random) -> Option<(usize, CameraId)> {
        let free: Vec<usize> = (0..self.urls.len())
            .filter(|&node| !self.is_held(node))
            .collect();
        let has_both = !free.is_empty() && !self.cameras.is_empty();
        has_both.then(|| (*random.pick(&free), *random.pick(&self.cameras)))
    }

    fn url(&self, node: usize, path: &str) -> String {
        format!("{}/api/v1/{path}", self.urls[node])
    }

    async fn get(&self, http: &Client, url: &str) -> Result<Vec<u8>, String> {
        let plain = |error: reqwest::Error| error.without_url().to_string();
        let answer = http
            .get(url)
            .bearer_auth(&self.token)
            .send()
            .await
            .map_err(plain)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(plain)?;
        if status.is_success() {
            Ok(body.to_vec())
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&body)))
        }
    }
}
