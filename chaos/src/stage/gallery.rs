//! Hostile cameras of a run: served on threads of their own, added to the cluster and deleted
//! again.

use super::Stage;
use crate::site::{new_camera, source};
use crate::{Error, Result, io_error};
use futures::future::join_all;
use holdfast_camera::Hostile;
use holdfast_camera::hostile::{HostileCamera, HostileOptions};
use holdfast_consensus::model::Transport;
use holdfast_control_api::wire;
use holdfast_node::client::Api;
use holdfast_node::terminal::clock::monotonic_now;
use holdfast_storage::ids::CameraId;
use reqwest::Method;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::sleep;

/// Stops waiting for sockets that are still open after this time.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A hostile camera that the cluster records, or tries to record.
#[derive(Debug)]
pub(super) struct Hung {
    fault: usize,
    id: CameraId,
    camera: HostileCamera,
}

/// Summary of a hostile camera after its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub camera: String,
    /// Time from its deletion until the last socket was closed; `None` if one stayed open.
    pub closed_after: Option<Duration>,
    pub accepted: u64,
    pub sent_bytes: u64,
    /// Connections to the other host that the camera names.
    pub strayed: u64,
}

/// The name of a hostile camera in the cluster.
#[must_use]
pub fn hostile_name(hostile: Hostile) -> String {
    format!("hostile-{hostile}")
}

impl Stage {
    /// Starts hostile cameras, and adds them to the cluster.
    pub(super) async fn hang(
        &mut self,
        fault: usize,
        gallery: &[Hostile],
        kbps: u64,
    ) -> Result<()> {
        for &hostile in gallery {
            let bind = SocketAddr::new(self.side.address().ip(), 0);
            let options = HostileOptions {
                bind,
                rate_bps_max: Some(kbps * 1000),
                ..HostileOptions::new(hostile)
            };
            let camera = self.side.hostile(options).await?;
            let transport = if hostile.needs_udp() {
                Transport::Udp
            } else {
                Transport::Tcp
            };
            let new = new_camera(
                &hostile_name(hostile),
                wire::NewSource {
                    transport,
                    ..source(camera.url())
                },
            );
            let answer = self
                .any_api()?
                .call(Method::POST, &["cameras"], Some(&new))
                .await?;
            let added: wire::Camera = serde_json::from_value(answer).map_err(|error| {
                Error::Wrong(format!("the added camera cannot be read: {error}"))
            })?;
            self.gallery.push(Hung {
                fault,
                id: added.id,
                camera,
            });
        }
        Ok(())
    }

    /// Deletes the fault's cameras, and waits until their sockets are closed.
    pub(super) async fn take_down(&mut self, fault: usize) -> Result<()> {
        let api = self.any_api()?;
        let all = std::mem::take(&mut self.gallery);
        let (gone, stays): (Vec<Hung>, Vec<Hung>) =
            all.into_iter().partition(|hung| hung.fault == fault);
        self.gallery = stays;
        let deleting = join_all(gone.into_iter().map(|hung| delete(&api, hung)));
        let deleted: Vec<(HostileCamera, Option<Duration>)> =
            deleting.await.into_iter().collect::<Result<Vec<_>>>()?;
        for (camera, closed_after) in &deleted {
            self.gone.push(Gone {
                camera: hostile_name(camera.hostile()),
                closed_after: *closed_after,
                accepted: camera.accepted(),
                sent_bytes: camera.sent_bytes(),
                strayed: camera.strayed(),
            });
        }
        // Their threads check for the end every 100 ms.
        let dropped = tokio::task::spawn_blocking(move || drop(deleted)).await;
        dropped.map_err(|error| io_error("end the hostile cameras")(std::io::Error::other(error)))
    }

    /// Hostile cameras deleted since the last call.
    #[must_use]
    pub fn taken_down(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    fn any_api(&self) -> Result<Api> {
        let asked = self
            .wanted()
            .into_iter()
            .next()
            .ok_or_else(|| Error::Wrong("no node runs".to_owned()))?;
        self.nodes.api(asked)
    }
}

/// Deletes the camera, and measures how long its sockets stay open afterwards.
async fn delete(api: &Api, hung: Hung) -> Result<(HostileCamera, Option<Duration>)> {
    api.delete(&["cameras", &hung.id.to_string()], &[]).await?;
    let deleted_at = monotonic_now();
    while hung.camera.connections() > 0 {
        if deleted_at.elapsed() >= CLOSING_TIMEOUT {
            return Ok((hung.camera, None));
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok((hung.camera, Some(deleted_at.elapsed())))
}
