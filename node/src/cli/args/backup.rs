//! `holdfast backup` and `holdfast restore`: their arguments.

use clap::Args;
use std::path::PathBuf;

pub(super) const BACKUP_HELP: &str = "\
The file holds cameras with their passwords, retention classes, settings, holds, and what placement
knows of the nodes. It cannot be read without the passphrase: keep the two apart, and both away
from the nodes. Footage is not in it.";

pub(super) const RESTORE_HELP: &str = "\
What is not there is added; what differs stays, unless --overwrite is given. Cameras keep their
numbers where those are free.

Exit codes:
  0  all of it is there now, or stays as it is because it differs
  1  some of it was refused, or the file cannot be opened: wrong passphrase, damaged
  2  wrong usage
  4  unavailable: the node cannot be reached, or the cluster has no leader";

#[derive(Debug, Args)]
pub(in crate::cli) struct PassphraseArgs {
    /// File whose first line is the passphrase; without it the terminal asks for it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// The file, which appears when it is complete, readable by you alone; `-`: standard output
    #[arg(long, short, value_name = "FILE")]
    pub(in crate::cli) output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(in crate::cli) force: bool,
    #[command(flatten)]
    pub(in crate::cli) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// What `holdfast backup` wrote
    pub(in crate::cli) file: PathBuf,
    /// Only show what would be done
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Also change what differs
    #[arg(long)]
    pub(in crate::cli) overwrite: bool,
    #[command(flatten)]
    pub(in crate::cli) passphrase: PassphraseArgs,
}
