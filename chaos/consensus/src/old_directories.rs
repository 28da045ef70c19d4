//! Data directories that are put back to an earlier state, and copies of them, while every node
//! that could know is reachable.
//!
//! The exact promise: an acknowledged change is never undone if, when a node whose directory was
//! put back starts, it can reach a node that has a record of what it has confirmed since. So the
//! simulation causes no other faults during that time. Before and after, faults continue as usual,
//! and the node stays fenced until an operator removes it at the end.

#![expect(clippy::disallowed_methods, reason = "simulated time")]

use super::invariants::Seen;
use super::node::{COPIES_FROM, Node, name_of};
use super::world::World;
use holdfast_consensus::command::Command;
use holdfast_consensus::identity::Standing;
use holdfast_consensus::model::Actor;
use holdfast_consensus::{Consensus, Issued, Joined};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Longer than any fault lasts: by then the cluster agrees, and every node has reported its
/// progress.
const QUIET: Duration = Duration::from_secs(21);
/// Within this time a started node has asked all others.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (
            entry
                .as_ref()
                .map_err(|error| io::Error::other(error.to_string()))?,
            to,
        );
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn is_fenced(consensus: &Consensus) -> bool {
    matches!(
        *consensus.identity().standing().borrow(),
        Standing::Fenced(_)
    )
}

impl World {
    pub(super) fn has_fenced(&self) -> bool {
        let wires = self.site.wires.lock();
        wires
            .running
            .iter()
            .any(|(number, life)| *number < COPIES_FROM && is_fenced(&life.consensus))
    }

    /// Ends all faults and waits for [`QUIET`]. Returns whether all nodes then run, none is fenced,
    /// and at least three vote.
    async fn calm(&mut self) -> bool {
        self.power
            .values()
            .for_each(|power| _ = power.send_replace(true));
        self.site.wires.heal(self.delay_max);
        sleep(QUIET).await;
        let wires = self.site.wires.lock();
        let leader = wires
            .running
            .values()
            .find(|life| life.consensus.leader() == Some(life.consensus.node()));
        let voters = leader.map_or(0, |life| life.consensus.leadership().borrow().voters.len());
        let is_whole = wires.running.len() == self.power.len();
        voters >= 3
            && is_whole
            && wires.running.values().all(|life| {
                life.consensus
                    .identity()
                    .standing()
                    .borrow()
                    .eq(&Standing::Member)
            })
    }

    pub(super) async fn put_back(&mut self) {
        let node = self.some_node();
        if !self.calm().await {
            return;
        }
        let (dir, before) = (
            self.site.dir.join(name_of(node)),
            self.site.dir.join(format!("before-{node}")),
        );
        self.site
            .history
            .fault(&format!("a copy of node {node}'s directory is made"));
        if let Err(error) = copy(&dir, &before) {
            return self
                .site
                .history
                .fail("directories can be copied", &error.to_string());
        }
        sleep(Duration::from_millis(self.random.within(100..8_000))).await;
        if !self.calm().await {
            return;
        }
        let Some(power) = self.power.get(&node).cloned() else {
            return;
        };
        power.send_replace(false);
        while self.consensus(node).is_some() {
            sleep(Duration::from_millis(100)).await;
        }
        // Until its disk is released.
        sleep(Duration::from_secs(2)).await;
        self.site.history.see(&Seen::PutBack { node });
        let put = fs::remove_dir_all(&dir)
            .and_then(|()| copy(&before, &dir))
            .and_then(|()| fs::remove_dir_all(&before));
        if let Err(error) = put {
            return self
                .site
                .history
                .fail("directories can be copied", &error.to_string());
        }
        self.site.wires.heal(self.delay_max);
        power.send_replace(true);
        sleep(ASKED_WITHIN).await;
    }

    pub(super) async fn copy(&mut self) {
        let node = self.some_node();
        if !self.calm().await {
            return;
        }
        let Some(original) = self.consensus(node) else {
            return;
        };
        let number = COPIES_FROM + node;
        if self.copies.contains_key(&number) {
            return;
        }
        self.site
            .history
            .fault(&format!("a copy of node {node} runs"));
        if let Err(error) = copy(
            &self.site.dir.join(name_of(node)),
            &self.site.dir.join(name_of(number)),
        ) {
            return self
                .site
                .history
                .fail("directories can be copied", &error.to_string());
        }
        self.site.history.see(&Seen::PutBack { node: number });
        let (power, has_power) = watch::channel(true);
        let generation = original.identity().generation();
        let copy_of = Some(Joined {
            node: original.node(),
            cluster: original.cluster(),
            generation,
            issued: Issued::default(),
        });
        let copy = Node {
            number,
            site: self.site.clone(),
            random: self.random.fork(),
            power: has_power,
            copy_of,
        };
        self.tasks.spawn(copy.run());
        sleep(ASKED_WITHIN).await;
        let is_twin = self
            .consensus(number)
            .is_some_and(|copy| copy.identity().standing().borrow().is_twin());
        if !is_twin {
            self.site.history.fail(
                "a copy is found out",
                &format!("the copy of node {node} is not fenced"),
            );
        }
        power.send_replace(false);
        self.copies.insert(number, power);
        while self.consensus(number).is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Removes the fenced node, as an operator would; no node takes its place.
    pub(super) async fn remove_fenced(&mut self, give_up_at: Instant) {
        loop {
            let fenced = {
                let wires = self.site.wires.lock();
                let fenced = wires
                    .running
                    .iter()
                    .find(|(_, life)| is_fenced(&life.consensus));
                fenced.map(|(number, life)| (*number, life.consensus.node()))
            };
            let Some((number, id)) = fenced.filter(|_| Instant::now() < give_up_at) else {
                return;
            };
            if self.remove_by_any(number, id).await {
                self.power
                    .remove(&number)
                    .map(|power| power.send_replace(false));
                while self.consensus(number).is_some() {
                    sleep(Duration::from_millis(100)).await;
                }
            } else {
                sleep(Duration::from_millis(500)).await;
            }
        }
    }

    async fn remove_by_any(&self, but: u64, node: NodeId) -> bool {
        let others: Vec<u64> = self
            .power
            .keys()
            .copied()
            .filter(|other| *other != but)
            .collect();
        for other in others {
            let Some(consensus) = self.consensus(other) else {
                continue;
            };
            let remove = Command::RemoveNode { node, force: true }.by(Actor::System, Timestamp(1));
            let written = timeout(Duration::from_secs(5), consensus.write(remove)).await;
            if written.is_ok_and(|written| written.is_ok()) || consensus.state().has_left(node) {
                return true;
            }
        }
        false
    }
}
