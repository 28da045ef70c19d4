//! Compares memory and open files of the nodes early and late in the run, to show whether they
//! grow. Pure.

use crate::figures::median;
use crate::history::{Event, What};
use serde::{Deserialize, Serialize};

/// Medians over the first and the last third of the run, and the maximum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUse {
    pub node: String,
    pub resident_mib: Use,
    pub descriptors: Use,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub early: u64,
    pub late: u64,
    pub most: u64,
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { early, late, most } = self;
        write!(f, "{early} early, {late} late, {most} at most")
    }
}

/// For the nodes that were sampled, sorted by name.
#[must_use]
pub fn of(events: &[Event], (from_us, to_us): (i64, i64)) -> Vec<NodeUse> {
    let mut nodes: Vec<&str> = events
        .iter()
        .filter_map(|event| Some(look(event)?.0))
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    let third = (to_us - from_us) / 3;
    let of_node = |node: &str| {
        let looks = |from: i64, to: i64| {
            let within = events
                .iter()
                .filter(move |event| (from..=to).contains(&event.at_us));
            within.filter_map(look).filter(|(of, ..)| *of == node)
        };
        let of = |value: fn((&str, u64, u64)) -> u64| Use {
            early: median(looks(from_us, from_us + third).map(value).collect()).unwrap_or(0),
            late: median(looks(to_us - third, to_us).map(value).collect()).unwrap_or(0),
            most: looks(from_us, to_us).map(value).max().unwrap_or(0),
        };
        NodeUse {
            node: node.to_owned(),
            resident_mib: of(|look| look.1 >> 10),
            descriptors: of(|look| look.2),
        }
    };
    nodes.into_iter().map(of_node).collect()
}

/// Node, resident KiB, descriptors.
fn look(event: &Event) -> Option<(&str, u64, u64)> {
    match &event.what {
        What::Process {
            node,
            resident_kib,
            descriptors,
        } => Some((node, *resident_kib, *descriptors)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_seen() {
        let look = |at_us: i64, node: &str, mib: u64, descriptors: u64| {
            let node = node.to_owned();
            Event {
                at_us,
                what: What::Process {
                    node,
                    resident_kib: mib << 10,
                    descriptors,
                },
            }
        };
        let events = [
            look(0, "n1", 50, 20),
            look(1, "n2", 40, 10),
            look(50, "n1", 90, 70),
            look(99, "n1", 80, 60),
        ];
        let uses = of(&events, (0, 99));
        assert_eq!(
            uses.iter().map(|of| of.node.as_str()).collect::<Vec<_>>(),
            ["n1", "n2"]
        );
        assert_eq!(
            uses[0].resident_mib,
            Use {
                early: 50,
                late: 80,
                most: 90
            }
        );
        assert_eq!(
            uses[0].descriptors,
            Use {
                early: 20,
                late: 60,
                most: 70
            }
        );
    }
}
