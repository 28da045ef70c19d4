//! The arguments of `holdfast retention`: announced deletions, and an operator's orders about them.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RetentionCommand {
    /// Show what the limits would delete at once, when that begins, and why nothing is deleted for
    /// its age
    Status,
    /// Begin announced deletions now; says, too, that the nodes' clocks are right where they are in
    /// doubt
    Release(RetentionOf),
    /// Drop announced deletions for as long as their limits stay as they are; a clock in doubt does
    /// not count by itself then
    Cancel(RetentionOf),
    /// List footage whose times have yet to come: it was recorded while a clock was ahead
    Future,
    /// Delete it, segment by segment, where all of a segment has yet to come and none of it is held
    RemoveFuture {
        /// Name or number; all nodes, if not given
        #[arg(long)]
        node: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RetentionOf {
    /// Name or number; all nodes, if not given
    #[arg(long)]
    pub(in crate::cli) node: Option<String>,
    /// Number of a volume; all, if not given
    #[arg(long)]
    pub(in crate::cli) volume: Option<u16>,
    /// Retention class; all and free space, if not given
    #[arg(long)]
    pub(in crate::cli) class: Option<String>,
}
