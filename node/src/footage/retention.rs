//! What the volumes of all nodes delete, and an operator's orders about it: fetched from peers, and
//! put in the terms of the API.

use crate::footage::cluster_footage::{ANSWER_DEADLINE, View, ViewError, member};
use crate::footage::peer_reads::{Done, Question, Source, decode, encode};
use crate::volumes::{VolumeRetention, Volumes};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use holdfast_consensus::codec::Finalized;
use holdfast_consensus::first_version;
use holdfast_control_api::wire;
use holdfast_storage::ids::NodeId;
use holdfast_storage::retention::{RetentionOrder, State as Announcement};
use serde::{Deserialize, Serialize};

const STATUS_PATH: &str = "/read/retention";
const ORDER_PATH: &str = "/retention/order";

/// More than a class name of 64 bytes needs.
const REQUEST_BYTES_MAX: usize = 4096;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RetentionAnswer(Vec<VolumeRetention>);

/// An operator's order; `volume` is `None` if all of the node's are meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderRequest {
    pub(crate) volume: Option<u16>,
    pub(crate) order: RetentionOrder,
}

first_version!(
    RetentionAnswer => "the state of retention",
    OrderRequest => "an order for retention",
);

pub(crate) fn routes(volumes: Volumes, finalized: Finalized) -> Router {
    Router::new()
        .route(STATUS_PATH, post(status))
        .route(ORDER_PATH, post(order))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state((volumes, finalized))
}

async fn status(State((volumes, finalized)): Source) -> Response {
    encode(&RetentionAnswer(volumes.retention()), &finalized)
}

async fn order(State((volumes, finalized)): Source, body: Bytes) -> Response {
    match decode::<OrderRequest>(&body) {
        Ok(OrderRequest { volume, order }) => {
            volumes.order_retention(volume, &order);
            encode(&Done, &finalized)
        }
        Err(rejection) => *rejection,
    }
}

impl View {
    /// The status of every node's volumes; nodes that do not answer are left out.
    pub(crate) async fn retention(&self) -> Vec<wire::VolumeRetention> {
        let answers = self.ask::<_, RetentionAnswer>(STATUS_PATH, &Question).await;
        let heard = answers
            .into_iter()
            .filter_map(|answer| Some((answer.node, answer.answer?.0)));
        let all = heard.chain([(self.me, self.volumes.retention())]);
        let mut volumes: Vec<_> = all
            .flat_map(|(node, all)| all.into_iter().map(move |one| wire_of(node, one)))
            .collect();
        volumes.sort_by_key(|volume| (volume.node, volume.volume));
        volumes
    }

    /// Passes an operator's order on to a node.
    pub(crate) async fn order_retention(
        &self,
        node: NodeId,
        request: &OrderRequest,
    ) -> Result<(), ViewError> {
        if node == self.me {
            self.volumes.order_retention(request.volume, &request.order);
            return Ok(());
        }
        let addr = self
            .peers()
            .into_iter()
            .find(|(peer, _)| *peer == node)
            .map(|(_, addr)| addr);
        let addr = addr.ok_or(ViewError::Gone(node))?;
        let Done = self
            .client
            .call(member(node, &addr), ORDER_PATH, request, ANSWER_DEADLINE)
            .await?;
        Ok(())
    }
}

fn wire_of(node: NodeId, volume: VolumeRetention) -> wire::VolumeRetention {
    let VolumeRetention {
        volume,
        path,
        status,
    } = volume;
    wire::VolumeRetention {
        node,
        volume,
        path,
        time_is_certain: status.is_time_trusted,
        paused: status.paused.map(|pause| wire::RetentionPause {
            reason: pause.reason().to_owned(),
            detail: pause.to_string(),
        }),
        announced: status
            .announced
            .into_iter()
            .map(|announced| wire::AnnouncedDeletion {
                class: announced.class,
                bytes: announced.bytes,
                stored_bytes: announced.stored_bytes,
                state: state(announced.state).to_owned(),
                begins_in_s: announced.begins_in_s,
            })
            .collect(),
        clamped_free_bytes_min: status.clamped_free_bytes_min,
    }
}

fn state(state: Announcement) -> &'static str {
    match state {
        Announcement::Waiting => "waiting",
        Announcement::Running => "running",
        Announcement::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::codec::{self, Format};
    use holdfast_storage::retention::{
        Announced, Pause, RetentionAction, RetentionStatus, Subject,
    };
    use std::fmt::Write as _;

    fn line<T: Format>(name: &str, sample: &T) -> String {
        let bytes = codec::encode(sample, &Finalized::default()).unwrap();
        let read: T = codec::decode(&bytes).unwrap();
        assert_eq!(
            codec::encode(&read, &Finalized::default()).unwrap(),
            bytes,
            "{name}"
        );
        bytes.iter().fold(format!("{name} "), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    #[test]
    fn the_api_shows_whether_the_time_may_decide_and_why_not() {
        let shown = |is_time_trusted: bool| {
            let status = RetentionStatus {
                is_time_trusted,
                is_time_likely: true,
                paused: (!is_time_trusted).then_some(Pause::Unproven {
                    trusted_in_s: Some(60),
                }),
                ..RetentionStatus::default()
            };
            let path = "/d".to_owned();
            wire_of(
                NodeId(1),
                VolumeRetention {
                    volume: 0,
                    path,
                    status,
                },
            )
        };
        assert!(shown(true).time_is_certain && shown(true).paused.is_none());
        let unproven = shown(false);
        assert!(!unproven.time_is_certain);
        assert!(unproven.paused.unwrap().detail.contains("in 60 s"));
    }

    #[test]
    fn messages_are_as_version_1_wrote_them() {
        let announced = Announced {
            class: Some("default".to_owned()),
            bytes: 3,
            stored_bytes: 4,
            state: Announcement::Waiting,
            begins_in_s: Some(60),
        };
        let status = RetentionStatus {
            is_time_trusted: false,
            is_time_likely: true,
            may_vouch: true,
            paused: Some(Pause::Ahead {
                by_s: 9,
                trusted_in_s: Some(8),
            }),
            announced: vec![announced],
            clamped_free_bytes_min: Some(7),
        };
        let volume = VolumeRetention {
            volume: 1,
            path: "/d".to_owned(),
            status,
        };
        let order = RetentionOrder {
            action: RetentionAction::Cancel,
            subject: Some(Subject::Class("default".to_owned())),
        };
        let written = [
            line("retention-answer", &RetentionAnswer(vec![volume])),
            line(
                "retention-order",
                &OrderRequest {
                    volume: Some(1),
                    order,
                },
            ),
        ]
        .join("\n");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/retention.v1.txt");
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            written, stored,
            "a message is written otherwise than before: that is a new version"
        );
    }
}
