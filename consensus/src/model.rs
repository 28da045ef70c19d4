//! The replicated vocabulary, one noun per file: its types, their limits, and the only place where
//! they are checked.
//!
//! A value with a rule of its own is a type that enforces the rule: it is parsed, and decoding
//! parses too, so that the API, the command line, the log and other members use the same check. A
//! rule between several fields is checked by the struct's `check`, which `state` calls before it
//! accepts a value.

mod actor;
mod assignment;
mod camera;
mod drill;
mod export;
mod former;
mod hold;
mod interval;
mod invite;
mod key;
mod labels;
mod node;
mod secret;
mod settings;
mod source;
mod suspicion;
mod text;

pub use actor::{Actor, OperatorName};
pub use assignment::{Assignment, Handoff, Tenure};
pub use camera::{
    CAMERAS_MAX, Camera, CameraName, CameraSpec, PRIORITY_DEFAULT, Protection, RecordedStream,
};
pub use drill::{
    DRILLS_MAX, Drill, DrillOp, DrillResult, DrillStart, DrillStep, Drills, Outcome, Phase,
    RESULTS_MAX, Refusal, RunningDrill,
};
pub use export::{
    EXPORT_CAMERA_HOURS_MAX, EXPORT_CAMERAS_MAX, EXPORT_KEPT, EXPORT_RANGE_MAX, EXPORTS_MAX,
    Export, ExportName, ExportSpec,
};
pub use former::{FORMER_CAMERAS_MAX, FormerCamera, Origin, Pause, Was};
pub use hold::{HOLDS_MAX, Hold, HoldReason, HoldSpec};
pub use invite::{INVITE_VALID, INVITE_VALID_MAX, INVITES_MAX, Invite, InviteSpec};
pub use key::KeyHash;
pub use labels::{LABEL_KEY, LABEL_VALUE, LABELS_MAX, Labels};
pub use node::{
    CAMERA_CAPACITY_DEFAULT, CAMERA_CAPACITY_MAX, Duty, FailureDomain, HostPort, NODES_MAX, Node,
    NodeName, NodeSpec, Role, check_capacity,
};
pub use secret::Secret;
pub use settings::{
    DRILL_EVERY_S, FAILBACK_AFTER_S_MAX, Failback, HeadroomRule, RETENTION_CLASS_DEFAULT,
    RetentionClass, RetentionClassName, RetentionClasses, Settings, SettingsChange,
};
pub use source::{
    Audio, BUDGET_BPS, CREDENTIAL, Credentials, Fingerprint, RtspUrl, STALL_AFTER_MS, Source, Tls,
    Transport, URL_BYTES_MAX,
};
pub use suspicion::{ProcessEnd, QUARANTINE_MAX, QUARANTINE_MIN, Suspicion, Treatment};
pub use text::{Invalid, TextRule};

pub(crate) use drill::bounded;
