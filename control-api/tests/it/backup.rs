//! A backup leaves the node sealed, and its passphrase is never in a URL.

use crate::support::client::Client;
use crate::support::fake::Fake;
use holdfast_control_api::limits::{BODY_BYTES_MAX, RESTORE_BODY_BYTES_MAX};

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
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "sealed with 13 characters")
    );
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
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert!(
        answer.text().contains("overwrite false") && answer.text().contains(r#""dry_run":true"#)
    );
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
