//! The binary as a user runs it: what it prints, where, and its exit codes, against an API with
//! canned answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use axum::body::Body;
use axum::extract::{Path as UrlPath, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

const TOKEN: &str = "0123456789abcdef";

/// The changes that were requested from the API.
type Changes = Arc<Mutex<Vec<Value>>>;

struct Api {
    url: String,
    changes: Changes,
    runtime: tokio::runtime::Runtime,
}

impl Api {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let changes = Changes::default();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = routes(changes.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            url,
            changes,
            runtime,
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        // Within the runtime's context, so that it outlives the call.
        let _runtime = self.runtime.enter();
        holdfast(&[&["--api", &self.url], args].concat(), Some(TOKEN))
    }
}

fn holdfast(args: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    for name in [
        "HOLDFAST_API",
        "HOLDFAST_ADMIN_TOKEN",
        "HOLDFAST_CAMERA_PASSWORD",
    ] {
        command.env_remove(name);
    }
    command
        .args(args)
        .envs(token.map(|token| ("HOLDFAST_ADMIN_TOKEN", token)))
        .output()
        .unwrap()
}

fn routes(changes: Changes) -> Router {
    let api = Router::new()
        .route("/status", get(|| async { Json(status()) }))
        .route("/cluster", get(|| async { Json(cluster()) }))
        .route(
            "/cluster/init",
            post(|| async {
                problem(
                    409,
                    "The present state does not allow it",
                    "a member already",
                )
            }),
        )
        .route(
            "/cluster/join",
            post(|| async { problem(503, "The cluster has no leader", "asked node2") }),
        )
        .route("/retention", get(|| async { Json(json!([])) }))
        .route("/nodes", get(|| async { Json(json!([node()])) }))
        .route("/nodes/{id}/drain", post(note).delete(note))
        .route(
            "/cameras",
            get(|| async { Json(json!([camera(), yard()])) }).post(add),
        )
        .route(
            "/cameras/deleted",
            get(|| async { Json(json!([deleted()])) }),
        )
        .route("/cameras/{id}", delete(note))
        .route(
            "/holds",
            get(|| async { Json(json!([held()])) }).post(add_hold),
        )
        .route("/holds/{id}", get(|| async { Json(held()) }).delete(note))
        .route(
            "/exports",
            get(|| async { Json(json!([kept()])) }).post(keep),
        )
        .route("/exports/{id}", get(|| async { Json(kept()) }).delete(note))
        .route(
            "/exports/{id}/manifest.json",
            get(|| async { Json(kept()) }),
        )
        .route("/exports/{id}/1.mp4", get(|| async { "footage" }))
        .route(
            "/exports/{id}/77.mp4",
            get(|| async { problem(404, "There is no such thing", "nothing was recorded") }),
        )
        .route("/cameras/{id}/timeline", get(|| async { Json(timeline()) }))
        .route("/cameras/{id}/export.mp4", get(export));
    Router::new()
        .nest("/api/v1", api)
        .layer(axum::middleware::from_fn(authorise))
        .with_state(changes)
}

async fn authorise(request: Request, next: axum::middleware::Next) -> Response {
    let expected = format!("Bearer {TOKEN}");
    if request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|value| *value == *expected)
    {
        next.run(request).await
    } else {
        problem(401, "No valid token", "send one")
    }
}

async fn note(State(changes): State<Changes>, request: Request) -> StatusCode {
    changes.lock().unwrap().push(json!(format!(
        "{} {}",
        request.method(),
        request.uri().path()
    )));
    StatusCode::NO_CONTENT
}

async fn add(State(changes): State<Changes>, Json(body): Json<Value>) -> Response {
    changes.lock().unwrap().push(body);
    (StatusCode::CREATED, Json(camera())).into_response()
}

async fn add_hold(State(changes): State<Changes>, Json(body): Json<Value>) -> Response {
    changes.lock().unwrap().push(body);
    (StatusCode::CREATED, Json(held())).into_response()
}

async fn keep(State(changes): State<Changes>, Json(body): Json<Value>) -> Response {
    changes.lock().unwrap().push(body);
    (StatusCode::CREATED, Json(kept())).into_response()
}

