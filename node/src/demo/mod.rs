//! x
use clap::Args;
#[derive(Debug, Args)]
pub struct DemoArgs {}
pub fn run(_: DemoArgs) -> Result<(), crate::cli::CliError> {
    Ok(())
}
