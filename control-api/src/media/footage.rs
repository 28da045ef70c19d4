//! Answers with laid-out footage, as a whole or in part.
//!
//! One tag stands for one file, byte for byte. The chunks that this node knows to be lost are part
//! of the tag. If a chunk is found lost before an answer has begun, the file is laid out again,
//! under another tag. If a chunk is found lost later, the answer is broken off if the client joins
//! it to what it has. The chunk is skipped if the answer is the whole file, or if the client names
//! no version that it has (as players do): its length is kept, and the next answer has the other
//! tag.

use super::byte_ranges::{Conditions, Representation};
use super::chunk_stream::{ChunkStream, Found, Unsent};
use super::hls::MEDIA_TYPE;
use crate::error::ApiError;
use crate::playback::layout::Layout;
use crate::range::Range;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use axum::http::HeaderName;
use axum::response::Response;
use holdfast_storage::ids::CameraId;
use tokio::sync::OwnedSemaphorePermit;

/// How often footage is laid out for one answer: once more for all that was lost before its first
/// byte, and again if more is lost at that very moment.
const LOOKS_MAX: usize = 4;

/// Footage that was laid out, to be sent.
pub(super) struct Footage {
    pub(super) layout: Layout,
    /// Frames that refer to lost ones are left out.
    pub(super) strict: bool,
    pub(super) cache: &'static str,
    /// Sent with every answer that contains some of it.
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// Who may have more of it in a moment ([`crate::resources::ports::Listed::late`]).
    pub(super) late: Option<String>,
    /// The requested camera and range.
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
            late,
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
            late,
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
    /// The answer; `None` if the footage has to be laid out again, because some of it was found
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
