//! The threshold on changes of owner. A break says what the old owner reported before each one.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use crate::history::{Event, Mark, What};
use std::collections::BTreeMap;

/// How far back a change of owner may have its reason: the steward's longest wait, and the handoff.
const REASON_WITHIN_US: i64 = 30_000_000;

/// Further behind durable than this, a recorder waits for its disk: it makes no progress that the
/// leader could see.
const BEHIND_MS: i64 = 2_500;

/// A change of owner, at the instant at which a node first reported it.
#[derive(Debug, PartialEq)]
struct Move<'a> {
    camera: &'a str,
    epoch: u64,
    from: &'a str,
    to: &'a str,
    at_us: i64,
}

/// One check if `moves_max` is set.
pub(super) fn check(evidence: &Evidence) -> Option<(String, Outcome)> {
    let limit = evidence.expect.moves_max?;
    let (counted, excused): (Vec<_>, Vec<_>) = moves(&evidence.events)
        .into_iter()
        .map(|moved| (behind_ms(&evidence.events, &moved), moved))
        .partition(|(behind, _)| *behind <= BEHIND_MS || !evidence.expect.moves_if_behind);
    let outcome = if counted.len() as u64 <= limit {
        let slow = if excused.is_empty() {
            String::new()
        } else {
            format!("; {} more from recorders behind durable", excused.len())
        };
        Outcome::Holds(format!(
            "{} changes of an owner, at most {limit}{slow}",
            counted.len()
        ))
    } else {
        let offences = counted.into_iter().map(|(behind, moved)| {
            let error = error(&evidence.events, &moved);
            (described(&moved, behind, error), Some(moved.at_us))
        });
        broken(offences.collect(), String::new)
    };
    Some(("moves_max".to_owned(), outcome))
}

/// The changes of owner according to the nodes' reports together.
fn moves(events: &[Event]) -> Vec<Move<'_>> {
    let mut owners: BTreeMap<&str, BTreeMap<u64, (&str, i64)>> = BTreeMap::new();
    for event in events {
        if let What::Assignment {
            camera,
            epoch,
            owner: Some(owner),
            ..
        } = &event.what
        {
            let by_epoch = owners.entry(camera).or_default();
            by_epoch.entry(*epoch).or_insert((owner, event.at_us));
        }
    }
    let mut moves = Vec::new();
    for (camera, by_epoch) in &owners {
        for ((_, (from, _)), (epoch, (to, at_us))) in by_epoch.iter().zip(by_epoch.iter().skip(1)) {
            if from != to {
                moves.push(Move {
                    camera,
                    epoch: *epoch,
                    from,
                    to,
                    at_us: *at_us,
                });
            }
        }
    }
    moves
}

/// What nodes reported shortly before `moved`.
fn before<'a>(events: &'a [Event], moved: &Move<'_>) -> impl Iterator<Item = &'a Event> {
    let within = moved.at_us - REASON_WITHIN_US..=moved.at_us;
    events
        .iter()
        .filter(move |event| within.contains(&event.at_us))
}

/// How far behind durable the old owner was at most, as it reported itself, with the camera and
/// with most of its others: a slow disk delays all of them, a camera that sends rarely only itself.
fn behind_ms(events: &[Event], moved: &Move<'_>) -> i64 {
    let behind = before(events, moved).filter_map(|event| {
        let What::Watermarks { reported_by, marks } = &event.what else {
            return None;
        };
        if reported_by != moved.from {
            return None;
        }
        let is_own = |mark: &&Mark| mark.is_recording && mark.node == moved.from;
        let ms = |mark: &Mark| (event.at_us - mark.watermark_us) / 1000;
        let of_camera = marks.get(moved.camera).filter(is_own).map(ms)?;
        let others = marks.iter().filter(|(camera, _)| *camera != moved.camera);
        let mut others: Vec<i64> = others
            .map(|(_, mark)| mark)
            .filter(is_own)
            .map(ms)
            .collect();
        others.sort_unstable();
        // With no other camera to compare it with, it is the camera's own doing.
        let median = others.get(others.len() / 2).copied().unwrap_or(0);
        Some(of_camera.min(median))
    });
    behind.max().unwrap_or(0)
}

