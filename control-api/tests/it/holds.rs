//! Holds: listed with their interval and reason until they are removed.

use crate::support::client::Client;
use crate::support::fake::Fake;
use serde_json::json;

#[tokio::test]
async fn a_hold_exists_from_post_to_delete() {
    let client = Client::of(&Fake::with_cameras(7));
    let body = r#"{"reason":"case 7","camera":3,
        "from":"2026-11-22T10:00:00Z","to":"2026-11-22T12:00:00+01:00"}"#;
    let created = client.call("POST", "/api/v1/holds", Some(body)).await;
    assert_eq!(
        (created.status.as_u16(), created.header("location")),
        (201, "/api/v1/holds/1")
    );
    let hold = client.get("/api/v1/holds/1").await.json();
    assert_eq!(hold, created.json());
    assert_eq!(
        (&hold["reason"], &hold["camera"], &hold["to"]),
        (
            &json!("case 7"),
            &json!(3),
            &json!("2026-11-22T11:00:00.000000Z")
        )
    );
    assert_eq!(
        client
            .get("/api/v1/holds")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        client
            .call("DELETE", "/api/v1/holds/1", None)
            .await
            .status
            .as_u16(),
        204
    );
    assert_eq!(
        client.get("/api/v1/holds/1").await.refusal(),
        (404, "unknown-hold".to_owned())
    );
    assert_eq!(
        client
            .call("DELETE", "/api/v1/holds/1", None)
            .await
            .refusal(),
        (404, "unknown-hold".to_owned())
    );
}

#[tokio::test]
async fn a_hold_needs_no_end_and_takes_nothing_unknown() {
    let client = Client::of(&Fake::with_cameras(7));
    for end in ["", r#","to":null"#] {
        let body =
            format!(r#"{{"reason":"case 7","camera":3,"from":"2026-11-22T10:00:00Z"{end}}}"#);
        let hold = client
            .call("POST", "/api/v1/holds", Some(&body))
            .await
            .json();
        assert_eq!(hold["to"], json!(null));
    }
    for body in [
        r#"{"reason":"x","camera":3}"#,
        r#"{"reason":"x","camera":3,
            "from":"2026-11-22T10:00:00Z","to":"2026-11-22T11:00:00+01:00"}"#,
        r#"{"reason":"x","camera":3,"from":"2026-11-22T10:00:00Z","until":1}"#,
    ] {
        assert_eq!(
            client
                .call("POST", "/api/v1/holds", Some(body))
                .await
                .refusal(),
            (422, "invalid".to_owned())
        );
    }
}
