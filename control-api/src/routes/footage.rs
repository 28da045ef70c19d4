//! Answers with footage that was laid out, as a whole or in part.
//!
//! One tag is one file, byte for byte. Which chunks are lost is part of the tag as far as this node
//! knows. One that turns out to be lost before an answer has begun makes it lay the file out again,
//! under another tag. One that turns out later breaks the answer off where the client joins it to
//! what it has, and is passed over where the answer is whole, or the client says of no version
//! that it has it (players): its length is kept, and the next answer has the other tag.

use super::App;
use super::chunk_stream::{ChunkStream, Found, Unsent};
use super::hls::MEDIA_TYPE;
use super::parts::{Conditions, Representation};
use crate::backend::{Backend, Result};
use crate::error::ApiError;
use crate::playback::layout::Layout;
use crate::range::Range;
use axum::http::HeaderName;
use axum::response::Response;
use holdfast_storage::ids::CameraId;
use tokio::sync::OwnedSemaphorePermit;

/// How often footage is laid out for one answer: once more for all that was lost before its first
/// byte, and again where more is lost at that very moment.
const LOOKS_MAX: usize = 4;

/// Footage that was laid out, to be sent.
pub(super) struct Footage {
    pub(super) layout: Layout,
    /// What refers to lost frames is left out.
    pub(super) strict: bool,
    pub(super) cache: &'static str,
    /// Sent with every answer that has some of it.
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// What was asked for.
    pub(super) of: (CameraId, Range),
}

impl Footage {
    pub(super) async fn answer<B: Backend>(
        self,
        app: &App<B>,
        to: &Conditions,
    ) -> std::result::Result<Response, Unsent> {
        let Self {
            layout,
            strict,
            cache,
            headers,
            permit,
            of,
        } = self;
        let lost = app.lost.of(layout.chunks());
        let layout = layout.without(&lost, strict);
        let (bytes, tag) = (layout.bytes(), layout.tag());
        let representation = Representation {
            bytes,
            tag,
            content_type: MEDIA_TYPE,
            cache,
            headers,
        };
        let open = async |sent: std::ops::Range<u64>| {
            let all = sent == (0..bytes);
            let found = if to.means_one_version(all) {
                Found::BreaksOff
            } else {
                Found::IsPassedOver
            };
            let stream = ChunkStream::new(
                app.backend.clone(),
                layout.cut(sent, strict),
                (app.lost.clone(), found),
                permit,
            );
            stream.into_body(all, of).await
        };
        representation.answer(to, open).await
    }
}

/// How often footage was laid out for an answer.
#[derive(Debug, Default)]
pub(super) struct Looks(usize);

impl Looks {
    /// The answer; `None` where footage is to be laid out again, since some of it turned out to be
    /// lost.
    pub(super) fn settle(
        &mut self,
        found: std::result::Result<Response, Unsent>,
    ) -> Option<Result<Response>> {
        self.0 += 1;
        match found {
            Ok(answer) => Some(Ok(answer)),
            Err(Unsent::Failed(error)) => Some(Err(error)),
            Err(Unsent::OfOtherFootage) if self.0 < LOOKS_MAX => None,
            Err(Unsent::OfOtherFootage) => Some(Err(ApiError::unavailable(
                "footage is being lost while it is read; try again",
            ))),
        }
    }
}
