//! Exports through the real binary: other programs seek in them by URL, and the command line
//! resumes a partial download.

use crate::clips::Clip;
use crate::gst::{Auth, GstCameras};
use crate::judges;
use crate::site::{Site, Source, seconds};
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::terminal::clock::wall_now;
use std::process::{Command, Output};

const RECORDED_SECONDS: i64 = 10;

fn run(site: &Site, arguments: &[&str]) -> Output {
    let mut command = Command::new(holdfast_next_to_this().unwrap());
    command
        .args(["--api", &site.cluster.api_url(0)])
        .args(arguments);
    command
        .env("HOLDFAST_ADMIN_TOKEN", &site.cluster.token().0)
        .output()
        .unwrap()
}

fn done(site: &Site, arguments: &[&str]) -> String {
    let output = run(site, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
#[ignore = "needs GStreamer and ffmpeg: cargo xtask verify"]
async fn an_export_is_seekable_by_url_and_continues_where_it_broke_off() {
    let cameras = GstCameras::start(1, Clip::H264, Some(Clip::Aac), Auth::None).await;
    let site = Site::start().await;
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
    let to = from.plus(seconds(RECORDED_SECONDS));
    site.wait_durable(id, to).await;
    let (from_text, to_text) = (from.to_string(), to.to_string());

    let url = format!(
        "{}/api/v1/cameras/{id}/export.mp4?from={from}&to={to}&token={}",
        site.cluster.api_url(0),
        site.cluster.token().0
    );
    judges::decode_without_a_message(&url);
    let length = probed_seconds(&url);
    assert!(
        (10.0..13.0).contains(&length),
        "{length} s, with the GOP before and the rest of a chunk"
    );
    let seek = [
        "-v",
        "error",
        "-xerror",
        "-ss",
        "7",
        "-i",
        &url,
        "-frames:v",
        "1",
        "-f",
        "null",
        "-",
    ];
    let sought = Command::new("ffmpeg").args(seek).output().unwrap();
    assert!(
        sought.status.success() && sought.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&sought.stderr)
    );

    let dir = tempfile::tempdir().unwrap();
    let name = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let export = |file: &str| {
        done(
            &site,
            &[
                "export", "gate", "--from", &from_text, "--to", &to_text, "-o", file,
            ],
        )
    };
    let whole = name("whole.mp4");
    export(&whole);
    let bytes = std::fs::read(&whole).unwrap();
    judges::decode_without_a_message(&whole);
    // As if interrupted halfway, and as if the footage had changed since.
    let client = reqwest::Client::new();
    let head = client.head(&url).send().await.unwrap();
    let tag = head.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        head.headers()["content-length"].to_str().unwrap(),
        bytes.len().to_string()
    );
    for (tag, begins_again) in [(tag.as_str(), false), ("\"other\"", true)] {
        let file = name("resumed.mp4");
        std::fs::write(name("resumed.mp4.part"), &bytes[..bytes.len() / 2]).unwrap();
        std::fs::write(name("resumed.mp4.part.etag"), tag).unwrap();
        let said = export(&file);
        assert_eq!(said.contains("beginning again"), begins_again, "{said}");
        assert!(std::fs::read(&file).unwrap() == bytes, "resumed with {tag}");
        std::fs::remove_file(&file).unwrap();
    }

    let job = [
        "export", "gate", "--from", &from_text, "--to", &to_text, "--job", "case 7",
    ];
    assert!(done(&site, &job).contains("holdfast exports download 1"));
    let kept = name("kept");
    // Not before the end of its range has certainly passed.
    let asked = std::time::Instant::now();
    while run(&site, &["exports", "download", "1", "--dir", &kept])
        .status
        .code()
        != Some(0)
    {
        assert!(
            asked.elapsed() < std::time::Duration::from_secs(30),
            "it is not ready"
        );
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert!(std::fs::read(name("kept/1.mp4")).unwrap() == bytes);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(name("kept/manifest.json")).unwrap()).unwrap();
    assert_eq!(
        (&manifest["name"], &manifest["gaps"]),
        (&"case 7".into(), &serde_json::json!([]))
    );
    assert!(done(&site, &["exports", "list"]).contains("case 7"));
    done(&site, &["exports", "remove", "1"]);
    assert_eq!(run(&site, &["exports", "show", "1"]).status.code(), Some(3));
    assert!(wall_now() > to);
}

fn probed_seconds(url: &str) -> f64 {
    let entries = [
        "-v",
        "error",
        "-show_entries",
        "format=duration",
        "-of",
        "csv=p=0",
        url,
    ];
    let probed = Command::new("ffprobe").args(entries).output().unwrap();
    String::from_utf8(probed.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
