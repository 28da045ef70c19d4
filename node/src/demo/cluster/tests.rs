//! The harness against a stand-in for `holdfast serve`: this test binary itself, started through a
//! script.

use super::*;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

/// Names the configuration file in the stand-in's process.
const CONFIG_ENV: &str = "HOLDFAST_STAND_IN_CONFIG";

/// A directory in the stand-in's data directory: it ends at once.
const BROKEN_MARK: &str = "broken";

/// Not a test: runs in the child process. Answers every request with `200` and the same invitation
/// until it is killed.
#[test]
#[ignore = "runs in the processes that the other tests start"]
fn stand_in() {
    let Some(path) = std::env::var_os(CONFIG_ENV) else {
        return;
    };
    let config = Config::load(Path::new(&path)).unwrap();
    if config.data_dir.join(BROKEN_MARK).exists() {
        println!("broken on purpose");
        std::process::exit(1);
    }
    let listener = TcpListener::bind(config.listen.api).unwrap();
    for stream in listener.incoming() {
        answer(stream.unwrap());
    }
}

fn answer(mut stream: TcpStream) {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or(0);
    println!(
        "{}",
        String::from_utf8_lossy(&request[..read])
            .lines()
            .next()
            .unwrap_or("nothing")
    );
    let body = r#"{"token":"t","invite":{"id":1,"name":"node2","role":"recorder","may_vote":true,
        "created_at":"2026-12-01T00:00:00Z","expires":"2026-12-01T00:15:00Z","used_by":null}}"#;
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
}

/// A cluster of stand-ins. The script takes the place of `holdfast`: `serve --config FILE
/// --parent-pid PID`.
fn cluster(dir: &Path, nodes: usize) -> Cluster {
    let executable = dir.join("holdfast");
    let this = std::env::current_exe().unwrap();
    let name = "demo::cluster::tests::stand_in";
    let script = format!(
        "#!/bin/sh\n{CONFIG_ENV}=\"$3\" exec '{}' --exact {name} --ignored --nocapture\n",
        this.display()
    );
    fs::write(&executable, script).unwrap();
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o700)).unwrap();
    Cluster::create(&ClusterOptions::new(executable, dir.to_owned(), nodes)).unwrap()
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_cluster_forms_and_is_gone_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = cluster(dir.path(), 2);
    cluster.form().await.unwrap();
    let pids: Vec<u32> = (0..2).map(|index| cluster.pid(index).unwrap()).collect();
    assert!(cluster.log_tail(0).contains("POST /api/v1/cluster/init"));
    assert!(cluster.log_tail(1).contains("POST /api/v1/cluster/join"));
    assert!(pids.iter().all(|&pid| alive(pid)));
    drop(cluster);
    assert!(!pids.iter().any(|&pid| alive(pid)));
}

#[tokio::test]
async fn a_killed_node_comes_back_on_its_ports() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = cluster(dir.path(), 1);
    cluster.start(0).unwrap();
    cluster.wait_healthy(0).await.unwrap();
    let first = cluster.pid(0).unwrap();
    cluster.kill(0).await.unwrap();
    assert!(!cluster.is_running(0) && !alive(first));
    assert!(matches!(
        cluster.kill(0).await,
        Err(ClusterError::NotRunning { .. })
    ));
    cluster.start(0).unwrap();
    cluster.wait_healthy(0).await.unwrap();
    assert_ne!(cluster.pid(0), Some(first));
    cluster.stop(0, Duration::from_secs(5)).await.unwrap();
    assert!(!cluster.is_running(0));
}

#[tokio::test]
async fn a_node_that_ends_by_itself_is_reported_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = cluster(dir.path(), 1);
    fs::create_dir_all(cluster.config(0).data_dir.join(BROKEN_MARK)).unwrap();
    cluster.start(0).unwrap();
    let error = cluster.wait_ready(0).await.unwrap_err();
    assert!(matches!(error, ClusterError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("broken on purpose"), "{error}");
}

#[test]
fn secrets_are_for_their_owner_only_and_configurations_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), 3);
    let mode = fs::metadata(dir.path().join("admin.token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for node in &cluster.nodes {
        assert_eq!(Config::load(&node.config_path).unwrap(), node.config);
    }
    assert_eq!(cluster.index_of("node2"), Some(1));
}
