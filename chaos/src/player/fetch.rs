//! Asks nodes for playlists and media. The token goes in the query, as players have it.

use super::media::Init;
use super::playlist::without_token;
use super::{Entry, Media};
use crate::player::playlist::Listed;
use holdfast_node::terminal::clock::wall_now;
use reqwest::Client;
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// Longer than a node waits for another one's chunk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// No segment of a test camera comes near it.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A node's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// `http://host:port`.
    pub(crate) url: String,
}

/// Fetches the presentations of one camera.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    http: Client,
    /// Of the camera's presentations, as a path.
    path: String,
    token: String,
    /// By URI; inits never change.
    inits: BTreeMap<String, Init>,
}

impl Fetcher {
    /// # Errors
    /// Where HTTP cannot be set up.
    pub(crate) fn new(
        camera: holdfast_storage::ids::CameraId,
        token: &str,
    ) -> reqwest::Result<Self> {
        let http = Client::builder()
            .no_proxy()
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        let path = format!("/api/v1/cameras/{camera}/hls/");
        Ok(Self {
            http,
            path,
            token: token.to_owned(),
            inits: BTreeMap::new(),
        })
    }

    /// What players open.
    ///
    /// # Errors
    /// What the node answers instead.
    pub(super) async fn open(&self, node: &Node, query: &str) -> Result<String, String> {
        let token: String = url::form_urlencoded::byte_serialize(self.token.as_bytes()).collect();
        self.text(node, &format!("index.m3u8?{query}&token={token}"))
            .await
    }

    /// # Errors
    /// What the node answers instead.
    pub(super) async fn text(&self, node: &Node, uri: &str) -> Result<String, String> {
        let bytes = self.get(node, uri).await?;
        String::from_utf8(bytes).map_err(|_| "no text".to_owned())
    }

    /// An entry with its media. A gap's URI answers, too, though players that know gaps do not ask.
    ///
    /// # Errors
    /// The node's answer if it is another, with the URI.
    pub(super) async fn entry(&mut self, node: &Node, listed: &Listed) -> Result<Entry, String> {
        let uri = without_token(&listed.uri);
        let media = self
            .media(node, listed)
            .await
            .map_err(|error| format!("{uri} of {}: {error}", node.name))?;
        Ok(Entry {
            sequence: listed.sequence,
            uri,
            wall_us: listed.wall_us,
            duration_us: listed.duration_us,
            base_us: listed.parameter("base").unwrap_or(0),
            media: media.filter(|_| !listed.is_gap),
            fetched_us: wall_now().micros(),
        })
    }

    async fn media(&mut self, node: &Node, listed: &Listed) -> Result<Option<Media>, String> {
        let bytes = self.get(node, &listed.uri).await?;
        let Some(map) = listed.map.as_ref().filter(|_| !listed.is_gap) else {
            return Ok(None);
        };
        if !self.inits.contains_key(map) {
            let said = |error: String| format!("its init {}: {error}", without_token(map));
            let init = self.get(node, map).await.map_err(said)?;
            self.inits
                .insert(map.clone(), Init::parse(&init).map_err(said)?);
        }
        self.inits
            .get(map)
            .map(|init| init.read(&bytes))
            .transpose()
    }

    async fn get(&self, node: &Node, uri: &str) -> Result<Vec<u8>, String> {
        let plain = |error: reqwest::Error| error.without_url().to_string();
        let base =
            Url::parse(&format!("{}{}", node.url, self.path)).map_err(|error| error.to_string())?;
        let url = base.join(uri).map_err(|error| error.to_string())?;
        let mut answer = self.http.get(url).send().await.map_err(plain)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(plain)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(format!("more than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(body);
        }
        Err(format!(
            "{status}: {}",
            String::from_utf8_lossy(&body[..body.len().min(300)])
        ))
    }
}
