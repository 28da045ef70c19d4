//! What Prometheus reads from this node, gathered at each scrape.

mod cameras;
mod parts;
mod retention;

use crate::capture::ingest::clock::HONEST_PPB;
use crate::capture::recorder::status::Counts;
use crate::host::descriptors;
use crate::host::member::Member;
use crate::host::process::Host;
use crate::volumes::VolumeStatus;
use holdfast_consensus::model::Outcome;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::HeldBack;
use holdfast_storage::Stats;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::disk::IoMode;
use holdfast_storage::time::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::sync::Arc;

/// # Errors
/// A metric of the same name is registered already.
pub(crate) fn register(
    registry: &prometheus::Registry,
    host: Arc<Host>,
) -> Result<(), prometheus::Error> {
    let up = IntGauge::new(
        "holdfast_member_info",
        "1 while this node is a member of a cluster, else 0.",
    )?;
    registry.register(Box::new(NodeCollector { host, up }))
}

/// Reads the node at each scrape, so that nothing is counted twice.
struct NodeCollector {
    host: Arc<Host>,
    up: IntGauge,
}

impl Collector for NodeCollector {
    /// One description stands for all: the others come and go with the member.
    fn desc(&self) -> Vec<&Desc> {
        self.up.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let member = self.host.member();
        self.up.set(i64::from(member.is_some()));
        let mut families = self.up.collect();
        match files() {
            Ok(files) => families.extend(files),
            Err(error) => tracing::error!(%error, "a metric cannot be made"),
        }
        if let Some(member) = member {
            let now = self.host.clock.now();
            let all = [
                recorders(member),
                totals(member),
                faults(member),
                held_back(member),
                gaps(member),
                clocks(member),
                lags(member, now),
                cameras::cameras(member),
                cluster(member),
                headroom(member),
                drills(member, now),
                volumes(member),
                damage(&member.volumes.statuses()),
                retention::retention(&member.volumes.statuses()),
                parts::parts(&member.parts.statuses()),
            ];
            for found in all {
                match found {
                    Ok(found) => families.extend(found),
                    Err(error) => tracing::error!(%error, "a metric cannot be made"),
                }
            }
        }
        families
    }
}

type Families = Result<Vec<MetricFamily>, prometheus::Error>;

/// Open files of the process; nothing if they cannot be counted.
fn files() -> Families {
    let gauges = [
        (
            "holdfast_open_files",
            "Files and sockets that the process has open.",
            descriptors::open().ok(),
        ),
        (
            "holdfast_allowed_files",
            "Files and sockets that it may have open.",
            descriptors::limit(),
        ),
    ];
    let mut families = Vec::new();
    for (name, help, value) in gauges {
        if let Some(value) = value {
            let gauge = IntGauge::new(name, help)?;
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            families.extend(gauge.collect());
        }
    }
    Ok(families)
}

