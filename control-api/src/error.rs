//! Errors by what the caller should do next, and the only place where they become problem documents
//! (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_consensus::WriteError;
use holdfast_consensus::command::Rejection;
use holdfast_consensus::model::Invalid;
use holdfast_storage::ids::{CameraId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Content type of every error (RFC 9457, clause 3).
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// RFC 9457, `application/problem+json`. `code` is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:holdfast:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// For people: what happened, where, and what to do.
    pub detail: String,
    /// Stable, for programs.
    pub code: String,
}

/// Seconds after which a caller may try again if there is no leader or no room.
const RETRY_AFTER_S: &str = "1";

/// What the caller should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Correct the request: it cannot be read (400).
    Malformed,
    /// Correct the request: it is well-formed but not valid (422).
    Invalid,
    /// Send a token that is accepted (401).
    Unauthorised,
    /// Request something else: this does not exist (404).
    NotFound,
    /// Use one of the methods in `Allow` (405).
    MethodNotAllowed,
    /// Send less (413).
    TooLarge,
    /// Send JSON and declare it (415).
    UnsupportedMediaType,
    /// Omit the condition, or request the present version: it has another tag (412).
    PreconditionFailed,
    /// Request bytes that exist (416).
    RangeNotSatisfiable,
    /// Check the present state first (409).
    Conflict,
    /// Try again: the cluster has no leader now; nothing was changed (503).
    NoLeader,
    /// Read before trying again: the change may or may not have happened (504).
    OutcomeUnknown,
    /// Try again later or elsewhere; nothing was changed (503).
    Unavailable,
    /// Do without it: the data was stored and is damaged (500).
    Damaged,
    /// Report it: this is a bug or a broken machine (500).
    Internal,
}

impl ErrorKind {
    fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::NoLeader | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
            Self::Damaged | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Stable, for programs.
    fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Unauthorised => "unauthorised",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::PreconditionFailed => "precondition-failed",
            Self::RangeNotSatisfiable => "range-not-satisfiable",
            Self::Conflict => "conflict",
            Self::NoLeader => "no-leader",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Unavailable => "unavailable",
            Self::Damaged => "damaged",
            Self::Internal => "internal",
        }
    }

    /// For people.
    fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Invalid => "The request asks for what cannot be",
            Self::Unauthorised => "No valid token",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "This resource does not have that method",
            Self::TooLarge => "The request body is too large",
            Self::UnsupportedMediaType => "The request body is not JSON",
            Self::PreconditionFailed => "It is not what was asked for any more",
            Self::RangeNotSatisfiable => "There are no such bytes",
            Self::Conflict => "The present state does not allow it",
            Self::NoLeader => "The cluster has no leader",
            Self::OutcomeUnknown => "It is not known whether the change happened",
            Self::Unavailable => "Not available now",
            Self::Damaged => "The stored data is damaged",
            Self::Internal => "Internal error",
        }
    }

    fn may_be_retried(self) -> bool {
        matches!(self, Self::NoLeader | Self::Unavailable)
    }
}

/// An error of the API. `detail` says what happened, where, and what to do; it is shown to the
/// caller, so it contains no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct ApiError {
    pub kind: ErrorKind,
    /// Stable, for programs; finer than `kind` if that is useful.
    pub code: &'static str,
    pub detail: String,
}

impl ApiError {
    /// An error whose code is its kind's.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            code: kind.code(),
            detail: detail.into(),
        }
    }

    /// The same error with its own code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, detail)
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, detail)
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, detail)
    }

    pub fn damaged(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, detail)
    }

    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, detail)
    }

    /// The problem document of this error.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem {
            kind: format!("urn:holdfast:problem:{}", self.code),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code.to_owned(),
        }
    }
}

impl ApiError {
    /// For a node that belongs to no cluster.
    #[must_use]
    pub fn no_cluster() -> Self {
        Self::unavailable(
            "this node belongs to no cluster yet; run `holdfast cluster init` or `join` on it",
        )
        .code("no-cluster")
    }

    /// For a member that is named by a number that no member has.
    #[must_use]
    pub fn no_node(id: NodeId) -> Self {
        Self::not_found(format!(
            "there is no node {id}; GET /api/v1/nodes lists them"
        ))
        .code("unknown-node")
    }

    /// For a camera that never existed, or was forgotten.
    #[must_use]
    pub fn no_camera(id: CameraId) -> Self {
        Self::not_found(format!(
            "there is no camera {id}; GET /api/v1/cameras lists them"
        ))
        .code("unknown-camera")
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::NoLeader => Self::new(ErrorKind::NoLeader, detail),
            WriteError::Unknown => Self::new(ErrorKind::OutcomeUnknown, detail),
            WriteError::Fatal(_) => Self::unavailable(detail).code("consensus-stopped"),
            WriteError::Rejected(rejection) => rejection.into(),
        }
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let kind = match rejection {
            Rejection::UnknownNode(_)
            | Rejection::UnknownCamera(_)
            | Rejection::UnknownHold(_)
            | Rejection::NotDeleted(_)
            | Rejection::UnknownExport(_)
            | Rejection::UnknownInvite(_) => ErrorKind::NotFound,
            Rejection::Invalid(_) | Rejection::UnknownRetentionClass(_) => ErrorKind::Invalid,
            _ => ErrorKind::Conflict,
        };
        Self::new(kind, rejection.to_string()).code(rejection.code())
    }
}

impl From<Invalid> for ApiError {
    fn from(error: Invalid) -> Self {
        Rejection::from(error).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code = self.code, "{}", self.detail);
        }
        let mut response = (status, axum::Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if self.kind.may_be_retried() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if self.kind == ErrorKind::Unauthorised {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
