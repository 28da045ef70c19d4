//! Tests a running cluster through its owner's own commands: here three nodes on loopback, started
//! and killed by lines of sh.

use crate::program;
use holdfast_chaos::site::Site;
use holdfast_control_api::wire::MadeInvite;
use holdfast_node::demo::binary::holdfast_next_to_this;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const NODES: [&str; 3] = ["rec1", "rec2", "rec3"];
const ANSWERS_MAX: Duration = Duration::from_secs(30);

const SCENARIO: &str = r#"
about = "The leader is killed and comes back, by commands of its owner's."
seconds = 16

[[cameras]]
count = 3

[[fault]]
at = 4
do = "kill"
target = "leader"
for = 5

[expect]
lost_frames_unaffected_max = 0
settled_within_s = 30
"#;

/// A cluster of which `holdfast-chaos` knows only addresses and commands.
struct Owned {
    dir: PathBuf,
    /// One for each node.
    apis: Vec<String>,
}

impl Owned {
    fn start(dir: &Path) -> Self {
        let token = "of-the-test-that-attaches-long-enough";
        std::fs::write(dir.join("admin.token"), token).unwrap();
        let mut owned = Self {
            dir: dir.to_owned(),
            apis: Vec::new(),
        };
        for node in NODES {
            let [api, peer] = Site::spare_addresses().unwrap();
            let config = format!(
                "name = \"{node}\"\ndata_dir = \"{dir}/{node}\"\n[listen]\napi = \"{api}\"\n\
                 peer = \"{peer}\"\n[auth]\n\
                 admin_token_file = \"{dir}/admin.token\"\n",
                dir = dir.display()
            );
            std::fs::write(dir.join(format!("{node}.toml")), config).unwrap();
            owned.apis.push(format!("http://{api}"));
            let started = Command::new("sh")
                .args(["-c", &owned.start_line().replace("{node}", node)])
                .status()
                .unwrap();
            assert!(started.success(), "{node} was not started");
            if node == NODES[0] {
                owned.until(node, &["cluster", "init"]);
            } else {
                let invite = ["--json", "node", "invite", node, "--voter"];
                let made = owned.until(NODES[0], &invite);
                let made: MadeInvite = serde_json::from_slice(&made.stdout).unwrap();
                owned.until(node, &["cluster", "join", &made.token.0]);
            }
        }
        owned
    }

    /// The owner's command that starts a node; `{node}` is its name.
    fn start_line(&self) -> String {
        let (dir, holdfast) = (self.dir.display(), holdfast_next_to_this().unwrap());
        let holdfast = holdfast.display();
        format!(
            "{holdfast} serve --config {dir}/{{node}}.toml >> {dir}/{{node}}.log 2>&1 & echo $! > \
             {dir}/{{node}}.pid"
        )
    }

    fn holdfast(&self, node: &str, arguments: &[&str]) -> Output {
        let api = &self.apis[NODES.iter().position(|name| *name == node).unwrap()];
        let mut command = Command::new(holdfast_next_to_this().unwrap());
        command
            .args(arguments)
            .args(["--api", api, "--token-file"])
            .arg(self.dir.join("admin.token"));
        command.output().unwrap()
    }

    /// Repeats the command until `node` accepts it: the node may only just have started.
    fn until(&self, node: &str, arguments: &[&str]) -> Output {
        #[expect(clippy::disallowed_methods, reason = "real nodes, real time")]
        let give_up_at = Instant::now() + ANSWERS_MAX;
        loop {
            let output = self.holdfast(node, arguments);
            if output.status.success() {
                return output;
            }
            #[expect(clippy::disallowed_methods, reason = "real nodes, real time")]
            let now = Instant::now();
            assert!(
                now < give_up_at,
                "{arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The file for `--attach`.
    fn describe(&self) -> String {
        let [cameras, _] = Site::spare_addresses().unwrap();
        let (dir, start) = (self.dir.display(), self.start_line());
        let mut text =
            format!("token_file = \"admin.token\"\ncameras_at = \"{cameras}\"\n\n[commands]\n");
        let _ = writeln!(
            text,
            "kill = \"kill -9 $(cat {dir}/{{node}}.pid)\"\nstart = \"{start}\""
        );
        for (node, api) in NODES.iter().zip(&self.apis) {
            let _ = writeln!(text, "\n[[node]]\nname = \"{node}\"\napi = \"{api}\"");
        }
        text
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        for node in NODES {
            let line = format!("kill -9 $(cat {}/{node}.pid)", self.dir.display());
            // It may never have been started.
            drop(Command::new("sh").args(["-c", &line]).output());
        }
    }
}

#[test]
fn a_cluster_that_runs_already_is_tested_by_its_owners_commands_and_keeps_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let owned = Owned::start(dir.path());
    std::fs::write(dir.path().join("site.toml"), owned.describe()).unwrap();
    std::fs::write(dir.path().join("killed.toml"), SCENARIO).unwrap();
    let pids =
        |node: &str| std::fs::read_to_string(dir.path().join(format!("{node}.pid"))).unwrap();
    let before: Vec<String> = NODES.into_iter().map(pids).collect();

    let arguments = [
        "run",
        "killed.toml",
        "--on",
        "attach",
        "--attach",
        "site.toml",
        "--without-timing",
    ];
    let (code, said, log) = program::run(dir.path(), &arguments);
    assert_eq!(code, Some(0), "{said}\n{log}");
    assert!(
        said.contains("killed HOLDS") || log.contains("killed HOLDS"),
        "{said}\n{log}"
    );
    assert!(
        format!("{said}{log}").contains("--on attach --attach site.toml"),
        "it can be repeated: {said}\n{log}"
    );

    let after: Vec<String> = NODES.into_iter().map(pids).collect();
    let restarted = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .count();
    assert_eq!(restarted, 1, "the leader, by its owner's commands");
    let cameras = owned.holdfast(NODES[0], &["camera", "list", "--json"]);
    let cameras: serde_json::Value = serde_json::from_slice(&cameras.stdout).unwrap();
    assert_eq!(
        cameras.as_array().map(Vec::len),
        Some(0),
        "its cameras are gone again: {cameras}"
    );
}
