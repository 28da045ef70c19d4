//! Schemas of what the wire types take from `storage` and `consensus`, which know nothing of
//! OpenAPI. Each has the name of its type. The compiler compares the variants with the type's, and
//! serde gives their texts.

use holdfast_consensus::decide::placement;
use holdfast_consensus::model;
use holdfast_consensus::observe::heartbeat;
use holdfast_storage::{chunk, ids};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
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
    /// A drill: from 1, never reused.
    DrillId: number();
    /// An export: from 1, never reused.
    ExportId: number();
    /// A segment file of one volume.
    SegmentId: number();
    /// RFC 3339; answers are in UTC, with microseconds.
    Timestamp: text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    /// Accepted and never returned.
    Secret: text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)));
    /// How an `rtsps://` camera is authenticated: `system`, `insecure` or `sha256:…`.
    Tls: text().pattern(Some("^(system|insecure|sha256:[0-9a-fA-F]{64})$"));
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

fn number() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0))
}
