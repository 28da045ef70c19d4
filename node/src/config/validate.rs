//! What a well-formed configuration must also satisfy: each value alone, then values against each
//! other. Pure.

use super::error::Problem;
use super::{Config, DEFAULT_RETENTION_CLASS, Ingest, Listen, Storage};
use holdfast_consensus::model::{
    FailureDomain, HostPort, Invalid, Labels, NodeName, RetentionClassName, Role, check_capacity,
};
use holdfast_storage::BUFFER_BYTES_MIN;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The smallest `segment_bytes_max`, in bytes: the records that wait for a segment fit into it.
const SEGMENT_BYTES_MIN: u64 = BUFFER_BYTES_MIN;

/// The limits of a port's `connections_max`.
const CONNECTIONS_MIN: u64 = 64;
const CONNECTIONS_MAX: u64 = 65_536;
/// Addresses of members that a node may have configured.
const PEERS_MAX: usize = 100;

/// Everything that is wrong, not only the first.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    names(config, &mut found);
    addresses(config, &mut found);
    ranges(config, &mut found);
    relations(config, &mut found);
    member(config, &mut found);
    volumes(config, &mut found);
    retention(config, &mut found);
    found
}

fn names(config: &Config, found: &mut Vec<Problem>) {
    found.extend(problem("name", config.name.parse::<NodeName>()));
    found.extend(problem(
        "cluster.failure_domain",
        config.cluster.failure_domain.parse::<FailureDomain>(),
    ));
    if config.data_dir.as_os_str().is_empty() {
        found.push(Problem::of_key(
            "data_dir",
            "is empty; name the directory that holds this node's data",
        ));
    }
}

/// What is wrong with the value of `key`, by the rule of the replicated state.
fn problem<T>(key: &str, checked: Result<T, Invalid>) -> Option<Problem> {
    checked.err().map(|error| Problem::of_key(key, error.why))
}

fn addresses(config: &Config, found: &mut Vec<Problem>) {
    let sides = [
        ("api", config.listen.api, config.advertise.api.as_deref()),
        ("peer", config.listen.peer, config.advertise.peer.as_deref()),
    ];
    for (side, listen, advertise) in sides {
        address(side, listen, advertise, found);
    }
    if config.listen.api == config.listen.peer {
        found.push(Problem::of_key(
            "listen.peer",
            "is the same address as listen.api; give each its own port",
        ));
    }
}

fn address(side: &str, listen: SocketAddr, advertise: Option<&str>, found: &mut Vec<Problem>) {
    if listen.port() == 0 {
        found.push(Problem::of_key(
            format!("listen.{side}"),
            "has port 0, which the system would choose again at each start; others could not find \
             this node: name a port",
        ));
    }
    match advertise {
        None if listen.ip().is_unspecified() => found.push(Problem::of_key(
            format!("advertise.{side}"),
            format!(
                "is needed because listen.{side} = \"{listen}\" names no host; set the \
                     host:port at which others reach this node"
            ),
        )),
        Some(text) => found.extend(problem(
            &format!("advertise.{side}"),
            text.parse::<HostPort>(),
        )),
        None => {}
    }
}

fn ranges(config: &Config, found: &mut Vec<Problem>) {
    let checks = listen_ranges(&config.listen)
        .into_iter()
        .chain(storage_ranges(&config.storage))
        .chain(ingest_ranges(&config.ingest));
    for (key, value, min, max) in checks {
        if !(min..=max).contains(&value) {
            found.push(Problem::of_key(
                key,
                format!("{value} is outside {min} to {max}; choose a value within"),
            ));
        }
    }
}

