//! Executes docs/disaster.md: a majority is lost, or the only node's system disk; commands repair
//! what is left.

use holdfast_camera::{CameraOptions, Credentials};
use holdfast_chaos::site::{SETTLE_TIMEOUT, STOP_TIMEOUT, Site, SiteOptions, new_camera, source};
use holdfast_chaos::{Error, Result, wait};
use holdfast_control_api::wire::{InitCluster, NewHold, NewSource, Restored};
use holdfast_node::demo::binary::holdfast_next_to_this;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use reqwest::Method;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PASSWORD: &str = "s3cret-0f-the-c4mera";

/// A command's output and exit code.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn io_error(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Io { what, source }
}

/// Runs `holdfast` as an operator would, with `typed` on its standard input.
async fn holdfast(site: &Site, index: usize, arguments: &[&str], typed: &str) -> Result<Said> {
    let mut command = Command::new(holdfast_next_to_this().map_err(io_error("find the binary"))?);
    command
        .args(arguments)
        .arg("--api")
        .arg(site.cluster.api_url(index));
    command
        .arg("--token-file")
        .arg(site.dir().join("admin.token"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(io_error("run holdfast"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that does not read its input does not need it.
    drop(stdin.write_all(typed.as_bytes()).await);
    drop(stdin);
    let output = child
        .wait_with_output()
        .await
        .map_err(io_error("run holdfast"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

async fn recover(site: &Site, index: usize, more: &[&str], typed: &str) -> Result<Said> {
    let config = site.cluster.config_path(index).display().to_string();
    let arguments = [
        ["cluster", "recover", "--config", config.as_str()].as_slice(),
        more,
    ]
    .concat();
    holdfast(site, index, &arguments, typed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_nodes_are_lost_and_the_third_carries_on() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(3, 3)).await?;
    site.wait_one_recorder_each().await?;
    let survivor = (site.leader().await? + 1) % 3;
    let lost = [(survivor + 1) % 3, (survivor + 2) % 3];
    let elsewhere = site
        .owned_by(lost[0])
        .await?
        .first()
        .expect("it owns one of three")
        .id;
    let from = wall_now();
    let to = from.plus(Duration::from_secs(2));
    site.wait_recorded_beyond(to).await?;

    // A majority is alive: nothing is lost.
    site.cluster.stop(survivor, STOP_TIMEOUT).await?;
    let needless = recover(&site, survivor, &["--yes"], "").await?;
    assert!(
        needless.code == Some(1) && needless.err.contains("they are a majority"),
        "{needless:?}"
    );
    site.cluster.start(survivor)?;
    site.cluster.wait_ready(survivor).await?;

    for index in lost {
        site.cluster.kill(index).await?;
    }
    let running = recover(&site, survivor, &["--yes"], "").await?;
    assert!(
        running.code == Some(1) && running.err.contains("the node runs"),
        "{running:?}"
    );
    site.cluster.stop(survivor, STOP_TIMEOUT).await?;
    let unsure = recover(&site, survivor, &[], "node9\n").await?;
    assert!(
        unsure.code == Some(1) && unsure.err.contains("not confirmed: nothing was changed"),
        "{unsure:?}"
    );
    let name = site.cluster.name(survivor).to_owned();
    let recovered = recover(&site, survivor, &[], &format!("{name}\n")).await?;
    assert_eq!(recovered.code, Some(0), "{recovered:?}");
    for part in [
        "it stands at",
        "every change that the others acknowledged after that",
        "does not answer",
    ] {
        assert!(recovered.err.contains(part), "{part}: {recovered:?}");
    }
    for index in lost {
        assert!(
            recovered.err.contains(site.cluster.name(index)),
            "{recovered:?}"
        );
    }
    assert!(
        recovered.out.contains("is the only voter of generation 2"),
        "{recovered:?}"
    );

    site.cluster.start(survivor)?;
    site.cluster.wait_ready(survivor).await?;
    site.wait_recorded_beyond(wall_now()).await?;
    let added = site.add("new", source(site.server().url(1))).await?;
    assert!(
        added.id > CameraId(1_000),
        "{}: a number that the lost nodes may have given out",
        added.id
    );
    site.wait_these_recorded_beyond(&[added.id], wall_now())
        .await?;
    old_members_are_refused(&mut site, survivor, lost).await?;

    // Its footage comes with it.
    let before = seconds_shown(&site, survivor, elsewhere, from, to).await?;
    assert!(before < 1.0, "{before} s of what only a lost node has");
    join_again(&mut site, lost[0], survivor).await?;
    wait::until(
        "what it recorded before is shown",
        SETTLE_TIMEOUT,
        async || {
            let shown = seconds_shown(&site, survivor, elsewhere, from, to)
                .await
                .map_err(|error| error.to_string())?;
            if shown > 1.5 {
                Ok(())
            } else {
                Err(format!("{shown} s"))
            }
        },
    )
    .await?;
    let status = holdfast(&site, survivor, &["cluster", "status"], "").await?;
    assert!(
        status.out.contains(", generation 2") && status.out.contains("2 of 2 alive"),
        "{status:?}"
    );
    site.pass();
    Ok(())
}

/// The majority of the previous generation returns: it reports why it no longer counts, and changes
/// nothing.
async fn old_members_are_refused(site: &mut Site, survivor: usize, lost: [usize; 2]) -> Result<()> {
    let id = site
        .ask(survivor)
        .await?
        .cluster
        .this_node
        .expect("it is a member");
    for index in lost {
        site.cluster.start(index)?;
    }
    let words = format!("which node {id} replaced by recovery at");
    for index in lost {
        wait::until("it says that it was replaced", SETTLE_TIMEOUT, async || {
            let api = site.cluster.api(index).map_err(|error| error.to_string())?;
            let said = api
                .probe("/readyz")
                .await
                .err()
                .map(|error| error.message)
                .unwrap_or_default();
            if said.contains("this node belongs to generation 1 of cluster")
                && said.contains(&words)
            {
                return Ok(());
            }
            Err(said)
        })
        .await?;
        let log =
            fs::read_to_string(site.cluster.log_path(index)).map_err(io_error("read the log"))?;
        assert!(log.contains(&words), "its log says it too");
        let status = holdfast(site, index, &["cluster", "status"], "").await?;
        assert!(status.out.contains(&words), "{status:?}");
        let answer = site
            .send(index, Method::DELETE, "cameras/999999", None::<&()>)
            .await?;
        assert_eq!(answer.status, 503, "it takes no changes: {}", answer.text());
    }
    let cluster = site.ask(survivor).await?.cluster;
    assert_eq!(
        (cluster.leader, cluster.nodes.len(), cluster.generation),
        (Some(id), 1, 2)
    );
    let log =
        fs::read_to_string(site.cluster.log_path(survivor)).map_err(io_error("read the log"))?;
    assert!(
        log.contains("a node of another generation counts for nothing"),
        "the operator hears of them"
    );
    for index in lost {
        site.cluster.kill(index).await?;
    }
    Ok(())
}

/// Follows the instructions in the node's status.
async fn join_again(site: &mut Site, index: usize, through: usize) -> Result<()> {
    let data_dir = site.cluster.config(index).data_dir.clone();
    for entry in fs::read_dir(&data_dir)
        .map_err(io_error("list the data directory"))?
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        match name.as_str() {
            "identity.json" => fs::remove_file(path).map_err(io_error("remove a file"))?,
            name if name.starts_with("raft") || name == "pki" => {
                fs::remove_dir_all(path).map_err(io_error("remove a folder"))?
            }
            _ => {}
        }
    }
    site.cluster.start(index)?;
    site.cluster.wait_healthy(index).await?;
    let token = site.cluster.invite(index, through).await?.0;
    let joined = holdfast(site, index, &["cluster", "join", &token], "").await?;
    assert_eq!(joined.code, Some(0), "{joined:?}");
    site.cluster.wait_ready(index).await?;
    Ok(())
}

/// How much of `from..to` the node's timeline of the camera shows as recorded.
async fn seconds_shown(
    site: &Site,
    index: usize,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<f64> {
    let timeline = site.timeline(index, camera, from, to).await?;
    let micros: i64 = timeline
        .spans
        .iter()
        .filter(|span| span.available)
        .map(|span| span.end.0 - span.start.0)
        .sum();
    Ok(micros as f64 / 1e6)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_of_a_lost_node_is_put_back_with_its_passwords() -> Result<()> {
    let credentials = Credentials::Digest {
        user: "admin".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let mut options = SiteOptions::new(1, 2);
    options.cameras[1] = CameraOptions {
        credentials,
        ..options.cameras[1].clone()
    };
    let mut site = Site::prepare(options).await?;
    site.cluster.form().await?;
    let locked = NewSource {
        username: Some("admin".to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..source(site.server().url(2))
    };
    // So that the numbers prove something.
    let gone = site.add("gone", source(site.server().url(1))).await?;
    site.send(
        0,
        Method::DELETE,
        &format!("cameras/{}", gone.id),
        None::<&()>,
    )
    .await?;
    let open = site
        .add_served_as(1, new_camera("open", source(site.server().url(1))))
        .await?;
    let secret = site.add_served_as(2, new_camera("secret", locked)).await?;
    let ids = [open.id, secret.id];
    let hold = NewHold {
        reason: "case 7".to_owned(),
        camera: secret.id,
        from: wall_now(),
        to: None,
    };
    assert_eq!(
        site.send(0, Method::POST, "holds", Some(&hold))
            .await?
            .status,
        201
    );
    site.wait_these_recorded_beyond(&ids, wall_now()).await?;

    let file = backed_up(&site).await?;
    let passphrase = passphrase_file(&site, "correct horse battery staple")?;
    let path = file.display().to_string();

    // A new system disk: nothing is left of the node.
    site.cluster.stop(0, STOP_TIMEOUT).await?;
    let data_dir = site.cluster.config(0).data_dir.clone();
    fs::remove_dir_all(&data_dir).map_err(io_error("empty the data directory"))?;
    site.cluster.start(0)?;
    site.cluster.wait_healthy(0).await?;
    assert_eq!(
        site.send(0, Method::POST, "cluster/init", Some(&InitCluster {}))
            .await?
            .status,
        200
    );
    site.cluster.wait_ready(0).await?;

    wrong_ones_are_refused(&site, &path, &passphrase).await?;
    let dry = holdfast(
        &site,
        0,
        &[
            "restore",
            &path,
            "--dry-run",
            "--passphrase-file",
            &passphrase,
        ],
        "",
    )
    .await?;
    assert!(
        dry.code == Some(0)
            && dry
                .out
                .contains("nothing was changed. It would be: 3 added"),
        "{dry:?}"
    );
    assert_eq!(site.ask(0).await?.cameras.len(), 0);

    let restore = ["--json", "restore", &path, "--passphrase-file", &passphrase];
    let restored = holdfast(&site, 0, &restore, "").await?;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let report: Restored = serde_json::from_str(&restored.out).expect("JSON");
    assert!(!report.dry_run && report.left == 0, "{report:?}");
    let cameras = site.ask(0).await?.cameras;
    let known: Vec<_> = cameras
        .iter()
        .map(|camera| (camera.id, camera.name.as_str()))
        .collect();
    assert_eq!(
        known,
        [(open.id, "open"), (secret.id, "secret")],
        "numbers and names are as before"
    );
    site.wait_these_recorded_beyond(&ids, wall_now()).await?;
    assert!(
        site.send(0, Method::GET, "holds", None::<&()>)
            .await?
            .text()
            .contains("case 7")
    );

    let again = holdfast(&site, 0, &restore[1..], "").await?;
    assert!(
        again.code == Some(0) && !again.out.contains(" added"),
        "{again:?}"
    );
    let log = fs::read_to_string(site.cluster.log_path(0)).map_err(io_error("read the log"))?;
    assert!(
        !log.contains(PASSWORD) && !log.contains("correct horse"),
        "no secret in the log"
    );
    site.pass();
    Ok(())
}

fn passphrase_file(site: &Site, passphrase: &str) -> Result<String> {
    let path = site.dir().join(format!("passphrase-{}", passphrase.len()));
    fs::write(&path, format!("{passphrase}\n")).map_err(io_error("write the passphrase"))?;
    Ok(path.display().to_string())
}

async fn backed_up(site: &Site) -> Result<std::path::PathBuf> {
    let file = site.dir().join("site.backup");
    let path = file.display().to_string();
    let short = passphrase_file(site, "short")?;
    let weak = holdfast(
        site,
        0,
        &["backup", "-o", &path, "--passphrase-file", &short],
        "",
    )
    .await?;
    assert!(
        weak.code == Some(1) && weak.err.contains("use 12 or more") && !file.exists(),
        "{weak:?}"
    );
    let passphrase = passphrase_file(site, "correct horse battery staple")?;
    let made = holdfast(
        site,
        0,
        &["backup", "-o", &path, "--passphrase-file", &passphrase],
        "",
    )
    .await?;
    assert_eq!(made.code, Some(0), "{made:?}");
    let mode = fs::metadata(&file)
        .map_err(io_error("look at the backup"))?
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = fs::read(&file).map_err(io_error("read the backup"))?;
    for secret in [PASSWORD, "open", "rtsp://"] {
        assert!(
            !bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes()),
            "{secret} can be read"
        );
    }
    Ok(file)
}

async fn wrong_ones_are_refused(site: &Site, path: &str, passphrase: &str) -> Result<()> {
    let wrong = passphrase_file(site, "a wrong passphrase")?;
    let refused = holdfast(site, 0, &["restore", path, "--passphrase-file", &wrong], "").await?;
    assert!(
        refused.code == Some(1) && refused.err.contains("the passphrase is wrong"),
        "{refused:?}"
    );
    let mut bytes = fs::read(path).map_err(io_error("read the backup"))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = site.dir().join("damaged.backup");
    fs::write(&damaged, bytes).map_err(io_error("write a damaged backup"))?;
    let damaged = damaged.display().to_string();
    let refused = holdfast(
        site,
        0,
        &["restore", &damaged, "--passphrase-file", passphrase],
        "",
    )
    .await?;
    assert!(
        refused.code == Some(1) && refused.err.contains("the backup is damaged"),
        "{refused:?}"
    );
    let other = site.cluster.config_path(0).display().to_string();
    let refused = holdfast(
        site,
        0,
        &["restore", &other, "--passphrase-file", passphrase],
        "",
    )
    .await?;
    assert!(
        refused.code == Some(1)
            && refused
                .err
                .contains("no backup of a Holdfast configuration"),
        "{refused:?}"
    );
    Ok(())
}
