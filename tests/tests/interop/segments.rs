//! The offline tools on the segment of a killed node: other programs can play what they save.

use crate::clips::{Clip, FPS, GOP_FRAMES};
use crate::gst::{Auth, GstCameras};
use crate::judges;
use crate::site::{Site, Source, seconds};
use holdfast_node::demo::binary::holdfast_next_to_this;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

const RECORDED_SECONDS: i64 = 6;

#[tokio::test]
#[ignore = "needs GStreamer and ffmpeg: cargo xtask verify"]
async fn footage_is_extracted_from_the_segment_of_a_killed_node() {
    let cameras = GstCameras::start(1, Clip::H265, Some(Clip::Aac), Auth::None).await;
    let mut site = Site::start().await;
    let id = site
        .add(
            "gate",
            &Source {
                url: cameras.url(1),
                ..Source::default()
            },
        )
        .await;
    let from = site.wait_recording(id).await;
    site.wait_durable(id, from.plus(seconds(RECORDED_SECONDS)))
        .await;
    site.cluster.kill(0).await.unwrap();

    let segment = only_segment(&site);
    let summary = json(&holdfast(&[
        "segment",
        "inspect",
        segment.to_str().unwrap(),
    ]));
    assert_eq!(
        (&summary["is_sealed"], &summary["streams"][0]["camera"]),
        (&false.into(), &id.into())
    );
    let report = json(&holdfast(&["segment", "verify", segment.to_str().unwrap()]));
    assert!(
        report["chunks_sound"].as_u64() > Some(2 * RECORDED_SECONDS as u64),
        "{report}"
    );

    let file = site.dir().join("extracted.mp4");
    let camera = id.to_string();
    let extract = [
        "segment",
        "extract",
        segment.to_str().unwrap(),
        "--camera",
        &camera,
        "-o",
        file.to_str().unwrap(),
    ];
    let extracted = json(&holdfast(&extract));
    println!("{extracted}");
    judges::decode_without_a_message(file.to_str().unwrap());
    let video = judges::probe(file.to_str().unwrap()).video.unwrap();
    assert_eq!(judges::parse_mp4(&file)[0] as u64, video.frames);
    let frames = RECORDED_SECONDS as u64 * FPS as u64;
    assert!(
        (frames - 1..frames + 4 * GOP_FRAMES).contains(&video.frames),
        "{video:?}"
    );
    assert!(!holdfast(&extract).status.success(), "it exists already");
}

fn only_segment(site: &Site) -> PathBuf {
    let folder = site.cluster.config(0).volume_paths()[0].join("segments/default");
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    let [file] = &files[..] else {
        panic!("{files:?}")
    };
    file.clone()
}

fn holdfast(arguments: &[&str]) -> Output {
    Command::new(holdfast_next_to_this().unwrap())
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap()
}

/// A batch that was being written when the node was killed counts as damage, and the exit code
/// reports it.
fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{}: {errors}",
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}
