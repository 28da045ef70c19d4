//! A backup leaves the node sealed, and its passphrase is never in a URL.

use crate::support::client::{Answer, Client};
use crate::support::fake::Fake;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_control_api::limits::{BODY_BYTES_MAX, RESTORE_BODY_BYTES_MAX};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_backup_is_bytes_that_no_cache_keeps() {
    let client = Client::of(&Fake::new());
    let answer = client
        .call(
            "POST",
            "/api/v1/backup",
            Some(r#"{"passphrase":"correct horse"}"#),
        )
        .await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("cache-control"), "no-store");
    let in_url = client
        .call(
            "POST",
            "/api/v1/backup?passphrase=x",
            Some(r#"{"passphrase":"x"}"#),
        )
        .await;
    assert_eq!(in_url.refusal(), (400, "malformed".to_owned()));
    assert_eq!(
        client
            .call("GET", "/api/v1/backup", None)
            .await
            .status
            .as_u16(),
        405
    );
}

#[tokio::test]
async fn a_backup_is_restored_in_another_cluster() {
    let of = Client::of(&Fake::with_cameras(2));
    let made = of
        .call(
            "POST",
            "/api/v1/backup",
            Some(r#"{"passphrase":"correct horse"}"#),
        )
        .await;
    let backup = STANDARD.encode(&made.bytes);
    let client = Client::of(&Fake::new());
    let restore = async |passphrase: &str, dry_run: bool| {
        let body = json!({ "passphrase": passphrase, "backup": backup, "dry_run": dry_run });
        client
            .call("POST", "/api/v1/restore", Some(&body.to_string()))
            .await
    };
    let wrong = restore("wrong horse 12", true).await;
    assert_eq!(wrong.refusal(), (422, "passphrase-wrong".to_owned()));
    let cameras = |restored: &Answer| {
        let restored = restored.json();
        let items = restored["items"].as_array().unwrap().iter();
        let added = items.filter(|item| item["kind"] == "camera" && item["outcome"] == "added");
        (restored["dry_run"].clone(), added.count())
    };
    let tried = restore("correct horse", true).await;
    assert_eq!(cameras(&tried), (json!(true), 2), "{}", tried.text());
    let listed = async || client.get("/api/v1/cameras").await.json();
    assert_eq!(listed().await, json!([]), "only tried");
    let restored = restore("correct horse", false).await;
    assert_eq!(cameras(&restored), (json!(false), 2));
    assert_eq!(listed().await[1]["name"], json!("camera 2"));
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_takes_long_is_continued_by_further_requests() {
    const CAMERAS: usize = 20;
    let of = Client::of(&Fake::with_cameras(CAMERAS as u32));
    let body = r#"{"passphrase":"correct horse"}"#;
    let made = of.call("POST", "/api/v1/backup", Some(body)).await;
    let backup = STANDARD.encode(&made.bytes);
    let fake = Fake::new();
    fake.with(|state| state.writes_take = Duration::from_secs(1));
    let client = Client::of(&fake);
    let (mut from, mut requests) = (0, 0);
    loop {
        let body = json!({ "passphrase": "correct horse", "backup": backup, "from": from });
        let answer = client
            .call("POST", "/api/v1/restore", Some(&body.to_string()))
            .await;
        let restored = answer.json();
        from += restored["items"].as_array().unwrap().len();
        requests += 1;
        if restored["left"] == json!(0) {
            break;
        }
    }
    assert!(
        (3..10).contains(&requests),
        "{requests} requests of 7 s each"
    );
    let cameras = client.get("/api/v1/cameras").await.json();
    assert_eq!(cameras.as_array().unwrap().len(), CAMERAS);
}

#[tokio::test]
async fn a_restore_may_be_larger_than_other_requests_and_not_without_bound() {
    let client = Client::of(&Fake::new());
    let body = |bytes: usize| {
        format!(
            r#"{{"passphrase":"correct horse","backup":"{}","dry_run":true}}"#,
            "A".repeat(bytes)
        )
    };
    let answer = client
        .call("POST", "/api/v1/restore", Some(&body(BODY_BYTES_MAX * 2)))
        .await;
    assert_eq!(answer.refusal(), (422, "backup-invalid".to_owned()));
    let huge = client
        .call(
            "POST",
            "/api/v1/restore",
            Some(&body(RESTORE_BODY_BYTES_MAX)),
        )
        .await;
    assert_eq!(huge.refusal(), (413, "too-large".to_owned()));
    let unknown = r#"{"passphrase":"x","backup":"","overwrit":true}"#;
    assert_eq!(
        client
            .call("POST", "/api/v1/restore", Some(unknown))
            .await
            .refusal(),
        (422, "invalid".to_owned())
    );
}
