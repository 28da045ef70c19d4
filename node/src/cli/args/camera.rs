//! The arguments of `holdfast camera`.

use clap::{Args, Subcommand, ValueEnum};
use holdfast_consensus::model::Tls;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CameraCommand {
    /// Add a camera; recording starts at once
    Add(CameraAddArgs),
    /// Change a camera; what is not given stays as it is
    #[command(alias = "set")]
    Edit(CameraEditArgs),
    /// Show all cameras
    List {
        /// Show those that were deleted instead, and whose footage may still be there
        #[arg(long)]
        deleted: bool,
    },
    /// Show one camera
    Show {
        /// Name or number
        camera: String,
    },
    /// Record a camera as usual at once that is held back, because processes that recorded it ended
    Release {
        /// Name or number
        camera: String,
    },
    /// Stop recording a camera; its footage stays until its class's limits, and `restore` brings it
    /// back
    Remove {
        /// Name or number
        camera: String,
    },
    /// Record a camera again that was deleted, with its number, settings and credentials
    Restore {
        /// Name or number, as `list --deleted` shows them
        camera: String,
        /// Another name, where its own is taken by now
        #[arg(long)]
        name: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum TransportArg {
    /// What the camera offers
    Auto,
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum AudioArg {
    /// Where the camera has a track that can be recorded
    Auto,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum ProtectionArg {
    /// One recorder, another takes over when it fails
    Standard,
    /// Two nodes record all the time
    Gapless,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CameraAddArgs {
    #[arg(long)]
    pub(in crate::cli) name: String,
    /// rtsp://host[:port]/path or rtsps://…, without user and password
    #[arg(long)]
    pub(in crate::cli) url: String,
    #[command(flatten)]
    pub(in crate::cli) fields: CameraFields,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CameraEditArgs {
    /// Name or number
    pub(in crate::cli) camera: String,
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// rtsp://host[:port]/path or rtsps://…, without user and password
    #[arg(long)]
    pub(in crate::cli) url: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) fields: CameraFields,
}

/// The fields of a camera that can be set, when it is added and later.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct CameraFields {
    /// User at the camera; empty: none
    #[arg(long)]
    pub(in crate::cli) username: Option<String>,
    /// File with the camera's password; `-` reads standard input. Else HOLDFAST_CAMERA_PASSWORD is
    /// used with --username, if set
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) password_file: Option<PathBuf>,
    /// How video comes; auto unless set
    #[arg(long, value_enum)]
    pub(in crate::cli) transport: Option<TransportArg>,
    /// Whether sound is recorded; auto unless set
    #[arg(long, value_enum)]
    pub(in crate::cli) audio: Option<AudioArg>,
    /// Milliseconds without a frame after which the camera counts as stalled (1000 to 600000); 0:
    /// by its own rhythm
    #[arg(long, value_name = "MS")]
    pub(in crate::cli) stall_after_ms: Option<u32>,
    /// What proves an rtsps:// camera: system (authorities of the node), insecure, or
    /// sha256:DIGEST of its certificate
    #[arg(long)]
    pub(in crate::cli) tls: Option<Tls>,
    /// Bits per second above which the camera is closed (1000000 to 10000000000); 0: by what it
    /// usually sends
    #[arg(long, value_name = "BPS")]
    pub(in crate::cli) budget_bps: Option<u64>,
    /// Standard unless set
    #[arg(long, value_enum)]
    pub(in crate::cli) protection: Option<ProtectionArg>,
    /// 0 to 255; the highest is served first and shed last; 100 unless set
    #[arg(long)]
    pub(in crate::cli) priority: Option<u8>,
    /// Retention class, as the nodes' configuration names them; `default` unless set
    #[arg(long)]
    pub(in crate::cli) retention_class: Option<String>,
    /// May be given several times; replaces all labels
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(in crate::cli) labels: Vec<(String, String)>,
    /// Only nodes with this label may record it; may be given several times, replaces all
    #[arg(long = "node-label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(in crate::cli) node_labels: Vec<(String, String)>,
    /// Name or number of the node that records it whenever it is able to; empty: any
    #[arg(long, value_name = "NODE")]
    pub(in crate::cli) preferred_node: Option<String>,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}
