//! Stored exports and their files.

use crate::support::client::Client;
use crate::support::fake::{CAMERA, Fake, T0};
use crate::support::{clip, ffmpeg};
use holdfast_control_api::wire::Gap;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::NodeId;

const HOUR_MS: i64 = 3_600_000;

fn body(from_ms: i64, to_ms: i64) -> String {
    let (from, to) = (T0.plus_micros(from_ms * 1000), T0.plus_micros(to_ms * 1000));
    format!("{{\"name\":\"case 7\",\"cameras\":[{CAMERA},9],\"from\":\"{from}\",\"to\":\"{to}\"}}")
}

#[tokio::test]
async fn an_export_is_made_shown_listed_and_removed() {
    let client = Client::of(&Fake::with_cameras(9));
    let made = client
        .call("POST", "/api/v1/exports", Some(&body(-7 * HOUR_MS, 0)))
        .await;
    assert_eq!(
        (made.status.as_u16(), made.header("location")),
        (201, "/api/v1/exports/1")
    );
    let shown = client.get("/api/v1/exports/1").await.json();
    assert_eq!(made.json(), shown);
    assert_eq!(
        (&shown["state"], &shown["progress"]),
        (&"ready".into(), &1.0.into())
    );
    let files: Vec<&str> = shown["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["url"].as_str().unwrap())
        .collect();
    let expected = ["7-1.mp4", "7-2.mp4", "9-1.mp4", "9-2.mp4"]
        .map(|name| format!("/api/v1/exports/1/{name}"));
    assert_eq!(files, expected);
    let listed = client.get("/api/v1/exports").await.json();
    assert!(listed[0]["id"] == 1 && listed[0].get("files").is_none());
    assert_eq!(
        client
            .call("DELETE", "/api/v1/exports/1", None)
            .await
            .status
            .as_u16(),
        204
    );
    assert_eq!(client.get("/api/v1/exports/1").await.refusal().0, 404);
    let half = client
        .call("POST", "/api/v1/exports", Some(&body(0, 2 * HOUR_MS)))
        .await
        .json();
    assert_eq!(
        (&half["state"], &half["progress"]),
        (&"recording".into(), &0.5.into())
    );
}

#[tokio::test]
async fn a_file_of_an_export_is_what_an_export_of_its_range_is() {
    if !ffmpeg::is_there() {
        return;
    }
    let fake = Fake::with_cameras(9);
    fake.record(1, 0, &clip::h264("320x180", 4, 0));
    let client = Client::of(&fake);
    client
        .call("POST", "/api/v1/exports", Some(&body(-8 * HOUR_MS, 3000)))
        .await
        .json();
    let (from, to) = (
        T0.plus_micros(-2 * HOUR_MS * 1000),
        T0.plus_micros(3_000_000),
    );
    let plain = client
        .get(&format!(
            "/api/v1/cameras/{CAMERA}/export.mp4?from={from}&to={to}"
        ))
        .await;
    let kept = client.get("/api/v1/exports/1/7-2.mp4").await;
    assert!(
        kept.status.as_u16() == 200 && kept.bytes == plain.bytes && kept.headers == plain.headers
    );
    let part = client
        .ask(
            "GET",
            "/api/v1/exports/1/7-2.mp4",
            &[("range", "bytes=-100")],
        )
        .await;
    assert!(part.status.as_u16() == 206 && part.bytes == plain.bytes[plain.bytes.len() - 100..]);
    assert_eq!(
        client.get("/api/v1/exports/1/7-1.mp4").await.refusal(),
        (404, "no-footage".to_owned())
    );
    for file in ["7.mp4", "7-3.mp4", "8-1.mp4", "..%2F7-1.mp4"] {
        assert_eq!(
            client
                .get(&format!("/api/v1/exports/1/{file}"))
                .await
                .refusal()
                .0,
            404,
            "{file}"
        );
    }
}

#[tokio::test]
async fn the_manifest_names_what_is_missing_and_of_which_camera() {
    let fake = Fake::with_cameras(9);
    let gap = |from_ms: i64| Gap {
        start: T0.plus_micros(from_ms * 1000),
        end: T0.plus_micros(from_ms * 1000 + 500_000),
        cause: GapCause::NodeDown,
        node: Some(NodeId(2)),
        frames_missing: None,
    };
    fake.with(|state| {
        state.holes.insert(CAMERA, vec![gap(1000), gap(2000)]);
        state.holes.insert(
            holdfast_storage::ids::CameraId(9),
            vec![gap(5000), gap(9000)],
        );
    });
    let client = Client::of(&fake);
    client
        .call("POST", "/api/v1/exports", Some(&body(0, 8000)))
        .await
        .json();
    let manifest = client.get("/api/v1/exports/1/manifest.json").await.json();
    let gaps: Vec<_> = manifest["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| gap["camera"].clone())
        .collect();
    assert_eq!(gaps, [7, 7, 9], "those of its range");
    assert_eq!(
        (&manifest["gaps"][0]["cause"], &manifest["gaps_left_out"]),
        (&"node_down".into(), &0.into())
    );
    assert_eq!(
        (
            manifest["nodes_left_out"].clone(),
            manifest["files"][1]["name"].clone()
        ),
        (serde_json::json!([2]), "9.mp4".into())
    );
}