/// A key, its value, and the least and the most that this may be.
type Ranged = (&'static str, u64, u64, u64);

fn listen_ranges(listen: &Listen) -> [Ranged; 2] {
    [
        (
            "listen.api_connections_max",
            listen.api_connections_max as u64,
            CONNECTIONS_MIN,
            CONNECTIONS_MAX,
        ),
        (
            "listen.peer_connections_max",
            listen.peer_connections_max as u64,
            CONNECTIONS_MIN,
            CONNECTIONS_MAX,
        ),
    ]
}

fn storage_ranges(storage: &Storage) -> [Ranged; 9] {
    [
        (
            "storage.flush_interval_ms",
            storage.flush_interval_ms,
            10,
            10_000,
        ),
        (
            "storage.segment_seconds",
            storage.segment_seconds,
            1,
            86_400,
        ),
        (
            "storage.segment_bytes_max",
            storage.segment_bytes_max.0,
            SEGMENT_BYTES_MIN,
            1 << 40,
        ),
        (
            "storage.buffer_bytes_max",
            storage.buffer_bytes_max.0,
            BUFFER_BYTES_MIN,
            1 << 36,
        ),
        (
            "storage.scrub_bytes_per_second_max",
            storage.scrub_bytes_per_second_max.0,
            0,
            1 << 34,
        ),
        (
            "storage.deletion_wait_hours",
            u64::from(storage.deletion_wait_hours),
            0,
            24 * 365,
        ),
        ("storage.scrub_days", u64::from(storage.scrub_days), 1, 3650),
        ("storage.hang_after_ms", storage.hang_after_ms, 500, 600_000),
        ("storage.lag_max_ms", storage.lag_max_ms, 500, 600_000),
    ]
}

fn ingest_ranges(ingest: &Ingest) -> [Ranged; 4] {
    [
        ("ingest.tick_ms", ingest.tick_ms, 1, 500),
        ("ingest.stall_after_ms", ingest.stall_after_ms, 500, 600_000),
        ("ingest.chunk_ms", ingest.chunk_ms, 100, 10_000),
        (
            "ingest.connect_timeout_ms",
            ingest.connect_timeout_ms,
            100,
            60_000,
        ),
    ]
}

fn relations(config: &Config, found: &mut Vec<Problem>) {
    listen_relations(&config.listen, found);
    ingest_relations(&config.ingest, found);
    storage_relations(&config.storage, found);
}

fn listen_relations(listen: &Listen, found: &mut Vec<Problem>) {
    let per_address = [
        (
            "api",
            listen.api_connections_per_address_max,
            listen.api_connections_max,
        ),
        (
            "peer",
            listen.peer_connections_per_address_max,
            listen.peer_connections_max,
        ),
    ];
    for (port, per_address_max, max) in per_address {
        if !(1..=max).contains(&per_address_max) {
            found.push(Problem::of_key(
                format!("listen.{port}_connections_per_address_max"),
                format!(
                    "{per_address_max} is outside 1 to {port}_connections_max = {max}; choose \
                         a value within"
                ),
            ));
        }
    }
}

fn ingest_relations(ingest: &Ingest, found: &mut Vec<Problem>) {
    if ingest.stall_after_ms <= ingest.chunk_ms + ingest.tick_ms {
        found.push(Problem::of_key(
            "ingest.stall_after_ms",
            format!(
                "{} is not above chunk_ms + tick_ms = {}, so that every camera would seem stalled; \
                 raise it",
                ingest.stall_after_ms,
                ingest.chunk_ms + ingest.tick_ms
            ),
        ));
    }
}

fn storage_relations(storage: &Storage, found: &mut Vec<Problem>) {
    if storage.flush_interval_ms > storage.segment_seconds.saturating_mul(1000) {
        found.push(Problem::of_key(
            "storage.flush_interval_ms",
            format!(
                "{} is longer than a whole segment (segment_seconds = {}); lower it",
                storage.flush_interval_ms, storage.segment_seconds
            ),
        ));
    }
    for (key, value) in [
        ("storage.hang_after_ms", storage.hang_after_ms),
        ("storage.lag_max_ms", storage.lag_max_ms),
    ] {
        if value <= storage.flush_interval_ms {
            let interval = storage.flush_interval_ms;
            let message = format!(
                "{value} is not above flush_interval_ms = {interval}, so that a sound volume would \
                 seem bad; raise it"
            );
            found.push(Problem::of_key(key, message));
        }
    }
    if storage.buffer_bytes_max > storage.segment_bytes_max {
        found.push(Problem::of_key(
            "storage.buffer_bytes_max",
            format!(
                "{} is above segment_bytes_max = {}; lower it",
                storage.buffer_bytes_max, storage.segment_bytes_max
            ),
        ));
    }
}

fn member(config: &Config, found: &mut Vec<Problem>) {
    let cluster = &config.cluster;
    found.extend(problem(
        "cluster.labels",
        Labels::try_from(cluster.labels.clone()),
    ));
    let peers = cluster
        .peers
        .iter()
        .map(|peer| problem("cluster.peers", peer.parse::<HostPort>()));
    found.extend(peers.flatten());
    if cluster.peers.len() > PEERS_MAX {
        let why = format!(
            "names {} addresses; a few are enough, at most {PEERS_MAX}",
            cluster.peers.len()
        );
        found.push(Problem::of_key("cluster.peers", why));
    }
    let capacity = check_capacity(
        cluster.role,
        cluster.camera_capacity,
        cluster.bitrate_capacity_bps,
    );
    found.extend(
        capacity
            .err()
            .map(|error| Problem::of_key(format!("cluster.{}", error.field), error.why)),
    );
}

fn volumes(config: &Config, found: &mut Vec<Problem>) {
    if config.cluster.role == Role::Witness && !config.storage.volumes.is_empty() {
        found.push(Problem::of_key(
            "storage.volume",
            "is set on a witness, which records nothing; remove it or set role = \"recorder\"",
        ));
    }
    if !config.storage.volumes.is_empty()
        && config.storage.volumes.iter().all(|volume| volume.retire)
    {
        found.push(Problem::of_key(
            "storage.volume.retire",
            "is set on every volume, so that nothing could be recorded; leave one, or drain the \
             node",
        ));
    }
    let mut seen = BTreeSet::new();
    for volume in &config.storage.volumes {
        if volume.path.as_os_str().is_empty() {
            found.push(Problem::of_key(
                "storage.volume.path",
                "is empty; name a directory",
            ));
        } else if !seen.insert(&volume.path) {
            let path = volume.path.display();
            found.push(Problem::of_key(
                "storage.volume.path",
                format!("`{path}` is named twice; give each volume a directory of its own"),
            ));
        }
    }
}

fn retention(config: &Config, found: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for class in &config.retention {
        found.extend(problem(
            "retention.class",
            class.class.parse::<RetentionClassName>(),
        ));
        if !seen.insert(class.class.as_str()) {
            found.push(Problem::of_key(
                "retention.class",
                format!("`{}` is defined twice; merge the two", class.class),
            ));
        }
        if class.age_days == Some(0) {
            found.push(Problem::of_key(
                "retention.age_days",
                format!(
                    "is 0 for class `{}`, which would delete everything at once; leave it out for \
                     no limit",
                    class.class
                ),
            ));
        }
        if class
            .bytes_max
            .is_some_and(|bytes| bytes < config.storage.segment_bytes_max)
        {
            found.push(Problem::of_key(
                "retention.bytes_max",
                format!(
                    "of class `{}` is below segment_bytes_max = {}, the least that can be deleted \
                     at once; raise it or lower that",
                    class.class, config.storage.segment_bytes_max
                ),
            ));
        }
    }
    // Invalid names were reported one by one already.
    let is_named = config
        .retention
        .iter()
        .all(|class| class.class.parse::<RetentionClassName>().is_ok());
    if is_named && found.is_empty() {
        found.extend(problem("retention", config.retention_classes()));
    }
    if !seen.contains(DEFAULT_RETENTION_CLASS) {
        found.push(Problem::of_key(
            "retention",
            "has no class \"default\", which cameras use that name none; add [[retention]] class = \
             \"default\"",
        ));
    }
}
