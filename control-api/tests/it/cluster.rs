//! Cluster, nodes, health.

use crate::support::client::Client;
use crate::support::fake::Fake;
use holdfast_consensus::model::KeyHash;
use holdfast_consensus::{JoinToken, WriteError};
use serde_json::json;

#[tokio::test]
async fn a_node_enters_one_cluster_once() {
    let fake = Fake::alone();
    let client = Client::of(&fake);
    assert_eq!(
        client.get("/api/v1/cluster").await.json()["id"],
        json!(null)
    );
    assert_eq!(
        client
            .call("POST", "/api/v1/cluster/init", Some("{}"))
            .await
            .json()["id"],
        json!("00000000-0000-0000-0000-00000000000c")
    );
    assert_eq!(
        client
            .call("POST", "/api/v1/cluster/init", Some("{}"))
            .await
            .refusal(),
        (409, "conflict".to_owned())
    );
    let token = JoinToken::new(vec!["10.0.0.1:7701".parse().unwrap()], KeyHash([1; 32]));
    let join = json!({ "token": token.unwrap().to_string() }).to_string();
    assert_eq!(
        client
            .call("POST", "/api/v1/cluster/join", Some(&join))
            .await
            .refusal(),
        (409, "conflict".to_owned())
    );
}

#[tokio::test]
async fn a_token_must_be_one() {
    let client = Client::of(&Fake::new());
    for token in ["", "x", "hfjoin_", "hfjoin_AAAA"] {
        let body = json!({ "token": token }).to_string();
        assert_eq!(
            client
                .call("POST", "/api/v1/cluster/join", Some(&body))
                .await
                .refusal(),
            (422, "token-invalid".to_owned()),
            "{token}"
        );
    }
}

#[tokio::test]
async fn a_node_is_drained_and_taken_back() {
    let client = Client::of(&Fake::new());
    assert_eq!(
        client.get("/api/v1/nodes").await.json()[0]["duty"],
        json!("active")
    );
    assert_eq!(
        client
            .call("POST", "/api/v1/nodes/1/drain", None)
            .await
            .json()["duty"],
        json!("draining")
    );
    assert_eq!(
        client
            .call("DELETE", "/api/v1/nodes/1/drain", None)
            .await
            .json()["duty"],
        json!("active")
    );
    assert_eq!(
        client
            .call("POST", "/api/v1/nodes/9/drain", None)
            .await
            .refusal(),
        (404, "unknown-node".to_owned())
    );
}

#[tokio::test]
async fn settings_are_changed_one_by_one_and_a_rebalance_is_asked_for() {
    let client = Client::of(&Fake::new());
    let settings = |after| {
        json!({"headroom":"warn","headroom_over_domains":false,"failback":"stay",
            "failback_after_s":after,"drill_every_s":0})
    };
    assert_eq!(client.get("/api/v1/settings").await.json(), settings(300));
    let changed = client
        .call(
            "PATCH",
            "/api/v1/settings",
            Some(r#"{"failback_after_s":60}"#),
        )
        .await;
    assert_eq!(changed.json(), settings(60));
    assert_eq!(
        client
            .call("PATCH", "/api/v1/settings", Some("{}"))
            .await
            .json(),
        settings(60)
    );
    for wrong in [
        r#"{"failback":"always"}"#,
        r#"{"headroom":null}"#,
        r#"{"headrooms":"warn"}"#,
    ] {
        let refusal = client
            .call("PATCH", "/api/v1/settings", Some(wrong))
            .await
            .refusal();
        assert_eq!(refusal, (422, "invalid".to_owned()), "{wrong}");
    }
    let finalized = client.call("POST", "/api/v1/cluster/finalize", None).await;
    assert_eq!(
        (
            finalized.status.as_u16(),
            finalized.json()["version"].clone()
        ),
        (200, json!(1))
    );
    let answer = client.call("POST", "/api/v1/cluster/rebalance", None).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["rebalancing"]),
        (202, &json!(true))
    );
}

#[tokio::test]
async fn a_write_without_a_leader_may_be_retried_and_an_unknown_outcome_may_not() {
    let fake = Fake::new();
    let client = Client::of(&fake);
    fake.with(|state| state.writes_fail = Some(WriteError::NoLeader));
    let answer = client.call("POST", "/api/v1/nodes/1/drain", None).await;
    assert_eq!(
        (answer.refusal(), answer.header("retry-after")),
        ((503, "no-leader".to_owned()), "1")
    );
    fake.with(|state| state.writes_fail = Some(WriteError::Unknown));
    let answer = client.call("POST", "/api/v1/nodes/1/drain", None).await;
    assert_eq!(
        (answer.refusal(), answer.header("retry-after")),
        ((504, "outcome-unknown".to_owned()), "")
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_given_up() {
    let fake = Fake::new();
    fake.with(|state| state.stands_still = true);
    let client = Client::of(&fake);
    assert_eq!(
        client.get("/api/v1/cluster").await.refusal(),
        (503, "unavailable".to_owned())
    );
    assert_eq!(
        client
            .call("POST", "/api/v1/nodes/1/drain", None)
            .await
            .refusal(),
        (504, "outcome-unknown".to_owned())
    );
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_token() {
    let fake = Fake::new();
    let client = Client::of(&fake);
    let open = async |path: &str| {
        client
            .send(
                axum::http::Request::get(path)
                    .body(axum::body::Body::empty())
                    .unwrap(),
            )
            .await
    };
    assert_eq!(
        (open("/healthz").await.text(), open("/readyz").await.text()),
        ("ok\n".to_owned(), "ready\n".to_owned())
    );
    fake.with(|state| state.not_ready = Some("volume 0 is read-only".to_owned()));
    let problem = open("/readyz").await.problem();
    assert_eq!(
        (problem.code.as_str(), problem.detail.as_str()),
        ("not-ready", "volume 0 is read-only")
    );
}

#[tokio::test]
async fn requests_are_measured_by_route_and_never_by_uri() {
    let client = Client::of(&Fake::new());
    client
        .get("/api/v1/cameras/7/timeline?from=secret-in-query")
        .await;
    client.get("/nowhere/secret-path").await;
    let page = client.get("/metrics").await;
    assert!(page.header("content-type").starts_with("text/plain"));
    let count = "holdfast_api_request_duration_seconds_count{method=\"GET\",\
                 route=\"/api/v1/cameras/{id}/timeline\",status=\"4xx\"} 1";
    assert!(page.text().contains(count), "{}", page.text());
    assert!(
        page.text().contains("route=\"none\"") && !page.text().contains("secret"),
        "{}",
        page.text()
    );
}
