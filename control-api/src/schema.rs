//! Schemas of what the wire types take from `storage` and `consensus`, which know nothing of
//! OpenAPI. Each has the name of its type. The compiler compares the variants with the type's, and
//! serde gives their texts.

use crate::limits::{PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARS_MIN};
use holdfast_consensus::decide::placement;
use holdfast_consensus::model::{self, TextRule};
use holdfast_consensus::observe::heartbeat;
use holdfast_storage::{chunk, ids};
use serde_json::json;
use std::ops::RangeInclusive;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

macro_rules! schemas {
    ($(#[doc = $doc:literal] $name:ident: $schema:expr;)+) => {$(
        #[doc = $doc]
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.description(Some($doc.trim())).into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

/// Texts of an enumeration, each of its variants.
macro_rules! words {
    ($module:ident::$type:ident: $($variant:ident)+) => {{
        const _: fn($module::$type) = |value| match value {
            $($module::$type::$variant => (),)+
        };
        text().enum_values(Some([$(json!($module::$type::$variant)),+]))
    }};
}

schemas! {
    /// A camera of the site: from 1, never reused.
    CameraId: number().maximum(Some(u32::MAX));
    /// A node of the cluster: from 1, never reused.
    NodeId: number();
    /// The version of a camera's assignment: grows with every change of owner.
    Epoch: number();
    /// A hold: from 1, never reused.
    HoldId: number();
    /// An invitation: from 1, never reused.
    InviteId: number();
    /// A drill: from 1, never reused.
    DrillId: number();
    /// An export: from 1, never reused.
    ExportId: number();
    /// A segment file of one volume.
    SegmentId: number();
    /// RFC 3339; answers are in UTC, with microseconds.
    Timestamp: text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    /// A camera's name, for people.
    CameraName: form(model::CameraName::RULE);
    /// A node's name.
    NodeName: form(model::NodeName::RULE);
    /// The name of a retention class.
    RetentionClassName: form(model::RetentionClassName::RULE);
    /// Why a hold was requested, and by whom.
    HoldReason: form(model::HoldReason::RULE);
    /// A description of an export.
    ExportName: form(model::ExportName::RULE);
    /// The cameras of an export, each once.
    ExportCameras: ArrayBuilder::new()
        .items(CameraId::schema())
        .min_items(Some(1))
        .max_items(Some(model::EXPORT_CAMERAS_MAX));
    /// Labels: keys and values.
    Labels: ObjectBuilder::new()
        .additional_properties(Some(Schema::Object(form(model::LABEL_VALUE).build())))
        .property_names(Some(Schema::Object(form(model::LABEL_KEY).build())))
        .max_properties(Some(model::LABELS_MAX));
    /// `rtsp://host[:port]/path` or `rtsps://…`, without credentials.
    RtspUrl: text()
        .pattern(Some("^[rR][tT][sS][pP][sS]?://[^/@?#]+([/?#].*)?$"))
        .max_length(Some(model::URL_BYTES_MAX));
    /// The user name at a camera.
    Username: form(model::CREDENTIAL);
    /// The password at a camera: accepted and never returned.
    Password: form(model::CREDENTIAL).format(hidden());
    /// Seals a backup.
    Passphrase: text()
        .format(hidden())
        .min_length(Some(PASSPHRASE_CHARS_MIN))
        .max_length(Some(PASSPHRASE_BYTES_MAX));
    /// Milliseconds; 0: by the camera's own rhythm.
    StallAfter: zero_or(&model::STALL_AFTER_MS);
    /// Bits per second; 0: by what the camera usually sends.
    Budget: zero_or(&model::BUDGET_BPS);
    /// Seconds.
    FailbackAfter: number().maximum(Some(model::FAILBACK_AFTER_S_MAX));
    /// Seconds; 0: no scheduled drills.
    DrillEvery: zero_or(&model::DRILL_EVERY_S);
    /// A cluster's id (RFC 9562).
    ClusterId: text().pattern(Some("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"));
    /// The name of an init segment, from a playlist.
    InitName: text().pattern(Some("^[0-9a-fA-F]{16}$"));
    /// From `POST /invites`.
    JoinToken: text().format(hidden()).min_length(Some(1));
    /// Accepted and never returned.
    Secret: text().format(hidden());
    /// How an `rtsps://` camera is authenticated: `system`, `insecure` or `sha256:…`.
    Tls: text().pattern(Some("^(system|insecure|sha256:[0-9a-fA-F]{2}(:?[0-9a-fA-F]{2}){31})$"));
    /// A node, by number or by name.
    NodeRef: OneOfBuilder::new().item(NodeId::schema()).item(text());
    /// Bytes.
    Media: text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    /// In which capacity a node recorded the camera.
    Rank: words!(ids::Rank: Owner Mirror Successor);
    /// Which of a camera's streams.
    StreamKind: words!(ids::StreamKind: Main Sub);
    /// A track of a stream.
    TrackKind: words!(ids::TrackKind: Video Audio Metadata);
    /// Why something was not recorded.
    GapCause: words!(
        chunk::GapCause: CameraUnreachable CameraProtocol CameraStalled PacketsLost AwaitsKeyframe
        OverBudget Quarantined NodeDown VolumeFailed Overload RecorderStopped Damaged Unknown
    );
    /// What a node is for: a witness votes, and records nothing.
    Role: words!(model::Role: Recorder Witness);
    /// Whether a node may own cameras: `draining` and `stopping` nodes may not.
    Duty: words!(model::Duty: Active Draining Stopping);
    /// What happens to a camera that would not be recorded after the loss of a node.
    HeadroomRule: words!(model::HeadroomRule: Warn Strict);
    /// Whether cameras return to their preferred node.
    Failback: words!(model::Failback: Stay Prefer);
    /// The result of a drill.
    Outcome: words!(model::Outcome: Passed Failed Aborted);
    /// How RTP is transported; `auto`: whichever the camera offers.
    Transport: words!(model::Transport: Auto Tcp Udp);
    /// Whether audio is recorded; `auto`: if the camera has a track that can be.
    Audio: words!(model::Audio: Auto Off);
    /// `gapless`: two nodes in different failure domains record.
    Protection: words!(model::Protection: Standard Gapless);
    /// The state of a recorder.
    RecorderState: words!(heartbeat::RecorderState: Starting Recording Failing);
    /// What a camera without a recorder waits for.
    Lack: words!(placement::Lack: Capacity Node);
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn hidden() -> Option<SchemaFormat> {
    Some(SchemaFormat::KnownFormat(KnownFormat::Password))
}

/// A text of this form. `maxLength` counts characters; a text never has more characters than bytes.
fn form(rule: TextRule) -> ObjectBuilder {
    const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f";
    let (length_min, length_max, pattern) = match rule {
        TextRule::ForPeople { chars_max } => {
            let pattern = format!("^[^{CONTROL}]*[^\\s{CONTROL}][^{CONTROL}]*$");
            (1, chars_max, pattern)
        }
        TextRule::Printable { bytes_max } => (0, bytes_max, format!("^[^{CONTROL}]*$")),
        TextRule::Identifier { bytes_max, also } => {
            let also = also.replace('-', r"\-");
            (1, bytes_max, format!("^[A-Za-z0-9{also}]+$"))
        }
    };
    text()
        .min_length(Some(length_min))
        .max_length(Some(length_max))
        .pattern(Some(pattern))
}

/// 0, which means the default, or a number of this range.
fn zero_or(range: &RangeInclusive<u64>) -> OneOfBuilder {
    let bound = |value: u64| usize::try_from(value).ok();
    let zero = number().enum_values(Some([json!(0)]));
    let range = number()
        .minimum(bound(*range.start()))
        .maximum(bound(*range.end()));
    OneOfBuilder::new().item(zero).item(range)
}

fn number() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0))
}
