//! Limits of `[expect]` on the effects of hostile cameras on the others: lag, silence, memory,
//! sockets.

use super::{Outcome, broken};
use crate::evidence::{Evidence, FaultSpan};
use crate::history::What;
use crate::scenario::Expect;

const KIB_PER_MIB: u64 = 1024;

/// A hostile camera counts its sockets every 100 ms, and the run polls the count every 50 ms.
const COUNTING_MS: u64 = 150;

/// One check for each threshold that is set.
pub(super) fn check(evidence: &Evidence) -> Vec<(String, Outcome)> {
    let Expect {
        behind_ms_max,
        suspicions_max,
        hostile_memory_mib_max,
        hostile_memory_left_mib_max,
        hostile_closed_within_ms,
        ..
    } = &evidence.expect;
    let checks = [
        behind_ms_max.map(|limit| ("behind_ms_max", behind(evidence, limit))),
        suspicions_max.map(|limit| ("suspicions_max", suspicions(evidence, limit))),
        hostile_memory_mib_max.map(|limit| ("hostile_memory_mib_max", grown(evidence, limit))),
        hostile_memory_left_mib_max
            .map(|limit| ("hostile_memory_left_mib_max", left(evidence, limit))),
        hostile_closed_within_ms.map(|limit| ("hostile_closed_within_ms", closed(evidence, limit))),
    ];
    checks
        .into_iter()
        .flatten()
        .map(|(name, outcome)| (name.to_owned(), outcome))
        .collect()
}

/// How far any camera was behind durable, as its own recorder reported.
fn behind(evidence: &Evidence, limit_ms: u64) -> Outcome {
    let (mut worst, mut offences) = (0, Vec::new());
    for event in &evidence.events {
        let What::Watermarks { reported_by, marks } = &event.what else {
            continue;
        };
        for (camera, mark) in marks
            .iter()
            .filter(|(_, mark)| mark.is_recording && mark.node == *reported_by)
        {
            let ms = u64::try_from((event.at_us - mark.watermark_us) / 1000).unwrap_or(0);
            worst = worst.max(ms);
            if ms > limit_ms {
                offences.push((
                    format!("{camera} is {ms} ms behind durable on {reported_by}"),
                    Some(event.at_us),
                ));
            }
        }
    }
    broken(offences, || format!("at most {worst} ms, of {limit_ms} ms"))
}

/// How often a node that no fault held was reported silent, or did not answer.
fn suspicions(evidence: &Evidence, limit: u64) -> Outcome {
    let is_held = |node: &str, at_us: i64| {
        let mut faults = evidence
            .faults
            .iter()
            .filter(|fault| fault.nodes.iter().any(|hit| hit == node));
        faults
            .any(|fault| fault.on_us <= at_us && fault.off_us.is_none_or(|off_us| at_us <= off_us))
    };
    let seen = evidence.events.iter().filter_map(|event| {
        let (node, text) = match &event.what {
            What::Alive {
                reported_by,
                node,
                yes: false,
            } => (node, format!("{reported_by} says that {node} is silent")),
            What::Answers {
                reported_by,
                yes: false,
            } => (reported_by, format!("{reported_by} does not answer")),
            _ => return None,
        };
        (!is_held(node, event.at_us)).then_some((text, Some(event.at_us)))
    });
    let seen: Vec<_> = seen.collect();
    if seen.len() as u64 <= limit {
        return Outcome::Holds(format!("{} times, at most {limit}", seen.len()));
    }
    broken(seen, String::new)
}

/// How much a node's memory grew with each hostile camera.
fn grown(evidence: &Evidence, limit_mib: u64) -> Outcome {
    let (mut worst, mut offences) = (0, Vec::new());
    for fault in hostile(evidence) {
        for node in &evidence.nodes {
            let Some(before) = memory(evidence, &node.name, i64::MIN, fault.on_us)
                .last()
                .copied()
            else {
                continue;
            };
            let during = memory(
                evidence,
                &node.name,
                fault.on_us,
                fault.off_us.unwrap_or(i64::MAX),
            );
            let most = during.into_iter().max().unwrap_or(before);
            let each =
                most.saturating_sub(before) / KIB_PER_MIB / (fault.cameras.len() as u64).max(1);
            worst = worst.max(each);
            if each > limit_mib {
                let text = format!(
                    "{}: {} takes {each} MiB more for each",
                    fault.cameras.join(" "),
                    node.name
                );
                offences.push((text, Some(fault.on_us)));
            }
        }
    }
    broken(offences, || {
        format!("at most {worst} MiB a hostile camera, of {limit_mib} MiB")
    })
}

