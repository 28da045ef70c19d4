//! What the parts of this node take of its threads.

use super::Families;
use holdfast_control_api::wire::Part;
use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, Opts};

pub(super) fn parts(parts: &[Part]) -> Families {
    let help = "How long a part of this node has used a thread.";
    let busy = CounterVec::new(
        Opts::new("holdfast_part_busy_seconds_total", help),
        &["part"],
    )?;
    let help = "The longest that a part has used a thread at once; others waited for it.";
    let longest = GaugeVec::new(
        Opts::new("holdfast_part_longest_turn_seconds", help),
        &["part"],
    )?;
    for part in parts {
        busy.with_label_values(&[&part.name])
            .inc_by(part.busy_seconds);
        longest
            .with_label_values(&[&part.name])
            .set(part.longest_turn_seconds);
    }
    Ok(busy
        .collect()
        .into_iter()
        .chain(longest.collect())
        .collect())
}