/// The last error of the old owner's recorder.
fn error<'a>(events: &'a [Event], moved: &Move<'_>) -> Option<&'a str> {
    let errors = before(events, moved).filter_map(|event| match &event.what {
        What::Recorder {
            camera,
            node: Some(node),
            error,
            ..
        } if camera == moved.camera && node == moved.from => error.as_deref(),
        _ => None,
    });
    errors.last()
}

fn described(moved: &Move<'_>, behind_ms: i64, error: Option<&str>) -> String {
    let Move {
        camera,
        epoch,
        from,
        to,
        ..
    } = moved;
    let error = error.unwrap_or("it reported no error");
    format!("{camera} moved from {from} to {to}, epoch {epoch}: {behind_ms} ms behind, {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::evidence;

    const SECOND_US: i64 = 1_000_000;

    fn owned(second: i64, epoch: u64, owner: &str) -> Event {
        let what = What::Assignment {
            reported_by: "node3".to_owned(),
            camera: "cam01".to_owned(),
            epoch,
            owner: Some(owner.to_owned()),
            mirror: None,
            successor: None,
            moving_to: None,
        };
        Event {
            at_us: second * SECOND_US,
            what,
        }
    }

    /// Both of its cameras are as far behind.
    fn reported(second: i64, reported_by: &str, behind_ms: i64) -> Event {
        reported_each(second, reported_by, [behind_ms; 2])
    }

    fn reported_each(second: i64, reported_by: &str, behind_ms: [i64; 2]) -> Event {
        let at_us = second * SECOND_US;
        let mark = |behind_ms: i64| Mark {
            node: "node1".to_owned(),
            epoch: 1,
            is_recording: true,
            watermark_us: at_us - behind_ms * 1000,
        };
        let cameras = ["cam01", "cam02"].into_iter().zip(behind_ms);
        let what = What::Watermarks {
            reported_by: reported_by.to_owned(),
            marks: cameras
                .map(|(camera, behind_ms)| (camera.to_owned(), mark(behind_ms)))
                .collect(),
        };
        Event { at_us, what }
    }

    /// The camera moves from node 1 to node 2 in second 60.
    fn moved(moves_if_behind: bool, report: Event) -> Outcome {
        let mut evidence = evidence(10, 0..0);
        evidence.events = vec![owned(1, 1, "node1"), report, owned(60, 2, "node2")];
        evidence.expect.moves_max = Some(0);
        evidence.expect.moves_if_behind = moves_if_behind;
        check(&evidence).unwrap().1
    }

    fn is_broken(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Broken { .. })
    }

    #[test]
    fn a_move_is_counted_and_described() {
        let Outcome::Broken { what, at_us } = moved(false, reported(50, "node1", 9000)) else {
            panic!("a change of owner is one");
        };
        assert_eq!(
            what,
            "cam01 moved from node1 to node2, epoch 2: 9000 ms behind, it reported no error"
        );
        assert_eq!(at_us, Some(60 * SECOND_US));
    }

    #[test]
    fn without_timing_a_move_needs_another_reason_than_a_slow_disk() {
        assert!(!is_broken(&moved(true, reported(50, "node1", 9000))));
        for innocent in [
            reported(50, "node1", 900),
            reported(50, "node2", 9000),
            reported(20, "node1", 9000),
            reported_each(50, "node1", [9000, 900]),
        ] {
            assert!(is_broken(&moved(true, innocent)));
        }
    }

    #[test]
    fn an_epoch_with_the_same_owner_is_no_move() {
        let mut evidence = evidence(10, 0..0);
        evidence.events = vec![owned(1, 1, "node1"), owned(60, 2, "node1")];
        evidence.expect.moves_max = Some(0);
        assert!(!is_broken(&check(&evidence).unwrap().1));
    }
}
