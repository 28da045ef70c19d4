//! `/api/v1/invites`: tokens with which new nodes join.

use crate::error::{ApiError, ErrorKind};
use crate::extract::{Body, Segment};
use crate::problems::{Conflict, NotFound};
use crate::resources::app::{App, unexpected};
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_consensus::JoinToken;
use holdfast_consensus::command::{Command, Response};
use holdfast_consensus::model::{self, HostPort, INVITE_VALID, InviteSpec, Role, Secret};
use holdfast_storage::ids::{InviteId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{OpenApi, ToSchema};

/// Body of `POST /invites`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// The name in the node's configuration.
    #[schema(value_type = schema::NodeName)]
    pub name: String,
    #[serde(default)]
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// The node may become a voter; a witness must.
    #[serde(default)]
    pub may_vote: bool,
    /// How long the token is valid, in seconds; 900 if absent, at most 86400.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400)]
    pub valid_s: Option<u32>,
}

/// An invitation. Its token is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    #[schema(value_type = schema::InviteId)]
    pub id: InviteId,
    pub name: String,
    #[schema(value_type = schema::Role)]
    pub role: Role,
    pub may_vote: bool,
    #[schema(value_type = schema::Timestamp)]
    pub created_at: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub expires: Timestamp,
    /// The node that joined with it.
    #[schema(value_type = Option<schema::NodeId>)]
    pub used_by: Option<NodeId>,
}

/// Answer of `POST /invites`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeInvite {
    pub invite: Invite,
    /// For `POST /cluster/join` of the new node. It is a secret: anyone who has it can join.
    #[schema(value_type = schema::JoinToken)]
    pub token: Secret,
}

#[derive(OpenApi)]
#[openapi(paths(list, create, remove))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/invites", get(list::<B>).post(create::<B>))
        .route("/api/v1/invites/{id}", axum::routing::delete(remove::<B>))
}

impl Invite {
    fn of(invite: &model::Invite) -> Self {
        let spec = &invite.spec;
        Self {
            id: invite.id,
            name: spec.name.to_string(),
            role: spec.role,
            may_vote: spec.may_vote,
            created_at: invite.created_at,
            expires: spec.expires,
            used_by: invite.used_by,
        }
    }
}

/// The invitations that have not expired.
#[utoipa::path(
    get,
    path = "/api/v1/invites",
    operation_id = "list_invites",
    responses((status = 200, body = Vec<Invite>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Invite>>> {
    let (state, now) = (app.state()?, app.now());
    let valid = state
        .invites
        .values()
        .filter(|invite| invite.spec.expires > now);
    Ok(Json(valid.map(Invite::of).collect()))
}

/// Invites a node: makes a token with which it may join, once.
#[utoipa::path(
    post,
    path = "/api/v1/invites",
    operation_id = "invite_node",
    request_body = NewInvite,
    responses((status = 201, body = MadeInvite), Conflict),
)]
async fn create<B: Backend>(
    State(app): State<App<B>>,
    Body(new): Body<NewInvite>,
) -> Result<impl IntoResponse> {
    let NewInvite {
        name,
        role,
        may_vote,
        valid_s,
    } = new;
    let valid = valid_s.map_or(INVITE_VALID, |seconds| Duration::from_secs(seconds.into()));
    let token = token(&app)?;
    let key = token
        .key()
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let created_at = app.now();
    let spec = InviteSpec {
        name: name.parse()?,
        role,
        may_vote,
        key: key.hash(),
        expires: created_at.plus(valid),
    };
    let command = Command::CreateInvite { spec: spec.clone() };
    let invite = match app.change(command).await? {
        Response::Invite(id) => Invite::of(&model::Invite {
            id,
            spec,
            created_at,
            used_by: None,
        }),
        other => return Err(unexpected("inviting a node", &other)),
    };
    let location = format!("/api/v1/invites/{}", invite.id);
    let made = MadeInvite {
        invite,
        token: Secret(token.to_string()),
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, Json(made)))
}

/// A token that names this node first, then other members.
fn token<B: Backend>(app: &App<B>) -> Result<JoinToken> {
    let state = app.state()?;
    let Some((me, root)) = app.backend.root() else {
        let detail = "this node does not hold the key of the cluster's authority, so it can invite \
                      no node; ask a recorder that may vote";
        return Err(ApiError::new(ErrorKind::Conflict, detail).code("no-authority"));
    };
    let (own, others): (Vec<_>, Vec<_>) = state
        .nodes
        .values()
        .filter(|node| node.may_vote && node.spec.role == Role::Recorder)
        .partition(|node| node.id == me);
    let addresses = own.into_iter().chain(others);
    let addresses: Vec<HostPort> = addresses.map(|node| node.spec.peer_addr.clone()).collect();
    JoinToken::new(addresses, root).map_err(|error| ApiError::internal(error.to_string()))
}

/// Revokes an invitation: its token no longer opens anything.
#[utoipa::path(
    delete,
    path = "/api/v1/invites/{id}",
    operation_id = "revoke_invite",
    params(("id" = schema::InviteId, Path)),
    responses((status = 204), NotFound),
)]
async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<InviteId>,
) -> Result<StatusCode> {
    app.change(Command::DeleteInvite { invite: id }).await?;
    Ok(StatusCode::NO_CONTENT)
}
