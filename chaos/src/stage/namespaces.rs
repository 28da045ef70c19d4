//! Runs every node, the cameras and this program in network namespaces of their own, connected by
//! bridges in another one. Needs root, iproute2, nftables and iptables.
//!
//! Leaves the machine's own network alone. Nodes and cameras share one bridge, which the faults
//! affect; this program reaches the nodes' APIs over a second one.

use super::lag::{Delays, Lag, QUEUE};
use super::rules::{Impairment, Party, Rule, Rules};
use super::{owner, programs};
use crate::{Error, Result, io_error};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Followed by the tag of the process that made it.
const PREFIX: &str = "hfc-";

const DEBIAN: &str = "iproute2 iptables nftables util-linux";

/// The last byte of the cameras' address; nodes have 1 and up.
const CAMERAS_HOST: u8 = 100;
/// The last byte of this program's address.
const RUNNER_HOST: u8 = 200;

/// Bucket size of tbf on a slow link.
const SLOW_BURST: &str = "64kb";
const SLOW_LATENCY: &str = "200ms";

/// Deleted when dropped: nodes and cameras must have ended by then.
#[derive(Debug)]
pub struct Namespaces {
    /// Part of all their names.
    unique: String,
    nodes: usize,
    /// By fault: nodes and kbit/s.
    slow: BTreeMap<usize, (Vec<usize>, u64)>,
    /// By receiver that had delayed packets at any time.
    lags: BTreeMap<Party, Lag>,
}

/// Address on the bridge that the faults affect.
#[must_use]
pub(super) fn address(party: Party) -> Ipv4Addr {
    match party {
        Party::Node(index) => Ipv4Addr::new(10, 77, 0, host_of(index)),
        Party::Cameras => Ipv4Addr::new(10, 77, 0, CAMERAS_HOST),
    }
}

/// Address at which this program reaches a node.
#[must_use]
pub(super) fn control_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, host_of(index))
}

fn host_of(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

/// Why this process cannot have namespaces, or `None` if it can.
#[must_use]
pub fn missing() -> Option<String> {
    if !programs::is_root() {
        return Some("only root may make network namespaces".to_owned());
    }
    let absent: Vec<&str> = ["ip", "iptables", "nft", "nsenter", "tc"]
        .into_iter()
        .filter(|name| !programs::is_installed(name))
        .collect();
    (!absent.is_empty()).then(|| format!("there is no {} (Debian: {DEBIAN})", absent.join(", ")))
}

/// Deletes the namespaces of processes that are gone; returns one message for each.
pub(super) fn clean() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let orphans =
        names.filter(|name| owner::tag_in(name, PREFIX).is_some_and(|tag| !owner::is_alive(tag)));
    let deleted = orphans.filter(|name| programs::run(&["ip", "netns", "del", name]).is_ok());
    deleted
        .map(|name| format!("deleted the namespace {name}, which a run that was killed had left"))
        .collect()
}

impl Namespaces {
    /// # Errors
    /// If one cannot be made; those made before are deleted again.
    pub fn create(nodes: usize) -> Result<Self> {
        if let Some(why) = missing() {
            return Err(Error::CannotRun(why));
        }
        let made = Self {
            unique: owner::unique(),
            nodes,
            slow: BTreeMap::new(),
            lags: BTreeMap::new(),
        };
        made.build()?;
        Ok(made)
    }

    fn build(&self) -> Result<()> {
        let switch = self.switch();
        programs::run(&["ip", "netns", "add", &switch])?;
        for bridge in ["br0", "br1"] {
            let add = [
                "link",
                "add",
                "name",
                bridge,
                "type",
                "bridge",
                "stp_state",
                "0",
                "forward_delay",
                "0",
            ];
            self.ip(&switch, &add)?;
            self.ip(&switch, &["link", "set", bridge, "up"])?;
        }
        for index in 0..self.nodes {
            let name = self.node(index);
            self.host(&name)?;
            self.plug(
                &name,
                "eth0",
                "br0",
                &format!("d{index}"),
                address(Party::Node(index)),
            )?;
            self.plug(
                &name,
                "eth1",
                "br1",
                &format!("c{index}"),
                control_address(index),
            )?;
        }
        self.host(&self.cameras())?;
        self.plug(
            &self.cameras(),
            "eth0",
            "br0",
            "cams",
            address(Party::Cameras),
        )?;
        self.host(&self.runner())?;
        self.plug(
            &self.runner(),
            "eth1",
            "br1",
            "run",
            Ipv4Addr::new(10, 78, 0, RUNNER_HOST),
        )
    }

    fn host(&self, name: &str) -> Result<()> {
        programs::run(&["ip", "netns", "add", name])?;
        self.ip(name, &["link", "set", "lo", "up"])?;
        let table = "add table inet faults; add chain inet faults in { type filter hook input \
                     priority 0; policy accept; }";
        self.nft(name, table)
    }

