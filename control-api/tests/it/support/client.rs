//! A client that calls the router without a network.

use super::contract::Exchange;
use super::fake::{Fake, T0};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use holdfast_consensus::model::Secret;
use holdfast_control_api::error::Problem;
use holdfast_control_api::{Options, router};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const TOKEN: &str = "a token/with+signs&more";

pub(crate) struct Client {
    pub(crate) router: Router,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body up to its end or the break.
    pub(crate) bytes: Bytes,
    pub(crate) broke_off: bool,
}

pub(crate) fn options() -> Options {
    // An hour after every recording in these tests.
    Options {
        admin_token: Secret(TOKEN.to_owned()),
        now: || T0.plus_micros(3_600_000_000),
    }
}

impl Client {
    pub(crate) fn of(fake: &Fake) -> Self {
        Self {
            router: router(fake.clone(), options()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    /// Like [`Client::get`], with more headers.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, json: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        if json.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.send(
            request
                .body(Body::from(json.unwrap_or_default().to_owned()))
                .unwrap(),
        )
        .await
    }

    /// Sends a request, and compares it and its answer with the OpenAPI document.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let (method, uri) = (head.method.clone(), head.uri.clone());
        let sent = body.collect().await.unwrap().to_bytes();
        let request = Request::from_parts(head, Body::from(sent.clone()));
        let answer = self.answer(request).await;
        Exchange {
            method: method.as_str(),
            path: uri.path(),
            sent: &sent,
            status: answer.status.as_u16(),
            content_type: answer.header("content-type"),
            answered: (!answer.broke_off).then_some(&answer.bytes),
        }
        .check();
        answer
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, mut body) = self
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        let (mut bytes, mut broke_off) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(other)) => panic!("{other:?} is no data"),
                Err(_) => broke_off = true,
            }
        }
        Answer {
            status: parts.status,
            headers: parts.headers,
            bytes: bytes.into(),
            broke_off,
        }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The problem document, checked against the common requirements.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{} {}",
            self.status,
            self.text()
        );
        let problem: Problem = serde_json::from_slice(&self.bytes).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        assert_eq!(
            problem.kind,
            format!("urn:holdfast:problem:{}", problem.code)
        );
        assert!(!problem.title.is_empty() && !problem.detail.is_empty());
        problem
    }

    /// Status and stable code of the problem.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let problem = self.problem();
        (problem.status, problem.code)
    }
}
