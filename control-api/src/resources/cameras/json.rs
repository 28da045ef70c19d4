//! Cameras in JSON, and how a body becomes the replicated [`CameraSpec`]. The model defines which
//! cameras are valid.

use super::recording::recording;
use crate::error::ApiError;
use crate::resources::drills::CameraDrill;
use crate::resources::nodes::NodeRef;
use crate::resources::ports::Overview;
use crate::resources::present;
use crate::schema;
use holdfast_consensus::decide::placement::Lack;
use holdfast_consensus::model::{
    self, Audio, CameraSpec, Credentials, Invalid, Labels, PRIORITY_DEFAULT, Protection,
    RETENTION_CLASS_DEFAULT, Secret, Tls, Transport, Treatment,
};
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

fn default_priority() -> u8 {
    PRIORITY_DEFAULT
}

fn default_retention_class() -> String {
    RETENTION_CLASS_DEFAULT.to_owned()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    #[schema(value_type = schema::RtspUrl)]
    pub url: String,
    #[serde(default)]
    #[schema(value_type = Option<schema::Username>)]
    pub username: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<schema::Password>)]
    pub password: Option<String>,
    #[serde(default)]
    #[schema(value_type = schema::Transport)]
    pub transport: Transport,
    #[serde(default)]
    #[schema(value_type = schema::Audio)]
    pub audio: Audio,
    /// Milliseconds without a frame after which it counts as stalled; `null` or 0: derived from the
    /// camera's usual frame interval.
    #[serde(default)]
    #[schema(value_type = Option<schema::StallAfter>)]
    pub stall_after_ms: Option<u32>,
    /// `system`, `insecure` or `sha256:…`, for `rtsps://`.
    #[serde(default)]
    #[schema(value_type = schema::Tls)]
    pub tls: Tls,
    /// Bits per second; `null` or 0: derived from what it usually sends.
    #[serde(default)]
    #[schema(value_type = Option<schema::Budget>)]
    pub budget_bps: Option<u64>,
}

/// Body of `POST /cameras`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCamera {
    #[schema(value_type = schema::CameraName)]
    pub name: String,
    pub source: NewSource,
    #[serde(default)]
    #[schema(value_type = schema::Protection)]
    pub protection: Protection,
    #[serde(default = "default_priority")]
    #[schema(maximum = 255)]
    pub priority: u8,
    #[serde(default = "default_retention_class")]
    #[schema(value_type = schema::RetentionClassName)]
    pub retention_class: String,
    #[serde(default)]
    #[schema(value_type = schema::Labels)]
    pub labels: BTreeMap<String, String>,
    /// Only nodes with all of these labels may record it.
    #[serde(default)]
    #[schema(value_type = schema::Labels)]
    pub node_labels: BTreeMap<String, String>,
    /// Preferred node; used whenever it is able to record this camera.
    #[serde(default)]
    #[schema(value_type = Option<schema::NodeRef>)]
    pub preferred_node: Option<NodeRef>,
}

/// Body of `PATCH /cameras/{id}`: absent fields stay as they are, `labels` and `node_labels` are
/// replaced as a whole. `null` is rejected: only `username`, `password` and `preferred_node` can be
/// removed, by an empty string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraPatch {
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::CameraName)]
    pub name: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = SourcePatch)]
    pub source: Option<SourcePatch>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Protection)]
    pub protection: Option<Protection>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = u8, maximum = 255)]
    pub priority: Option<u8>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::RetentionClassName)]
    pub retention_class: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Labels)]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Labels)]
    pub node_labels: Option<BTreeMap<String, String>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::NodeRef)]
    pub preferred_node: Option<NodeRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourcePatch {
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::RtspUrl)]
    pub url: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Username)]
    pub username: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Password)]
    pub password: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Transport)]
    pub transport: Option<Transport>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Audio)]
    pub audio: Option<Audio>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::StallAfter)]
    pub stall_after_ms: Option<u32>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Tls)]
    pub tls: Option<Tls>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Budget)]
    pub budget_bps: Option<u64>,
}