    fn plug(
        &self,
        name: &str,
        link: &str,
        bridge: &str,
        port: &str,
        address: Ipv4Addr,
    ) -> Result<()> {
        let switch = self.switch();
        self.ip(
            &switch,
            &[
                "link", "add", "name", port, "type", "veth", "peer", "name", link, "netns", name,
            ],
        )?;
        self.ip(&switch, &["link", "set", port, "master", bridge, "up"])?;
        self.ip(
            name,
            &["addr", "add", &format!("{address}/24"), "dev", link],
        )?;
        self.ip(name, &["link", "set", link, "up"])
    }

    fn ip(&self, namespace: &str, words: &[&str]) -> Result<()> {
        programs::run(&[&["ip", "-n", namespace], words].concat()).map(drop)
    }

    fn nft(&self, namespace: &str, script: &str) -> Result<()> {
        let net = format!("--net={}", path(namespace).display());
        programs::feed(&["nsenter", &net, "nft", "-f", "-"], script).map(drop)
    }

    fn switch(&self) -> String {
        format!("{PREFIX}{}-switch", self.unique)
    }

    fn node(&self, index: usize) -> String {
        format!("{PREFIX}{}-node{}", self.unique, index + 1)
    }

    fn cameras(&self) -> String {
        format!("{PREFIX}{}-cameras", self.unique)
    }

    fn runner(&self) -> String {
        format!("{PREFIX}{}-runner", self.unique)
    }

    /// The file of a node's namespace, for `nsenter`.
    #[must_use]
    pub(super) fn node_path(&self, index: usize) -> PathBuf {
        path(&self.node(index))
    }

    #[must_use]
    pub(super) fn cameras_path(&self) -> PathBuf {
        path(&self.cameras())
    }

    #[must_use]
    pub fn runner_path(&self) -> PathBuf {
        path(&self.runner())
    }

    /// Replaces all rules.
    ///
    /// # Errors
    /// If nft rejects them.
    pub(super) fn set_rules(&mut self, rules: &Rules) -> Result<()> {
        let parties = (0..self.nodes).map(Party::Node).chain([Party::Cameras]);
        for receiver in parties {
            let name = match receiver {
                Party::Node(index) => self.node(index),
                Party::Cameras => self.cameras(),
            };
            let about: Vec<(Ipv4Addr, Rule)> = rules
                .iter()
                .filter(|((_, to), _)| *to == receiver)
                .map(|((from, _), rule)| (address(*from), *rule))
                .collect();
            self.hold_up(receiver, &name, delays(&about))?;
            let mut script = "flush chain inet faults in\n".to_owned();
            for (from, rule) in about {
                if let Some(verdict) = verdict(rule) {
                    // Writing to a String cannot fail.
                    let _ = writeln!(script, "add rule inet faults in ip saddr {from} {verdict}");
                }
            }
            self.nft(&name, &script)?;
        }
        Ok(())
    }

    /// Uses iptables: fewer kernels support nft's own `queue`.
    fn hold_up(&mut self, receiver: Party, namespace: &str, delays: Delays) -> Result<()> {
        if !self.lags.contains_key(&receiver) {
            if delays.is_empty() {
                return Ok(());
            }
            let seed = self.lags.len() as u64;
            self.lags
                .insert(receiver, Lag::start(&path(namespace), seed)?);
        }
        self.iptables(namespace, &["--flush", "INPUT"])?;
        for from in delays.keys() {
            let (from, queue) = (from.to_string(), QUEUE.to_string());
            self.iptables(
                namespace,
                &[
                    "--append",
                    "INPUT",
                    "--source",
                    &from,
                    "--jump",
                    "NFQUEUE",
                    "--queue-num",
                    &queue,
                ],
            )?;
        }
        if let Some(lag) = self.lags.get(&receiver) {
            lag.set(delays);
        }
        Ok(())
    }

    fn iptables(&self, namespace: &str, words: &[&str]) -> Result<()> {
        let net = format!("--net={}", path(namespace).display());
        programs::run(&[&["nsenter", &net, "iptables", "--wait"], words].concat()).map(drop)
    }

