//! The node's log: to standard error, as text or JSON, filtered by configuration or environment.

mod sparing;

use crate::config::{Log, LogFormat, LogLevel};
use crate::terminal::error::CliError;
use sparing::Sparing;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// Environment variable with a filter that takes precedence over the configured level.
pub(super) const FILTER_ENV: &str = "HOLDFAST_LOG";

/// Logs its internals at every level; Holdfast's own lines have what operators need of them.
const OPENRAFT: &str = "openraft";

/// Starts the process's log. Once a process.
///
/// # Errors
/// A log is running already.
pub(super) fn init(log: &Log, filter: EnvFilter) -> Result<(), CliError> {
    let started = match log.format {
        LogFormat::Text => start(
            filter,
            fmt::layer()
                .with_ansi(stderr().is_terminal())
                .with_writer(stderr),
        ),
        LogFormat::Json => start(
            filter,
            fmt::layer().json().flatten_event(true).with_writer(stderr),
        ),
    };
    started.map_err(|error| CliError::failed(format!("cannot start the log: {error}")))
}

/// The layers that choose lines, before they are written.
type Chosen = Layered<Sparing, Layered<EnvFilter, Registry>>;

fn start(filter: EnvFilter, lines: impl Layer<Chosen> + Send + Sync) -> Result<(), TryInitError> {
    tracing_subscriber::registry()
        .with(filter)
        .with(Sparing::default())
        .with(lines)
        .try_init()
}

/// # Errors
/// The environment's filter cannot be parsed.
pub(super) fn filter(log: &Log, env: Option<String>) -> Result<EnvFilter, CliError> {
    match env.filter(|text| !text.is_empty()) {
        Some(text) => EnvFilter::try_new(&text).map_err(|error| {
            CliError::usage(format!(
                "{FILTER_ENV}=`{text}` is not a log filter: {error}"
            ))
        }),
        None => {
            let level = level(log.level);
            let others = EnvFilter::default().add_directive(level.into());
            Ok(others.add_directive(quiet(OPENRAFT, level)?))
        }
    }
}

/// Nothing of `target` below WARN, nor below the configured level.
fn quiet(target: &str, level: tracing::Level) -> Result<Directive, CliError> {
    let shown = LevelFilter::WARN.min(LevelFilter::from_level(level));
    format!("{target}={shown}")
        .parse()
        .map_err(|error| CliError::failed(format!("cannot start the log: {error}")))
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
        let of = |env: Option<&str>| {
            filter(&Log::default(), env.map(str::to_owned)).map(|filter| filter.to_string())
        };
        assert_eq!(of(None), Ok("openraft=warn,info".to_owned()));
        assert_eq!(of(Some("")), Ok("openraft=warn,info".to_owned()));
        assert_eq!(of(Some("warn")), Ok("warn".to_owned()));
        assert!(
            of(Some("a=b=c"))
                .unwrap_err()
                .message
                .contains("HOLDFAST_LOG")
        );
    }

    #[test]
    fn openraft_logs_no_more_than_the_log_shows() {
        let log = Log {
            level: LogLevel::Error,
            ..Log::default()
        };
        assert_eq!(
            filter(&log, None).unwrap().to_string(),
            "openraft=error,error"
        );
    }
}
