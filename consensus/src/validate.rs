//! What a camera, a node and the settings may look like. Pure, and the same at the API's door as in the replicated state.

use crate::command::{Rejection, RetentionClass, Settings};
use crate::model::{CameraSpec, HoldSpec, NodeSpec, NodeTraits, PlacementRules, Role, Source};
use crate::policy::PolicyChange;
use holdfast_storage::HOLD_CLASS;
use std::collections::BTreeMap;

pub const CAMERAS_MAX: usize = 10_000;
pub const NODES_MAX: usize = 100;
pub const NAME_BYTES_MAX: usize = 128;
pub const URL_BYTES_MAX: usize = 2_048;
pub const CREDENTIAL_BYTES_MAX: usize = 256;
pub const LABELS_MAX: usize = 32;
pub const LABEL_KEY_BYTES_MAX: usize = 64;
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
pub const ADDR_BYTES_MAX: usize = 260;
pub const RETENTION_CLASSES_MAX: usize = 16;
pub const HOLDS_MAX: usize = 1_000;
pub const REASON_BYTES_MAX: usize = 512;
pub const CAMERA_CAPACITY_MAX: u32 = 10_000;
/// A day: who waits longer does not want cameras to go back by themselves.
pub const FAILBACK_AFTER_S_MAX: u32 = 24 * 3600;
/// Each drill opens sessions to a camera.
pub const DRILL_EVERY_S_MIN: u32 = 3600;
/// A year: what is tried more rarely than that is not known to work.
pub const DRILL_EVERY_S_MAX: u32 = 366 * 24 * 3600;

/// # Errors
/// [`Rejection::Invalid`] with the field's name and what to change.
pub fn camera_spec(spec: &CameraSpec) -> Result<(), Rejection> {
    name("name", &spec.name)?;
    source(&spec.source)?;
    name("retention_class", &spec.retention_class)?;
    labels("labels", &spec.labels)
}

/// # Errors
/// [`Rejection::Invalid`] or [`Rejection::TooMany`].
pub fn placement_rules(rules: &PlacementRules) -> Result<(), Rejection> {
    labels("node_labels", &rules.node_labels)
}

/// # Errors
/// [`Rejection::Invalid`] or [`Rejection::TooMany`].
pub fn node_traits(traits: &NodeTraits) -> Result<(), Rejection> {
    if traits.bitrate_capacity_bps == Some(0) {
        return Err(Rejection::invalid("bitrate_capacity_bps", "must be at least 1; leave it out for no limit"));
    }
    labels("labels", &traits.labels)
}

/// # Errors
/// [`Rejection::Invalid`] with the field's name and what to change.
pub fn policy_change(change: &PolicyChange) -> Result<(), Rejection> {
    match change {
        PolicyChange::FailbackAfterS(seconds) if *seconds > FAILBACK_AFTER_S_MAX => {
            let why = format!("is {seconds}; at most {FAILBACK_AFTER_S_MAX} s are supported");
            Err(Rejection::invalid("failback_after_s", why))
        }
        PolicyChange::DrillEveryS(seconds)
            if *seconds != 0 && !(DRILL_EVERY_S_MIN..=DRILL_EVERY_S_MAX).contains(seconds) =>
        {
            let why = format!(
                "is {seconds}; {DRILL_EVERY_S_MIN} to {DRILL_EVERY_S_MAX} s are supported, and 0 for no drills by themselves"
            );
            Err(Rejection::invalid("drill_every_s", why))
        }
        _ => Ok(()),
    }
}

/// # Errors
/// [`Rejection::Invalid`] with the field's name and what to change.
pub fn node_spec(spec: &NodeSpec) -> Result<(), Rejection> {
    name("name", &spec.name)?;
    addr("peer_addr", &spec.peer_addr)?;
    addr("api_addr", &spec.api_addr)?;
    at_most("failure_domain", &spec.failure_domain, NAME_BYTES_MAX)?;
    if spec.camera_capacity > CAMERA_CAPACITY_MAX {
        return Err(Rejection::invalid("camera_capacity", format!("must be at most {CAMERA_CAPACITY_MAX}")));
    }
    if spec.role == Role::Recorder && spec.camera_capacity == 0 {
        return Err(Rejection::invalid("camera_capacity", "a recorder's must be at least 1 (use the role `witness`)"));
    }
    Ok(())
}

/// # Errors
/// [`Rejection::Invalid`] with the field's name and what to change.
pub fn hold_spec(spec: &HoldSpec) -> Result<(), Rejection> {
    if spec.reason.trim().is_empty() {
        return Err(Rejection::invalid("reason", "must not be empty; say whose wish it is, and why"));
    }
    if spec.reason.chars().any(char::is_control) {
        return Err(Rejection::invalid("reason", "must not hold control characters"));
    }
    at_most("reason", &spec.reason, REASON_BYTES_MAX)?;
    match spec.to {
        Some(to) if to <= spec.from => Err(Rejection::invalid(
            "to",
            format!("({to}) must be after `from` ({}); leave it out for no end", spec.from),
        )),
        _ => Ok(()),
    }
}

/// # Errors
/// [`Rejection::Invalid`] or [`Rejection::TooMany`].
pub fn settings(settings: &Settings) -> Result<(), Rejection> {
    let classes = &settings.retention_classes;
    if classes.len() > RETENTION_CLASSES_MAX {
        return Err(Rejection::too_many("retention classes", RETENTION_CLASSES_MAX));
    }
    for (at, class) in classes.iter().enumerate() {
        retention_class(class, &classes[..at])?;
    }
    Ok(())
}

