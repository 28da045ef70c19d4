//! Finds the targets of a fault, from the state of the cluster at that moment. Pure.

use crate::scenario::{ActionName, Fault, Target};
use crate::stage::Hit;
use holdfast_storage::random::Random;
use std::collections::BTreeMap;

/// State of the cluster, as it reports it; nodes are named by their index on the stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) leader: Option<usize>,
    /// Running nodes that record.
    pub(super) recorders: Vec<usize>,
    pub(super) nodes: usize,
    pub(super) cameras: BTreeMap<String, ViewCamera>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ViewCamera {
    pub(super) number: u32,
    pub(super) owner: Option<usize>,
    pub(super) mirror: Option<usize>,
    pub(super) successor: Option<usize>,
    /// The recorder that the cluster knows of.
    pub(super) recorder: Option<usize>,
}

impl ViewCamera {
    fn is_recorded_by(&self, node: usize) -> bool {
        [self.owner, self.mirror, self.recorder].contains(&Some(node))
    }
}

impl View {
    /// # Errors
    /// Why the fault has no target.
    pub(super) fn aim(
        &self,
        fault: &Fault,
        random: &mut Random,
        before: &Hit,
    ) -> Result<Hit, String> {
        let Some(target) = &fault.target else {
            return Ok(Hit::default());
        };
        if target.is_of_cameras() {
            return Ok(Hit {
                cameras: self.cameras_of(target, random)?,
                ..Hit::default()
            });
        }
        let to = match &fault.to {
            Some(to) => self.nodes_of(to, random, before)?,
            None => Vec::new(),
        };
        Ok(Hit {
            nodes: self.nodes_of(target, random, before)?,
            to,
            cameras: Vec::new(),
        })
    }

    /// Names of the cameras that a fault touches: a rolling restart touches those of all nodes.
    pub(super) fn affected(&self, action: ActionName, hit: &Hit) -> Vec<String> {
        let is_touched = |camera: &ViewCamera| {
            action == ActionName::RollingRestart
                || hit.cameras.contains(&camera.number)
                || hit.nodes.iter().any(|&node| camera.is_recorded_by(node))
        };
        self.cameras
            .iter()
            .filter(|(_, camera)| is_touched(camera))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn nodes_of(
        &self,
        target: &Target,
        random: &mut Random,
        before: &Hit,
    ) -> Result<Vec<usize>, String> {
        let one = |found: Option<usize>| {
            found
                .map(|node| vec![node])
                .ok_or_else(|| format!("there is no {target}"))
        };
        match target {
            Target::Leader => one(self.leader),
            Target::Follower => one(self.busiest_follower()),
            Target::Any => one(any(random, &self.recorders)),
            Target::All => Ok((0..self.nodes).collect()),
            Target::Same if before.nodes.is_empty() => {
                Err("no fault before it hit a node".to_owned())
            }
            Target::Same => Ok(before.nodes.clone()),
            Target::Node(number) => one((*number <= self.nodes).then(|| number - 1)),
            Target::OwnerOf(name) => one(self.camera(name)?.owner),
            Target::MirrorOf(name) => one(self.camera(name)?.mirror),
            Target::SuccessorOf(name) => one(self.camera(name)?.successor),
            Target::Camera(_) | Target::AnyCamera | Target::AllCameras => {
                Err(format!("{target} is no node"))
            }
        }
    }

    fn cameras_of(&self, target: &Target, random: &mut Random) -> Result<Vec<u32>, String> {
        let all: Vec<u32> = self.cameras.values().map(|camera| camera.number).collect();
        match target {
            Target::Camera(name) => Ok(vec![self.camera(name)?.number]),
            Target::AnyCamera => any(random, &all)
                .map(|number| vec![number])
                .ok_or_else(|| "no camera".to_owned()),
            _ => Ok(all),
        }
    }

    fn camera(&self, name: &str) -> Result<&ViewCamera, String> {
        self.cameras
            .get(name)
            .ok_or_else(|| format!("the cluster has no camera {name}"))
    }

    fn busiest_follower(&self) -> Option<usize> {
        let owned = |node: usize| {
            self.cameras
                .values()
                .filter(|camera| camera.owner == Some(node))
                .count()
        };
        let followers = self
            .recorders
            .iter()
            .copied()
            .filter(|node| Some(*node) != self.leader);
        // The first of equals: `max_by_key` alone would return the last.
        followers.rev().max_by_key(|node| owned(*node))
    }
}

fn any<T: Copy>(random: &mut Random, list: &[T]) -> Option<T> {
    (!list.is_empty()).then(|| *random.pick(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let camera = |number, owner, successor| ViewCamera {
            number,
            owner: Some(owner),
            recorder: Some(owner),
            successor: Some(successor),
            mirror: None,
        };
        let cameras = [
            ("cam01", camera(1, 0, 1)),
            ("cam02", camera(2, 2, 1)),
            ("cam03", camera(3, 2, 0)),
        ];
        let cameras = cameras
            .into_iter()
            .map(|(name, camera)| (name.to_owned(), camera))
            .collect();
        View {
            leader: Some(0),
            recorders: vec![0, 1, 2],
            nodes: 4,
            cameras,
        }
    }

    fn aim(target: &str) -> Result<Vec<usize>, String> {
        let fault = Fault {
            target: Some(target.parse()?),
            ..Fault::new(ActionName::Kill, 0.0)
        };
        let before = Hit {
            nodes: vec![1],
            ..Hit::default()
        };
        view()
            .aim(&fault, &mut Random::new(1), &before)
            .map(|hit| hit.nodes)
    }

    #[test]
    fn nodes_are_found_by_their_part() {
        for (target, nodes) in [
            ("leader", vec![0]),
            ("follower", vec![2]),
            ("all", vec![0, 1, 2, 3]),
            ("same", vec![1]),
            ("node4", vec![3]),
            ("owner-of:cam02", vec![2]),
            ("successor-of:cam03", vec![0]),
        ] {
            assert_eq!(aim(target), Ok(nodes), "{target}");
        }
        assert!(aim("any").is_ok_and(|nodes| nodes.len() == 1 && nodes[0] < 3));
        assert!(
            aim("mirror-of:cam01").is_err()
                && aim("owner-of:cam09").is_err()
                && aim("node5").is_err()
        );
    }

    #[test]
    fn the_cameras_of_the_hit_nodes_are_affected() {
        let hit = Hit {
            nodes: vec![2],
            ..Hit::default()
        };
        assert_eq!(view().affected(ActionName::Kill, &hit), ["cam02", "cam03"]);
        assert_eq!(
            view()
                .affected(ActionName::RollingRestart, &Hit::default())
                .len(),
            3
        );
        let camera = Hit {
            cameras: vec![1],
            ..Hit::default()
        };
        assert_eq!(view().affected(ActionName::CameraStall, &camera), ["cam01"]);
    }
}
