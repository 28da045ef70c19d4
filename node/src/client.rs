//! The API's client: one place for the address, the token, deadlines and problem documents.

use crate::config::ADMIN_TOKEN_ENV;
use crate::terminal::error::{CliError, ExitKind};
use clap::Args;
use holdfast_consensus::model::Secret;
use holdfast_control_api::error::Problem;
use reqwest::{Method, RequestBuilder, Response, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request with a small answer may take in all: longer than a node takes at most, so
/// that the node's own answer arrives.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

const _: () =
    assert!(REQUEST_TIMEOUT.as_secs() > holdfast_control_api::limits::REQUEST_DEADLINE.as_secs());

/// How long a download may stall.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the API is and who asks.
#[derive(Clone, Debug, Args)]
pub struct ApiOptions {
    /// Address of a node's API
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_API",
        value_name = "URL",
        default_value = "http://127.0.0.1:8480"
    )]
    pub api: Url,
    /// File with the admin token; else HOLDFAST_ADMIN_TOKEN is used
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A cheap handle to one node's API.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

impl Api {
    /// # Errors
    /// The token file cannot be read, or the address is no base for paths.
    pub fn new(options: &ApiOptions) -> Result<Self, CliError> {
        let token = match &options.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var(ADMIN_TOKEN_ENV)
                .ok()
                .filter(|token| !token.is_empty())
                .map(Secret),
        };
        Self::with_token(options.api.clone(), token)
    }

    /// # Errors
    /// The address is no base for paths.
    pub fn with_token(base: Url, token: Option<Secret>) -> Result<Self, CliError> {
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(CliError::usage(format!(
                "`{base}` is not the address of an API; write http://HOST:PORT"
            )));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| CliError::failed(format!("cannot set up HTTP: {error}")))?;
        Ok(Self { http, base, token })
    }

    /// # Errors
    /// As [`Api::call`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        let response = self
            .send(Method::GET, path, query, None::<&()>, Some(REQUEST_TIMEOUT))
            .await?;
        response
            .json()
            .await
            .map_err(|error| self.unreadable(&error))
    }

    /// Sends a change and returns the answer's JSON as it is; `null` if there is none.
    ///
    /// # Errors
    /// The error in the problem document, or that the node cannot be reached or understood.
    pub async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<serde_json::Value, CliError> {
        let response = self
            .send(method, path, &[], body, Some(REQUEST_TIMEOUT))
            .await?;
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if bytes.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| self.unreadable(&error))
    }

    /// Sends `body` and returns what the answer's JSON says.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let response = self
            .send(Method::POST, path, &[], Some(body), Some(REQUEST_TIMEOUT))
            .await?;
        response
            .json()
            .await
            .map_err(|error| self.unreadable(&error))
    }

    /// Sends `body` and returns the answer's bytes as they are, at most `bytes_max`.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn fetch(
        &self,
        path: &[&str],
        body: &impl Serialize,
        bytes_max: usize,
    ) -> Result<Vec<u8>, CliError> {
        let mut response = self
            .send(Method::POST, path, &[], Some(body), Some(REQUEST_TIMEOUT))
            .await?;
        let mut bytes = Vec::new();
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| self.unreachable(&error))?
        {
            if bytes.len() + part.len() > bytes_max {
                return Err(CliError::failed(format!(
                    "{} answered more than {bytes_max} bytes",
                    self.base
                )));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<(), CliError> {
        self.send(
            Method::DELETE,
            path,
            query,
            None::<&()>,
            Some(REQUEST_TIMEOUT),
        )
        .await
        .map(drop)
    }

    /// Opens a download of any length; each read has a deadline.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn download(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Response, CliError> {
        self.send(Method::GET, path, query, None::<&()>, None).await
    }

    /// As [`Api::download`], but only from a byte on if the data still has this entity tag; else
    /// all of it (RFC 9110, 13.1.5).
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn download_from(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        there: Option<(u64, &str)>,
    ) -> Result<Response, CliError> {
        let mut request = self.http.get(self.url(path, query)?);
        if let Some((at, tag)) = there {
            request = request
                .header(header::RANGE, format!("bytes={at}-"))
                .header(header::IF_RANGE, tag);
        }
        self.accept(
            self.authorised(request)
                .send()
                .await
                .map_err(|error| self.unreachable(&error))?,
        )
        .await
    }

    /// The same client of another node, by its `host:port`.
    #[must_use]
    pub fn at(&self, addr: &str) -> Option<Self> {
        let base = Url::parse(&format!("http://{addr}")).ok()?;
        Some(Self {
            base,
            ..self.clone()
        })
    }

    /// Whether `GET path` (`/healthz`, `/readyz`; no token needed) succeeds.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn probe(&self, path: &str) -> Result<(), CliError> {
        let mut url = self.base.clone();
        url.set_path(path);
        let sent = self.http.get(url).timeout(CONNECT_TIMEOUT).send().await;
        self.accept(sent.map_err(|error| self.unreachable(&error))?)
            .await
            .map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
        timeout: Option<Duration>,
    ) -> Result<Response, CliError> {
        let mut request = self.http.request(method, self.url(path, query)?);
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = self
            .authorised(request)
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.accept(response).await
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(&token.0),
            None => request,
        }
    }

    async fn accept(&self, response: Response) -> Result<Response, CliError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => CliError::of_problem(&problem),
            Err(_) => CliError::failed(format!(
                "{} answered {status} without a problem document",
                self.base
            ))
            .hint("is this the address of a Holdfast node's API?"),
        })
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, CliError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| CliError::usage(format!("`{}` is not the address of an API", self.base)))?
            .clear()
            .extend(["api", "v1"])
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let cause = root_cause(error);
        CliError::new(
            ExitKind::Unavailable,
            format!("cannot reach {}: {cause}", self.base),
        )
        .hint("is `holdfast serve` running there? --api or HOLDFAST_API names another node")
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> CliError {
        CliError::failed(format!(
            "cannot read the answer of {}: {}",
            self.base,
            root_cause(error)
        ))
        .hint("do this program and the node have the same version?")
    }
}

/// The innermost error: reqwest's own text repeats the URL but not the reason.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn read_token(path: &std::path::Path) -> Result<Secret, CliError> {
    let text = crate::config::read_bounded(path).map_err(|error| {
        CliError::failed(format!(
            "cannot read the token from {}: {error}",
            path.display()
        ))
    })?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CliError::failed(format!(
            "{} does not hold a token: one word of printable ASCII",
            path.display()
        )));
    }
    Ok(Secret(token.to_owned()))
}
