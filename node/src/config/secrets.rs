//! The node's secret, from the environment or from a file. It never enters [`super::Config`], which
//! can therefore be printed.

use super::Config;
use holdfast_consensus::model::Secret;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Environment variable with the API's admin token.
pub const ADMIN_TOKEN_ENV: &str = "HOLDFAST_ADMIN_TOKEN";

/// The shortest secret that is accepted, in characters.
pub const SECRET_CHARS_MIN: usize = 16;

/// The longest secret file that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

#[derive(Debug, Error)]
pub enum SecretError {
    #[error(
        "no {what}: set `{key}` in the configuration or the environment variable {env}; `openssl \
         rand -hex 32` makes a good one"
    )]
    Missing {
        what: &'static str,
        key: &'static str,
        env: &'static str,
    },
    #[error("cannot read {what} from {}: {source}", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{what} from {origin} {fault}; `openssl rand -hex 32` makes a good one")]
    Weak {
        what: &'static str,
        origin: String,
        fault: String,
    },
}

/// What a node must know and must not show.
#[derive(Clone, Debug)]
pub struct Secrets {
    pub admin_token: Secret,
}

struct Origin<'a> {
    what: &'static str,
    key: &'static str,
    env: &'static str,
    file: Option<&'a Path>,
}

impl Secrets {
    /// Takes the secret from `env` (usually the process's environment), else from its file.
    ///
    /// # Errors
    /// It is missing, unreadable, too short or not a single line of printable ASCII.
    pub fn load(
        config: &Config,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SecretError> {
        let admin_token = Origin {
            what: "admin token",
            key: "auth.admin_token_file",
            env: ADMIN_TOKEN_ENV,
            file: config.auth.admin_token_file.as_deref(),
        };
        let admin_token = admin_token.load(&env)?;
        Ok(Self { admin_token })
    }
}

impl Origin<'_> {
    fn load(&self, env: impl Fn(&str) -> Option<String>) -> Result<Secret, SecretError> {
        if let Some(text) = env(self.env).filter(|text| !text.is_empty()) {
            return self.accept(&text, self.env.to_owned());
        }
        let path = self.file.ok_or(SecretError::Missing {
            what: self.what,
            key: self.key,
            env: self.env,
        })?;
        let text = read_bounded(path).map_err(|source| SecretError::Read {
            what: self.what,
            path: path.to_owned(),
            source,
        })?;
        self.accept(&text, path.display().to_string())
    }

    fn accept(&self, text: &str, origin: String) -> Result<Secret, SecretError> {
        let text = text.trim();
        let fault = if text.len() < SECRET_CHARS_MIN {
            format!("is shorter than {SECRET_CHARS_MIN} characters")
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            "has spaces, line breaks or characters outside ASCII, which HTTP headers cannot carry"
                .to_owned()
        } else {
            return Ok(Secret(text.to_owned()));
        };
        Err(SecretError::Weak {
            what: self.what,
            origin,
            fault,
        })
    }
}

/// The text of a small file; a file longer than any secret is an error, and is not read into
/// memory.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if read as u64 > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "longer than {SECRET_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}
