//! The answers of the OpenAPI document that are problem documents: one for each status, with its
//! codes. `docs/api.md` has the same table.

use crate::error::{PROBLEM_TYPE, Problem};
use crate::schema::Media;
use std::collections::BTreeMap;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

macro_rules! problems {
    ($(#[doc = $what:literal] $name:ident $status:literal $codes:tt)+) => {
        $(
            #[doc = $what]
            pub(crate) enum $name {}

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    let reference = Ref::from_response_name(stringify!($name));
                    BTreeMap::from([(stringify!($status).to_owned(), reference.into())])
                }
            }
        )+

        /// Every answer that is a problem document, by name.
        pub(crate) fn all() -> BTreeMap<String, RefOr<Response>> {
            BTreeMap::from([$(
                (stringify!($name).to_owned(), described($what.trim(), &$codes).into())
            ),+])
        }
    };
}

problems! {
    /// Correct the request: it cannot be parsed.
    Malformed 400 ["malformed", "range-unreadable"]
    /// Send the token.
    Unauthorised 401 ["unauthorised"]
    /// Ask for something else.
    NotFound 404 [
        "not-found", "unknown-node", "unknown-camera", "not-deleted", "unknown-hold",
        "unknown-drill", "unknown-export", "unknown-invite", "unknown-route", "no-footage",
        "keyframe-gone"
    ]
    /// Read the current state first.
    Conflict 409 [
        "conflict", "already-member", "foreign-data", "already-initialized", "not-initialized",
        "duplicate-node-name", "duplicate-camera-name", "node-holds-cameras", "last-node",
        "last-voter",
        "no-headroom", "cameras-changed", "headroom-unchecked", "stale-revision", "stale-epoch",
        "wrong-assignment", "cannot-drill", "nothing-to-drill", "not-restorable", "too-many",
        "not-finalized", "not-upgraded", "too-old", "time-not-certain", "no-authority",
        "not-invited", "invite-used", "invited-as"
    ]
    /// Request the current version, or omit `If-Match`.
    PreconditionFailed 412 ["precondition-failed"]
    /// Send less.
    TooLarge 413 ["too-large"]
    /// Send JSON with its content type.
    UnsupportedMediaType 415 ["unsupported-media-type"]
    /// Request an existing range of bytes.
    RangeNotSatisfiable 416 ["range-not-satisfiable"]
    /// Correct the request: it can be parsed, but is invalid.
    Invalid 422 [
        "invalid", "unknown-retention-class", "camera-invalid", "token-invalid", "range-missing",
        "range-empty", "range-too-long", "live-range", "codec-change",
        "too-many-parameter-changes", "keyframe-too-far", "passphrase-weak", "passphrase-wrong",
        "backup-invalid", "backup-damaged", "backup-forged"
    ]
    /// `damaged`: the stored data is damaged; `internal`: report a bug.
    Internal 500 ["damaged", "internal"]
    /// Nothing was changed: try again after `Retry-After` seconds, or ask another node.
    Unavailable 503 [
        "no-leader", "no-cluster", "cannot-join", "cannot-initialize", "consensus-stopped",
        "unavailable", "overloaded", "not-ready", "footage-late"
    ]
    /// The change may or may not have been made: read before trying again.
    OutcomeUnknown 504 ["outcome-unknown"]
}

/// What a resource with media answers: the whole of it, a part, or why neither.
pub(crate) enum MediaAnswers {}

impl IntoResponses for MediaAnswers {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let media = |what| {
            let content = Content::new(Some(Media::schema()));
            let answer = ResponseBuilder::new().description(what);
            answer.content("video/mp4", content).build()
        };
        let unchanged = Response::new("The client has it already.");
        let mut all = BTreeMap::from([
            ("200".to_owned(), media("The whole resource.").into()),
            ("206".to_owned(), media("The requested bytes.").into()),
            ("304".to_owned(), unchanged.into()),
        ]);
        all.extend(NotFound::responses());
        all.extend(PreconditionFailed::responses());
        all.extend(RangeNotSatisfiable::responses());
        all.extend(Invalid::responses());
        all
    }
}

fn described(what: &str, codes: &[&str]) -> Response {
    let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
    ResponseBuilder::new()
        .description(format!("{what} Codes: `{}`.", codes.join("`, `")))
        .content(PROBLEM_TYPE, problem)
        .build()
}
