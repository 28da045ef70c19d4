//! What Prometheus reads from this node, gathered at each scrape.

mod cameras;
mod cluster;
mod hub;
mod parts;
mod retention;
mod streams;
mod volumes;

use crate::capture::ingest::clock::HONEST_PPB;
use crate::capture::recorder::status::Counts;
use crate::host::descriptors;
use crate::host::member::Member;
use crate::host::process::Host;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::HeldBack;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::StreamKind;
use holdfast_storage::time::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::sync::Arc;
use streams::OfStreams;

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
                hub::hub(member.hub.counts()),
                cluster::raft(member),
                cluster::cluster(member),
                cluster::headroom(member),
                cluster::drills(member, now),
                volumes::volumes(member),
                volumes::damage(&member.volumes.statuses()),
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
    let gauge = OfStreams::new(
        (
            "holdfast_recorders",
            "Recorders of this node by what they do.",
        ),
        |opts| IntGaugeVec::new(opts, &["state"]),
    )?;
    let states = [
        (RecorderState::Recording, "recording"),
        (RecorderState::Starting, "starting"),
        (RecorderState::Failing, "failing"),
    ];
    let reports = own_progress(member);
    for kind in StreamKind::ALL {
        let of_kind = || {
            reports
                .iter()
                .filter(move |progress| progress.stream.kind == kind)
        };
        if kind == StreamKind::Sub && of_kind().next().is_none() {
            continue;
        }
        for (state, name) in states {
            let count = of_kind().filter(|progress| progress.state == state).count();
            gauge
                .of(kind)
                .with_label_values(&[name])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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
    let rate = OfStreams::new(("holdfast_rtp_clock_rate_ratio", help), |opts| {
        GaugeVec::new(opts, &["camera"])
    })?;
    for status in member.supervisor.statuses() {
        if let Some(ppb) = status.clock_rate_ppb {
            rate.of(status.stream.kind)
                .with_label_values(&[&status.stream.camera.to_string()])
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
    let counter = OfStreams::new(("holdfast_stream_faults_total", help), |opts| {
        IntCounterVec::new(opts, &["camera", "kind"])
    })?;
    for status in member.supervisor.statuses() {
        let camera = status.stream.camera.to_string();
        for (fault, count) in status.faults {
            counter
                .of(status.stream.kind)
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
    let help = "Age of the newest durable frame, for each camera that this node records.";
    let lag = OfStreams::new(("holdfast_watermark_lag_seconds", help), |opts| {
        GaugeVec::new(opts, &["camera"])
    })?;
    for progress in own_progress(member) {
        if let Some(watermark) = progress.watermark {
            let seconds = now.micros_since(watermark) as f64 / 1e6;
            lag.of(progress.stream.kind)
                .with_label_values(&[&progress.stream.camera.to_string()])
                .set(seconds);
        }
    }
    Ok(lag.collect())
}
