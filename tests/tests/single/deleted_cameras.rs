//! A camera is deleted by mistake: its footage is found, and the camera is restored.

use holdfast_chaos::oracle::{count_all, count_one, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, Site, SiteOptions};
use holdfast_chaos::{Result, wait};
use holdfast_control_api::wire::DeletedCamera;
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::GapCause;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;
use tokio::time::sleep;

fn holdfast(site: &Site, arguments: &[&str]) -> (i32, Value, String) {
    let binary = holdfast_next_to_this().expect("the binary");
    let mut command = Command::new(binary);
    command
        .env("HOLDFAST_API", site.cluster.api_url(0))
        .env("HOLDFAST_ADMIN_TOKEN", &site.cluster.token().0);
    let output = command
        .arg("--json")
        .args(arguments)
        .output()
        .expect("it runs");
    let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (
        output.status.code().expect("an exit code"),
        printed,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

async fn deleted(site: &Site) -> Result<Vec<DeletedCamera>> {
    Ok(site
        .cluster
        .api(0)?
        .get(&["cameras", "deleted"], &[])
        .await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_was_deleted_is_found_and_comes_back() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(1, 2)).await?;
    let from = wall_now();
    sleep(Duration::from_secs(4)).await;
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    let gate = site.camera(1)?.clone();
    let asked_at = wall_now();
    assert_eq!(holdfast(&site, &["camera", "remove", "cam01"]).0, 0);

    let (code, listed, said) = holdfast(&site, &["camera", "list", "--deleted"]);
    assert_eq!(
        (code, &listed[0]["name"], &listed[0]["id"]),
        (0, &"cam01".into(), &gate.id.0.into()),
        "{said}"
    );
    assert_eq!(listed[0]["by"], "operator \"admin\"", "{listed}");
    let found = &deleted(&site).await?[0];
    assert!(
        found.deleted_at >= asked_at && found.restorable && found.complete,
        "{found:?}"
    );
    assert!(
        found
            .footage
            .is_some_and(|footage| footage.from <= from && footage.to >= to),
        "{found:?}"
    );
    let (at, until) = (from.to_string(), to.to_string());
    let out = site.dir().join("gate.mp4");
    let out = out.to_str().expect("a path");
    for name in ["cam01", "1"] {
        let (code, _, said) = holdfast(
            &site,
            &[
                "export", name, "--from", &at, "--to", &until, "--force", "-o", out,
            ],
        );
        assert_eq!(code, 0, "{said}");
        // Its last chunk is on its way to the disk.
        wait::until("nothing of it is missing", SETTLE_TIMEOUT, async || {
            let (code, timeline, said) = holdfast(&site, &["timeline", name, "--from", &at]);
            let gaps = timeline["gaps"].as_array().map(Vec::len);
            if (code, gaps) == (0, Some(0)) {
                Ok(())
            } else {
                Err(format!("{timeline} {said}"))
            }
        })
        .await?;
    }

    // Another camera takes its name for a while.
    let other = site
        .add_served(2, "cam01", holdfast_consensus::model::Transport::Tcp)
        .await?;
    let (code, _, said) = holdfast(&site, &["camera", "restore", "1"]);
    assert!(code == 1 && said.contains("--name"), "{said}");
    let api = site.cluster.api(0)?;
    let refused = api
        .call(
            reqwest::Method::POST,
            &["cameras", "1", "restore"],
            Some(&serde_json::json!({})),
        )
        .await;
    assert!(refused.is_err_and(|error| error.message.contains("\"cam01\" exists already")));
    assert_eq!(
        holdfast(&site, &["camera", "remove", &other.id.to_string()]).0,
        0
    );
    let (code, _, said) = holdfast(&site, &["camera", "restore", "cam01"]);
    assert!(
        code == 1 && said.contains("2 camera"),
        "two had that name: {said}"
    );
    let (code, restored, said) = holdfast(&site, &["camera", "restore", "1", "--name", "gate"]);
    assert_eq!(
        (code, &restored["id"], &restored["name"]),
        (0, &1.into(), &"gate".into()),
        "{said}"
    );
    let restored_at = wall_now();
    site.wait_these_recorded_beyond(&[gate.id], restored_at.plus(Duration::from_secs(1)))
        .await?;
    assert_eq!(
        holdfast(&site, &["camera", "restore", "1"]).0,
        3,
        "it is no deleted camera any more"
    );

    wait::until(
        "what was not recorded is explained",
        SETTLE_TIMEOUT,
        async || {
            let timeline = site
                .timeline(0, gate.id, from, wall_now())
                .await
                .map_err(|error| error.to_string())?;
            let causes: Vec<GapCause> = timeline.gaps.iter().map(|gap| gap.cause).collect();
            if causes == [GapCause::RecorderStopped] {
                Ok(())
            } else {
                Err(format!("{:?}", timeline.gaps))
            }
        },
    )
    .await?;
    expect_whole(&[count_one(&mut site, &gate, from, to).await?])?;
    site.pass();
    Ok(())
}