/// A camera in answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Camera {
    #[schema(value_type = schema::CameraId)]
    pub id: CameraId,
    pub name: String,
    pub source: Source,
    #[schema(value_type = schema::Protection)]
    pub protection: Protection,
    pub priority: u8,
    pub retention_class: String,
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub node_labels: BTreeMap<String, String>,
    #[serde(default)]
    #[schema(value_type = Option<schema::NodeId>)]
    pub preferred_node: Option<NodeId>,
    pub assignment: Assignment,
    pub recording: Recording,
    /// The last drill that passed or failed; `null` if there was none.
    #[serde(default)]
    pub last_drill: Option<CameraDrill>,
    /// Why it is not recorded as usual; `null` if it is.
    #[serde(default)]
    pub held_back: Option<HeldBack>,
    /// What the change would cost in a failure; only in answers to changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Camera {
    pub(in crate::resources) fn of(camera: &model::Camera, overview: &Overview) -> Self {
        let Overview {
            state,
            sight,
            headroom,
            ..
        } = overview;
        let assignment = state
            .assignments
            .get(camera.id)
            .cloned()
            .unwrap_or_default();
        let spec = &camera.spec;
        Self {
            id: camera.id,
            name: spec.name.to_string(),
            source: Source::of(&spec.source),
            protection: spec.protection,
            priority: spec.priority,
            retention_class: spec.retention_class.to_string(),
            labels: spec.labels.as_map().clone(),
            node_labels: spec.node_labels.as_map().clone(),
            preferred_node: spec.preferred_node,
            recording: recording(camera.id, &assignment, sight, headroom.as_deref()),
            assignment: Assignment {
                epoch: assignment.epoch,
                owner: assignment.owner,
                mirror: assignment.mirror,
                successor: assignment.successor,
                moving_to: assignment.handoff.map(|handoff| handoff.to),
            },
            last_drill: state.drills.results.get(camera.id).map(CameraDrill::of),
            held_back: sight
                .treatments
                .get(&camera.id)
                .copied()
                .and_then(HeldBack::of),
            warnings: Vec::new(),
        }
    }
}

/// Processes of several nodes ended while they began to record the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldBack {
    #[serde(rename = "as")]
    pub standing: HeldAs,
    /// When its quarantine ends.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeldAs {
    /// Two processes did: it is connected after all others, one suspect at a time.
    Suspect,
    /// A third one did in the camera's turn: it is not recorded until `until`.
    Quarantined,
}

impl HeldAs {
    pub const ALL: [Self; 2] = [Self::Suspect, Self::Quarantined];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Suspect => "suspect",
            Self::Quarantined => "quarantined",
        }
    }
}

impl HeldBack {
    /// `null` if the camera is recorded as usual.
    #[must_use]
    pub fn of(treatment: Treatment) -> Option<Self> {
        match treatment {
            Treatment::Usual => None,
            Treatment::Suspect => Some(Self {
                standing: HeldAs::Suspect,
                until: None,
            }),
            Treatment::Quarantined { until } => Some(Self {
                standing: HeldAs::Quarantined,
                until: Some(until),
            }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    pub url: String,
    pub username: Option<String>,
    pub has_password: bool,
    #[schema(value_type = schema::Transport)]
    pub transport: Transport,
    #[serde(default)]
    #[schema(value_type = schema::Audio)]
    pub audio: Audio,
    /// `null`: derived from the camera's usual frame interval.
    #[serde(default)]
    pub stall_after_ms: Option<u32>,
    #[serde(default)]
    #[schema(value_type = schema::Tls)]
    pub tls: Tls,
    /// `null`: derived from what it usually sends.
    #[serde(default)]
    pub budget_bps: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    #[schema(value_type = schema::Epoch)]
    pub epoch: Epoch,
    #[schema(value_type = Option<schema::NodeId>)]
    pub owner: Option<NodeId>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub mirror: Option<NodeId>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub successor: Option<NodeId>,
    /// The node that is taking over while the owner still records.
    #[schema(value_type = Option<schema::NodeId>)]
    pub moving_to: Option<NodeId>,
}

/// The state of the camera's recording, as the answering node knows it from heartbeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// `null` if no node is known to record it.
    #[schema(value_type = Option<schema::RecorderState>)]
    pub state: Option<RecorderState>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    /// Everything up to here is durable, on `node` or on earlier recorders. While the same node
    /// records in the same epoch it never goes back, even if the answering node was restarted.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub watermark: Option<Timestamp>,
    pub error: Option<String>,
    /// Why no node records it, if that has been so for longer than a moment.
    #[serde(default)]
    #[schema(value_type = Option<schema::Lack>)]
    pub waits_for: Option<Lack>,
}

impl NewSource {
    /// `url` without a login, and the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            transport: Transport::default(),
            audio: Audio::default(),
            stall_after_ms: None,
            tls: Tls::default(),
            budget_bps: None,
        }
    }

    fn into_source(self) -> Result<model::Source, Invalid> {
        Ok(model::Source {
            url: self.url.try_into()?,
            credentials: credentials(filled(self.username), filled(self.password).map(Secret))?,
            transport: self.transport,
            audio: self.audio,
            stall_after_ms: self.stall_after_ms.filter(|ms| *ms != 0),
            tls: self.tls,
            budget_bps: self.budget_bps.filter(|bps| *bps != 0),
        })
    }
}

