//! What a camera's settings must satisfy. New cameras and changed ones pass the same checks, so that nothing else needs to.

use crate::error::ApiError;
use crate::wire::{CameraPatch, NewCamera, SourcePatch};
use holdfast_consensus::model::{CameraSpec, Secret, Source};
use std::collections::BTreeMap;

pub const NAME_CHARS_MAX: usize = 128;
pub const URL_BYTES_MAX: usize = 2048;
pub const CREDENTIAL_BYTES_MAX: usize = 256;
pub const LABELS_MAX: usize = 32;
pub const LABEL_KEY_BYTES_MAX: usize = 63;
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
pub const RETENTION_CLASS_BYTES_MAX: usize = 63;

/// The settings of a new camera.
///
/// # Errors
/// [`crate::error::ErrorKind::Invalid`], naming the field.
pub fn camera_spec(new: NewCamera) -> Result<CameraSpec, ApiError> {
    check_labels("node_labels", &new.node_labels)?;
    let source = Source {
        url: new.source.url,
        username: filled(new.source.username),
        password: filled(new.source.password).map(Secret),
        transport: new.source.transport,
    };
    checked(CameraSpec {
        name: new.name,
        source,
        protection: new.protection,
        priority: new.priority,
        retention_class: new.retention_class,
        labels: new.labels,
    })
}

/// `spec` with the fields of `patch`. A user name or password that is absent stays; an empty one is removed.
///
/// # Errors
/// As [`camera_spec`].
pub fn patched_spec(mut spec: CameraSpec, patch: CameraPatch) -> Result<CameraSpec, ApiError> {
    set(&mut spec.name, patch.name);
    set(&mut spec.protection, patch.protection);
    set(&mut spec.priority, patch.priority);
    set(&mut spec.retention_class, patch.retention_class);
    set(&mut spec.labels, patch.labels);
    patch_source(&mut spec.source, patch.source.unwrap_or_default());
    checked(spec)
}

