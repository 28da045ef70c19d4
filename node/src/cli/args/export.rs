//! The arguments of `holdfast export` and `holdfast exports`.

use clap::{Args as ClapArgs, Subcommand};
use holdfast_storage::ids::ExportId;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct ExportArgs {
    /// Name or number, also of a deleted camera; several with --job
    #[arg(required = true, value_name = "CAMERA")]
    pub(in crate::cli) cameras: Vec<String>,
    /// RFC 3339, `now`, or back from now: -90s, -10m, -2h, -1d
    #[arg(long, allow_hyphen_values = true)]
    pub(in crate::cli) from: String,
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    pub(in crate::cli) to: String,
    /// Have the cluster keep this footage for a day, of up to 64 cameras and 31 days, under a name
    /// that says what it is for; `holdfast exports` downloads it
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    pub(in crate::cli) job: Option<String>,
    /// Leave out what refers to lost frames, up to the next keyframe, instead of having players
    /// conceal what is missing
    #[arg(long)]
    pub(in crate::cli) strict: bool,
    /// The MP4 file, which appears when it is complete; `-`: standard output. Until then FILE.part
    /// holds what came, and the same command with the same times (RFC 3339) continues it
    #[arg(long, short, value_name = "FILE", required_unless_present = "job")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// How long to try again, on the other nodes too, where the transfer breaks off and comes no
    /// further
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(in crate::cli) retry: u64,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ExportsCommand {
    /// Show all that have not expired
    List,
    /// Show the files of one, and what is missing of it
    Show {
        #[arg(value_parser = crate::cli::exports::number)]
        export: ExportId,
    },
    /// Get its files and their manifest; again, it gets what is not there yet
    Download(ExportsDownloadArgs),
    /// Keep its footage no longer than other
    Remove {
        #[arg(value_parser = crate::cli::exports::number)]
        export: ExportId,
    },
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct ExportsDownloadArgs {
    #[arg(value_parser = crate::cli::exports::number)]
    pub(in crate::cli) export: ExportId,
    /// Folder for the files, which is made where it is not there
    #[arg(long)]
    pub(in crate::cli) dir: PathBuf,
    /// How long to try again, on the other nodes too, where a transfer breaks off and comes no
    /// further
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(in crate::cli) retry: u64,
}
