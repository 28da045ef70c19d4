//! Drills: begun, listed, shown, refused.

use crate::support::client::Client;
use crate::support::fake::Fake;
use serde_json::json;

#[tokio::test]
async fn a_drill_is_of_a_camera_or_of_a_node() {
    let client = Client::of(&Fake::with_cameras(7));
    let begin = async |body: &str| client.call("POST", "/api/v1/drills", Some(body)).await;
    for (wrong, status) in [
        ("{}", 422),
        (r#"{"camera":7,"node":1}"#, 422),
        (r#"{"cameras":[7]}"#, 422),
        ("[", 422),
        ("{", 400),
    ] {
        assert_eq!(begin(wrong).await.status.as_u16(), status, "{wrong}");
    }
    let answer = begin(r#"{"camera":3}"#).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (201, "/api/v1/drills/1")
    );
    let shown = answer.json();
    assert_eq!(
        (&shown["running"], &shown["cameras"][0]["phase"]),
        (&json!(true), &json!("taking_over"))
    );
    assert_eq!(begin(r#"{"node":"n1"}"#).await.json()["node"], json!(1));
}

#[tokio::test]
async fn drills_are_listed_by_camera_and_shown_one_by_one() {
    let client = Client::of(&Fake::with_cameras(7));
    for camera in [3, 4] {
        client
            .call(
                "POST",
                "/api/v1/drills",
                Some(&json!({ "camera": camera }).to_string()),
            )
            .await;
    }
    let ids = async |path: &str| {
        let shown = client.get(path).await.json();
        shown
            .as_array()
            .unwrap()
            .iter()
            .map(|drill| drill["id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("/api/v1/drills").await, [1, 2]);
    assert_eq!(ids("/api/v1/drills?camera=4").await, [2]);
    assert_eq!(
        client.get("/api/v1/drills/2").await.json()["cameras"][0]["camera"],
        json!(4)
    );
    assert_eq!(
        client.get("/api/v1/drills/9").await.refusal(),
        (404, "unknown-drill".to_owned())
    );
    assert_eq!(
        client.get("/api/v1/drills?cam=4").await.status.as_u16(),
        400
    );
}
