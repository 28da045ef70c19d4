//! What clients may keep: tags of what would be sent (RFC 9110, 8.8.3), and the answer to who has it.

use crate::playback::hls::InitPair;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::time::Timestamp;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Of footage: it changes only while nodes come back with what they recorded, and its tag then changes.
pub(super) const A_WHILE: &str = "private, max-age=300";

/// The tag of chunks that are placed in a presentation. Weak: a chunk that is damaged is left out when it is sent.
pub(super) fn tag_of(chunks: &[ChunkEntry], base: Timestamp, inits: InitPair) -> String {
    let mut hasher = DefaultHasher::new();
    (base.micros(), inits.video.0, inits.audio.map(|audio| audio.0)).hash(&mut hasher);
    for meta in chunks.iter().map(|entry| &entry.meta) {
        (meta.node.0, meta.session.0, meta.sequence, meta.track as u8, meta.frames).hash(&mut hasher);
    }
    format!("W/\"{:016x}\"", hasher.finish())
}

/// The answer where the client has what the tag names.
pub(super) fn unchanged(request: &HeaderMap, tag: &str) -> Option<Response> {
    let known = request.get(header::IF_NONE_MATCH)?.to_str().ok()?;
    let has = known.trim() == "*"
        || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag.trim_start_matches("W/"));
    let headers = [(header::ETAG, tag.to_owned()), (header::CACHE_CONTROL, A_WHILE.to_owned())];
    has.then(|| (StatusCode::NOT_MODIFIED, headers).into_response())
}