fn recorders(member: &Member) -> Families {
    let gauge = IntGaugeVec::new(
        Opts::new(
            "holdfast_recorders",
            "Recorders of this node by what they do.",
        ),
        &["state"],
    )?;
    let states = [
        (RecorderState::Recording, "recording"),
        (RecorderState::Starting, "starting"),
        (RecorderState::Failing, "failing"),
    ];
    let reports = own_progress(member);
    for (state, name) in states {
        let count = reports
            .iter()
            .filter(|progress| progress.state == state)
            .count();
        gauge
            .with_label_values(&[name])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    Ok(gauge.collect())
}

fn own_progress(member: &Member) -> Vec<holdfast_consensus::observe::heartbeat::Progress> {
    member
        .supervisor
        .statuses()
        .into_iter()
        .map(|status| member.volumes.progress(status))
        .collect()
}

fn totals(member: &Member) -> Families {
    let counts = member.supervisor.totals().read();
    let counters = [
        (
            "holdfast_received_frames_total",
            "Frames received from cameras.",
            counts.frames,
        ),
        (
            "holdfast_received_bytes_total",
            "Bytes of the frames received from cameras.",
            counts.frame_bytes,
        ),
        (
            "holdfast_lost_packets_total",
            "RTP packets that never came.",
            counts.lost_packets,
        ),
        (
            "holdfast_discarded_frames_total",
            "Frames before a session's first keyframe, and unusable ones.",
            counts.discarded_frames,
        ),
        (
            "holdfast_appended_chunks_total",
            "Chunks handed to a volume.",
            counts.chunks,
        ),
        (
            "holdfast_shed_chunks_total",
            "Chunks that no volume took.",
            counts.shed_chunks,
        ),
        (
            "holdfast_opened_sessions_total",
            "RTSP sessions opened.",
            counts.sessions,
        ),
        (
            "holdfast_failed_sessions_total",
            "RTSP sessions lost, and attempts that failed.",
            counts.failures,
        ),
        (
            "holdfast_recorder_panics_total",
            "Recorders that failed on what a camera sent and were started again.",
            counts.panics,
        ),
        (
            "holdfast_clock_steps_total",
            "Steps of the wall clock that began a new recording session.",
            counts.clock_steps,
        ),
    ];
    let mut families = Vec::new();
    for (name, help, value) in counters {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        families.extend(counter.collect());
    }
    families.extend(rtp_clocks(member, &counts)?);
    Ok(families)
}

fn rtp_clocks(member: &Member, counts: &Counts) -> Families {
    let help =
        "Corrections of recorded times because a camera's RTP clock did not run as it should.";
    let corrections = IntCounterVec::new(
        Opts::new("holdfast_rtp_clock_corrections_total", help),
        &["kind"],
    )?;
    for (kind, count) in [
        ("jumped", counts.clock_jumps),
        ("stood_still", counts.clock_standstills),
        ("rate", counts.clock_rates),
        ("arrivals", counts.clock_arrivals),
    ] {
        corrections.with_label_values(&[kind]).inc_by(count);
    }
    let help =
        "How fast a camera's RTP clock runs, of those that are corrected for it; 1 is right.";
    let rate = GaugeVec::new(
        Opts::new("holdfast_rtp_clock_rate_ratio", help),
        &["camera"],
    )?;
    for status in member.supervisor.statuses() {
        if let Some(ppb) = status.clock_rate_ppb {
            rate.with_label_values(&[&status.camera.to_string()])
                .set(HONEST_PPB as f64 / ppb as f64);
        }
    }
    Ok(corrections
        .collect()
        .into_iter()
        .chain(rate.collect())
        .collect())
}

fn faults(member: &Member) -> Families {
    let help = "Packets that could not be used, by camera and kind (docs/cameras.md).";
    let counter = IntCounterVec::new(
        Opts::new("holdfast_stream_faults_total", help),
        &["camera", "kind"],
    )?;
    for status in member.supervisor.statuses() {
        let camera = status.camera.to_string();
        for (fault, count) in status.faults {
            counter
                .with_label_values(&[camera.as_str(), fault.name()])
                .inc_by(count);
        }
    }
    Ok(counter.collect())
}

fn held_back(member: &Member) -> Families {
    let help = "1 for each camera that is not recorded as usual, because processes that recorded \
                it ended (docs/cameras.md).";
    let gauge = IntGaugeVec::new(
        Opts::new("holdfast_camera_held_back_info", help),
        &["camera", "as"],
    )?;
    for (camera, treatment) in &member.sight.borrow().treatments {
        if let Some(held) = HeldBack::of(*treatment) {
            gauge
                .with_label_values(&[camera.to_string().as_str(), held.standing.name()])
                .set(1);
        }
    }
    Ok(gauge.collect())
}

fn clocks(member: &Member) -> Families {
    let help = "How far another node's wall clock is ahead of this node's.";
    let offset = GaugeVec::new(Opts::new("holdfast_clock_offset_seconds", help), &["node"])?;
    let help = "The most by which holdfast_clock_offset_seconds may be wrong.";
    let error = GaugeVec::new(
        Opts::new("holdfast_clock_offset_error_seconds", help),
        &["node"],
    )?;
    let sight = member.sight.borrow().clone();
    for (node, clock) in sight
        .clocks
        .iter()
        .filter(|(node, _)| sight.is_alive(**node))
    {
        let node = node.to_string();
        offset
            .with_label_values(&[&node])
            .set(clock.micros as f64 / 1e6);
        error
            .with_label_values(&[&node])
            .set(clock.error_us as f64 / 1e6);
    }
    Ok(offset
        .collect()
        .into_iter()
        .chain(error.collect())
        .collect())
}

fn gaps(member: &Member) -> Families {
    let help =
        "How long this node's recorders did not record, as they wrote it into the gap ledger.";
    let counter = CounterVec::new(Opts::new("holdfast_gap_seconds_total", help), &["cause"])?;
    for cause in GapCause::ALL {
        counter
            .with_label_values(&[cause.name()])
            .inc_by(member.gaps.seconds(cause));
    }
    Ok(counter.collect())
}

fn lags(member: &Member, now: Timestamp) -> Families {
    let lag = GaugeVec::new(
        Opts::new(
            "holdfast_watermark_lag_seconds",
            "Age of the newest durable frame, for each camera that this node records.",
        ),
        &["camera"],
    )?;
    for progress in own_progress(member) {
        if let Some(watermark) = progress.watermark {
            let seconds = now.micros_since(watermark) as f64 / 1e6;
            lag.with_label_values(&[&progress.camera.to_string()])
                .set(seconds);
        }
    }
    Ok(lag.collect())
}

fn cluster(member: &Member) -> Families {
    let term = member.consensus.leadership().borrow().term;
    let leader = member.consensus.leader();
    let state = member.consensus.state();
    let sight = member.sight.borrow().clone();
    let alive = state
        .nodes
        .keys()
        .filter(|node| sight.is_alive(*node))
        .count();
    let unassigned = state
        .assignments
        .values()
        .filter(|assignment| assignment.owner.is_none())
        .count();
    let owned = state.owned_by(member.identity.node).count();
    let gauges = [
        ("holdfast_raft_term", "Raft's term.", term),
        (
            "holdfast_raft_leader_info",
            "1 while this node leads and a majority answers it.",
            u64::from(leader == Some(member.identity.node)),
        ),
        (
            "holdfast_raft_leader_known_info",
            "1 while a leader is known that can make changes: a majority of the voters stands \
             behind it.",
            u64::from(leader.is_some()),
        ),
        (
            "holdfast_member_fenced_info",
            "1 while this node takes no part: its data directory is old or a copy, or it was \
             removed.",
            u64::from(member.consensus.identity().standing().borrow().is_final()),
        ),
        (
            "holdfast_cluster_refused_nodes",
            "Members of which this node refuses a process: its data directory is old, or a copy \
             runs too.",
            member.consensus.identity().refused().len() as u64,
        ),
        (
            "holdfast_cluster_nodes",
            "Members of the cluster.",
            state.nodes.len() as u64,
        ),
        (
            "holdfast_cluster_alive_nodes",
            "Members that this node sees alive.",
            alive as u64,
        ),
        (
            "holdfast_cluster_cameras",
            "Cameras of the cluster.",
            state.cameras.len() as u64,
        ),
        (
            "holdfast_cluster_unassigned_cameras",
            "Cameras without an owner.",
            unassigned as u64,
        ),
        (
            "holdfast_owned_cameras",
            "Cameras that this node owns.",
            owned as u64,
        ),
    ];
    let mut families = Vec::new();
    for (name, help, value) in gauges {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        families.extend(gauge.collect());
    }
    Ok(families)
}

/// Nothing until it has been computed, nor for a single node: nothing could take over from it.
fn headroom(member: &Member) -> Families {
    let is_cluster = member.consensus.state().nodes.len() > 1;
    let Some(headroom) = member.headroom.borrow().clone().filter(|_| is_cluster) else {
        return Ok(Vec::new());
    };
    let survives = headroom.survives_any_node && headroom.survives_any_domain != Some(false);
    let gauges = [
        (
            "holdfast_failover_headroom_survives_info",
            "1 while every camera would still be recorded if any one node (or failure domain, \
             where asked for) died now.",
            u64::from(survives),
        ),
        (
            "holdfast_failover_headroom_lost_cameras",
            "Cameras that would not be recorded after the worst single loss.",
            headroom.cameras_lost() as u64,
        ),
        (
            "holdfast_failover_headroom_spare_cameras",
            "Cameras of 4 Mbit/s that could be added and would survive any single loss.",
            u64::from(headroom.spare_cameras),
        ),
        (
            "holdfast_cluster_waiting_cameras",
            "Cameras that are not recorded because no node that may record them has room.",
            headroom.waiting.len() as u64,
        ),
    ];
    let mut families = Vec::new();
    for (name, help, value) in gauges {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        families.extend(gauge.collect());
    }
    Ok(families)
}

/// Of cameras that this node owns and that were drilled.
fn drills(member: &Member, now: Timestamp) -> Families {
    let gauge = |name, help| GaugeVec::new(Opts::new(name, help), &["camera"]);
    let gap = gauge(
        "holdfast_drill_last_gap_seconds",
        "How long the camera would not have been recorded, as its last drill measured; absent if \
         that drill got no keyframe.",
    )?;
    let age = gauge(
        "holdfast_drill_last_age_seconds",
        "Since the camera's last drill ended, passed or failed.",
    )?;
    let passed = gauge(
        "holdfast_drill_last_passed_info",
        "1 where the camera's last drill passed, 0 where it failed.",
    )?;
    let state = member.consensus.state();
    for result in state
        .owned_by(member.identity.node)
        .filter_map(|camera| state.drills.results.get(camera))
    {
        let camera = result.camera.to_string();
        if let Some(gap_us) = result.gap_us {
            gap.with_label_values(&[&camera]).set(gap_us as f64 / 1e6);
        }
        age.with_label_values(&[&camera])
            .set(now.micros_since(result.ended_at) as f64 / 1e6);
        passed
            .with_label_values(&[&camera])
            .set(f64::from(u8::from(result.outcome == Outcome::Passed)));
    }
    Ok([gap, age, passed]
        .into_iter()
        .flat_map(|gauge| gauge.collect())
        .collect())
}

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

fn volumes(member: &Member) -> Families {
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
fn damage(volumes: &[VolumeStatus]) -> Families {
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
