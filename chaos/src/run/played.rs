//! Players of the run: the cameras that they play, and the frames that they got.

use super::look::ClusterStatus;
use crate::player::{self, Fetcher, Kind, Node, Showing, Watch, Watching};
use crate::scenario::Class;
use crate::site::SiteCamera;
use crate::stage::Stage;
use crate::{Error, Result};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// The most cameras whose closed range is played: each frame costs a node and this process about as
/// much as recording it did.
const CLOSED_MAX: usize = 4;

/// Only the end of a long run is played.
const PLAYED_MAX: Duration = Duration::from_secs(120);

/// Longer than a busy node takes to answer others again.
const PLAYED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A range grows until long after the run.
const GROWS_FOR: Duration = Duration::from_secs(600);

/// The nodes that the players ask, and the cameras that they watch.
pub(super) struct Players {
    nodes: Vec<Node>,
    token: String,
    watching: Vec<(CameraId, Watching)>,
    from: Timestamp,
}

/// Starts to watch one camera live, and one in a range that grows; the seed chooses them.
///
/// # Errors
/// If HTTP cannot be set up.
pub(super) fn start(
    stage: &Stage,
    seed: u64,
    (from, seconds): (Timestamp, f64),
    held: &Arc<Mutex<BTreeSet<usize>>>,
) -> Result<Players> {
    let named = stage.names().into_iter().zip(stage.api_urls());
    let nodes: Vec<Node> = named.map(|(name, url)| Node { name, url }).collect();
    let token = stage.token().to_owned();
    let to = from.plus(Duration::from_secs_f64(seconds) + GROWS_FOR);
    let ways = [
        (Kind::Live, "live=true".to_owned()),
        (Kind::Growing, format!("from={from}&to={to}")),
    ];
    let mut watching = Vec::new();
    for (camera, (kind, query)) in watched(stage.cameras(), seed).into_iter().zip(ways) {
        let (nodes, held) = (nodes.clone(), Arc::clone(held));
        let watch = Watch {
            camera: camera.name.clone(),
            kind,
            query,
            nodes,
            held,
        };
        watching.push((camera.id, watch.start(Fetcher::new(camera.id, &token)?)));
    }
    Ok(Players {
        nodes,
        token,
        watching,
        from,
    })
}

/// Two cameras without an oddity, if there are so many, and preferably with sound.
fn watched(cameras: &[(SiteCamera, Class)], seed: u64) -> Vec<&SiteCamera> {
    let mut order = in_order(cameras, seed);
    order.sort_by_key(|(camera, _)| camera.handle.sound().is_none());
    let first = order.first().map(|(camera, _)| camera);
    let second = order.get(1).or(order.first()).map(|(camera, _)| camera);
    first.into_iter().chain(second).collect()
}

/// Cameras without an oddity, starting at one that the seed chooses; if there are none, the others.
fn in_order(cameras: &[(SiteCamera, Class)], seed: u64) -> Vec<&(SiteCamera, Class)> {
    let honest: Vec<_> = cameras
        .iter()
        .filter(|(camera, _)| camera.handle.oddity().is_none())
        .collect();
    let mut order = if honest.is_empty() {
        cameras.iter().collect()
    } else {
        honest
    };
    let turn = usize::try_from(seed % order.len().max(1) as u64).unwrap_or(0);
    order.rotate_left(turn);
    order
}

/// A presentation to play once everything is available.
enum Play<'a> {
    /// Through the first node; the second lists it, too.
    Closed(&'a SiteCamera, &'a Node, &'a Node),
    /// The playlist that was watched, at its URI.
    Grown(CameraId, &'a str, String, &'a Node),
}

impl Players {
    /// The results of the players that watched, and of playing a sample of the cameras now that
    /// everything is available: those watched, a gapless one, those that a fault hit. A result that
    /// is not `as_sent` is played again: a busy node may be left out of another's answer, but a
    /// permanent defect appears again.
    ///
    /// # Errors
    /// If HTTP cannot be set up.
    pub(super) async fn end(
        self,
        stage: &Stage,
        status: &ClusterStatus,
        to: Timestamp,
        is_hit: impl Fn(&str) -> bool,
        as_sent: impl Fn(&Showing) -> bool,
    ) -> Result<Vec<Showing>> {
        let wanted = stage.wanted();
        let there: Vec<&Node> = wanted
            .iter()
            .filter_map(|&index| self.nodes.get(index))
            .collect();
        let Some(&any) = there.first() else {
            return Err(Error::Wrong(
                "no node runs that could be asked for footage".to_owned(),
            ));
        };
        let mut plays = Vec::new();
        for (turn, camera) in self.sample(stage.cameras(), is_hit).into_iter().enumerate() {
            let owner = owner(status, camera.id);
            let is_own = |node: &&&Node| Some(&node.name) == owner.as_ref();
            let own = there.iter().find(is_own).copied().unwrap_or(any);
            let others: Vec<&Node> = there.iter().copied().filter(|node| *node != own).collect();
            let other = others
                .get(turn % others.len().max(1))
                .copied()
                .unwrap_or(own);
            plays.push(if turn % 2 == 0 {
                Play::Closed(camera, other, own)
            } else {
                Play::Closed(camera, own, other)
            });
        }
        for (id, watching) in &self.watching {
            if let Some(uri) = watching.uri().filter(|_| watching.kind() == Kind::Growing) {
                plays.push(Play::Grown(*id, watching.camera(), uri, any));
            }
        }
        let mut showings = Vec::new();
        for play in plays {
            let mut showing = self.play(&play, to).await?;
            if !as_sent(&showing) {
                sleep(PLAYED_AGAIN_AFTER).await;
                showing = self.play(&play, to).await?;
            }
            showings.push(showing);
        }
        showings.extend(
            self.watching
                .into_iter()
                .map(|(_, watching)| watching.end()),
        );
        Ok(showings)
    }

    async fn play(&self, play: &Play<'_>, to: Timestamp) -> Result<Showing> {
        let begin = self
            .from
            .max(to.plus_micros(-(PLAYED_MAX.as_micros() as i64)));
        Ok(match play {
            Play::Closed(camera, node, again) => {
                let fetcher = Fetcher::new(camera.id, &self.token)?;
                player::closed(fetcher, &camera.name, (node, again), (begin, to)).await
            }
            Play::Grown(id, camera, uri, node) => {
                player::grown(
                    Fetcher::new(*id, &self.token)?,
                    camera,
                    node,
                    (uri, self.from),
                )
                .await
            }
        })
    }

    fn sample<'c>(
        &self,
        cameras: &'c [(SiteCamera, Class)],
        is_hit: impl Fn(&str) -> bool,
    ) -> Vec<&'c SiteCamera> {
        let order = in_order(cameras, 0);
        let is_watched = |camera: &SiteCamera| self.watching.iter().any(|(id, _)| *id == camera.id);
        let watched = order.iter().filter(|(camera, _)| is_watched(camera));
        let gapless = order
            .iter()
            .filter(|(_, class)| *class == Class::Gapless)
            .take(1);
        let hit = order.iter().filter(|(camera, _)| is_hit(&camera.name));
        let mut taken = BTreeSet::new();
        let wanted = watched
            .chain(gapless)
            .chain(hit)
            .chain(&order)
            .map(|(camera, _)| camera);
        wanted
            .filter(|camera| taken.insert(camera.id))
            .take(CLOSED_MAX)
            .collect()
    }
}

fn owner(status: &ClusterStatus, id: CameraId) -> Option<String> {
    let camera = status.cameras.iter().find(|camera| camera.id == id)?;
    status.name(camera.assignment.owner?)
}
