//! What subscribers of this node's streams cost.

use super::Families;
use crate::capture::hub::Counts;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge};

pub(super) fn hub(counts: Counts) -> Families {
    let subscribers = IntGauge::new(
        "holdfast_hub_subscribers",
        "Subscribers to streams that this node records, such as live views.",
    )?;
    subscribers.set(i64::try_from(counts.subscribers).unwrap_or(i64::MAX));
    let bytes = IntGauge::new(
        "holdfast_hub_ring_bytes",
        "Bytes of frames kept in memory for subscribers.",
    )?;
    bytes.set(i64::try_from(counts.ring_bytes).unwrap_or(i64::MAX));
    let skipped = IntCounter::new(
        "holdfast_hub_skipped_frames_total",
        "Frames that subscribers missed because they were too slow.",
    )?;
    skipped.inc_by(counts.skipped_frames);
    let cut = IntCounter::new(
        "holdfast_hub_cut_gops_total",
        "GOPs whose beginning did not fit into memory kept for subscribers.",
    )?;
    cut.inc_by(counts.cut_gops);
    let gauges = subscribers.collect().into_iter().chain(bytes.collect());
    Ok(gauges
        .chain(skipped.collect())
        .chain(cut.collect())
        .collect())
}