fn retention_class(class: &RetentionClass, earlier: &[RetentionClass]) -> Result<(), Rejection> {
    name("retention_classes.name", &class.name)?;
    if earlier.iter().any(|other| other.name == class.name) {
        return Err(Rejection::invalid("retention_classes.name", format!("\"{}\" is there twice", class.name)));
    }
    if class.name == HOLD_CLASS {
        let why = format!("\"{HOLD_CLASS}\" is taken: held footage is kept under it; choose another name");
        return Err(Rejection::invalid("retention_classes.name", why));
    }
    if class.age_max_s == Some(0) || class.bytes_max == Some(0) {
        return Err(Rejection::invalid("retention_classes", "a limit of 0 keeps nothing; leave it out for no limit"));
    }
    Ok(())
}

fn name(field: &str, text: &str) -> Result<(), Rejection> {
    if text.trim().is_empty() {
        return Err(Rejection::invalid(field, "must not be empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(Rejection::invalid(field, "must not hold control characters"));
    }
    at_most(field, text, NAME_BYTES_MAX)
}

fn at_most(field: &str, text: &str, bytes_max: usize) -> Result<(), Rejection> {
    if text.len() > bytes_max {
        return Err(Rejection::invalid(
            field,
            format!("is {} bytes long; at most {bytes_max} are allowed", text.len()),
        ));
    }
    Ok(())
}

fn addr(field: &str, text: &str) -> Result<(), Rejection> {
    at_most(field, text, ADDR_BYTES_MAX)?;
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(port) if port != 0 => Ok(()),
        _ => Err(Rejection::invalid(field, format!("\"{text}\" is not `host:port`"))),
    }
}

fn source(source: &Source) -> Result<(), Rejection> {
    at_most("source.url", &source.url, URL_BYTES_MAX)?;
    let url = reqwest::Url::parse(&source.url).map_err(|error| {
        Rejection::invalid("source.url", format!("is not a URL ({error}); use rtsp://host[:port]/path"))
    })?;
    if url.scheme() != "rtsp" {
        return Err(Rejection::invalid(
            "source.url",
            format!("scheme `{}` is not supported; use rtsp://", url.scheme()),
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Rejection::invalid("source.url", "names no host; use rtsp://host[:port]/path"));
    }
    if url.port() == Some(0) {
        return Err(Rejection::invalid("source.url", "port 0 cannot be reached"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Rejection::invalid(
            "source.url",
            "must not hold credentials; use source.username and source.password",
        ));
    }
    at_most("source.username", source.username.as_deref().unwrap_or_default(), CREDENTIAL_BYTES_MAX)?;
    at_most("source.password", source.password.as_ref().map_or("", |secret| &secret.0), CREDENTIAL_BYTES_MAX)?;
    if source.password.is_some() && source.username.is_none() {
        return Err(Rejection::invalid("source.username", "is needed beside a password"));
    }
    Ok(())
}

fn labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Rejection> {
    if labels.len() > LABELS_MAX {
        return Err(Rejection::too_many(field, LABELS_MAX));
    }
    for (key, value) in labels {
        name(field, key)?;
        at_most(field, key, LABEL_KEY_BYTES_MAX)?;
        at_most(field, value, LABEL_VALUE_BYTES_MAX)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn camera(url: &str) -> CameraSpec {
        let source = Source { url: url.into(), username: None, password: None, transport: Default::default() };
        CameraSpec {
            name: "gate".into(),
            source,
            protection: Default::default(),
            priority: 100,
            retention_class: "default".into(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn urls_without_host_scheme_or_with_credentials_are_refused() {
        assert_eq!(camera_spec(&camera("rtsp://10.0.0.1:554/main?x=1")), Ok(()));
        assert_eq!(camera_spec(&camera("rtsp://[fe80::1]/main")), Ok(()));
        for (url, why) in [
            ("", "is not a URL"),
            ("10.0.0.1/main", "is not a URL"),
            ("http://10.0.0.1/main", "scheme `http`"),
            ("rtsp:///main", "host"),
            ("rtsp://10.0.0.1:0/", "port 0"),
            ("rtsp://admin:secret@10.0.0.1/", "credentials"),
            ("rtsp://admin@10.0.0.1/", "credentials"),
        ] {
            let message = camera_spec(&camera(url)).unwrap_err().to_string();
            assert!(message.contains(why), "{url}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn names_and_labels_have_bounds() {
        let mut spec = camera("rtsp://h/");
        spec.name = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(camera_spec(&spec), Ok(()));
        spec.name.push('x');
        assert!(camera_spec(&spec).is_err());
        spec.name = "  ".into();
        assert!(camera_spec(&spec).is_err());
        spec.name = "ok".into();
        spec.labels = (0..=LABELS_MAX).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(camera_spec(&spec).unwrap_err().code(), "too-many");
    }

    #[test]
    fn a_password_needs_a_user_name() {
        let mut spec = camera("rtsp://h/");
        spec.source.password = Some(Secret("p".into()));
        assert!(camera_spec(&spec).is_err());
        spec.source.username = Some("u".into());
        assert_eq!(camera_spec(&spec), Ok(()));
    }
}
