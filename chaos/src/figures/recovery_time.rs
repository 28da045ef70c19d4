//! How long the cluster took to recover fully, from the reports of its nodes; as exact as the
//! watchers' polling interval of half a second. Pure.

use crate::history::{Event, What};
use std::collections::BTreeMap;

/// The latest report of each node.
#[derive(Default)]
struct Reports<'a> {
    answers: BTreeMap<&'a str, bool>,
    /// By reporter and node.
    alive: BTreeMap<(&'a str, &'a str), bool>,
    /// By reporter and camera: its owner, unless a move is under way.
    owners: BTreeMap<(&'a str, &'a str), Option<&'a str>>,
    /// By reporter and camera: its recorder, if it has one that records.
    recorders: BTreeMap<(&'a str, &'a str), Option<&'a str>>,
}

/// The longest time, in milliseconds, from the end of a fault until all nodes reported that every
/// node is alive and that each camera's owner records it. Ignores a fault if another one began
/// before the cluster recovered; `None` if no fault is left.
#[must_use]
pub(crate) fn after_ms(events: &[Event]) -> Option<u64> {
    let mut reports = Reports::default();
    let mut ended_us = None;
    let mut longest = None;
    for event in events {
        match &event.what {
            What::FaultOn { .. } => ended_us = None,
            What::FaultOff { .. } => ended_us = Some(event.at_us),
            what => reports.take(what),
        }
        if reports.is_whole()
            && let Some(ended_us) = ended_us.take()
        {
            longest = longest.max(u64::try_from((event.at_us - ended_us) / 1000).ok());
        }
    }
    longest
}

impl<'a> Reports<'a> {
    fn take(&mut self, what: &'a What) {
        match what {
            What::Answers { reported_by, yes } => _ = self.answers.insert(reported_by, *yes),
            What::Alive {
                reported_by,
                node,
                yes,
            } => _ = self.alive.insert((reported_by, node), *yes),
            What::Assignment {
                reported_by,
                camera,
                owner,
                moving_to,
                ..
            } => {
                let owner = owner.as_deref().filter(|_| moving_to.is_none());
                self.owners.insert((reported_by, camera), owner);
            }
            What::Recorder {
                reported_by,
                camera,
                node,
                state,
                ..
            } => {
                let node = node
                    .as_deref()
                    .filter(|_| state.as_deref() == Some("recording"));
                self.recorders.insert((reported_by, camera), node);
            }
            _ => {}
        }
    }

    fn is_whole(&self) -> bool {
        let is_recorded = |(key, owner): (&(&str, &str), &Option<&str>)| {
            owner.is_some()
                && self
                    .recorders
                    .get(key)
                    .is_some_and(|recorder| recorder == owner)
        };
        !self.owners.is_empty()
            && self
                .answers
                .values()
                .chain(self.alive.values())
                .all(|yes| *yes)
            && self.owners.iter().all(is_recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(what: Vec<(i64, What)>) -> Vec<Event> {
        what.into_iter()
            .map(|(ms, what)| Event {
                at_us: ms * 1000,
                what,
            })
            .collect()
    }

    fn answers(yes: bool) -> What {
        What::Answers {
            reported_by: "node1".to_owned(),
            yes,
        }
    }

    fn owner(owner: &str, moving_to: Option<&str>) -> What {
        What::Assignment {
            reported_by: "node1".to_owned(),
            camera: "cam01".to_owned(),
            epoch: 1,
            owner: Some(owner.to_owned()),
            mirror: None,
            successor: None,
            moving_to: moving_to.map(str::to_owned),
        }
    }

    fn recorder(node: &str, state: &str) -> What {
        What::Recorder {
            reported_by: "node1".to_owned(),
            camera: "cam01".to_owned(),
            node: Some(node.to_owned()),
            state: Some(state.to_owned()),
            error: None,
        }
    }

    fn on() -> What {
        What::FaultOn {
            fault: 0,
            action: "kill".to_owned(),
            nodes: Vec::new(),
            cameras: Vec::new(),
            affected: Vec::new(),
        }
    }

    fn off() -> What {
        What::FaultOff {
            fault: 0,
            action: "kill".to_owned(),
        }
    }

    #[test]
    fn it_is_whole_when_everyone_answers_and_each_owner_records() {
        let mut what = vec![
            (0, answers(true)),
            (0, owner("node1", None)),
            (0, recorder("node1", "recording")),
        ];
        what.extend([(10, on()), (15, answers(false)), (20, off())]);
        assert_eq!(
            after_ms(&events(what.clone())),
            None,
            "it does not come to that"
        );
        what.extend([(500, answers(true)), (900, on()), (1000, off())]);
        assert_eq!(
            after_ms(&events(what.clone())),
            Some(480),
            "the second fault changed nothing"
        );
        what.extend([
            (1100, recorder("node2", "recording")),
            (2000, on()),
            (2100, off()),
        ]);
        what.push((2400, owner("node2", Some("node1"))));
        what.push((2700, owner("node2", None)));
        assert_eq!(
            after_ms(&events(what.clone())),
            Some(600),
            "moves are awaited, and another than the owner is not it"
        );
        what.extend([(3000, recorder("node2", "failing")), (3000, off())]);
        assert_eq!(after_ms(&events(what)), Some(600));
    }
}