impl NewCamera {
    /// A camera with the defaults except for its name and source.
    pub fn new(name: impl Into<String>, source: NewSource) -> Self {
        Self {
            name: name.into(),
            source,
            protection: Protection::default(),
            priority: default_priority(),
            retention_class: default_retention_class(),
            labels: BTreeMap::new(),
            node_labels: BTreeMap::new(),
            preferred_node: None,
        }
    }

    /// The replicated part; `preferred_node` is the node that it names.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Invalid`], naming the field, its value and the limit.
    pub fn into_spec(self, preferred_node: Option<NodeId>) -> Result<CameraSpec, ApiError> {
        checked(CameraSpec {
            name: self.name.try_into().map_err(invalid)?,
            source: self.source.into_source().map_err(invalid_source)?,
            protection: self.protection,
            priority: self.priority,
            retention_class: self.retention_class.try_into().map_err(invalid)?,
            labels: self.labels.try_into().map_err(invalid)?,
            node_labels: node_labels(self.node_labels)?,
            preferred_node,
        })
    }
}

impl CameraPatch {
    /// `spec` with the fields of this patch; `preferred_node` is the preferred node after it.
    ///
    /// # Errors
    /// Like [`NewCamera::into_spec`].
    pub fn onto(
        self,
        spec: CameraSpec,
        preferred_node: Option<NodeId>,
    ) -> Result<CameraSpec, ApiError> {
        checked(CameraSpec {
            name: parsed(self.name, spec.name).map_err(invalid)?,
            source: match self.source {
                Some(patch) => patch.onto(spec.source).map_err(invalid_source)?,
                None => spec.source,
            },
            protection: self.protection.unwrap_or(spec.protection),
            priority: self.priority.unwrap_or(spec.priority),
            retention_class: parsed(self.retention_class, spec.retention_class).map_err(invalid)?,
            labels: parsed(self.labels, spec.labels).map_err(invalid)?,
            node_labels: self.node_labels.map_or(Ok(spec.node_labels), node_labels)?,
            preferred_node,
        })
    }
}

impl SourcePatch {
    /// An absent user name or password stays; an empty one is removed.
    fn onto(self, source: model::Source) -> Result<model::Source, Invalid> {
        let known = source.credentials.as_ref();
        let known_password = known
            .filter(|known| known.has_password())
            .map(|known| known.password().to_owned());
        let username = self
            .username
            .map_or_else(|| known.map(|known| known.username().to_owned()), given);
        let password = self.password.map_or(known_password, given);
        Ok(model::Source {
            url: parsed(self.url, source.url)?,
            credentials: credentials(username, password.map(Secret))?,
            transport: self.transport.unwrap_or(source.transport),
            audio: self.audio.unwrap_or(source.audio),
            stall_after_ms: self
                .stall_after_ms
                .or(source.stall_after_ms)
                .filter(|ms| *ms != 0),
            tls: self.tls.unwrap_or(source.tls),
            budget_bps: self
                .budget_bps
                .or(source.budget_bps)
                .filter(|bps| *bps != 0),
        })
    }
}

impl Source {
    /// The form that is shown: without the password.
    #[must_use]
    pub fn of(source: &model::Source) -> Self {
        let credentials = source.credentials.as_ref();
        Self {
            url: source.url.to_string(),
            username: credentials.map(|credentials| credentials.username().to_owned()),
            has_password: credentials.is_some_and(Credentials::has_password),
            transport: source.transport,
            audio: source.audio,
            stall_after_ms: source.stall_after_ms,
            tls: source.tls,
            budget_bps: source.budget_bps,
        }
    }
}

fn invalid(error: Invalid) -> ApiError {
    ApiError::invalid(error.to_string()).code("camera-invalid")
}

fn checked(spec: CameraSpec) -> Result<CameraSpec, ApiError> {
    spec.check().map(|()| spec).map_err(invalid)
}

fn invalid_source(error: Invalid) -> ApiError {
    invalid(error.within("source"))
}

fn parsed<F, T: TryFrom<F>>(given: Option<F>, known: T) -> Result<T, T::Error> {
    given.map_or(Ok(known), T::try_from)
}

