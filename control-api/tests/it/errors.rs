//! For every wrong request the answer is a problem document; without a token there is no other
//! answer.

use crate::openapi::described;
use crate::support::client::{Client, TOKEN};
use crate::support::fake::Fake;
use axum::body::Body;
use axum::http::{Request, header};

/// Every method of every route that needs a token, with 1 for each number.
pub(crate) fn guarded() -> Vec<(String, String)> {
    let described = described().into_iter();
    let needs_one = described.filter(|(method, path)| !OPEN.contains(&(method, path)));
    needs_one
        .map(|(method, path)| (method, path.replace("{id}", "1")))
        .collect()
}

/// Every route that needs none.
pub(crate) const OPEN: [(&str, &str); 3] =
    [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")];

fn query_token() -> String {
    TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn without_the_token_nothing_under_api_answers() {
    let client = Client::of(&Fake::new());
    for (method, path) in &guarded() {
        for authorization in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some("Basic YTpi"),
            Some(TOKEN),
        ] {
            let mut request = Request::builder().method(method.as_str()).uri(path);
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let answer = client.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                answer.refusal(),
                (401, "unauthorised".to_owned()),
                "{method} {path} {authorization:?}"
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert!(!answer.text().contains(TOKEN));
        }
    }
}

#[tokio::test]
async fn only_reading_footage_takes_the_token_from_the_query() {
    let client = Client::of(&Fake::new());
    for (method, path) in &guarded() {
        let request = Request::builder()
            .method(method.as_str())
            .uri(format!("{path}?token={}", query_token()));
        let answer = client.send(request.body(Body::empty()).unwrap()).await;
        let playback =
            path.contains("/hls/") || path.contains("/export.mp4") || path.contains("/exports/1/");
        assert_eq!(answer.status.as_u16() == 401, !playback, "{method} {path}");
        assert_eq!(
            answer.header("referrer-policy") == "no-referrer",
            playback,
            "{method} {path}"
        );
        let wrong = Request::builder()
            .method(method.as_str())
            .uri(format!("{path}?token=wrong"))
            .body(Body::empty())
            .unwrap();
        assert_eq!(client.send(wrong).await.status.as_u16(), 401);
    }
}

#[tokio::test]
async fn a_node_without_a_cluster_says_so_unless_the_request_is_wrong() {
    let client = Client::of(&Fake::alone());
    let from = "from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z";
    let body = r#"{"name":"gate","source":{"url":"rtsp://10.0.0.9/main"}}"#;
    for (method, path, body) in [
        ("GET", "/api/v1/cameras", None),
        ("GET", "/api/v1/cameras/1", None),
        ("GET", "/api/v1/cameras/deleted", None),
        ("GET", "/api/v1/nodes", None),
        ("GET", "/api/v1/nodes/1/volumes", None),
        ("GET", "/api/v1/settings", None),
        ("GET", "/api/v1/holds", None),
        ("GET", "/api/v1/exports", None),
        ("GET", "/api/v1/drills", None),
        ("GET", &format!("/api/v1/gaps?{from}"), None),
        ("GET", &format!("/api/v1/cameras/1/timeline?{from}"), None),
        ("POST", "/api/v1/cameras", Some(body)),
        ("DELETE", "/api/v1/cameras/1", None),
        ("POST", "/api/v1/nodes/1/drain", None),
        ("POST", "/api/v1/nodes/1/scrub", None),
        ("POST", "/api/v1/drills", Some(r#"{"camera":1}"#)),
        ("POST", "/api/v1/cluster/rebalance", None),
        ("POST", "/api/v1/cluster/finalize", None),
        (
            "POST",
            "/api/v1/backup",
            Some(r#"{"passphrase":"correct horse"}"#),
        ),
        ("POST", "/api/v1/retention/release", Some("{}")),
    ] {
        let answer = client.call(method, path, body).await;
        let refusal = (503, "no-cluster".to_owned());
        assert_eq!(answer.refusal(), refusal, "{method} {path}");
    }
    for (method, path, body, code) in [
        ("POST", "/api/v1/drills", "{}", "invalid"),
        (
            "POST",
            "/api/v1/cluster/join",
            r#"{"token":"x"}"#,
            "token-invalid",
        ),
    ] {
        let answer = client.call(method, path, Some(body)).await;
        assert_eq!(answer.refusal(), (422, code.to_owned()), "{method} {path}");
    }
    for path in ["/api/v1/cluster", "/api/v1/status", "/api/v1/parts"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_header_is_not_saved_by_a_right_query() {
    let client = Client::of(&Fake::new());
    let uri = format!("/api/v1/cameras/1/export.mp4?token={}", query_token());
    let request = Request::get(uri)
        .header(header::AUTHORIZATION, "Bearer wrong")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        client.send(request).await.refusal(),
        (401, "unauthorised".to_owned())
    );
}

#[tokio::test]
async fn a_request_that_cannot_be_read_gets_a_problem_document() {
    let client = Client::of(&Fake::new());
    let cases = [
        ("POST", "/api/v1/cameras", Some("{"), 400, "malformed"),
        (
            "POST",
            "/api/v1/cameras",
            Some("{\"name\":1}"),
            422,
            "invalid",
        ),
        (
            "POST",
            "/api/v1/cameras",
            Some("{\"nome\":\"x\"}"),
            422,
            "invalid",
        ),
        (
            "POST",
            "/api/v1/cameras",
            None,
            415,
            "unsupported-media-type",
        ),
        ("PATCH", "/api/v1/cameras/1", Some("\"x\""), 422, "invalid"),
        ("PATCH", "/api/v1/cameras/1", Some("[]"), 422, "invalid"),
        (
            "POST",
            "/api/v1/retention/cancel",
            Some("[null,null]"),
            422,
            "invalid",
        ),
        (
            "GET",
            "/api/v1/cameras/-1/hls/gap.m4s",
            None,
            400,
            "malformed",
        ),
        (
            "PATCH",
            "/api/v1/cameras/1",
            Some("{\"source\":{\"password\":null}}"),
            422,
            "invalid",
        ),
        ("GET", "/api/v1/cameras/gate", None, 400, "malformed"),
        ("GET", "/api/v1/cameras/99999999999", None, 400, "malformed"),
        ("POST", "/api/v1/nodes/-1/drain", None, 400, "malformed"),
        (
            "GET",
            "/api/v1/cameras/1/timeline?since=1",
            None,
            400,
            "malformed",
        ),
        (
            "GET",
            "/api/v1/cameras/1/timeline?from=1&from=2",
            None,
            400,
            "malformed",
        ),
        (
            "GET",
            "/api/v1/cameras/1/export.mp4?stream=third",
            None,
            400,
            "malformed",
        ),
        ("GET", "/api/v1/camera", None, 404, "unknown-route"),
        ("GET", "/", None, 404, "unknown-route"),
        ("PUT", "/api/v1/cameras/1", None, 405, "method-not-allowed"),
        ("DELETE", "/healthz", None, 405, "method-not-allowed"),
    ];
    for (method, path, body, status, code) in cases {
        assert_eq!(
            client.call(method, path, body).await.refusal(),
            (status, code.to_owned()),
            "{method} {path} {body:?}"
        );
    }
}

#[tokio::test]
async fn no_route_takes_a_query_that_it_does_not_know() {
    let client = Client::of(&Fake::new());
    let open = OPEN.map(|(method, path)| (method.to_owned(), path.to_owned()));
    for (method, path) in &guarded().into_iter().chain(open).collect::<Vec<_>>() {
        let answer = client
            .call(method, &format!("{path}?no-such-key=1"), None)
            .await;
        assert_eq!(
            answer.refusal(),
            (400, "malformed".to_owned()),
            "{method} {path}"
        );
        assert!(
            answer.text().contains("no-such-key"),
            "{method} {path}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let client = Client::of(&Fake::new());
    let allow = client
        .call("PUT", "/api/v1/cameras/1", None)
        .await
        .header("allow")
        .to_owned();
    for method in ["GET", "PATCH", "DELETE"] {
        assert!(allow.contains(method), "{allow}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let client = Client::of(&Fake::new());
    let body = format!(
        "{{\"name\":\"{}\"}}",
        "x".repeat(holdfast_control_api::limits::BODY_BYTES_MAX)
    );
    assert_eq!(
        client
            .call("POST", "/api/v1/cameras", Some(&body))
            .await
            .refusal(),
        (413, "too-large".to_owned())
    );
}

#[test]
fn an_api_without_a_token_is_not_built() {
    let options = holdfast_control_api::Options {
        admin_token: Default::default(),
        ..crate::support::client::options()
    };
    assert!(holdfast_control_api::router(Fake::new(), options).is_err());
}
