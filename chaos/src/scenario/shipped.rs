//! The built-in scenarios: those of `chaos/scenarios`.

/// Name and text, sorted by name.
pub const SHIPPED: [(&str, &str); 40] = [
    (
        "camera-faults",
        include_str!("../../scenarios/camera-faults.toml"),
    ),
    (
        "camera-path-lost",
        include_str!("../../scenarios/camera-path-lost.toml"),
    ),
    (
        "clock-step",
        include_str!("../../scenarios/clock-step.toml"),
    ),
    (
        "deadly-camera",
        include_str!("../../scenarios/deadly-camera.toml"),
    ),
    ("disk-eio", include_str!("../../scenarios/disk-eio.toml")),
    ("disk-full", include_str!("../../scenarios/disk-full.toml")),
    ("disk-hang", include_str!("../../scenarios/disk-hang.toml")),
    ("disk-slow", include_str!("../../scenarios/disk-slow.toml")),
    (
        "drain-under-load",
        include_str!("../../scenarios/drain-under-load.toml"),
    ),
    (
        "everything",
        include_str!("../../scenarios/everything.toml"),
    ),
    (
        "flaky-network",
        include_str!("../../scenarios/flaky-network.toml"),
    ),
    (
        "follower-kill",
        include_str!("../../scenarios/follower-kill.toml"),
    ),
    ("gapless", include_str!("../../scenarios/gapless.toml")),
    ("herd", include_str!("../../scenarios/herd.toml")),
    (
        "hostile-gallery",
        include_str!("../../scenarios/hostile-gallery.toml"),
    ),
    (
        "hostile-gallery-long",
        include_str!("../../scenarios/hostile-gallery-long.toml"),
    ),
    ("kill-all", include_str!("../../scenarios/kill-all.toml")),
    (
        "leader-kill",
        include_str!("../../scenarios/leader-kill.toml"),
    ),
    (
        "leader-silent",
        include_str!("../../scenarios/leader-silent.toml"),
    ),
    (
        "lossy-network",
        include_str!("../../scenarios/lossy-network.toml"),
    ),
    (
        "node-replaced",
        include_str!("../../scenarios/node-replaced.toml"),
    ),
    (
        "node-silent",
        include_str!("../../scenarios/node-silent.toml"),
    ),
    ("odd-audio", include_str!("../../scenarios/odd-audio.toml")),
    ("odd-clock", include_str!("../../scenarios/odd-clock.toml")),
    (
        "odd-control",
        include_str!("../../scenarios/odd-control.toml"),
    ),
    (
        "odd-description",
        include_str!("../../scenarios/odd-description.toml"),
    ),
    ("odd-loss", include_str!("../../scenarios/odd-loss.toml")),
    (
        "odd-payload",
        include_str!("../../scenarios/odd-payload.toml"),
    ),
    (
        "odd-rhythm",
        include_str!("../../scenarios/odd-rhythm.toml"),
    ),
    ("odd-rtp", include_str!("../../scenarios/odd-rtp.toml")),
    (
        "one-way-partition",
        include_str!("../../scenarios/one-way-partition.toml"),
    ),
    (
        "outage-then-death",
        include_str!("../../scenarios/outage-then-death.toml"),
    ),
    ("pause", include_str!("../../scenarios/pause.toml")),
    (
        "power-cut-all",
        include_str!("../../scenarios/power-cut-all.toml"),
    ),
    (
        "power-cut-one",
        include_str!("../../scenarios/power-cut-one.toml"),
    ),
    (
        "rolling-restart",
        include_str!("../../scenarios/rolling-restart.toml"),
    ),
    ("slow-link", include_str!("../../scenarios/slow-link.toml")),
    (
        "split-brain",
        include_str!("../../scenarios/split-brain.toml"),
    ),
    ("suspects", include_str!("../../scenarios/suspects.toml")),
    (
        "two-nodes-and-witness",
        include_str!("../../scenarios/two-nodes-and-witness.toml"),
    ),
];

/// The text of the built-in scenario of this name.
#[must_use]
pub fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED
        .iter()
        .find(|(shipped, _)| *shipped == name)
        .map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let named: BTreeSet<String> = SHIPPED
            .iter()
            .map(|(name, _)| format!("{name}.toml"))
            .collect();
        assert_eq!(files.collect::<BTreeSet<_>>(), named);
    }
}