    /// Limits the nodes' links to this many kbit/s in each direction, for the duration of the
    /// fault.
    ///
    /// # Errors
    /// If tc rejects it.
    pub(super) fn slow_down(&mut self, fault: usize, nodes: &[usize], kbps: u64) -> Result<()> {
        self.slow.insert(fault, (nodes.to_vec(), kbps));
        let rate = format!("{kbps}kbit");
        for &index in nodes {
            for (namespace, link) in self.ends(index) {
                let shape = [
                    "root",
                    "tbf",
                    "rate",
                    &rate,
                    "burst",
                    SLOW_BURST,
                    "latency",
                    SLOW_LATENCY,
                ];
                programs::run(
                    &[
                        &["tc", "-n", &namespace, "qdisc", "replace", "dev", &link],
                        &shape[..],
                    ]
                    .concat(),
                )?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// If tc rejects it.
    pub(super) fn speed_up(&mut self, fault: usize) -> Result<()> {
        let Some((nodes, _)) = self.slow.remove(&fault) else {
            return Ok(());
        };
        for index in nodes {
            for (namespace, link) in self.ends(index) {
                programs::run(&["tc", "-n", &namespace, "qdisc", "del", "dev", &link, "root"])?;
            }
        }
        Ok(())
    }

    fn ends(&self, index: usize) -> [(String, String); 2] {
        [
            (self.node(index), "eth0".to_owned()),
            (self.switch(), format!("d{index}")),
        ]
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.lags.clear();
        let nodes = (0..self.nodes).map(|index| self.node(index));
        for name in nodes
            .chain([self.cameras(), self.runner(), self.switch()])
            .filter(|name| path(name).exists())
        {
            if let Err(error) = programs::run(&["ip", "netns", "del", &name]) {
                eprintln!("the namespace {name} stays behind: {error}");
            }
        }
    }
}

/// Moves the calling thread into a namespace: sockets that it creates from now on belong there.
///
/// # Errors
/// If this process is not permitted to.
pub fn enter(namespace: &Path) -> Result<()> {
    let file = File::open(namespace).map_err(io_error(format!("open {}", namespace.display())))?;
    let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
    moved.map_err(|error| io_error(format!("enter {}", namespace.display()))(error.into()))
}

fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// What nft does with a packet that matches the rule.
fn verdict(rule: Rule) -> Option<String> {
    match rule {
        // nft rejects a comparison that is always true.
        Rule::Drop
        | Rule::Impair(Impairment {
            loss_percent: 100..,
            ..
        }) => Some("drop".to_owned()),
        Rule::Refuse => Some("meta l4proto tcp reject with tcp reset".to_owned()),
        Rule::Impair(Impairment {
            loss_percent: 0, ..
        }) => None,
        Rule::Impair(Impairment { loss_percent, .. }) => {
            Some(format!("numgen random mod 100 < {loss_percent} drop"))
        }
    }
}

fn delays(rules: &[(Ipv4Addr, Rule)]) -> Delays {
    let late = |(from, rule): &(Ipv4Addr, Rule)| match rule {
        Rule::Impair(impairment) if impairment.delays() != (0, 0) => {
            Some((*from, impairment.delays()))
        }
        _ => None,
    };
    rules.iter().filter_map(late).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reaches(namespaces: &Namespaces, from: usize, to: usize) -> bool {
        let net = format!("--net={}", namespaces.node_path(from).display());
        let to = address(Party::Node(to)).to_string();
        // bash's own TCP: no process listens, so a refusal means that packets pass, and a timeout
        // that they do not.
        let dial = format!("exec 3<>/dev/tcp/{to}/9");
        let error =
            programs::run(&["nsenter", &net, "timeout", "1", "bash", "-c", &dial]).unwrap_err();
        error.to_string().contains("refused")
    }

    #[test]
    fn packets_of_one_direction_vanish_and_nothing_stays_behind() {
        if let Some(why) = missing() {
            return eprintln!("LEFT OUT: network namespaces, because {why}");
        }
        let mut namespaces = Namespaces::create(3).unwrap();
        assert!(reaches(&namespaces, 0, 1) && reaches(&namespaces, 1, 0));
        let rules = Rules::from([((Party::Node(0), Party::Node(1)), Rule::Drop)]);
        namespaces.set_rules(&rules).unwrap();
        assert!(!reaches(&namespaces, 0, 1) && reaches(&namespaces, 0, 2));
        namespaces.set_rules(&Rules::new()).unwrap();
        assert!(reaches(&namespaces, 0, 1));
        let late = Rule::Impair(Impairment {
            delay_ms: 300,
            ..Impairment::default()
        });
        namespaces
            .set_rules(&Rules::from([((Party::Node(0), Party::Node(1)), late)]))
            .unwrap();
        let begun = holdfast_node::terminal::clock::monotonic_now();
        assert!(
            reaches(&namespaces, 0, 1) && begun.elapsed() >= Duration::from_millis(300),
            "{:?}",
            begun.elapsed()
        );
        let lost = Rule::Impair(Impairment {
            loss_percent: 100,
            ..Impairment::default()
        });
        namespaces
            .set_rules(&Rules::from([((Party::Node(0), Party::Node(1)), lost)]))
            .unwrap();
        assert!(!reaches(&namespaces, 0, 1));
        let path = namespaces.node_path(0);
        drop(namespaces);
        assert!(!path.exists());
    }
}
