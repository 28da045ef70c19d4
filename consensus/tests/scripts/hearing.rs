//! Runs liveness scripts: node 1 hears (or does not hear) the others while time passes.

use goldenscript::{Command, Context, Runner};
use holdfast_consensus::observe::liveness::{Liveness, Verdict};
use holdfast_storage::ids::NodeId;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(50);

/// Of heartbeats without an explicit sequence.
const SEQUENCE: u64 = 1;

pub(crate) struct Hearing {
    liveness: Liveness,
    now: Duration,
    /// Boot of each node that sends a heartbeat every 250 ms.
    beating: BTreeMap<NodeId, u64>,
}

impl Default for Hearing {
    fn default() -> Self {
        let liveness = Liveness::new(NodeId(1), Duration::ZERO);
        Self {
            liveness,
            now: Duration::ZERO,
            beating: BTreeMap::new(),
        }
    }
}

impl Hearing {
    fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now += TICK;
            self.liveness.tick(self.now);
            if self.now.as_millis().is_multiple_of(250) {
                self.beating.iter().for_each(|(node, boot)| {
                    _ = self.liveness.heartbeat(self.now, *node, *boot, SEQUENCE)
                });
            }
        }
    }

    fn verdicts(&self, nodes: &[NodeId]) -> String {
        let line = |node: &NodeId| match self.liveness.verdict(self.now, *node) {
            Verdict::Suspect { since, why } => {
                format!("{node}: suspect since {} ms, {why:?}\n", since.as_millis())
            }
            verdict => format!("{node}: {verdict:?}\n"),
        };
        nodes.iter().map(line).collect()
    }
}

impl Runner for Hearing {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let boot = args.take_key("boot").map_or(Ok(1), str::parse)?;
        let sequence = args.take_key("sequence").map_or(Ok(SEQUENCE), str::parse)?;
        let mut numbers: Vec<u64> = Vec::new();
        while let Some(number) = args.next_pos() {
            numbers.push(number.parse()?);
        }
        args.reject_next()?;
        let nodes: Vec<NodeId> = numbers.iter().copied().map(NodeId).collect();
        let first = || nodes.first().copied().ok_or("which node?");
        match command.name.as_str() {
            // Time passes as usual.
            "wait" => self.wait(numbers[0]),
            // This process is stopped, or starved, and then continues.
            "stall" => {
                self.now += Duration::from_millis(numbers[0]);
                self.liveness.tick(self.now);
            }
            // The same, but the first event after it is not the tick.
            "sleep" => self.now += Duration::from_millis(numbers[0]),
            "beats" => nodes
                .iter()
                .for_each(|node| _ = self.beating.insert(*node, boot)),
            "falls-silent" => nodes.iter().for_each(|node| _ = self.beating.remove(node)),
            "heartbeat" => {
                return Ok(format!(
                    "{:?}",
                    self.liveness.heartbeat(self.now, first()?, boot, sequence)
                ));
            }
            "refused" => self.liveness.refused(self.now, first()?),
            "leader-changed" => self.liveness.leader_changed(self.now),
            "ended" => return Ok(format!("{:?}", self.liveness.ended())),
            "verdicts" => return Ok(self.verdicts(&nodes)),
            name => return Err(format!("unknown command {name}").into()),
        }
        Ok(String::new())
    }
}
