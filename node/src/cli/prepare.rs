//! The preparation that `serve` does before it starts a node, and `config check` does to find out
//! whether it would: reads the file, the secret and the log's filter, and examines the machine.

use super::logging;
use crate::config::{Config, ConfigError, Problem, Secrets};
use crate::host::preflight;
use std::path::Path;
use tracing_subscriber::EnvFilter;

/// The inputs of a node's start.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) secrets: Secrets,
    pub(super) filter: EnvFilter,
}

/// Why a node does not start: at least one problem, and the configuration if the file is valid.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: ConfigError,
    pub(super) config: Option<Box<Config>>,
}

/// # Errors
/// Everything that is wrong, not only the first.
pub(super) fn prepare(
    file: &Path,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Prepared, Refused> {
    let config = Config::load(file).map_err(|error| Refused {
        error,
        config: None,
    })?;
    let mut problems = preflight::refusals(&config);
    let shown = |message: String| Problem {
        key: None,
        line: None,
        column: None,
        message,
    };
    let secrets = Secrets::load(&config, &env);
    problems.extend(secrets.as_ref().err().map(|error| shown(error.to_string())));
    let filter = logging::filter(&config.log, env(logging::FILTER_ENV));
    problems.extend(
        filter
            .as_ref()
            .err()
            .map(|error| shown(error.message.clone())),
    );
    match (secrets, filter) {
        (Ok(secrets), Ok(filter)) if problems.is_empty() => Ok(Prepared {
            config,
            secrets,
            filter,
        }),
        _ => {
            let error = ConfigError::Invalid {
                path: file.to_owned(),
                problems,
            };
            Err(Refused {
                error,
                config: Some(Box::new(config)),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n.toml");
        std::fs::write(&file, "name = \"a\"\ndata_dir = \"/proc/nothing\"\n").unwrap();
        let env = |name: &str| (name == logging::FILTER_ENV).then(|| "a=b=c".to_owned());
        let shown = prepare(&file, env).unwrap_err().error.to_string();
        for part in ["data_dir", "no admin token", "HOLDFAST_LOG"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(shown.lines().count(), 3, "{shown}");
    }

    #[test]
    fn all_mistakes_in_the_file_are_reported_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n.toml");
        let text = "name = \"a\"\ndata_dir = \"d\"\ncolour = 1\n[storage]\n\
                    flush_interval_ms = \"fast\"\nscrub_days = 0\n[ingest]\ntick_ms = 0\n";
        std::fs::write(&file, text).unwrap();
        let problems = prepare(&file, |_| None).unwrap_err().error.problems();
        let shown: Vec<_> = problems
            .iter()
            .map(|problem| (problem.key.as_deref().unwrap(), problem.line))
            .collect();
        assert_eq!(
            shown,
            [
                ("colour", Some(3)),
                ("storage.flush_interval_ms", Some(5)),
                ("storage.scrub_days", None),
                ("ingest.tick_ms", None)
            ],
            "{problems:?}"
        );
    }
}
