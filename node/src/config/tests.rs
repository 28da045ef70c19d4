//! The configuration's tests: the shipped example, places in errors, and every rule of validation.

use super::*;
use std::collections::HashMap;

const EXAMPLE: &str = include_str!("../../../deploy/config/node.toml");
const MINIMAL: &str = "name = \"a\"\ndata_dir = \"/d\"\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("node.toml"), text)
}

fn message(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

/// `MINIMAL` plus `extra`.
fn with(extra: &str) -> String {
    format!("{MINIMAL}{extra}")
}

/// The example with every commented-out `key = value` line switched on or off.
fn uncommented(text: &str) -> String {
    let is_setting = |line: &str| {
        line.starts_with("#[")
            || line
                .strip_prefix('#')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    text.lines()
        .map(|line| if is_setting(line) { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_example_parses_and_equals_the_defaults() {
    let mut expected = Config::new("node1", "/var/lib/holdfast");
    expected.auth.admin_token_file = Some("/etc/holdfast/admin.token".into());
    assert_eq!(parse(EXAMPLE).unwrap(), expected);
}

#[test]
fn the_shipped_example_names_every_key() {
    let all = parse(&uncommented(EXAMPLE)).unwrap();
    let written: toml::Table = toml::from_str(&uncommented(EXAMPLE)).unwrap();
    let known = toml::Table::try_from(&all).unwrap();
    assert_eq!(
        paths("", &toml::Value::Table(written)),
        paths("", &toml::Value::Table(known))
    );
}

fn paths(prefix: &str, value: &toml::Value) -> std::collections::BTreeSet<String> {
    match value {
        toml::Value::Table(table) => table
            .iter()
            .flat_map(|(key, value)| paths(&format!("{prefix}.{key}"), value))
            .collect(),
        toml::Value::Array(items) => items.iter().flat_map(|item| paths(prefix, item)).collect(),
        _ => [prefix.to_owned()].into(),
    }
}

#[test]
fn two_keys_are_enough() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config, Config::new("a", "/d"));
    assert_eq!(config.volume_paths(), [PathBuf::from("/d/volume0")]);
    assert_eq!(config.advertised_peer(), "127.0.0.1:8481");
}

#[test]
fn a_written_configuration_reads_back() {
    let mut config = Config::new("a", "/d");
    config.storage.volumes = vec![
        Volume::new("/v"),
        Volume {
            retire: true,
            ..Volume::new("/w")
        },
    ];
    config.storage.io = Io::IoUring;
    assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_column() {
    let text = with("\n[storage]\nio = \"auto\"\n  flush_intervall_ms = 5\n");
    let message = message(&text);
    assert!(
        message.starts_with(
            "node.toml:6:3: storage.flush_intervall_ms: unknown key `flush_intervall_ms`, expected \
             one of"
        ),
        "{message}"
    );
}

#[test]
fn unknown_sections_and_top_level_keys_are_named() {
    assert!(
        message(&with("colour = 1\n")).starts_with("node.toml:3:1: colour: unknown key `colour`")
    );
    assert!(message(&with("[cloud]\nkey = 1\n")).contains("node.toml:3:2: unknown key `cloud`"));
    assert!(
        message(&with("[[retention]]\nclass = \"default\"\nage = 3\n"))
            .starts_with("node.toml:5:1: retention.age: unknown key")
    );
}

#[test]
fn a_wrong_type_is_named_with_file_line_and_column() {
    let wrong = message(&with("[ingest]\ntick_ms = \"fast\"\n"));
    assert!(
        wrong.starts_with(
            "node.toml:4:11: ingest.tick_ms: invalid type: string \"fast\", expected u64"
        ),
        "{wrong}"
    );
    let wrong = message(&with("[storage]\nsegment_bytes_max = \"4 gigs\"\n"));
    assert!(
        wrong.starts_with("node.toml:4:21: storage.segment_bytes_max: `4 gigs` is not a size"),
        "{wrong}"
    );
    assert!(
        message(&with("[listen]\napi = \"8480\"\n")).starts_with("node.toml:4:7: listen.api: ")
    );
    assert!(message(&with("[storage]\nio = \"uring\"\n")).contains("`io_uring`"));
}

#[test]
fn missing_keys_and_broken_syntax_are_said_plainly() {
    assert_eq!(
        message("data_dir = \"/d\"\n"),
        "node.toml: missing key `name`"
    );
    assert!(message("name = \"a\ndata_dir = 1").starts_with("node.toml:1:"));
    assert!(message("").contains("missing key"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/node.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nonexistent/node.toml: cannot be read: No such file"),
        "{error}"
    );
}

#[test]
fn every_rule_of_validation_fires_and_says_what_to_do() {
    let cases = [
        (
            "[listen]\napi = \"0.0.0.0:8480\"",
            "advertise.api: is needed",
        ),
        (
            "[listen]\npeer = \"127.0.0.1:0\"",
            "listen.peer: has port 0",
        ),
        (
            "[listen]\npeer = \"127.0.0.1:8480\"",
            "listen.peer: is the same address",
        ),
        (
            "[listen]\napi_connections_max = 63",
            "listen.api_connections_max: 63 is outside 64 to 65536",
        ),
        (
            "[listen]\npeer_connections_max = 70_000",
            "listen.peer_connections_max: 70000 is outside",
        ),
        (
            "[listen]\napi_connections_per_address_max = 0",
            "listen.api_connections_per_address_max: 0 is outside 1 to api_connections_max = 1024",
        ),
        (
            "[listen]\npeer_connections_max = 100\npeer_connections_per_address_max = 101",
            "listen.peer_connections_per_address_max: 101 is outside 1 to peer_connections_max = \
             100",
        ),
        (
            "[advertise]\npeer = \"nvr1\"",
            "advertise.peer: is \"nvr1\", which is not host:port",
        ),
        (
            "[advertise]\npeer = \"0.0.0.0:1\"",
            "advertise.peer: is \"0.0.0.0:1\", which is not host:port",
        ),
        (
            "[ingest]\ntick_ms = 0",
            "ingest.tick_ms: 0 is outside 1 to 500",
        ),
        (
            "[ingest]\nstall_after_ms = 450",
            "ingest.stall_after_ms: 450 is not above",
        ),
        (
            "[storage]\nflush_interval_ms = 5000\nsegment_seconds = 4",
            "storage.flush_interval_ms: 5000 is longer",
        ),
        (
            "[storage]\nsegment_bytes_max = \"32MiB\"",
            "storage.buffer_bytes_max: 64MiB is above segment_bytes_max = 32MiB",
        ),
        (
            "[storage]\nbuffer_bytes_max = 1",
            "storage.buffer_bytes_max: 1 is outside",
        ),
        (
            "[cluster]\ncamera_capacity = 0",
            "cluster.camera_capacity: is 0 on a recorder",
        ),
        ("[cluster]\npeers = [\"10.9.0.1\"]", "cluster.peers: "),
        (
            "[cluster]\nbitrate_capacity_bps = 0",
            "cluster.bitrate_capacity_bps: is 0; use at least 1",
        ),
        (
            "[cluster.labels]\n\"\" = \"north\"",
            "cluster.labels: has a key that is \"\"",
        ),
        (
            "[cluster]\nrole = \"witness\"\n[[storage.volume]]\npath = \"/v\"",
            "storage.volume: is set on a witness",
        ),
        (
            "[[storage.volume]]\npath = \"/v\"\n[[storage.volume]]\npath = \"/v\"",
            "storage.volume.path: `/v` is named twice",
        ),
        (
            "[[retention]]\nclass = \"long\"",
            "retention: has no class \"default\"",
        ),
        (
            "[[retention]]\nclass = \"default\"\nage_days = 0",
            "retention.age_days: is 0",
        ),
        (
            "[[retention]]\nclass = \"default\"\nbytes_max = \"1GiB\"",
            "retention.bytes_max: of class `default` is below",
        ),
        (
            "[[retention]]\nclass = \"default\"\n[[retention]]\nclass = \"default\"",
            "retention.class: `default` is defined twice",
        ),
        (
            "[[retention]]\nclass = \"hold\"",
            "retention.class: is \"hold\", under which held footage is kept",
        ),
        (
            "[[retention]]\nclass = \"de/fault\"",
            "retention.class: is \"de/fault\"",
        ),
    ];
    for (extra, expected) in cases {
        let message = message(&with(extra));
        assert!(message.contains(expected), "{extra}\n{message}");
    }
    assert!(
        message("name = \"a b\"\ndata_dir = \"/d\"")
            .contains("name: is \"a b\" (3 bytes); use 1 to 64")
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = parse(&with("[ingest]\ntick_ms = 0\nchunk_ms = 1\n")).unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
    assert_eq!(error.to_string().lines().count(), 2);
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(
        &file,
        "name = \"a\"\ndata_dir = \"data\"\n[auth]\nadmin_token_file = \"token\"\n",
    )
    .unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.data_dir, dir.path().join("data"));
    assert_eq!(config.auth.admin_token_file, Some(dir.path().join("token")));
}

#[test]
fn the_secret_comes_from_the_environment_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new("a", "/d");
    config.auth.admin_token_file = Some(dir.path().join("token"));
    std::fs::write(dir.path().join("token"), "0123456789abcdef\n").unwrap();
    let from_file = Secrets::load(&config, |_| None).unwrap();
    assert_eq!(from_file.admin_token.0, "0123456789abcdef");
    let env = HashMap::from([(ADMIN_TOKEN_ENV, "fedcba9876543210")]);
    let lookup = |name: &str| env.get(name).map(|&text| text.to_owned());
    let secrets = Secrets::load(&config, lookup).unwrap();
    assert_eq!(secrets.admin_token.0, "fedcba9876543210");
    assert!(!format!("{secrets:?}").contains("fedcba9876543210"));
}

#[test]
fn absent_short_and_unprintable_secrets_are_refused_without_showing_them() {
    let load = |token: Option<&str>| {
        let lookup = |_: &str| token.map(str::to_owned);
        let loaded = Secrets::load(&Config::new("a", "/d"), lookup);
        loaded.map(drop).unwrap_err().to_string()
    };
    assert!(load(None).contains("set `auth.admin_token_file`"));
    assert!(load(Some("short")).contains("is shorter than 16 characters"));
    let spaced = load(Some("with spaces inside it"));
    assert!(spaced.contains("has spaces") && !spaced.contains("inside"));
    let mut config = Config::new("a", "/d");
    config.auth.admin_token_file = Some("/nonexistent".into());
    let absent = Secrets::load(&config, |_| None).unwrap_err().to_string();
    assert!(absent.contains("cannot read admin token from /nonexistent"));
}