fn node_labels(labels: BTreeMap<String, String>) -> Result<Labels, ApiError> {
    labels
        .try_into()
        .map_err(|error: Invalid| invalid(error.named("node_labels")))
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn filled(text: Option<String>) -> Option<String> {
    text.and_then(given)
}

fn credentials(
    username: Option<String>,
    password: Option<Secret>,
) -> Result<Option<Credentials>, Invalid> {
    match (username, password) {
        (None, None) => Ok(None),
        (username, password) => Credentials::new(username.unwrap_or_default(), password).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(change: impl FnOnce(&mut NewCamera)) -> Result<CameraSpec, ApiError> {
        let json = r#"{"name":"gate",
            "source":{"url":"rtsp://cam.local:554/main","username":"u","password":"p"}}"#;
        let mut camera: NewCamera = serde_json::from_str(json).unwrap();
        change(&mut camera);
        camera.into_spec(None)
    }

    fn patched(spec: &CameraSpec, patch: &str) -> Result<CameraSpec, ApiError> {
        serde_json::from_str::<CameraPatch>(patch)
            .unwrap()
            .onto(spec.clone(), spec.preferred_node)
    }

    #[test]
    fn a_camera_has_the_same_defaults_in_json_and_in_the_model() {
        let spec =
            new(|camera| (camera.source.username, camera.source.password) = (None, None)).unwrap();
        assert_eq!(
            spec,
            CameraSpec::new("gate", "rtsp://cam.local:554/main").unwrap()
        );
        let built = NewCamera::new("gate", NewSource::new("rtsp://cam.local:554/main"));
        assert_eq!(built.into_spec(None).unwrap(), spec);
    }

    #[test]
    fn each_bad_field_is_named() {
        type Change = fn(&mut NewCamera);
        let cases: [(&str, Change); 12] = [
            ("`name`", |c| c.name = " ".to_owned()),
            ("`source.url`", |c| {
                c.source.url = "cam.local/main".to_owned()
            }),
            ("`source.url`", |c| {
                c.source.url = "rtsp://admin:hunter2@cam.local/".to_owned()
            }),
            ("`source.username`", |c| c.source.username = None),
            ("`source.username`", |c| {
                c.source.username = Some("u\t".to_owned())
            }),
            ("`source.password`", |c| {
                c.source.password = Some("hunter2\r\n".to_owned())
            }),
            ("`source.stall_after_ms`", |c| {
                c.source.stall_after_ms = Some(999)
            }),
            ("`source.budget_bps`", |c| c.source.budget_bps = Some(7)),
            ("`source.tls`", |c| c.source.tls = Tls::Insecure),
            ("`retention_class`", |c| {
                c.retention_class = "a b".to_owned()
            }),
            ("`labels`", |c| {
                c.labels = BTreeMap::from([(String::new(), String::new())])
            }),
            ("`node_labels`", |c| {
                c.node_labels = BTreeMap::from([(String::new(), String::new())])
            }),
        ];
        for (field, change) in cases {
            let error = new(change).unwrap_err();
            assert_eq!(error.code, "camera-invalid");
            assert!(
                error.detail.starts_with(field) && !error.detail.contains("hunter2"),
                "{field}: {}",
                error.detail
            );
        }
    }

    #[test]
    fn an_absent_password_stays_and_an_empty_one_is_removed() {
        let spec = new(|_| {}).unwrap();
        let renamed = patched(&spec, r#"{"name":"yard","source":{"transport":"udp"}}"#).unwrap();
        assert_eq!(
            (renamed.name.as_str(), &renamed.source.credentials),
            ("yard", &spec.source.credentials)
        );
        let open = patched(&spec, r#"{"source":{"username":"","password":""}}"#).unwrap();
        assert_eq!(open.source.credentials, None);
        let user_only = patched(&spec, r#"{"source":{"password":""}}"#)
            .unwrap()
            .source
            .credentials
            .unwrap();
        assert_eq!(
            (user_only.username(), user_only.has_password()),
            ("u", false)
        );
        assert!(
            patched(&spec, r#"{"source":{"username":""}}"#).is_err(),
            "a password without its user name"
        );
    }

    #[test]
    fn a_patch_is_held_to_the_same_rules_and_keeps_what_it_does_not_name() {
        let spec = new(|camera| camera.priority = 7).unwrap();
        assert_eq!(patched(&spec, "{}").unwrap(), spec);
        let refused = patched(&spec, r#"{"source":{"url":"http://x/"}}"#).unwrap_err();
        assert_eq!(
            refused,
            new(|camera| camera.source.url = "http://x/".to_owned()).unwrap_err()
        );
        let set = r#"{"source":{
            "transport":"udp","audio":"off","stall_after_ms":20000,"budget_bps":8000000}}"#;
        let set = patched(&spec, set).unwrap();
        assert_eq!(
            (set.source.audio, set.source.stall_after_ms),
            (Audio::Off, Some(20_000))
        );
        assert_eq!(patched(&set, r#"{"source":{"audio":"off"}}"#).unwrap(), set);
        let unset = patched(&set, r#"{"source":{"stall_after_ms":0,"budget_bps":0}}"#)
            .unwrap()
            .source;
        assert_eq!((unset.stall_after_ms, unset.budget_bps), (None, None));
        let changed = patched(
            &spec,
            r#"{"labels":{"site":"north"},"node_labels":{"zone":"a"}}"#,
        )
        .unwrap();
        assert_eq!(
            (
                changed.labels.as_map().len(),
                changed.node_labels.as_map().len(),
                changed.priority
            ),
            (1, 1, 7)
        );
    }
}
