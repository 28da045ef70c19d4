//! The volumes of this node: their room, their work, their states, and the damage found.

use super::Families;
use crate::host::member::Member;
use crate::volumes::VolumeStatus;
use holdfast_storage::Stats;
use holdfast_storage::disk::IoMode;
use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, IntGaugeVec, Opts};
/// A gauge for each volume: name, help, and how to read it from the volume's figures.
type VolumeGauge = (&'static str, &'static str, fn(&Stats) -> f64);

const VOLUME_GAUGES: &[VolumeGauge] = &[
    (
        "holdfast_volume_free_bytes",
        "Room left in the volume's filesystem.",
        |stats| stats.free_bytes as f64,
    ),
    (
        "holdfast_volume_size_bytes",
        "Size of the volume's filesystem.",
        |stats| stats.total_bytes as f64,
    ),
    (
        "holdfast_volume_sealed_bytes",
        "Bytes in sealed segments.",
        |stats| stats.sealed_bytes as f64,
    ),
    (
        "holdfast_volume_sealed_segments",
        "Sealed segments.",
        |stats| stats.segments_sealed as f64,
    ),
    (
        "holdfast_volume_unlisted_segments",
        "Segments of former processes that are not listed yet.",
        |stats| {
            stats
                .segments_to_recover
                .saturating_sub(stats.segments_recovered + stats.segments_refused)
                as f64
        },
    ),
    (
        "holdfast_volume_queued_bytes",
        "Bytes received and not yet handed to the kernel.",
        |stats| stats.queued_bytes as f64,
    ),
    (
        "holdfast_volume_last_flush_seconds",
        "How long the last flush took.",
        |stats| stats.flush_us_last as f64 / 1e6,
    ),
    (
        "holdfast_volume_failed_info",
        "1 where the volume has failed.",
        |stats| f64::from(u8::from(stats.failed.is_some())),
    ),
    (
        "holdfast_volume_full_info",
        "1 while the disk is full and nothing may be deleted.",
        |stats| f64::from(u8::from(stats.is_stuck)),
    ),
    (
        "holdfast_volume_scrub_done_bytes",
        "Read in the scrub's present pass; 0 between passes.",
        |stats| stats.scrub.pass.map_or(0.0, |pass| pass.done_bytes as f64),
    ),
    (
        "holdfast_volume_scrub_pass_bytes",
        "To be read in the scrub's present pass; 0 between passes.",
        |stats| stats.scrub.pass.map_or(0.0, |pass| pass.total_bytes as f64),
    ),
    (
        "holdfast_volume_scrub_done_segments",
        "Segments read in the scrub's present pass.",
        |stats| {
            stats
                .scrub
                .pass
                .map_or(0.0, |pass| pass.done_segments as f64)
        },
    ),
    (
        "holdfast_volume_scrub_pass_segments",
        "Segments to be read in the scrub's present pass.",
        |stats| {
            stats
                .scrub
                .pass
                .map_or(0.0, |pass| pass.total_segments as f64)
        },
    ),
    (
        "holdfast_volume_scrub_held_back_info",
        "1 while the scrub waits because the disk is behind.",
        |stats| f64::from(u8::from(stats.scrub.is_held_back)),
    ),
    (
        "holdfast_volume_full_in_seconds",
        "How long free and deletable room lasts at the present rate of writing; +Inf while nothing \
         is written.",
        |stats| {
            stats
                .full_in_s
                .map_or(f64::INFINITY, |seconds| seconds as f64)
        },
    ),
    (
        "holdfast_volume_deletable_bytes",
        "Bytes that retention may delete.",
        |stats| stats.deletable_bytes as f64,
    ),
    (
        "holdfast_volume_held_bytes",
        "Bytes that holds keep from being deleted.",
        |stats| stats.held_bytes as f64,
    ),
    (
        "holdfast_volume_retention_short_bytes",
        "Bytes missing of free_bytes_min that retention cannot free, because nothing more may be \
         deleted.",
        |stats| stats.short_bytes as f64,
    ),
    (
        "holdfast_volume_direct_io_info",
        "1 where the volume is written through io_uring with O_DIRECT, 0 for plain I/O.",
        |stats| {
            f64::from(u8::from(
                stats.io_mode.is_some_and(|mode| mode != IoMode::Plain),
            ))
        },
    ),
];

const VOLUME_COUNTERS: &[VolumeGauge] = &[
    (
        "holdfast_volume_written_bytes_total",
        "Bytes handed to the kernel, padding included.",
        |stats| stats.written_bytes as f64,
    ),
    ("holdfast_volume_flushes_total", "Flushes.", |stats| {
        stats.flushes as f64
    }),
    (
        "holdfast_volume_copied_bytes_total",
        "Bytes of held footage copied before their segment went.",
        |stats| stats.copied_bytes as f64,
    ),
    (
        "holdfast_volume_deleted_bytes_total",
        "Bytes deleted by retention.",
        |stats| stats.deleted_bytes as f64,
    ),
    (
        "holdfast_volume_torn_batches_total",
        "Batches that a crash had interrupted, found by recovery.",
        |stats| stats.torn_batches as f64,
    ),
    (
        "holdfast_volume_damaged_batches_total",
        "Batches that recovery found damaged though they had been flushed.",
        |stats| stats.damaged_batches as f64,
    ),
    (
        "holdfast_volume_damaged_reads_total",
        "Chunks not served because their checksum fails.",
        |stats| stats.damaged_reads as f64,
    ),
    (
        "holdfast_volume_scrubbed_bytes_total",
        "Read by the scrub.",
        |stats| stats.scrub.read_bytes as f64,
    ),
    (
        "holdfast_volume_unreadable_segments_total",
        "Segments that the scrub could not read.",
        |stats| stats.scrub.failed_segments as f64,
    ),
    (
        "holdfast_volume_damaged_segments_total",
        "Segments whose header, footer or init segments the scrub found damaged.",
        |stats| stats.scrub.damaged_segments as f64,
    ),
    (
        "holdfast_volume_found_damaged_chunks_total",
        "Chunks found damaged, each once.",
        |stats| stats.damaged_chunks as f64,
    ),
    (
        "holdfast_volume_catalogue_rebuilds_total",
        "Catalogues rebuilt from segments.",
        |stats| stats.catalogue_rebuilds.into(),
    ),
];

