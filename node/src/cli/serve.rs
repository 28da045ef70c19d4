//! `holdfast serve`: configuration, secrets and log, then the node itself.

use super::args::ServeArgs;
use super::logging;
use super::prepare::{Prepared, prepare};
use crate::terminal::error::CliError;
use crate::{allocator, serve};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    if let Some(pid) = args.parent_pid {
        follow_parent(pid)?;
    }
    let refused = allocator::set_up().err();
    let prepared = prepare(&args.config, |name| std::env::var(name).ok());
    let Prepared {
        config,
        secrets,
        filter,
    } = prepared.map_err(|refused| CliError::failed(refused.error.to_string()))?;
    logging::init(&config.log, filter)?;
    if let Some(setting) = refused {
        tracing::warn!(
            setting,
            "the allocator refuses a setting; this node may keep memory that it does not need"
        );
    }
    serve::serve(config, secrets, &args.config).map_err(|error| CliError::failed(error.to_string()))
}

/// Has the kernel kill this process when its parent dies, so that a killed demo or test leaves no
/// nodes behind.
fn follow_parent(pid: i32) -> Result<(), CliError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| CliError::failed(format!("cannot follow the parent process: {error}")))?;
    // The parent may have died before the call above: then no signal will come.
    if getppid().map(Pid::as_raw_nonzero).map(i32::from) == Some(pid) {
        Ok(())
    } else {
        Err(CliError::failed(format!(
            "the parent process {pid} is gone"
        )))
    }
}
