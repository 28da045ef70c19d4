//! Cameras and their timelines.

use crate::support::client::Client;
use crate::support::fake::Fake;
use holdfast_control_api::ports::Cluster;
use serde_json::json;

const GATE: &str = r#"{"name":"gate",
    "source":{"url":"rtsp://10.0.0.9/main","username":"u","password":"hunter2"},
    "labels":{"site":"n"}}"#;

#[tokio::test]
async fn a_camera_exists_from_post_to_delete() {
    let client = Client::of(&Fake::new());
    let created = client.call("POST", "/api/v1/cameras", Some(GATE)).await;
    assert_eq!(
        (created.status.as_u16(), created.header("location")),
        (201, "/api/v1/cameras/1")
    );
    let camera = client.get("/api/v1/cameras/1").await.json();
    assert_eq!(camera, created.json());
    assert_eq!(
        (
            &camera["assignment"]["epoch"],
            &camera["priority"],
            &camera["labels"]
        ),
        (&json!(1), &json!(100), &json!({"site": "n"}))
    );
    let changed = client
        .call(
            "PATCH",
            "/api/v1/cameras/1",
            Some(r#"{"name":"yard","priority":5}"#),
        )
        .await
        .json();
    assert_eq!(
        (&changed["name"], &changed["priority"], &changed["source"]),
        (&json!("yard"), &json!(5), &camera["source"])
    );
    let released = client.call("POST", "/api/v1/cameras/1/release", None).await;
    assert_eq!(
        (released.status.as_u16(), &released.json()["held_back"]),
        (200, &json!(null))
    );
    assert_eq!(
        client
            .get("/api/v1/cameras")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        client
            .call("DELETE", "/api/v1/cameras/1", None)
            .await
            .status
            .as_u16(),
        204
    );
    assert_eq!(
        client.get("/api/v1/cameras/1").await.refusal(),
        (404, "unknown-camera".to_owned())
    );
    assert_eq!(
        client
            .call("PATCH", "/api/v1/cameras/1", Some("{}"))
            .await
            .refusal(),
        (404, "unknown-camera".to_owned())
    );
    assert_eq!(
        client
            .call("DELETE", "/api/v1/cameras/1", None)
            .await
            .refusal(),
        (404, "unknown-camera".to_owned())
    );
    let gone = client.call("POST", "/api/v1/cameras/1/release", None).await;
    assert_eq!(gone.refusal(), (404, "unknown-camera".to_owned()));
}

#[tokio::test]
async fn a_password_goes_in_and_never_comes_out() {
    let fake = Fake::new();
    let client = Client::of(&fake);
    let created = client.call("POST", "/api/v1/cameras", Some(GATE)).await;
    for answer in [
        created,
        client.get("/api/v1/cameras/1").await,
        client.get("/api/v1/cameras").await,
    ] {
        assert!(!answer.text().contains("hunter2"));
    }
    let password = || {
        fake.with(|state| {
            state
                .cluster
                .as_ref()
                .unwrap()
                .cameras
                .values()
                .next()
                .unwrap()
                .spec
                .source
                .credentials
                .clone()
                .map(|login| login.password().to_owned())
        })
    };
    client
        .call(
            "PATCH",
            "/api/v1/cameras/1",
            Some(r#"{"source":{"url":"rtsp://10.0.0.8/main"}}"#),
        )
        .await;
    assert_eq!(
        password().as_deref(),
        Some("hunter2"),
        "absent means that it stays"
    );
    let open = client
        .call(
            "PATCH",
            "/api/v1/cameras/1",
            Some(r#"{"source":{"username":"","password":""}}"#),
        )
        .await;
    assert_eq!(
        (password(), open.json()["source"]["has_password"].clone()),
        (None, json!(false))
    );
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_before_the_cluster_sees_them() {
    let fake = Fake::new();
    let client = Client::of(&fake);
    client.call("POST", "/api/v1/cameras", Some(GATE)).await;
    for (from, to) in [
        ("rtsp://10.0.0.9/main", "http://10.0.0.9/"),
        ("\"gate\"", "\"\""),
        ("\"site\"", "\"a b\""),
    ] {
        let answer = client
            .call("POST", "/api/v1/cameras", Some(&GATE.replace(from, to)))
            .await;
        assert_eq!(answer.refusal(), (422, "camera-invalid".to_owned()), "{to}");
    }
    let answer = client
        .call(
            "PATCH",
            "/api/v1/cameras/1",
            Some(r#"{"source":{"url":"rtsp://"}}"#),
        )
        .await;
    assert_eq!(answer.refusal(), (422, "camera-invalid".to_owned()));
    assert_eq!(fake.state().unwrap().cameras.len(), 1);
}

#[tokio::test]
async fn a_timeline_takes_a_range() {
    let client = Client::of(&Fake::with_cameras(7));
    let timeline = client
        .get("/api/v1/cameras/7/timeline?from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z")
        .await
        .json();
    assert_eq!(
        (&timeline["camera"], &timeline["from"]),
        (&json!(7), &json!("2026-11-22T10:00:00.000000Z"))
    );
    for (query, code) in [
        ("", "range-missing"),
        ("?from=2026-11-22T10:00:00Z", "range-missing"),
        ("?from=now&to=2026-11-22T10:00:00Z", "range-unreadable"),
        (
            "?from=2026-11-22T10:00:00Z&to=2026-11-22T10:00:00Z",
            "range-empty",
        ),
        (
            "?from=2026-11-22T10:00:00Z&to=2027-11-22T10:00:00Z",
            "range-too-long",
        ),
    ] {
        assert_eq!(
            client
                .get(&format!("/api/v1/cameras/7/timeline{query}"))
                .await
                .refusal()
                .1,
            code
        );
    }
}

#[tokio::test]
async fn a_deleted_camera_is_listed_and_restored() {
    let client = Client::of(&Fake::new());
    client.call("POST", "/api/v1/cameras", Some(GATE)).await;
    assert_eq!(
        client.get("/api/v1/cameras/deleted").await.json(),
        json!([])
    );
    client.call("DELETE", "/api/v1/cameras/1", None).await;
    let deleted = client.get("/api/v1/cameras/deleted").await;
    assert!(!deleted.text().contains("hunter2"));
    let listed = &deleted.json()[0];
    assert_eq!(
        (&listed["id"], &listed["name"], &listed["restorable"]),
        (&json!(1), &json!("gate"), &json!(true))
    );
    let path = "/api/v1/cameras/1/restore";
    let misspelt = client.call("POST", path, Some(r#"{"nam":"yard"}"#)).await;
    assert_eq!(misspelt.status.as_u16(), 422);
    let restored = client
        .call("POST", path, Some(r#"{"name":"yard"}"#))
        .await
        .json();
    assert_eq!(
        (&restored["name"], &restored["source"]["has_password"]),
        (&json!("yard"), &json!(true))
    );
    assert_eq!(
        client.call("POST", path, Some("{}")).await.refusal(),
        (404, "not-deleted".to_owned())
    );
}

#[tokio::test]
async fn cameras_of_another_cluster_get_numbers() {
    let client = Client::of(&Fake::new());
    let body = r#"{"cluster":"6f1c0000-0000-0000-0000-000000000000",
        "cameras":[{"camera":3,"name":"yard"}]}"#;
    let given = client
        .call("POST", "/api/v1/cameras/adopt", Some(body))
        .await;
    assert_eq!(given.json(), json!([{"camera": 3, "id": 1}]));
}
