//! The command line: arguments in, exit code out. Every command that prints data can print it as
//! JSON.

mod adopt;
mod args;
mod backup;
mod camera;
mod check;
mod check_data;
mod cluster;
mod drain;
mod drill;
mod export;
mod exports;
mod gaps;
mod hold;
mod logging;
mod nodes;
mod output_file;
mod passphrase;
mod prepare;
mod progress;
mod recover;
mod resolve;
mod retention;
mod segment;
mod serve;
mod settings;
mod status;
mod table;
mod timeline;
mod volume;
mod when;

pub use args::Args;

use crate::terminal::error::CliError;
use crate::terminal::output::Output;

use args::Command;
use std::future::Future;
use std::process::ExitCode;

/// Runs the command and reports an error on standard error.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match dispatch(args) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}

fn dispatch(args: Args) -> Result<ExitCode, CliError> {
    let out = Output::new(args.json);
    let api = args.api;
    let done = match args.command {
        Command::Status => return with_runtime(status::run(api, out)),
        Command::Serve(args) => serve::run(&args),
        Command::Demo(demo) => crate::demo::run(&demo, args.json),
        Command::Config(args::ConfigCommand::Check { file, data: true }) => {
            check_data::run(&file, out)
        }
        Command::Config(args::ConfigCommand::Check { file, data: false }) => check::run(&file, out),
        Command::Segment(command) => segment::run(&command, api, out),
        Command::Volume(args::VolumeCommand::Verify { dir }) => volume::verify(&dir, out),
        Command::Volume(args::VolumeCommand::RebuildCatalogue { dir }) => {
            volume::rebuild_catalogue(&dir, out)
        }
        Command::Volume(args::VolumeCommand::Init { dir }) => volume::init(&dir, out),
        Command::Volume(args::VolumeCommand::Adopt(args)) => {
            with_runtime(adopt::run(args, api, out))
        }
        Command::Volume(args::VolumeCommand::Scrub(command)) => {
            with_runtime(volume::scrub(&command, api, out))
        }
        Command::Cluster(command) => with_runtime(cluster::run(command, api, out)),
        Command::Nodes(command) => with_runtime(nodes::run(command, api, out)),
        Command::Camera(command) => with_runtime(camera::run(command, api, out)),
        Command::Settings(command) => with_runtime(settings::run(command, api, out)),
        Command::Hold(command) => with_runtime(hold::run(command, api, out)),
        Command::Drill(command) => with_runtime(drill::run(command, api, out)),
        Command::Retention(command) => with_runtime(retention::run(command, api, out)),
        Command::Timeline(args) => with_runtime(timeline::run(args, api, out)),
        Command::Gaps(args) => with_runtime(gaps::run(args, api, out)),
        Command::Backup(args) => with_runtime(backup::make(args, api, out)),
        Command::Restore(args) => with_runtime(backup::restore(args, api, out)),
        Command::Export(args) => with_runtime(export::run(args, api, out)),
        Command::Exports(command) => with_runtime(exports::run(command, api, out)),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Client commands do one request after the other: one thread is enough.
fn with_runtime<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    runtime.block_on(command)
}
