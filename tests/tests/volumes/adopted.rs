//! Disks of lost nodes and clusters: the commands of docs/disaster-volumes.md list, save, and serve
//! their contents again. These tests need no faulty disk.

use crate::rig::{disk, rewrite};
use holdfast_camera::count;
use holdfast_chaos::oracle::{count_all, count_one, expect_whole};
use holdfast_chaos::site::{SETTLE_TIMEOUT, STOP_TIMEOUT, Site, SiteCamera, SiteOptions};
use holdfast_chaos::{Error, Result, wait};
use holdfast_control_api::wire::{DeletedCamera, Volume as ShownVolume};
use holdfast_node::config::{Config, Volume};
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::demo::footage;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::time::sleep;

const RECORDED: Duration = Duration::from_secs(6);

/// Recordings on a disk of their own, apart from the data directory.
fn own_disk(_: usize, config: &mut Config) {
    config.storage.segment_seconds = 2;
    config.storage.volumes = vec![Volume::new(disk(config, "recordings"))];
}

/// Exit code, JSON output, and standard error.
fn holdfast(site: &Site, index: usize, arguments: &[&str]) -> (i32, Value, String) {
    let binary = holdfast_next_to_this().expect("the binary");
    let mut command = Command::new(binary);
    command
        .env("HOLDFAST_API", site.cluster.api_url(index))
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

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// Checks that a file has every frame that the camera sent between the two instants.
fn expect_in_file(camera: &SiteCamera, file: &Path, from: Timestamp, to: Timestamp) -> Result<()> {
    let bytes = fs::read(file).map_err(|source| Error::Io {
        what: "read an extract".to_owned(),
        source,
    })?;
    let stamps = footage::stamps_of(&bytes).map_err(|error| Error::Wrong(error.to_string()))?;
    let micros = |time: Timestamp| u64::try_from(time.micros()).unwrap_or(0);
    let loss = count(
        camera.handle.id(),
        &camera.handle.sent_between(micros(from), micros(to)),
        &stamps,
    );
    let is_whole = loss.sent > 0 && (loss.lost, loss.reordered, loss.foreign) == (0, 0, 0);
    if is_whole {
        Ok(())
    } else {
        Err(Error::Wrong(format!("{}: {loss:?}", file.display())))
    }
}

/// Every segment except the newest two, one of which had no footer when its node was killed.
fn segments(volume: &Path) -> BTreeMap<PathBuf, u32> {
    let files = fs::read_dir(volume.join("segments/default")).expect("segments");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("one").path()).collect();
    paths.sort();
    paths.truncate(paths.len().saturating_sub(2));
    let sum = |path: &PathBuf| crc32fast::hash(&fs::read(path).expect("a segment"));
    paths.iter().map(|path| (path.clone(), sum(path))).collect()
}