/// How much more memory a node holds at the end than before the first hostile camera.
fn left(evidence: &Evidence, limit_mib: u64) -> Outcome {
    let Some(first_us) = hostile(evidence).map(|fault| fault.on_us).min() else {
        return Outcome::NotJudged("there was no hostile camera".to_owned());
    };
    let (mut worst, mut offences) = (0, Vec::new());
    for node in &evidence.nodes {
        let before = memory(evidence, &node.name, i64::MIN, first_us)
            .last()
            .copied();
        let after = memory(evidence, &node.name, first_us, i64::MAX)
            .last()
            .copied();
        let Some((before, after)) = before.zip(after) else {
            continue;
        };
        let mib = after.saturating_sub(before) / KIB_PER_MIB;
        worst = worst.max(mib);
        if mib > limit_mib {
            offences.push((
                format!("{} holds {mib} MiB more than before", node.name),
                None,
            ));
        }
    }
    broken(offences, || {
        format!("at most {worst} MiB, of {limit_mib} MiB")
    })
}

/// How long a hostile camera's sockets stayed open after its deletion.
fn closed(evidence: &Evidence, limit_ms: u64) -> Outcome {
    let (mut worst, mut offences) = (0, Vec::new());
    for event in &evidence.events {
        let What::HostileGone {
            camera,
            closed_after_ms,
            strayed,
            accepted,
            ..
        } = &event.what
        else {
            continue;
        };
        match closed_after_ms {
            Some(ms) if *ms <= limit_ms + COUNTING_MS => worst = worst.max(*ms),
            Some(ms) => offences.push((
                format!("{camera}: its sockets were open for {ms} ms"),
                Some(event.at_us),
            )),
            None => offences.push((
                format!("{camera}: its sockets stay open"),
                Some(event.at_us),
            )),
        }
        if *accepted == 0 {
            offences.push((
                format!("{camera}: no node came, so it proves nothing"),
                Some(event.at_us),
            ));
        }
        if *strayed > 0 {
            offences.push((
                format!("{camera}: {strayed} connections to a host that it named"),
                Some(event.at_us),
            ));
        }
    }
    broken(offences, || {
        format!("after {worst} ms at most, of {limit_ms} ms")
    })
}

fn hostile(evidence: &Evidence) -> impl Iterator<Item = &FaultSpan> {
    evidence
        .faults
        .iter()
        .filter(|fault| fault.action.starts_with("hostile-camera"))
}