fn kept() -> Value {
    let (from, to) = ("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z");
    let file = |camera: u32| {
        json!({"camera": camera, "name": format!("{camera}.mp4"), "url": "x", "from": from,
            "to": to, "ready": true})
    };
    json!({"id": 4, "name": "case 7", "cameras": [1, 77], "from": from, "to": to, "strict": false,
        "created_at": to, "expires_at": "2026-11-23T11:00:00Z", "state": "ready", "progress": 1.0,
        "files": [file(1), file(77)],
        "gaps": [{"camera": 1, "start": from, "end": to, "cause": "node_down", "node": 2,
            "frames_missing": null}],
        "gaps_left_out": 0, "nodes_left_out": []})
}

fn held() -> Value {
    json!({"id": 3, "reason": "case\u{1b}[2J 7", "camera": 1, "from": "2026-11-22T10:00:00Z",
        "to": null, "created_at": "2026-11-22T12:00:00Z"})
}

/// Camera 1 has footage; the others' breaks off. Strict exports break off once, and can be resumed.
async fn export(
    State(changes): State<Changes>,
    UrlPath(id): UrlPath<u32>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if query.get("strict").is_some_and(|strict| strict == "true") {
        return resumable(&changes, &headers);
    }
    let pieces = [
        Ok("first "),
        if id == 1 {
            Ok("second")
        } else {
            Err(std::io::Error::other("broken"))
        },
    ];
    // The head must be sent before the end, or the answer as a whole fails.
    let slowly = futures::stream::iter(pieces).then(|piece| async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        piece
    });
    Body::from_stream(slowly).into_response()
}

const FOOTAGE: &[u8] = b"0123456789abcdefghij";

fn resumable(changes: &Changes, headers: &HeaderMap) -> Response {
    let of = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let range = of(header::RANGE).filter(|_| of(header::IF_RANGE).as_deref() == Some("\"a\""));
    let mut changes = changes.lock().unwrap();
    let is_first = changes.is_empty();
    changes.push(json!(range));
    let from = range.map_or(0, |range| {
        range[6..range.len() - 1].parse::<usize>().unwrap()
    });
    let pieces = match is_first {
        true => vec![Ok(&FOOTAGE[..8]), Err(std::io::Error::other("broken"))],
        false => vec![Ok(&FOOTAGE[from..])],
    };
    let slowly = futures::stream::iter(pieces).then(|piece| async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        piece
    });
    let status = if from > 0 {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let headers = [
        (header::ETAG, "\"a\"".to_owned()),
        (header::CONTENT_LENGTH, (FOOTAGE.len() - from).to_string()),
        (
            header::CONTENT_RANGE,
            format!("bytes {from}-{}/{}", FOOTAGE.len() - 1, FOOTAGE.len()),
        ),
    ];
    (status, headers, Body::from_stream(slowly)).into_response()
}

