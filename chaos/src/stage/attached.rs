//! A cluster that is already running: its API addresses, and commands that act on its nodes.

use super::programs;
use crate::{Error, Result, io_error};
use holdfast_consensus::model::Secret;
use holdfast_node::client::Api;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use url::Url;

/// The file for `--attach`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Contains the admin token; relative to this file.
    pub token_file: PathBuf,
    /// Address and port at which the nodes reach the cameras; the address must belong to this
    /// machine.
    pub cameras_at: SocketAddr,
    /// One line for `sh` for each operation (`kill`, `stop`, `start`, `pause`, `resume`,
    /// `isolate`, `rejoin`); `{node}` in it is replaced by the node's name.
    pub commands: BTreeMap<String, String>,
    #[serde(rename = "node")]
    pub nodes: Vec<AttachedNode>,
    #[serde(skip)]
    token: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachedNode {
    /// The node's name in the cluster.
    pub name: String,
    /// `http://HOST:PORT`.
    pub api: String,
}

const COMMANDS: [&str; 7] = [
    "kill", "stop", "start", "pause", "resume", "isolate", "rejoin",
];

impl Attach {
    /// # Errors
    /// Names the file and the mistake.
    pub fn load(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(io_error(format!("read {}", path.display())))?;
        let wrong = |why: String| Error::Usage(format!("{}: {why}", path.display()));
        let mut attach: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if let Some(unknown) = attach
            .commands
            .keys()
            .find(|name| !COMMANDS.contains(&name.as_str()))
        {
            return Err(wrong(format!(
                "there is no command `{unknown}`; there are {}",
                COMMANDS.join(", ")
            )));
        }
        if attach.nodes.is_empty() {
            return Err(wrong("no [[node]]".to_owned()));
        }
        let file = path
            .parent()
            .unwrap_or(Path::new("."))
            .join(&attach.token_file);
        let token =
            std::fs::read_to_string(&file).map_err(io_error(format!("read {}", file.display())))?;
        attach.token = token.trim().to_owned();
        Ok(attach)
    }

    /// # Errors
    /// If the address is invalid.
    pub(super) fn api(&self, index: usize) -> Result<Api> {
        let text = &self.nodes[index].api;
        let url = Url::parse(text)
            .map_err(|error| Error::Usage(format!("`{text}` is no address of an API: {error}")))?;
        Ok(Api::with_token(url, Some(Secret(self.token.clone())))?)
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// # Errors
    /// If the file has no such command, or the command fails.
    pub(super) fn command(&self, what: &str, index: usize) -> Result<()> {
        let template = self.commands.get(what);
        let template = template.ok_or_else(|| {
            Error::CannotRun(format!("the file of --attach has no command `{what}`"))
        })?;
        let line = template.replace("{node}", &self.nodes[index].name);
        programs::run(&["sh", "-c", &line]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "token_file = \"t\"\ncameras_at = \"192.0.2.1:8554\"\n[commands]\n\
                        kill = \"echo {node} > OUT\"\n[[node]]\nname = \"a\"\n\
                        api = \"http://192.0.2.2:8480\"\n";

    #[test]
    fn commands_are_run_with_the_nodes_name() {
        let dir = tempfile::tempdir().unwrap();
        let (file, out) = (dir.path().join("site.toml"), dir.path().join("out"));
        std::fs::write(dir.path().join("t"), "secret\n").unwrap();
        std::fs::write(&file, GOOD.replace("OUT", &out.to_string_lossy())).unwrap();
        let attach = Attach::load(&file).unwrap();
        attach.command("kill", 0).unwrap();
        assert_eq!(
            (std::fs::read_to_string(out).unwrap().trim(), attach.token()),
            ("a", "secret")
        );
        assert!(
            attach
                .command("stop", 0)
                .unwrap_err()
                .to_string()
                .contains("no command `stop`")
        );
        std::fs::write(&file, GOOD.replace("kill", "slay")).unwrap();
        assert!(
            Attach::load(&file)
                .unwrap_err()
                .to_string()
                .contains("no command `slay`")
        );
    }
}
