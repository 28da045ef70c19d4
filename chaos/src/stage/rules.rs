//! What a network fault does to each direction between two parties. Pure: proxies and namespaces
//! carry it out.

use crate::scenario::Action;
use std::collections::BTreeMap;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// By index, from 0.
    Node(usize),
    Cameras,
}

/// How packets from one party to another are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Packets vanish; connections stay open.
    Drop,
    /// Existing connections are reset, and new ones too.
    Refuse,
    Impair(Impairment),
}

/// How each packet is impaired by itself; proxies support only the delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Impairment {
    /// Percentage of lost packets.
    pub(super) loss_percent: u32,
    pub(super) delay_ms: u64,
    /// The most that a delay differs from `delay_ms`.
    pub(super) jitter_ms: u64,
}

impl Impairment {
    /// In milliseconds: least, most.
    pub(super) fn delays(self) -> (u64, u64) {
        (
            self.delay_ms.saturating_sub(self.jitter_ms),
            self.delay_ms + self.jitter_ms,
        )
    }

    /// Combines two impairments: one fault may bring loss, another one delay.
    fn and(self, other: Self) -> Self {
        Self {
            loss_percent: self.loss_percent.max(other.loss_percent),
            delay_ms: self.delay_ms.max(other.delay_ms),
            jitter_ms: self.jitter_ms.max(other.jitter_ms),
        }
    }
}

/// Rules by direction: from, to.
pub(super) type Rules = BTreeMap<(Party, Party), Rule>;

/// The faults that hold now, each with its own rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Active(BTreeMap<usize, Rules>);

impl Active {
    pub(super) fn begin(&mut self, fault: usize, rules: Rules) {
        self.0.insert(fault, rules);
    }

    pub(super) fn end(&mut self, fault: usize) {
        self.0.remove(&fault);
    }

    /// If a direction has several rules, the one that began last applies; impairments add up.
    #[must_use]
    pub(super) fn rules(&self) -> Rules {
        let mut rules = Rules::new();
        for (direction, rule) in self.0.values().flatten() {
            let joint = match (rules.get(direction), rule) {
                (Some(Rule::Impair(before)), Rule::Impair(now)) => Rule::Impair(before.and(*now)),
                _ => *rule,
            };
            rules.insert(*direction, joint);
        }
        rules
    }
}

/// The directions that the action impairs when it hits `hit`, of `nodes` nodes; `to` as in
/// `one-way`.
#[must_use]
pub(super) fn rules_of(action: &Action, hit: &[usize], to: &[usize], nodes: usize) -> Rules {
    let others = |of: usize| (0..nodes).filter(move |&node| node != of).map(Party::Node);
    let mut rules = Rules::new();
    for &node in hit {
        let me = Party::Node(node);
        match action {
            Action::Isolate => both_ways(
                &mut rules,
                me,
                others(node).chain([Party::Cameras]),
                Rule::Drop,
            ),
            Action::Cut => both_ways(
                &mut rules,
                me,
                others(node).chain([Party::Cameras]),
                Rule::Refuse,
            ),
            Action::CameraPath => both_ways(&mut rules, me, [Party::Cameras], Rule::Drop),
            Action::Split => {
                let beyond =
                    others(node).filter(|other| !hit.iter().any(|&own| *other == Party::Node(own)));
                both_ways(&mut rules, me, beyond, Rule::Drop);
            }
            Action::Loss { percent } => {
                let impairment = Impairment {
                    loss_percent: *percent,
                    ..Impairment::default()
                };
                both_ways(&mut rules, me, others(node), Rule::Impair(impairment));
            }
            Action::Delay { ms, jitter_ms } => {
                let impairment = Impairment {
                    delay_ms: *ms,
                    jitter_ms: *jitter_ms,
                    ..Impairment::default()
                };
                both_ways(&mut rules, me, others(node), Rule::Impair(impairment));
            }
            Action::OneWay { .. } => {
                let deaf = to.iter().filter(|&&other| other != node);
                rules.extend(deaf.map(|&other| ((me, Party::Node(other)), Rule::Drop)));
            }
            _ => {}
        }
    }
    rules
}

fn both_ways(rules: &mut Rules, me: Party, others: impl IntoIterator<Item = Party>, rule: Rule) {
    for other in others {
        rules.insert((me, other), rule);
        rules.insert((other, me), rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Target;

    fn directions(action: &Action, hit: &[usize], to: &[usize]) -> Vec<String> {
        let name = |party| match party {
            Party::Node(index) => format!("{index}"),
            Party::Cameras => "c".to_owned(),
        };
        rules_of(action, hit, to, 3)
            .into_keys()
            .map(|(from, to)| name(from) + &name(to))
            .collect()
    }

    #[test]
    fn each_fault_spoils_its_directions() {
        assert_eq!(
            directions(&Action::Isolate, &[1], &[]),
            ["01", "10", "12", "1c", "21", "c1"]
        );
        assert_eq!(directions(&Action::CameraPath, &[1], &[]), ["1c", "c1"]);
        assert_eq!(
            directions(&Action::Split, &[0, 1], &[]),
            ["02", "12", "20", "21"]
        );
        assert_eq!(
            directions(&Action::OneWay { to: Target::All }, &[0], &[0, 1, 2]),
            ["01", "02"]
        );
        assert_eq!(
            directions(&Action::Loss { percent: 5 }, &[0, 1, 2], &[]).len(),
            6
        );
    }

    #[test]
    fn loss_and_delay_of_two_faults_hold_together() {
        let mut active = Active::default();
        active.begin(1, rules_of(&Action::Loss { percent: 20 }, &[0], &[], 2));
        active.begin(
            2,
            rules_of(
                &Action::Delay {
                    ms: 150,
                    jitter_ms: 50,
                },
                &[0],
                &[],
                2,
            ),
        );
        let both = Rule::Impair(Impairment {
            loss_percent: 20,
            delay_ms: 150,
            jitter_ms: 50,
        });
        assert_eq!(
            active.rules().into_values().collect::<Vec<_>>(),
            [both, both]
        );
        active.end(1);
        let delay = Rule::Impair(Impairment {
            loss_percent: 0,
            delay_ms: 150,
            jitter_ms: 50,
        });
        assert_eq!(
            active.rules().into_values().collect::<Vec<_>>(),
            [delay, delay]
        );
    }

    #[test]
    fn what_ends_takes_only_its_own_rules() {
        let mut active = Active::default();
        active.begin(1, rules_of(&Action::CameraPath, &[0], &[], 3));
        active.begin(2, rules_of(&Action::Isolate, &[0], &[], 3));
        active.end(2);
        assert_eq!(active.rules(), rules_of(&Action::CameraPath, &[0], &[], 3));
    }
}