fn problem(status: u16, title: &str, detail: &str) -> Response {
    let body =
        json!({"type": "urn:x", "title": title, "status": status, "detail": detail, "code": "x"});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

fn node() -> Value {
    json!({"id": 1, "name": "north", "role": "recorder", "duty": "active", "voter": true,
        "alive": true, "peer_addr": "a:1", "api_addr": "a:2", "failure_domain": "",
        "camera_capacity": 500, "cameras": 1})
}

fn cluster() -> Value {
    json!({"id": "c-1", "this_node": 1, "leader": null, "term": 3, "voters": [1],
        "nodes": [node()], "cameras": 2, "cameras_recording": 1})
}

fn status() -> Value {
    json!({"at": "2026-11-22T10:00:00Z", "state": "footage_is_being_lost",
        "verdict": "FOOTAGE IS BEING LOST: 1 of 2 cameras is not recorded", "mode": "single",
        "cameras": 2, "cameras_recorded": 1, "nodes": 1, "nodes_alive": 1, "findings_left_out": 0,
        "disks": [], "next_failure": [],
        "findings": [{"severity": "loss", "code": "not-recorded", "subject": "lift",
            "since": "2026-11-22T09:55:00Z", "what": "wrong password",
            "mend": "holdfast camera edit lift --password-file -", "camera": 2, "node": 1}]})
}

fn deleted() -> Value {
    json!({"id": 9, "name": "attic", "deleted_at": "2026-11-22T09:00:00Z",
        "by": "operator \"admin\"", "origin": null, "restorable": true,
        "footage": {"from": "2026-11-21T00:00:00Z", "to": "2026-11-22T09:00:00Z"},
        "complete": true})
}

fn camera() -> Value {
    json!({"id": 1, "name": "gate",
        "source": {"url": "rtsp://h/1", "username": null, "has_password": false,
            "transport": "tcp"},
        "protection": "standard", "priority": 100, "retention_class": "default", "labels": {},
        "assignment": {"epoch": 4, "owner": 1, "mirror": null, "successor": null,
            "moving_to": null},
        "recording": {"state": "recording", "node": 1, "watermark": "2026-11-22T10:00:00Z",
            "error": null}})
}

fn yard() -> Value {
    let mut yard = camera();
    (yard["id"], yard["name"]) = (json!(2), json!("yard"));
    yard
}

fn timeline() -> Value {
    json!({"camera": 1, "from": "2026-11-22T10:00:00Z", "to": "2026-11-22T11:00:00Z",
        "spans": [{"start": "2026-11-22T10:00:00Z", "end": "2026-11-22T10:30:00.5Z", "node": 1,
            "epoch": 4, "rank": "owner", "available": false}],
        "gaps": [{"start": "2026-11-22T10:30:00.5Z", "end": "2026-11-22T11:00:00Z",
            "cause": "camera_stalled", "node": null}]})
}

fn stdout(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The exit code and standard error of a command that failed and printed nothing else.
fn failure(output: &Output) -> (i32, String) {
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

#[test]
fn data_is_a_table_or_json() {
    let api = Api::start();
    let table = stdout(&api.run(&["camera", "list"]));
    assert!(
        table.starts_with("ID  NAME  STATE") && table.contains("1   gate  recording  north"),
        "{table}"
    );
    let json: Value =
        serde_json::from_str(&stdout(&api.run(&["camera", "list", "--json"]))).unwrap();
    assert_eq!(json[0]["assignment"]["epoch"], 4);
    let shown: Value =
        serde_json::from_str(&stdout(&api.run(&["--json", "camera", "show", "gate"]))).unwrap();
    assert_eq!(shown["id"], 1);
    assert!(
        stdout(&api.run(&["cluster", "status"]))
            .contains("none: changes fail, recording continues")
    );
    let nodes: Value =
        serde_json::from_str(&stdout(&api.run(&["nodes", "list", "--json"]))).unwrap();
    assert_eq!(nodes[0]["name"], "north");
}

#[test]
fn the_timeline_shows_spans_and_gaps_in_order() {
    let text = stdout(&Api::start().run(&["timeline", "gate", "--from", "-2h"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[1].starts_with("recorded")
            && lines[1].contains("1800.500")
            && lines[1].ends_with("its node is down"),
        "{text}"
    );
    assert!(
        lines[2].starts_with("GAP") && lines[2].contains("camera_stalled"),
        "{text}"
    );
}

#[test]
fn exit_codes_show_what_happened() {
    let api = Api::start();
    let (code, text) = failure(&api.run(&["cluster", "init"]));
    assert_eq!(
        (code, text.as_str()),
        (
            1,
            "error: The present state does not allow it: a member already\n"
        )
    );
    assert_eq!(failure(&api.run(&["camera", "list", "--frobnicate"])).0, 2);
    assert_eq!(
        failure(&api.run(&["timeline", "gate", "--from", "now", "--to", "-1h"])).0,
        2
    );
    let (code, text) = failure(&api.run(&["camera", "show", "unknown"]));
    assert!(
        code == 3 && text.contains("no camera has the name or number `unknown`"),
        "{text}"
    );
    let (code, text) = failure(&api.run(&["cluster", "join", "hfjoin_AAAA"]));
    assert!(
        code == 4 && text.contains("hint: try again, or ask another node"),
        "{text}"
    );
    let (code, text) = failure(&holdfast(
        &["--api", "http://127.0.0.1:1", "nodes", "list"],
        Some(TOKEN),
    ));
    assert!(
        code == 4
            && text.contains("cannot reach http://127.0.0.1:1/: ")
            && text.contains("refused"),
        "{text}"
    );
}

#[test]
fn a_missing_token_is_explained_and_a_token_file_is_read() {
    let api = Api::start();
    let (code, text) = failure(&holdfast(&["--api", &api.url, "nodes", "list"], None));
    assert!(
        code == 1 && text.contains("--token-file or HOLDFAST_ADMIN_TOKEN"),
        "{text}"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    stdout(&holdfast(
        &[
            "--api",
            &api.url,
            "--token-file",
            file.to_str().unwrap(),
            "nodes",
            "list",
        ],
        None,
    ));
}

#[test]
fn changes_reach_the_api() {
    let api = Api::start();
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "geheim\n").unwrap();
    let add = [
        "camera",
        "add",
        "--name",
        "gate",
        "--url",
        "rtsp://h/1",
        "--username",
        "u",
        "--label",
        "site=north",
    ];
    let added =
        stdout(&api.run(&[&add[..], &["--password-file", password.to_str().unwrap()]].concat()));
    assert_eq!(added, "added camera 1 (gate)\n");
    stdout(&api.run(&["camera", "remove", "gate"]));
    stdout(&api.run(&["nodes", "drain", "north"]));
    stdout(&api.run(&["nodes", "undrain", "1"]));
    let changes = api.changes.lock().unwrap();
    assert_eq!(
        (
            &changes[0]["source"]["password"],
            &changes[0]["labels"]["site"]
        ),
        (&json!("geheim"), &json!("north"))
    );
    assert_eq!(
        changes[1..],
        [
            "DELETE /cameras/1",
            "POST /nodes/1/drain",
            "DELETE /nodes/1/drain"
        ]
    );
}

#[test]
fn holds_are_added_listed_and_removed() {
    let api = Api::start();
    let hold = |camera, to: &[&str]| {
        let args = [
            "hold",
            "add",
            camera,
            "--from",
            "2026-11-22T10:00:00Z",
            "--reason",
            "case 7",
        ];
        api.run(&[&args[..], to].concat())
    };
    assert!(
        stdout(&hold("gate", &[]))
            .contains("added hold 3: camera 1 from 2026-11-22T10:00:00.000000Z to no end")
    );
    stdout(&hold("77", &["--to", "2026-11-22T11:00:00Z"]));
    assert_eq!(failure(&hold("unknown", &[])).0, 3);
    assert_eq!(
        failure(&hold("gate", &["--to", "2026-11-22T09:00:00Z"])).0,
        2
    );
    let list = stdout(&api.run(&["hold", "list"]));
    assert!(list.contains("case") && !list.contains('\u{1b}'), "{list}");
    let list = stdout(&api.run(&["hold", "list", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap()[0]["id"], 3);
    stdout(&api.run(&["hold", "remove", "3"]));
    let changes = api.changes.lock().unwrap();
    assert_eq!(
        changes[0],
        json!({"reason": "case 7", "camera": 1, "from": "2026-11-22T10:00:00.000000Z", "to": null})
    );
    assert_eq!(
        (&changes[1]["camera"], &changes[1]["to"]),
        (&json!(77), &json!("2026-11-22T11:00:00.000000Z"))
    );
    assert_eq!(changes[2], "DELETE /holds/3");
}

#[test]
fn a_deleted_camera_is_listed_and_known_by_its_name() {
    let api = Api::start();
    let table = stdout(&api.run(&["camera", "list", "--deleted"]));
    assert!(
        table.contains("attic  2026-11-22T09:00:00.000000Z  operator \"admin\""),
        "{table}"
    );
    stdout(&api.run(&[
        "hold",
        "add",
        "attic",
        "--from",
        "2026-11-22T08:00:00Z",
        "--reason",
        "case 7",
    ]));
    assert_eq!(api.changes.lock().unwrap()[0]["camera"], 9);
    let (code, text) = failure(&api.run(&["export", "cellar", "--from", "-1m", "-o", "x.mp4"]));
    assert!(
        code == 3 && text.contains("camera list --deleted"),
        "{text}"
    );
}

#[test]
fn an_export_appears_whole_or_not_at_all() {
    let api = Api::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.mp4");
    let export = |more: &[&str]| {
        api.run(
            &[
                &[
                    "export",
                    "gate",
                    "--from",
                    "-1m",
                    "-o",
                    file.to_str().unwrap(),
                ],
                more,
            ]
            .concat(),
        )
    };
    let printed = stdout(&export(&[]));
    assert!(
        printed.contains("(12 bytes)\n") && printed.contains("MISSING"),
        "{printed}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"first second");
    let (code, text) = failure(&export(&[]));
    assert!(code == 1 && text.contains("--force replaces it"), "{text}");
    stdout(&export(&["--force"]));
    assert_eq!(
        failure(&api.run(&[
            "export",
            "cellar",
            "--from",
            "-1m",
            "-o",
            dir.path().join("x").to_str().unwrap()
        ]))
        .0,
        3
    );
    let broken = dir.path().join("broken.mp4");
    let (code, text) = failure(&api.run(&[
        "export",
        "yard",
        "--from",
        "-1m",
        "-o",
        broken.to_str().unwrap(),
    ]));
    assert!(code == 1 && text.contains("the export broke off"), "{text}");
    assert_eq!(names(dir.path()), ["out.mp4"]);
}

const STRICT: [&str; 7] = [
    "export",
    "gate",
    "--from",
    "2026-11-22T10:00:00Z",
    "--to",
    "2026-11-22T10:01:00Z",
    "--strict",
];

#[test]
fn an_export_that_breaks_off_is_continued_where_it_was() {
    let api = Api::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.mp4");
    let run = api.run(&[&STRICT[..], &["-o", file.to_str().unwrap()]].concat());
    let aside = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        stdout(&run).contains("(20 bytes)")
            && aside.contains("broke off")
            && aside.contains("trying again"),
        "{aside}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), FOOTAGE);
    // Includes the last byte that is there.
    assert_eq!(
        *api.changes.lock().unwrap(),
        [json!(null), json!("bytes=7-")]
    );
    api.changes.lock().unwrap().clear();
    let piped = api.run(&[&STRICT[..], &["-o", "-"]].concat());
    assert_eq!((piped.status.code(), &*piped.stdout), (Some(0), FOOTAGE));
}

#[test]
fn a_later_run_continues_what_an_earlier_one_left() {
    let api = Api::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.mp4");
    let export =
        || api.run(&[&STRICT[..], &["--retry", "0", "-o", file.to_str().unwrap()]].concat());
    let (code, text) = failure(&export());
    assert!(
        code == 1 && text.contains("broke off") && text.contains("out.mp4.part keeps what came"),
        "{text}"
    );
    let mut left = names(dir.path());
    left.sort();
    assert_eq!(left, ["out.mp4.part", "out.mp4.part.etag"]);
    stdout(&export());
    assert_eq!(std::fs::read(&file).unwrap(), FOOTAGE);
    assert_eq!(names(dir.path()), ["out.mp4"]);
    assert_eq!(
        *api.changes.lock().unwrap(),
        [json!(null), json!("bytes=7-")]
    );
    // The bytes that are there belong to another version.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(dir.path().join("out.mp4.part"), "of another export").unwrap();
    std::fs::write(dir.path().join("out.mp4.part.etag"), "\"b\"").unwrap();
    let again = export();
    assert!(String::from_utf8_lossy(&again.stderr).contains("beginning again"));
    assert_eq!(std::fs::read(&file).unwrap(), FOOTAGE);
}

#[test]
fn an_export_of_several_cameras_is_a_job() {
    let api = Api::start();
    let range = [
        "--from",
        "2026-11-22T10:00:00Z",
        "--to",
        "2026-11-22T11:00:00Z",
    ];
    let (code, text) =
        failure(&api.run(&[&["export", "gate", "yard", "-o", "x.mp4"], &range[..]].concat()));
    assert!(code == 2 && text.contains("--job"), "{text}");
    assert_eq!(
        failure(&api.run(&[&["export", "gate"], &range[..]].concat())).0,
        2
    );
    let made =
        stdout(&api.run(&[&["export", "gate", "77", "--job", "case 7"], &range[..]].concat()));
    assert!(
        made.contains("export 4: 2 files, kept until 2026-11-23")
            && made.contains("exports download 4"),
        "{made}"
    );
    let list = stdout(&api.run(&["exports", "list"]));
    assert!(list.contains("ready") && list.contains("case 7"), "{list}");
    let shown = stdout(&api.run(&["exports", "show", "4"]));
    assert!(
        shown.contains("77.mp4") && shown.contains("MISSING camera 1"),
        "{shown}"
    );
    let dir = tempfile::tempdir().unwrap();
    let got = api.run(&[
        "exports",
        "download",
        "4",
        "--dir",
        dir.path().to_str().unwrap(),
    ]);
    assert!(
        stdout(&got).contains("77.mp4: NOT THERE"),
        "nothing was recorded of it, which is no failure"
    );
    assert_eq!(std::fs::read(dir.path().join("1.mp4")).unwrap(), b"footage");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["gaps"][0]["cause"], "node_down");
    stdout(&api.run(&["exports", "remove", "4"]));
    let changes = api.changes.lock().unwrap();
    let asked = json!({"name": "case 7", "cameras": [1, 77], "from": "2026-11-22T10:00:00.000000Z",
        "to": "2026-11-22T11:00:00.000000Z", "strict": false});
    assert_eq!(
        (&changes[0], &changes[1]),
        (&asked, &json!("DELETE /exports/4"))
    );
}

#[test]
fn an_export_goes_into_a_pipe_and_never_in_the_place_of_a_device() {
    let api = Api::start();
    let piped = api.run(&["export", "gate", "--from", "-1m", "-o", "-"]);
    assert_eq!(
        (piped.status.code(), &*piped.stdout),
        (Some(0), &b"first second"[..])
    );
    let aside = String::from_utf8_lossy(&piped.stderr).into_owned();
    assert!(
        aside.contains("wrote - (12 bytes)") && aside.contains("MISSING"),
        "{aside}"
    );
    let (code, text) = failure(&api.run(&[
        "export",
        "gate",
        "--from",
        "-1m",
        "-o",
        "/dev/null",
        "--force",
    ]));
    assert!(
        code == 1 && text.contains("/dev/null is no plain file"),
        "{text}"
    );
}

#[test]
fn the_status_is_an_exit_code_too() {
    let api = Api::start();
    let asked = api.run(&["status"]);
    assert_eq!(asked.status.code(), Some(20));
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(
        text.starts_with("FOOTAGE IS BEING LOST")
            && text.contains("fix: holdfast camera edit lift"),
        "{text}"
    );
    assert!(asked.stderr.is_empty(), "the answer is no error");
    let json: Value = serde_json::from_slice(&api.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["findings"][0]["code"], "not-recorded");
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_configuration_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    let check = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        holdfast(
            &[&["config", "check", file.to_str().unwrap()], more].concat(),
            None,
        )
    };
    let good = check("name = \"a\"\ndata_dir = \"d\"\n", &[]);
    let (printed, error) = (
        String::from_utf8_lossy(&good.stdout),
        String::from_utf8_lossy(&good.stderr),
    );
    assert_eq!(good.status.code(), Some(1), "{printed}");
    assert!(printed.contains("no admin token"), "{printed}");
    assert!(error.contains("a node would not start"), "{error}");
    let bad = check("name = \"a\"\ndata_dir = \"d\"\ncolour = 1\n", &["--json"]);
    let report: Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(
        (
            bad.status.code(),
            &report["problems"][0]["line"],
            &report["valid"]
        ),
        (Some(1), &json!(3), &json!(false))
    );
}

#[test]
fn a_node_without_a_token_or_with_a_bad_configuration_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    let serve = || {
        failure(&holdfast(
            &["serve", "--config", file.to_str().unwrap()],
            None,
        ))
    };
    assert!(serve().1.contains("node.toml: cannot be read"));
    std::fs::write(&file, "name = \"a\"\ndata_dir = \"d\"\n").unwrap();
    let (code, text) = serve();
    assert!(
        code == 1
            && text.contains(
                "set `auth.admin_token_file` in the configuration or the environment variable"
            ),
        "{text}"
    );
}

#[test]
fn a_node_does_not_outlive_the_parent_it_was_given() {
    let (code, text) = failure(&holdfast(
        &["serve", "--config", "x", "--parent-pid", "1"],
        None,
    ));
    assert!(
        code == 1 && text.contains("the parent process 1 is gone"),
        "{text}"
    );
}
