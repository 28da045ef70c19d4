//! Configuration through any node, errors that name the mistake, and secrets that no node reveals.

use holdfast_camera::{CameraOptions, Credentials};
use holdfast_chaos::site::{Look, Site, SiteOptions, new_camera, source};
use holdfast_chaos::web::Answer;
use holdfast_chaos::{Result, wait};
use holdfast_control_api::wire::{Camera, CameraPatch, NewSource, SourcePatch};
use holdfast_node::config::LogLevel;
use holdfast_node::terminal::clock::wall_now;
use reqwest::Method;
use std::time::Duration;

const PASSWORD: &str = "s3cret-0f-the-c4mera";
const WRONG_PASSWORD: &str = "wr0ng-w0rd-0f-the-c4mera";
const PATCHED_PASSWORD: &str = "n3w-w0rd-0f-the-c4mera";

/// How long a change may take until every node reports it.
const SPREAD_MAX: Duration = Duration::from_secs(10);

fn options() -> SiteOptions {
    let credentials = Credentials::Digest {
        user: "admin".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let mut options = SiteOptions::new(3, 2);
    options.cameras[1] = CameraOptions {
        credentials,
        ..options.cameras[1].clone()
    };
    options.tune = |_, config| config.log.level = LogLevel::Trace;
    options
}

fn locked(url: String, password: &str) -> NewSource {
    NewSource {
        username: Some("admin".to_owned()),
        password: Some(password.to_owned()),
        ..source(url)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_reports_and_accepts_configuration_and_none_reveals_a_secret() -> Result<()> {
    let mut site = Site::prepare(options()).await?;
    site.cluster.form().await?;
    let leader = site.leader().await?;
    let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut answers = Vec::new();

    let open = new_camera("open", source(site.server().url(1)));
    let good = new_camera("locked", locked(site.server().url(2), PASSWORD));
    let bad = new_camera("refused", locked(site.server().url(2), WRONG_PASSWORD));
    for (through, camera) in [(follower, &open), (other, &good), (leader, &bad)] {
        let answer = site
            .send(through, Method::POST, "cameras", Some(camera))
            .await?;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answers.push(answer);
    }
    let ids: Vec<_> = answers.iter().map(|answer| camera_of(answer).id).collect();
    site.wait_these_recorded_beyond(&ids[..2], wall_now())
        .await?;
    everywhere(&site, "the refused camera's error is reported", |look| {
        let refused = look
            .cameras
            .iter()
            .find(|camera| camera.name == "refused")?;
        refused
            .recording
            .error
            .clone()
            .filter(|error| error.contains("refused the user name or password"))
    })
    .await?;

    answers.extend(change_and_remove(&site, follower, other, &camera_of(&answers[1])).await?);
    answers.extend(mistakes(&site, follower, &open).await?);
    answers.extend(read_everything(&site, &ids).await?);
    for answer in &answers {
        reveals_no_secret(&site, &answer.text());
    }
    for index in 0..3 {
        let log = std::fs::read_to_string(site.cluster.log_path(index)).expect("the node's log");
        assert!(
            log.contains("TRACE") || log.contains("DEBUG"),
            "the log has few lines: this proves little"
        );
        reveals_no_secret(&site, &log);
    }
    site.pass();
    Ok(())
}

fn camera_of(answer: &Answer) -> Camera {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// Waits until every node reports the same value, and `found` finds it.
async fn everywhere(
    site: &Site,
    what: &str,
    found: impl Fn(&Look) -> Option<String>,
) -> Result<()> {
    wait::until(what, SPREAD_MAX, async || {
        let mut reported = Vec::new();
        for index in 0..site.cluster.len() {
            reported.push(found(
                &site.ask(index).await.map_err(|error| error.to_string())?,
            ));
        }
        let same = reported
            .iter()
            .all(|one| one.is_some() && *one == reported[0]);
        if same {
            Ok(())
        } else {
            Err(format!("{reported:?}"))
        }
    })
    .await
}

/// A change through one node and a removal through another, visible on all.
async fn change_and_remove(
    site: &Site,
    follower: usize,
    other: usize,
    camera: &Camera,
) -> Result<Vec<Answer>> {
    let source = SourcePatch {
        password: Some(PATCHED_PASSWORD.to_owned()),
        ..SourcePatch::default()
    };
    let patch = CameraPatch {
        name: Some("renamed".to_owned()),
        source: Some(source),
        ..CameraPatch::default()
    };
    let path = format!("cameras/{}", camera.id);
    let patched = site
        .send(follower, Method::PATCH, &path, Some(&patch))
        .await?;
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert!(camera_of(&patched).source.has_password);
    everywhere(site, "the new name is reported", |look| {
        look.cameras
            .iter()
            .find(|known| known.id == camera.id && known.name == "renamed")
            .map(|known| known.name.clone())
    })
    .await?;
    let removed = site.send(other, Method::DELETE, &path, None::<&()>).await?;
    assert_eq!(removed.status, 204, "{}", removed.text());
    everywhere(site, "the camera is gone", |look| {
        look.cameras
            .iter()
            .all(|known| known.id != camera.id)
            .then(|| "gone".to_owned())
    })
    .await?;
    Ok(vec![patched, removed])
}

/// Each mistake has its status, its stable code and a detail that names it.
async fn mistakes(
    site: &Site,
    through: usize,
    existing: &impl serde::Serialize,
) -> Result<Vec<Answer>> {
    let mut with_credentials = serde_json::to_value(existing).expect("a camera is JSON");
    with_credentials["name"] = "pasted".into();
    with_credentials["source"]["url"] = format!("rtsp://admin:{PASSWORD}@127.0.0.1/cam/1").into();
    let mut unknown_key = serde_json::to_value(existing).expect("a camera is JSON");
    unknown_key["colour"] = "blue".into();
    let taken = serde_json::to_value(existing).expect("a camera is JSON");
    let nothing = serde_json::Value::Null;
    let cases = [
        (Method::GET, "cameras/4711", &nothing, 404, "unknown-camera"),
        (
            Method::PATCH,
            "cameras/4711",
            &serde_json::json!({"name": "x"}),
            404,
            "unknown-camera",
        ),
        (
            Method::DELETE,
            "cameras/4711",
            &nothing,
            404,
            "unknown-camera",
        ),
        (Method::GET, "cameras/abc", &nothing, 400, "malformed"),
        (
            Method::POST,
            "nodes/4711/drain",
            &nothing,
            404,
            "unknown-node",
        ),
        (Method::GET, "nonsense", &nothing, 404, "unknown-route"),
        (
            Method::POST,
            "cameras",
            &taken,
            409,
            "duplicate-camera-name",
        ),
        (
            Method::POST,
            "cameras",
            &with_credentials,
            422,
            "camera-invalid",
        ),
        (Method::POST, "cameras", &unknown_key, 422, "invalid"),
        (
            Method::POST,
            "cluster/init",
            &serde_json::json!({}),
            409,
            "already-member",
        ),
    ];
    let mut answers = Vec::new();
    for (method, path, body, status, code) in cases {
        let body = (!body.is_null()).then_some(body);
        let answer = site.send(through, method.clone(), path, body).await?;
        let problem = answer
            .problem()
            .unwrap_or_else(|| panic!("{method} {path}: {}", answer.text()));
        assert_eq!(
            (answer.status, problem.code.as_str()),
            (status, code),
            "{method} {path}: {problem:?}"
        );
        assert!(
            !problem.detail.is_empty() && problem.status == status,
            "{problem:?}"
        );
        answers.push(answer);
    }
    Ok(answers)
}

/// Everything that can be read, from every node.
async fn read_everything(
    site: &Site,
    ids: &[holdfast_storage::ids::CameraId],
) -> Result<Vec<Answer>> {
    let now = wall_now();
    let range = format!("from={}&to={now}", now.plus_micros(-30_000_000));
    let mut answers = Vec::new();
    for index in 0..site.cluster.len() {
        let camera = format!("cameras/{}", ids[0]);
        let token = &site.cluster.token().0;
        for path in [
            "cluster".to_owned(),
            "nodes".to_owned(),
            "cameras".to_owned(),
            camera.clone(),
            format!("{camera}/timeline?{range}"),
        ] {
            let answer = site.send(index, Method::GET, &path, None::<&()>).await?;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            answers.push(answer);
        }
        // Players send their token in the query, which must not reach the log. The playlist in the
        // answer contains the client's own token again.
        let path = format!("{camera}/hls/index.m3u8?{range}&token={token}");
        assert_eq!(
            site.send(index, Method::GET, &path, None::<&()>)
                .await?
                .status,
            200
        );
        let url = format!("{}/api/v1/cameras", site.cluster.api_url(index));
        for token in [None, Some("a-token-that-is-not-the-right-one")] {
            let refused = holdfast_chaos::web::send(Method::GET, &url, token, None::<&()>).await?;
            assert_eq!(
                (
                    refused.status,
                    refused.problem().map(|problem| problem.code)
                ),
                (401, Some("unauthorised".to_owned()))
            );
        }
    }
    Ok(answers)
}

fn reveals_no_secret(site: &Site, text: &str) {
    let secrets = [
        PASSWORD,
        WRONG_PASSWORD,
        PATCHED_PASSWORD,
        &site.cluster.token().0,
    ];
    for secret in secrets {
        let reported = text.lines().find(|line| line.contains(secret));
        assert!(reported.is_none(), "a secret is revealed: {reported:?}");
    }
}
