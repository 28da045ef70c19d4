//! The query for a camera's footage, shared by all playlists and exports. Which of its keys a route
//! accepts is listed in [`super::queries`], which rejects all others.

use crate::error::ApiError;
use crate::limits::PLAYBACK_RANGE_MAX;
use crate::playback::hls::InitPair;
use crate::playback::playlist::{GapDisplay, Request, init_of_name};
use crate::range::Range;
use crate::resources::ports::Result;
use crate::schema;
use holdfast_storage::chunk::InitId;
use holdfast_storage::ids::StreamKind;
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    #[param(value_type = Option<schema::Timestamp>)]
    pub(super) from: Option<String>,
    #[param(value_type = Option<schema::Timestamp>)]
    pub(super) to: Option<String>,
    #[serde(default = "main_stream")]
    #[param(value_type = schema::StreamKind)]
    pub(super) stream: StreamKind,
    /// Leaves out frames that refer to lost ones.
    #[serde(default)]
    pub(super) strict: bool,
    #[serde(default)]
    #[param(inline)]
    pub(super) gaps: GapDisplay,
    /// Live footage instead of a range.
    #[serde(default)]
    pub(super) live: bool,
    /// One picture of each entry of a growing list.
    #[serde(default)]
    pub(super) pictures: bool,
    /// The inits of the newest footage when the presentation was opened.
    #[param(value_type = Option<schema::InitName>)]
    video: Option<String>,
    #[param(value_type = Option<schema::InitName>)]
    audio: Option<String>,
    token: Option<String>,
}

impl Asked {
    pub(super) fn range(&self) -> Result<Range> {
        Range::parse(self.from.as_deref(), self.to.as_deref(), PLAYBACK_RANGE_MAX)
    }

    /// `None`: live footage.
    pub(super) fn range_or_live(&self) -> Result<Option<Range>> {
        if !self.live {
            return self.range().map(Some);
        }
        if self.from.is_some() || self.to.is_some() {
            let detail =
                "`live=true` shows what is recorded now; leave `from` and `to` out, or `live`";
            return Err(ApiError::invalid(detail).code("live-range"));
        }
        Ok(None)
    }

    pub(super) fn inits(&self) -> Result<Option<InitPair>> {
        self.video
            .as_ref()
            .map(|video| init_pair(video, self.audio.as_deref()))
            .transpose()
    }

    /// The playlist request for `range`.
    pub(super) fn request(&self, range: Range) -> Request<'_> {
        let Self {
            stream,
            strict,
            gaps,
            ..
        } = *self;
        Request {
            range,
            stream,
            token: self.token.as_deref(),
            strict,
            gaps,
        }
    }
}

pub(super) fn main_stream() -> StreamKind {
    StreamKind::Main
}

pub(super) fn init_pair(video: &str, audio: Option<&str>) -> Result<InitPair> {
    Ok(InitPair {
        video: init_id("video", video)?,
        audio: audio.map(|audio| init_id("audio", audio)).transpose()?,
    })
}

fn init_id(field: &str, name: &str) -> Result<InitId> {
    init_of_name(name).ok_or_else(|| {
        ApiError::malformed(format!(
            "`{field}` is {name:?}; take the URIs of the playlist as they are"
        ))
    })
}
