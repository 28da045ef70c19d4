//! Plain HTTP to a node: returns status and body even for answers that the client would turn into
//! errors.

use crate::Result;
use holdfast_control_api::error::Problem;
use holdfast_node::terminal::clock::monotonic_now;
use reqwest::{Client, Method};
use std::time::Duration;

/// Longer than any deadline of the API.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
    pub took: Duration,
}

impl Answer {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The problem document (RFC 9457), if the answer is one.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let typed = self
            .content_type
            .starts_with(holdfast_control_api::error::PROBLEM_TYPE);
        typed
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// If the node does not answer.
pub async fn send(
    method: Method,
    url: &str,
    token: Option<&str>,
    body: Option<&(impl serde::Serialize + ?Sized)>,
) -> Result<Answer> {
    let client = Client::builder()
        .no_proxy()
        .timeout(ANSWER_TIMEOUT)
        .build()?;
    let mut request = client.request(method, url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let started = monotonic_now();
    let response = request.send().await?;
    let status = response.status().as_u16();
    let header = response.headers().get(reqwest::header::CONTENT_TYPE);
    let content_type = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    Ok(Answer {
        status,
        content_type,
        body: response.bytes().await?.to_vec(),
        took: started.elapsed(),
    })
}