/// Checks the fields that a patch has, before the camera that it goes to is known.
///
/// # Errors
/// As [`camera_spec`].
pub fn check_patch(patch: &CameraPatch) -> Result<(), ApiError> {
    patch.name.as_deref().map_or(Ok(()), check_name)?;
    patch.retention_class.as_deref().map_or(Ok(()), check_retention_class)?;
    patch.labels.as_ref().map_or(Ok(()), |labels| check_labels("labels", labels))?;
    patch.node_labels.as_ref().map_or(Ok(()), |labels| check_labels("node_labels", labels))?;
    let Some(source) = &patch.source else { return Ok(()) };
    source.url.as_deref().map_or(Ok(()), check_url)?;
    check_credentials(source.username.as_deref(), source.password.as_deref())
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn patch_source(source: &mut Source, patch: SourcePatch) {
    set(&mut source.url, patch.url);
    set(&mut source.transport, patch.transport);
    if patch.username.is_some() {
        source.username = filled(patch.username);
    }
    if patch.password.is_some() {
        source.password = filled(patch.password).map(Secret);
    }
}

fn checked(spec: CameraSpec) -> Result<CameraSpec, ApiError> {
    check_name(&spec.name)?;
    check_url(&spec.source.url)?;
    check_credentials(
        spec.source.username.as_deref(),
        spec.source.password.as_ref().map(|password| password.0.as_str()),
    )?;
    if spec.source.password.is_some() && spec.source.username.is_none() {
        return Err(invalid("source.username", "is missing although there is a password"));
    }
    check_retention_class(&spec.retention_class)?;
    check_labels("labels", &spec.labels)?;
    Ok(spec)
}

fn invalid(field: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(format!("`{field}` {why}")).code("camera-invalid")
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > NAME_CHARS_MAX {
        return Err(invalid(
            "name",
            format_args!("has {length} characters; give 1 to {NAME_CHARS_MAX}, not only blanks"),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid("name", "has control characters; leave them out"));
    }
    Ok(())
}

/// The URL itself never shows in an error: people paste credentials into it.
fn check_url(text: &str) -> Result<(), ApiError> {
    const FIELD: &str = "source.url";
    if text.len() > URL_BYTES_MAX {
        return Err(invalid(FIELD, format_args!("is longer than {URL_BYTES_MAX} bytes")));
    }
    let url = url::Url::parse(text)
        .map_err(|error| invalid(FIELD, format_args!("is no URL ({error}); give rtsp://host[:port]/path")))?;
    if url.scheme() != "rtsp" {
        return Err(invalid(FIELD, format_args!("has the scheme {:?}; only rtsp:// is supported", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid(FIELD, "names no host; give rtsp://host[:port]/path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(FIELD, "carries credentials; put them into `source.username` and `source.password`"));
    }
    Ok(())
}

fn check_credentials(username: Option<&str>, password: Option<&str>) -> Result<(), ApiError> {
    for (field, value) in [("source.username", username), ("source.password", password)] {
        let value = value.unwrap_or_default();
        if value.len() > CREDENTIAL_BYTES_MAX || value.chars().any(char::is_control) {
            return Err(invalid(
                field,
                format_args!("must be at most {CREDENTIAL_BYTES_MAX} bytes without control characters"),
            ));
        }
    }
    Ok(())
}

fn check_retention_class(class: &str) -> Result<(), ApiError> {
    if is_identifier(class, RETENTION_CLASS_BYTES_MAX, "-_") {
        return Ok(());
    }
    Err(invalid("retention_class", format_args!("must be 1 to {RETENTION_CLASS_BYTES_MAX} of a-z, A-Z, 0-9, `-`, `_`")))
}

fn check_labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if labels.len() > LABELS_MAX {
        return Err(invalid(field, format_args!("has {} entries where {LABELS_MAX} fit", labels.len())));
    }
    for (key, value) in labels {
        if !is_identifier(key, LABEL_KEY_BYTES_MAX, "-_./") {
            let why = format_args!(
                "has the key {key:?}; keys are 1 to {LABEL_KEY_BYTES_MAX} of a-z, A-Z, 0-9, `-`, `_`, `.`, `/`"
            );
            return Err(invalid(field, why));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
            let why = format_args!(
                "has a value at {key:?} that is longer than {LABEL_VALUE_BYTES_MAX} bytes or has control characters"
            );
            return Err(invalid(field, why));
        }
    }
    Ok(())
}

fn is_identifier(text: &str, bytes_max: usize, also: &str) -> bool {
    !text.is_empty() && text.len() <= bytes_max && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(change: impl FnOnce(&mut NewCamera)) -> Result<CameraSpec, ApiError> {
        let json = r#"{"name":"gate","source":{"url":"rtsp://cam.local:554/main","username":"u","password":"p"}}"#;
        let mut camera = serde_json::from_str(json).unwrap();
        change(&mut camera);
        camera_spec(camera)
    }

    #[test]
    fn a_good_camera_passes_as_it_is() {
        let spec = new(|_| {}).unwrap();
        assert_eq!((spec.name.as_str(), spec.priority, spec.retention_class.as_str()), ("gate", 100, "default"));
        assert_eq!(spec.source.password, Some(Secret("p".to_owned())));
    }

    #[test]
    fn each_bad_field_is_named() {
        type Change = fn(&mut NewCamera);
        let cases: [(&str, Change); 10] = [
            ("`name`", |c| c.name = " ".to_owned()),
            ("`name`", |c| c.name = "a\nb".to_owned()),
            ("`name`", |c| c.name = "é".repeat(NAME_CHARS_MAX + 1)),
            ("`source.url`", |c| c.source.url = "cam.local/main".to_owned()),
            ("`source.url`", |c| c.source.url = "http://cam.local/".to_owned()),
            ("`source.url`", |c| c.source.url = "rtsp:///main".to_owned()),
            ("`source.username`", |c| c.source.username = None),
            ("`source.password`", |c| c.source.password = Some("p\r\n".to_owned())),
            ("`retention_class`", |c| c.retention_class = "a b".to_owned()),
            ("`labels`", |c| c.labels = BTreeMap::from([(String::new(), String::new())])),
        ];
        for (field, change) in cases {
            let error = new(change).unwrap_err();
            assert_eq!(error.code, "camera-invalid");
            assert!(error.detail.starts_with(field), "{field}: {}", error.detail);
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let error = new(|c| c.source.url = "rtsp://admin:hunter2@cam.local/".to_owned()).unwrap_err();
        assert!(error.detail.contains("source.password") && !error.detail.contains("hunter2"), "{}", error.detail);
    }

    #[test]
    fn an_absent_password_stays_and_an_empty_one_is_removed() {
        let spec = new(|_| {}).unwrap();
        let renamed = patched_spec(
            spec.clone(),
            serde_json::from_str(r#"{"name":"yard","source":{"transport":"udp"}}"#).unwrap(),
        )
        .unwrap();
        assert_eq!((renamed.name.as_str(), &renamed.source.password), ("yard", &spec.source.password));
        let open =
            patched_spec(spec, serde_json::from_str(r#"{"source":{"username":"","password":""}}"#).unwrap()).unwrap();
        assert_eq!((open.source.username, open.source.password), (None, None));
    }

    #[test]
    fn a_patch_is_held_to_the_same_rules() {
        let patch: CameraPatch = serde_json::from_str(r#"{"source":{"url":"http://x/"}}"#).unwrap();
        assert_eq!(check_patch(&patch).unwrap_err(), patched_spec(new(|_| {}).unwrap(), patch).unwrap_err());
        let patch: CameraPatch = serde_json::from_str(r#"{"labels":{"site":"north"},"name":"ok"}"#).unwrap();
        check_patch(&patch).unwrap();
    }
}
