//! A recovery that is interrupted anywhere has either happened or not, and the node starts in both
//! cases.

use super::*;
use crate::host::keys::Keys;
use holdfast_consensus::command::Command;
use holdfast_consensus::model::{Actor, CameraSpec, NodeSpec};
use holdfast_consensus::{Consensus, Options, Timing};
use std::fs;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const AT: Timestamp = Timestamp(1_795_341_600_000_000);
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens it as `serve` does.
async fn open(data_dir: &Path) -> (Identity, Consensus) {
    let identity = Identity::load(data_dir).unwrap().expect("it has one");
    let options = Options {
        node: identity.node,
        cluster: identity.cluster,
        generation: identity.generation(),
        dir: identity.raft_dir(data_dir),
        timing: Timing::default(),
        peer_addr: "127.0.0.1:9".to_owned(),
        peers: Vec::new(),
        boot: Uuid::new_v4(),
        now: || AT,
    };
    let opened = async {
        loop {
            // The log's lock is released when the last task of the former consensus has ended.
            let keys = Keys::load(data_dir, identity.name()).expect("it has keys");
            let trust = keys.trust().expect("they are whole");
            match Consensus::open(options.clone(), trust, keys.authority).await {
                Ok(consensus) => return consensus,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    (
        identity,
        timeout(PATIENCE, opened).await.expect("it starts"),
    )
}

async fn find(data_dir: &Path) -> Survivor {
    let found = async {
        loop {
            match Survivor::find(data_dir).await {
                Err(RecoveryError::Remains(RemainsError::InUse { .. })) => {
                    sleep(Duration::from_millis(20)).await
                }
                other => return other.unwrap_or_else(|error| panic!("{error}")),
            }
        }
    };
    timeout(PATIENCE, found).await.expect("nothing has it open")
}

/// A node with one camera.
async fn node() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Uuid::new_v4();
    let identity = Identity::new(cluster, NodeId(1), ClusterGeneration::first(cluster));
    let keys = Keys::of_founder(dir.path(), identity.name(), AT).unwrap();
    identity.save(dir.path()).unwrap();
    let (_, consensus) = open(dir.path()).await;
    consensus
        .initialize(
            NodeSpec::new("n1", "127.0.0.1:9", "127.0.0.1:9").unwrap(),
            keys.credentials.key.hash(),
            AT,
        )
        .await
        .unwrap();
    add(&consensus, "yard").await;
    consensus.shutdown().await;
    dir
}

async fn add(consensus: &Consensus, name: &str) {
    let spec = CameraSpec::new(name, "rtsp://h/").unwrap();
    let add = Command::CreateCamera {
        spec,
        only_after: None,
    }
    .by(Actor::System, AT);
    let added = async { while consensus.write(add.clone()).await.is_err() {} };
    timeout(PATIENCE, added).await.expect("it takes changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_after_any_step_it_has_happened_or_has_not() {
    for (cut, expected) in [(Some(Step::Written), 1), (Some(Step::Done), 2), (None, 2)] {
        let dir = node().await;
        let survivor = find(dir.path()).await;
        let cut_here = |step| {
            if Some(step) == cut {
                Err(io::Error::other("cut"))
            } else {
                Ok(())
            }
        };
        let recovered = survivor.recover(AT, cut_here).await;
        assert_eq!(recovered.is_ok(), cut.is_none());
        drop(survivor);

        let (identity, consensus) = open(dir.path()).await;
        assert_eq!(identity.generation().number, expected, "{cut:?}");
        assert_eq!(
            consensus.state().generation(),
            Some(identity.generation()),
            "{cut:?}"
        );
        assert_eq!(consensus.state().cameras.len(), 1);
        add(&consensus, "gate").await;
        consensus.shutdown().await;
        drop(consensus);

        // And a (repeated) attempt succeeds, with what was added since.
        let survivor = find(dir.path()).await;
        assert_eq!(survivor.remains.state().cameras.len(), 2);
        let done = survivor.recover(AT, |_| Ok(())).await.unwrap();
        assert_eq!(done.generation.number, expected + 1);
        assert!(done.kept.is_dir());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_within_the_writing_of_the_new_folder_nothing_has_happened() {
    let whole = node().await;
    find(whole.path())
        .await
        .recover(AT, |_| Ok(()))
        .await
        .unwrap();
    let mut parts = files_below(&whole.path().join("raft-2"));
    parts.sort();
    assert!(parts.len() >= 2, "{parts:?}");
    for kept in 0..parts.len() {
        let dir = node().await;
        for part in &parts[..=kept] {
            let target = dir.path().join(part.strip_prefix(whole.path()).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            let bytes = fs::read(part).unwrap();
            let half = if *part == parts[kept] {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            fs::write(target, &bytes[..half]).unwrap();
        }
        let (identity, consensus) = open(dir.path()).await;
        assert_eq!(
            (
                identity.generation().number,
                consensus.state().cameras.len()
            ),
            (1, 1)
        );
        consensus.shutdown().await;
        drop(consensus);
        find(dir.path())
            .await
            .recover(AT, |_| Ok(()))
            .await
            .unwrap();
        let (identity, consensus) = open(dir.path()).await;
        assert_eq!(
            (
                identity.generation().number,
                consensus.state().cameras.len()
            ),
            (2, 1)
        );
        consensus.shutdown().await;
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
