//! The node's log: to standard error, as text or JSON, filtered by configuration or environment.

use super::error::CliError;
use crate::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;

/// Environment variable with a filter that goes before the configured level.
const FILTER_ENV: &str = "HOLDFAST_LOG";

/// Starts the process's log. Once a process.
///
/// # Errors
/// Where the filter cannot be parsed or a log is running already.
pub(super) fn init(log: &Log) -> Result<(), CliError> {
    let filter = filter(log, std::env::var(FILTER_ENV).ok())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| CliError::failed(format!("cannot start the log: {error}")))
}

fn filter(log: &Log, env: Option<String>) -> Result<EnvFilter, CliError> {
    match env.filter(|text| !text.is_empty()) {
        Some(text) => EnvFilter::try_new(&text)
            .map_err(|error| CliError::usage(format!("{FILTER_ENV}=`{text}` is not a log filter: {error}"))),
        None => Ok(EnvFilter::default().add_directive(level(log.level).into())),
    }
}

fn level(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_the_level() {
        let of = |env: Option<&str>| filter(&Log::default(), env.map(str::to_owned)).map(|filter| filter.to_string());
        assert_eq!(of(None), Ok("info".to_owned()));
        assert_eq!(of(Some("")), Ok("info".to_owned()));
        assert_eq!(of(Some("warn")), Ok("warn".to_owned()));
        assert!(of(Some("a=b=c")).unwrap_err().message.contains("HOLDFAST_LOG"));
    }
}
