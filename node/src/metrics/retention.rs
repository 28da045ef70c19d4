//! What volumes delete, and which deletions are only announced.

use super::Families;
use crate::volumes::VolumeStatus;
use holdfast_storage::retention::Pause;
use prometheus::core::Collector;
use prometheus::{GaugeVec, IntGaugeVec, Opts};

pub(super) fn retention(volumes: &[VolumeStatus]) -> Families {
    let help = "1 for the reason why nothing is deleted for its age, 0 for all others.";
    let paused = IntGaugeVec::new(
        Opts::new("holdfast_retention_paused_info", help),
        &["volume", "reason"],
    )?;
    let help =
        "1 while free_bytes_min is above half of the volume, and half of it stays free instead.";
    let clamped = IntGaugeVec::new(
        Opts::new("holdfast_retention_clamped_info", help),
        &["volume"],
    )?;
    let help = "What a deletion that was announced would delete.";
    let bytes = GaugeVec::new(
        Opts::new("holdfast_retention_announced_bytes", help),
        &["volume", "class"],
    )?;
    let help = "When an announced deletion begins; 0 while it runs, +Inf where it was cancelled.";
    let begins = GaugeVec::new(
        Opts::new("holdfast_retention_begins_in_seconds", help),
        &["volume", "class"],
    )?;
    for volume in volumes {
        let (index, status) = (volume.index.to_string(), &volume.stats.retention);
        for reason in Pause::REASONS {
            let is_it = status.paused.is_some_and(|pause| pause.reason() == reason);
            paused
                .with_label_values(&[&index, reason])
                .set(i64::from(is_it));
        }
        clamped
            .with_label_values(&[&index])
            .set(i64::from(status.clamped_free_bytes_min.is_some()));
        for announced in &status.announced {
            let class = announced.class.as_deref().unwrap_or_default();
            bytes
                .with_label_values(&[&index, class])
                .set(announced.bytes as f64);
            let seconds = announced
                .begins_in_s
                .map_or(f64::INFINITY, |seconds| seconds as f64);
            begins.with_label_values(&[&index, class]).set(seconds);
        }
    }
    let infos = paused.collect().into_iter().chain(clamped.collect());
    Ok(infos
        .chain(bytes.collect())
        .chain(begins.collect())
        .collect())
}