async fn wait_state(site: &Site, index: usize, path: &Path, state: &str) -> Result<()> {
    let look = site.ask(index).await?;
    let node = look
        .cluster
        .this_node
        .map(|node| node.to_string())
        .unwrap_or_default();
    wait::until(
        &format!("{} is {state}", path.display()),
        SETTLE_TIMEOUT,
        async || {
            let api = site.cluster.api(index).map_err(|error| error.to_string())?;
            let volumes: Vec<ShownVolume> = api
                .get(&["nodes", &node, "volumes"], &[])
                .await
                .map_err(|error| error.to_string())?;
            let found = volumes
                .iter()
                .find(|volume| Path::new(&volume.path) == path);
            if found.is_some_and(|volume| volume.state == state) {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        },
    )
    .await
}

/// Waits until all of a range is listed, and shown as recorded by `node`: an unfinished segment is
/// first read as a whole.
async fn wait_listed(
    site: &Site,
    index: usize,
    camera: CameraId,
    (from, to): (Timestamp, Timestamp),
    node: NodeId,
) -> Result<()> {
    wait::until("the footage is listed", SETTLE_TIMEOUT, async || {
        let timeline = site
            .timeline(index, camera, from, to)
            .await
            .map_err(|error| error.to_string())?;
        let theirs = timeline
            .spans
            .iter()
            .filter(|span| span.node == node && span.available);
        let listed_us: i64 = theirs.map(|span| span.end.micros_since(span.start)).sum();
        // Less than a frame: the last segment, which has no footer, is listed last.
        if listed_us >= to.micros_since(from) - 30_000 {
            Ok(())
        } else {
            Err(format!("{timeline:?}"))
        }
    })
    .await
}

async fn wait_names(volume: &Path) -> Result<()> {
    let names = volume.join("cameras.json");
    wait::until("the cameras' names are kept", SETTLE_TIMEOUT, async || {
        let kept = fs::read_to_string(&names).unwrap_or_default();
        if kept.contains("cam02") {
            Ok(())
        } else {
            Err(kept)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_of_a_lost_cluster_are_saved_and_taken_over() -> Result<()> {
    let mut site = Site::start(SiteOptions {
        tune: own_disk,
        ..SiteOptions::new(1, 2)
    })
    .await?;
    let (from, recordings) = (wall_now(), disk(site.cluster.config(0), "recordings"));
    sleep(RECORDED).await;
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    wait_names(&recordings).await?;
    let [yard, door] = [site.camera(1)?.clone(), site.camera(2)?.clone()];

    // The system's disk is gone; the recordings are not.
    site.cluster.kill(0).await?;
    let data_dir = site.cluster.config(0).data_dir.clone();
    fs::remove_dir_all(&data_dir).map_err(|source| Error::Io {
        what: "lose the system disk".to_owned(),
        source,
    })?;
    let before = segments(&recordings);
    let (code, listing, said) = holdfast(&site, 0, &["segment", "list", text(&recordings)]);
    assert_eq!(
        (code, &listing["streams"][1]["names"][0]),
        (0, &"cam02".into()),
        "{listing} {said}"
    );
    let out = site.dir().join("door.mp4");
    let (at, until) = (from.to_string(), to.to_string());
    let range = ["--from", &at, "--to", &until];
    let extract = [
        &[
            "segment",
            "extract",
            text(&recordings),
            "--camera",
            "cam02",
            "-o",
            text(&out),
        ][..],
        &range,
    ]
    .concat();
    let (code, done, said) = holdfast(&site, 0, &extract);
    // A batch that was being written when the node was killed may be torn: it is reported.
    assert!(
        code == 0 || (code == 1 && done["damaged"][0]["chunks"] == 0),
        "{done} {said}"
    );
    expect_in_file(&door, &out, from, to)?;

    // Another system and another cluster, to which one camera was added again.
    let config = site.cluster.config_path(0).to_owned();
    let mut fresh = Config::load(&config).map_err(|error| Error::Wrong(error.to_string()))?;
    fresh.storage.volumes = vec![Volume::new(disk(&fresh, "fresh"))];
    let written = fs::write(
        &config,
        toml::to_string(&fresh).map_err(|error| Error::Wrong(error.to_string()))?,
    );
    written.map_err(|source| Error::Io {
        what: "configure the new system".to_owned(),
        source,
    })?;
    site.cluster.form().await?;
    let again = site
        .add_served(1, "yard", holdfast_consensus::model::Transport::Tcp)
        .await?;
    site.wait_these_recorded_beyond(&[again.id], wall_now())
        .await?;

    let adopt = ["volume", "adopt", text(&recordings), "--map", "cam01=yard"];
    let (code, _, said) = holdfast(&site, 0, &adopt);
    assert!(
        code == 2 && said.contains("cam02") && said.contains("--yes"),
        "it shows and asks: {said}"
    );
    assert!(!recordings.join("adopted.json").exists());
    let (code, adopted, said) = holdfast(&site, 0, &[&adopt[..], &["--yes"]].concat());
    assert_eq!(
        (code, &adopted["cameras"][0]["ours"]),
        (0, &again.id.0.into()),
        "{adopted} {said}"
    );
    let number = adopted["cameras"][1]["ours"].to_string();
    rewrite(&site, 0, |config| {
        config.storage.volumes.push(Volume::new(&recordings))
    })?;
    wait_state(&site, 0, &recordings, "adopted").await?;

    for round in ["at once", "after a restart"] {
        println!("{round}");
        wait_listed(&site, 0, again.id, (from, to), NodeId(1_000_001)).await?;
        let mapped = SiteCamera {
            id: again.id,
            ..yard.clone()
        };
        expect_whole(&[count_one(&mut site, &mapped, from, to).await?])?;
        let found = wait::until("all of it is listed", SETTLE_TIMEOUT, async || {
            let api = site.cluster.api(0).map_err(|error| error.to_string())?;
            let deleted: Vec<DeletedCamera> = api
                .get(&["cameras", "deleted"], &[])
                .await
                .map_err(|error| error.to_string())?;
            let found = deleted
                .into_iter()
                .find(|camera| camera.name == "cam02")
                .ok_or("it is not listed")?;
            if found.complete {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await?;
        assert_eq!(
            (found.id.to_string(), found.restorable, found.complete),
            (number.clone(), false, true),
            "{found:?}"
        );
        assert!(
            found
                .footage
                .is_some_and(|footage| footage.from <= from && footage.to >= to),
            "{found:?}"
        );
        for name in ["cam02", &number] {
            let export = [&["export", name, "--force", "-o", text(&out)][..], &range].concat();
            let (code, done, said) = holdfast(&site, 0, &export);
            assert_eq!(code, 0, "{done} {said}");
            expect_in_file(&door, &out, from, to)?;
        }
        if round == "at once" {
            let hold = [&["hold", "add", "cam02", "--reason", "case 7"][..], &range].concat();
            assert_eq!(holdfast(&site, 0, &hold).0, 0);
            assert!(
                site.cluster.stop(0, STOP_TIMEOUT).await?.success(),
                "{}",
                site.cluster.log_tail(0)
            );
            site.cluster.start(0)?;
            site.cluster.wait_ready(0).await?;
        }
    }
    assert_eq!(
        segments(&recordings)
            .into_iter()
            .filter(|(path, _)| before.contains_key(path))
            .collect::<BTreeMap<_, _>>(),
        before
    );
    let (code, _, said) = holdfast(&site, 0, &[&adopt[..], &["--yes"]].concat());
    assert!(code == 1 && said.contains("in use by process"), "{said}");
    site.wait_these_recorded_beyond(&[again.id], wall_now())
        .await?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_nodes_disk_is_served_by_another_node() -> Result<()> {
    let mut site = Site::start(SiteOptions {
        tune: own_disk,
        ..SiteOptions::new(3, 3)
    })
    .await?;
    site.wait_one_recorder_each().await?;
    let from = wall_now();
    sleep(RECORDED).await;
    let to = wall_now();
    expect_whole(&count_all(&mut site, from, to).await?)?;
    let leader = site.leader().await?;
    let lost = (leader + 1) % 3;
    let theirs = site.owned_by(lost).await?;
    assert!(!theirs.is_empty(), "it proves nothing");
    let look = site.look().await?;
    let name = site.cluster.name(lost).to_owned();
    let number = look
        .cluster
        .nodes
        .iter()
        .find(|node| node.name == name)
        .expect("a member")
        .id;

    site.cluster.kill(lost).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    let (code, _, said) = holdfast(&site, leader, &["nodes", "remove", &name, "--force"]);
    assert_eq!(code, 0, "{said}");
    let recordings = disk(site.cluster.config(lost), "recordings");
    let (code, _, said) = holdfast(
        &site,
        leader,
        &["volume", "adopt", text(&recordings), "--yes"],
    );
    assert!(
        code == 1 && said.contains("belongs to this cluster already"),
        "{said}"
    );
    rewrite(&site, leader, |config| {
        config.storage.volumes.push(Volume::new(&recordings))
    })?;
    wait_state(&site, leader, &recordings, "active").await?;
    for camera in &theirs {
        wait_listed(&site, leader, camera.id, (from, to), number).await?;
        expect_whole(&[count_one(&mut site, camera, from, to).await?])?;
    }
    site.pass();
    Ok(())
}