/// Resident memory of a node between two instants, in KiB.
fn memory(evidence: &Evidence, name: &str, from_us: i64, to_us: i64) -> Vec<u64> {
    let within = evidence
        .events
        .iter()
        .filter(|event| (from_us..=to_us).contains(&event.at_us));
    let of_node = within.filter_map(|event| match &event.what {
        What::Process {
            node, resident_kib, ..
        } if node == name => Some(*resident_kib),
        _ => None,
    });
    of_node.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Event, Mark};
    use crate::invariants::tests::evidence;
    use std::collections::BTreeMap;

    const SECOND_US: i64 = 1_000_000;

    fn add(evidence: &mut Evidence, second: i64, what: What) {
        evidence.events.push(Event {
            at_us: second * SECOND_US,
            what,
        });
    }

    fn holds(evidence: &mut Evidence, resident_mib: &[(i64, u64)]) {
        for &(second, mib) in resident_mib {
            let what = What::Process {
                node: "node1".to_owned(),
                resident_kib: mib << 10,
                descriptors: 9,
            };
            add(evidence, second, what);
        }
    }

    /// Two hostile cameras from second 10 to 20.
    fn gallery(expect: Expect) -> Evidence {
        let mut evidence = evidence(10, 0..0);
        evidence.events.clear();
        evidence.faults = vec![FaultSpan {
            fault: 0,
            action: "hostile-camera, 2 at once".to_owned(),
            nodes: Vec::new(),
            cameras: vec!["hostile-noise".to_owned(), "hostile-rtcp-flood".to_owned()],
            affected: Vec::new(),
            on_us: 10 * SECOND_US,
            off_us: Some(20 * SECOND_US),
        }];
        evidence.expect = expect;
        evidence
    }

    fn only(evidence: &Evidence) -> Outcome {
        let mut checks = check(evidence);
        assert_eq!(
            checks.len(),
            1,
            "each threshold is judged where it is set: {checks:?}"
        );
        checks.remove(0).1
    }

    fn is_broken(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Broken { .. })
    }

    #[test]
    fn memory_counts_for_each_camera_while_it_is_there() {
        let mut seen = gallery(Expect {
            hostile_memory_mib_max: Some(64),
            ..Expect::default()
        });
        holds(&mut seen, &[(1, 300), (9, 80), (12, 200), (25, 900)]);
        assert_eq!(
            only(&seen),
            Outcome::Holds("at most 60 MiB a hostile camera, of 64 MiB".to_owned())
        );
        holds(&mut seen, &[(15, 220)]);
        assert!(is_broken(&only(&seen)));
    }

    #[test]
    fn memory_is_given_back_in_the_end() {
        let mut seen = gallery(Expect {
            hostile_memory_left_mib_max: Some(16),
            ..Expect::default()
        });
        holds(&mut seen, &[(9, 80), (12, 900), (30, 96)]);
        assert_eq!(
            only(&seen),
            Outcome::Holds("at most 16 MiB, of 16 MiB".to_owned())
        );
        holds(&mut seen, &[(31, 97)]);
        assert!(is_broken(&only(&seen)));
    }

    #[test]
    fn sockets_are_closed_in_time_and_no_other_host_is_asked() {
        let mut seen = gallery(Expect {
            hostile_closed_within_ms: Some(1000),
            ..Expect::default()
        });
        let gone = |closed_after_ms, strayed, accepted| What::HostileGone {
            camera: "hostile-noise".to_owned(),
            closed_after_ms,
            accepted,
            sent_bytes: 2,
            strayed,
        };
        add(&mut seen, 21, gone(Some(1100), 0, 1));
        assert!(!is_broken(&only(&seen)));
        for wrong in [
            gone(Some(1200), 0, 1),
            gone(None, 0, 1),
            gone(Some(5), 1, 1),
            gone(Some(5), 0, 0),
        ] {
            let mut seen = seen.clone();
            add(&mut seen, 22, wrong);
            assert!(is_broken(&only(&seen)));
        }
    }

    #[test]
    fn lag_is_judged_as_the_recorder_itself_says_it() {
        let mut seen = gallery(Expect {
            behind_ms_max: Some(1500),
            ..Expect::default()
        });
        let mark = |reported_by: &str, behind_ms: i64| {
            let watermark_us = 30 * SECOND_US - behind_ms * 1000;
            let mark = Mark {
                node: "node1".to_owned(),
                epoch: 1,
                is_recording: true,
                watermark_us,
            };
            What::Watermarks {
                reported_by: reported_by.to_owned(),
                marks: BTreeMap::from([("cam01".to_owned(), mark)]),
            }
        };
        add(&mut seen, 30, mark("node1", 1400));
        add(&mut seen, 30, mark("node2", 9000));
        assert!(!is_broken(&only(&seen)));
        add(&mut seen, 30, mark("node1", 1501));
        assert!(is_broken(&only(&seen)));
    }

    #[test]
    fn a_node_that_falls_silent_is_seen_unless_a_fault_holds_it() {
        let mut seen = gallery(Expect {
            suspicions_max: Some(0),
            ..Expect::default()
        });
        let silent = What::Alive {
            reported_by: "node2".to_owned(),
            node: "node1".to_owned(),
            yes: false,
        };
        add(&mut seen, 12, silent);
        assert!(is_broken(&only(&seen)));
        seen.faults[0].nodes.push("node1".to_owned());
        assert!(!is_broken(&only(&seen)));
        add(
            &mut seen,
            30,
            What::Answers {
                reported_by: "node1".to_owned(),
                yes: false,
            },
        );
        assert!(is_broken(&only(&seen)));
    }
}
