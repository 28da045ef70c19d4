//! The log and the snapshot on disk: openraft's own suite, then a restart, a torn write and a
//! failed fsync.

use super::fatal::FatalSignal;
use super::log_store::LogStore;
use super::snapshot_file::{SnapshotFile, SnapshotImage};
use super::state_machine::StateMachine;
use super::{Entry, LogId, SnapshotMeta, TypeConfig, Vote};
use crate::codec::Finalized;
use crate::command::Command;
use crate::model::{Actor, RetentionClasses, SettingsChange};
use holdfast_storage::time::Timestamp;
use openraft::StorageError;
use openraft::entry::{EntryPayload, RaftEntry};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let machine = StateMachine::open(dir.path(), Finalized::default()).unwrap();
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

fn open(dir: &Path) -> LogStore {
    LogStore::open(&dir.join("log"), FatalSignal::new(), Finalized::default()).unwrap()
}

fn log_id(index: u64) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: 2,
            node_id: 1,
        },
        index,
    }
}

fn entry(index: u64) -> Entry {
    let change = SettingsChange {
        retention_classes: Some(RetentionClasses::default()),
        ..SettingsChange::default()
    };
    Entry::new(
        log_id(index),
        EntryPayload::Normal(Command::ChangeSettings(change).by(Actor::System, Timestamp(0))),
    )
}

fn vote() -> Vote {
    Vote {
        leader_id: LeaderId {
            term: 2,
            node_id: 1,
        },
        committed: true,
    }
}

/// The newest log file that is not empty.
fn last_file(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let written = files.filter(|path| {
        path.extension().is_some_and(|ext| ext == "wal") && path.metadata().unwrap().len() > 0
    });
    written.max().unwrap()
}

async fn write_ten(dir: &Path) {
    let mut log = open(dir);
    log.save_vote(&vote()).await.unwrap();
    for index in 0..10 {
        log.blocking_append([entry(index)]).await.unwrap();
    }
}

#[tokio::test]
async fn vote_log_and_commit_survive_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    write_ten(dir.path()).await;
    {
        let mut log = open(dir.path());
        log.save_committed(Some(log_id(7))).await.unwrap();
        log.purge(log_id(2)).await.unwrap();
        log.truncate_after(Some(log_id(8))).await.unwrap();
    }
    let mut log = open(dir.path());
    assert_eq!(log.read_vote().await.unwrap(), Some(vote()));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(7)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (Some(log_id(2)), Some(log_id(8)))
    );
    assert_eq!(
        log.try_get_log_entries(..).await.unwrap(),
        (3..=8).map(entry).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn only_this_user_reads_what_holds_passwords() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let raft = dir.path().join("raft");
    fs::create_dir(&raft).unwrap();
    fs::set_permissions(&raft, fs::Permissions::from_mode(0o755)).unwrap();
    let _machine = StateMachine::open(&raft, Finalized::default()).unwrap();
    let _log = open(&raft);
    for path in [raft.clone(), raft.join("log")] {
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            path.display()
        );
    }
}

#[tokio::test]
async fn a_second_process_cannot_open_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    assert!(
        LogStore::open(
            &dir.path().join("log"),
            FatalSignal::new(),
            Finalized::default()
        )
        .is_err()
    );
}

#[tokio::test]
async fn a_torn_last_record_is_cut_off_and_the_log_continues() {
    for cut_bytes in 1..24 {
        let dir = tempfile::tempdir().unwrap();
        write_ten(dir.path()).await;
        let path = last_file(dir.path());
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(path.metadata().unwrap().len() - cut_bytes)
            .unwrap();
        let mut log = open(dir.path());
        assert_eq!(log.read_vote().await.unwrap(), Some(vote()));
        assert_eq!(
            log.try_get_log_entries(..).await.unwrap(),
            (0..9).map(entry).collect::<Vec<_>>(),
            "{cut_bytes}"
        );
        log.blocking_append([entry(9)]).await.unwrap();
        drop(log);
        assert_eq!(
            open(dir.path())
                .try_get_log_entries(..)
                .await
                .unwrap()
                .len(),
            10
        );
    }
}

#[tokio::test]
async fn a_damaged_record_before_the_last_is_an_error_not_a_shorter_log() {
    let dir = tempfile::tempdir().unwrap();
    write_ten(dir.path()).await;
    let path = last_file(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let payloads: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(b"default"))
        .collect();
    assert_eq!(payloads.len(), 10);
    bytes[payloads[4]] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    let reopened = LogStore::open(
        &dir.path().join("log"),
        FatalSignal::new(),
        Finalized::default(),
    );
    assert!(
        reopened.is_err(),
        "a flipped bit in the middle of the log went unnoticed"
    );
}

#[tokio::test]
async fn a_failed_fsync_is_reported_and_raises_the_fatal_signal() {
    let dir = tempfile::tempdir().unwrap();
    let fatal = FatalSignal::new();
    let mut log =
        LogStore::open(&dir.path().join("log"), fatal.clone(), Finalized::default()).unwrap();
    log.save_vote(&vote()).await.unwrap();
    assert_eq!(fatal.raised(), None);
    log.fault.armed.store(true, Ordering::SeqCst);
    assert!(log.blocking_append([entry(0)]).await.is_err());
    assert!(fatal.raised().unwrap().contains("fsync failed"));
    assert!(log.save_vote(&vote()).await.is_err());
}

#[test]
fn a_snapshot_survives_and_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = SnapshotFile::new(dir.path(), Finalized::default());
    assert_eq!(file.read().unwrap(), None);
    let meta = |index| SnapshotMeta {
        last_log_id: Some(log_id(index)),
        ..SnapshotMeta::default()
    };
    let image = SnapshotImage {
        meta: meta(9),
        state: vec![1, 2, 3],
    };
    file.write(&image).unwrap();
    assert_eq!(file.read().unwrap().as_ref(), Some(&image));
    file.write(&SnapshotImage {
        meta: meta(8),
        state: vec![],
    })
    .unwrap();
    assert_eq!(
        file.read().unwrap().as_ref(),
        Some(&image),
        "an older snapshot replaced a newer one"
    );

    let path = dir.path().join("snapshot");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(
            file.read().is_err(),
            "flipped bit in byte {at} went unnoticed"
        );
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(file.read().is_err());
}