/// As [`VolumeGauge`], but of what the node knows about the volume.
type StandingGauge = (&'static str, &'static str, fn(&VolumeStatus) -> f64);

const STANDING_GAUGES: &[StandingGauge] = &[
    (
        "holdfast_volume_cameras",
        "Cameras that are recorded to the volume now.",
        |volume| volume.cameras as f64,
    ),
    (
        "holdfast_volume_lag_seconds",
        "How long records wait until they are durable.",
        |volume| volume.lag_seconds,
    ),
];

const STANDING_COUNTERS: &[StandingGauge] = &[
    (
        "holdfast_volume_failures_total",
        "Times that the volume failed, hung or could not be opened.",
        |volume| volume.failures as f64,
    ),
    (
        "holdfast_volume_reattachments_total",
        "Times that the volume was taken back after that.",
        |volume| volume.reattachments as f64,
    ),
    (
        "holdfast_volume_moved_cameras_total",
        "Cameras that left the volume for another one of this node.",
        |volume| volume.moved_cameras as f64,
    ),
];

pub(super) fn volumes(member: &Member) -> Families {
    let volumes = member.volumes.statuses();
    let mut families = volume_states(&volumes)?;
    for (name, help, read) in VOLUME_GAUGES {
        families.extend(volume_gauge(name, help, &volumes, |volume| {
            read(&volume.stats)
        })?);
    }
    for (name, help, read) in STANDING_GAUGES {
        families.extend(volume_gauge(name, help, &volumes, read)?);
    }
    for (name, help, read) in VOLUME_COUNTERS {
        families.extend(volume_counter(name, help, &volumes, |volume| {
            read(&volume.stats)
        })?);
    }
    for (name, help, read) in STANDING_COUNTERS {
        families.extend(volume_counter(name, help, &volumes, read)?);
    }
    Ok(families)
}

/// Figures that not every volume has: damage, by camera, and a completed pass of the scrub.
pub(super) fn damage(volumes: &[VolumeStatus]) -> Families {
    let damaged = GaugeVec::new(
        Opts::new(
            "holdfast_volume_damaged_chunks",
            "Stored chunks that are damaged and not served.",
        ),
        &["volume", "camera"],
    )?;
    let age = GaugeVec::new(
        Opts::new(
            "holdfast_volume_scrub_age_seconds",
            "Since the scrub's last whole pass ended; not there before the first.",
        ),
        &["volume"],
    )?;
    for VolumeStatus { index, stats, .. } in volumes {
        let index = index.to_string();
        for (camera, count) in &stats.known_damaged {
            damaged
                .with_label_values(&[&index, &camera.to_string()])
                .set(*count as f64);
        }
        if let Some(age_us) = stats.scrub_age_us {
            age.with_label_values(&[&index]).set(age_us as f64 / 1e6);
        }
    }
    Ok(damaged.collect().into_iter().chain(age.collect()).collect())
}

fn volume_gauge(
    name: &str,
    help: &str,
    volumes: &[VolumeStatus],
    read: impl Fn(&VolumeStatus) -> f64,
) -> Families {
    let gauge = GaugeVec::new(Opts::new(name, help), &["volume"])?;
    for volume in volumes {
        gauge
            .with_label_values(&[&volume.index.to_string()])
            .set(read(volume));
    }
    Ok(gauge.collect())
}

fn volume_counter(
    name: &str,
    help: &str,
    volumes: &[VolumeStatus],
    read: impl Fn(&VolumeStatus) -> f64,
) -> Families {
    let counter = CounterVec::new(Opts::new(name, help), &["volume"])?;
    for volume in volumes {
        counter
            .with_label_values(&[&volume.index.to_string()])
            .inc_by(read(volume));
    }
    Ok(counter.collect())
}

/// One series for each state that a volume can be in, so that an alert need not know them all.
fn volume_states(volumes: &[VolumeStatus]) -> Families {
    let help = "1 for the state that the volume is in, 0 for all others.";
    let gauge = IntGaugeVec::new(
        Opts::new("holdfast_volume_state_info", help),
        &["volume", "path", "state"],
    )?;
    for volume in volumes {
        for state in VolumeStatus::STATES {
            let is_in = i64::from(volume.state == state);
            gauge
                .with_label_values(&[&volume.index.to_string(), &volume.path, state])
                .set(is_in);
        }
    }
    Ok(gauge.collect())
}
