//! Writes that carry a number, so that each can be found in what nodes applied.

use holdfast_consensus::command::{Command, LogEntry};
use holdfast_consensus::model::{Actor, RetentionClass, RetentionClassName, SettingsChange};
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Unique numbers of writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The number of the clients' write; deletions have no room for a number.
pub(super) fn number_of(entry: &LogEntry) -> Option<u64> {
    match &entry.command {
        Command::CreateCamera { spec, .. } | Command::UpdateCamera { spec, .. } => {
            spec.source.url.as_str().rsplit('/').next()?.parse().ok()
        }
        Command::ChangeSettings(change) => {
            change.retention_classes.as_ref()?.iter().next()?.age_max_s
        }
        Command::Assign { .. } => u64::try_from(entry.at.0).ok(),
        _ => None,
    }
}

pub(super) fn settings(number: u64) -> LogEntry {
    change_settings(number).by(Actor::System, at(number))
}

/// The time that encodes a write's number.
pub(super) fn at(number: u64) -> Timestamp {
    Timestamp(number as i64)
}

pub(super) fn change_settings(number: u64) -> Command {
    let class = RetentionClass {
        name: RetentionClassName::default(),
        age_max_s: Some(number),
        bytes_max: None,
    };
    let retention_classes = Some(vec![class].try_into().expect("valid"));
    Command::ChangeSettings(SettingsChange {
        retention_classes,
        ..SettingsChange::default()
    })
}
