//! Each invariant holds for a sound run, and detects the single defect of an unsound one.

use super::*;
use crate::evidence::Found;
use crate::evidence::NodeEvidence;
use crate::evidence::SoundEvidence;
use crate::history::{self, Mark};
use crate::player::Showing;
use crate::player::{Entry, Kind, Media, Sample};
use crate::scenario::Class;
use crate::scenario::Expect;
use holdfast_camera::Sent;
use holdfast_camera::{Stamp, count};
use holdfast_control_api::wire::Timeline;
use holdfast_control_api::wire::{Gap as TimelineGap, Span};
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

const FRAME_US: i64 = 40_000;

fn at(sequence: u64) -> i64 {
    sequence as i64 * FRAME_US
}

/// One camera that sent this many frames, some of them lost, and every loss reported; node1 was
/// killed during the loss.
pub(crate) fn evidence(frames: u64, lost: Range<u64>) -> Evidence {
    let lost = &[lost];
    let sent: Vec<Sent> = (0..frames)
        .map(|sequence| Sent {
            sequence,
            captured_us: at(sequence) as u64,
        })
        .collect();
    let is_lost = |sequence: u64| lost.iter().any(|range| range.contains(&sequence));
    let found: Vec<Found> = sent
        .iter()
        .filter(|sent| !is_lost(sent.sequence))
        .map(|sent| Found {
            stamp: Stamp {
                camera: 1,
                sequence: sent.sequence,
                captured_us: sent.captured_us,
            },
            wall_us: Some(sent.captured_us as i64 + 20_000),
        })
        .collect();
    let (mut spans, mut gaps, mut from) = (Vec::new(), Vec::new(), 0);
    let span = |from: u64, to: u64| Span {
        start: Timestamp(at(from)),
        end: Timestamp(at(to)),
        node: NodeId(1),
        epoch: Epoch(1),
        rank: Rank::Owner,
        available: true,
        damaged: false,
        in_future: false,
    };
    for range in lost {
        spans.push(span(from, range.start));
        let (start, end) = (Timestamp(at(range.start)), Timestamp(at(range.end)));
        gaps.push(TimelineGap {
            start,
            end,
            cause: GapCause::NodeDown,
            node: Some(NodeId(1)),
            frames_missing: None,
        });
        from = range.end;
    }
    spans.push(span(from, frames));
    let timeline = Timeline {
        camera: CameraId(1),
        from: Timestamp(0),
        to: Timestamp(at(frames)),
        spans,
        gaps,
        nodes_left_out: Vec::new(),
    };
    let stamps: Vec<Stamp> = found.iter().map(|found| found.stamp).collect();
    let heard = sound(frames, lost);
    let showing = showing(&found, &heard.found);
    let camera = CameraEvidence {
        name: "cam01".to_owned(),
        number: 1,
        class: Class::Standard,
        loss: count(1, &sent, &stamps),
        sent,
        held_us: 0,
        is_odd: false,
        found,
        unstamped: 0,
        sound: heard,
        timeline,
        unplayable: None,
    };
    let faults = lost.first().map(|range| FaultSpan {
        fault: 0,
        action: "kill".to_owned(),
        nodes: vec!["node1".to_owned()],
        cameras: Vec::new(),
        affected: vec!["cam01".to_owned()],
        on_us: at(range.start),
        off_us: Some(at(range.end)),
    });
    let mut evidence = Evidence {
        from_us: 0,
        to_us: at(frames),
        events: Vec::new(),
        faults: faults.into_iter().collect(),
        cameras: vec![camera],
        showings: vec![showing],
        nodes: vec![NodeEvidence {
            name: "node1".to_owned(),
            panics: Vec::new(),
        }],
        node_ids: vec![("1".to_owned(), "node1".to_owned())],
        settled_after: Some(Duration::from_secs(2)),
        trouble: Vec::new(),
        expect: Expect::default(),
    };
    // The recorder reported its watermarks until it was killed, and again later.
    let marks = (0..frames)
        .step_by(10)
        .filter(|sequence| !is_lost(*sequence) && !is_lost(sequence + 9));
    for sequence in marks {
        // Another recorder after a loss: no node promised the time between its watermarks and the
        // earlier ones.
        let node = format!(
            "node{}",
            1 + lost.iter().filter(|range| range.start < sequence).count()
        );
        evidence.events.push(watermark(&node, sequence));
    }
    evidence
}

/// One frame of sound for each frame of video.
fn sound(frames: u64, lost: &[Range<u64>]) -> SoundEvidence {
    let sent: Vec<Sent> = (0..frames)
        .map(|sequence| Sent {
            sequence,
            captured_us: at(sequence) as u64,
        })
        .collect();
    let stored = sent
        .iter()
        .filter(|sent| !lost.iter().any(|range| range.contains(&sent.sequence)));
    let found: Vec<Found> = stored
        .map(|sent| Found {
            stamp: Stamp {
                camera: 1,
                sequence: sent.sequence,
                captured_us: sent.captured_us,
            },
            wall_us: Some(sent.captured_us as i64 + 25_000),
        })
        .collect();
    let stamps: Vec<Stamp> = found.iter().map(|found| found.stamp).collect();
    SoundEvidence {
        loss: count(1, &sent, &stamps),
        sent,
        found,
        unstamped: 0,
    }
}

/// What a player got that watched until the end: each frame in an entry of its own.
fn showing(video: &[Found], sound: &[Found]) -> Showing {
    let sample = |found: &Found| Sample {
        stamp: Some(found.stamp),
        decode_us: at(found.stamp.sequence),
        duration_us: FRAME_US,
    };
    let entry = |(sequence, (seen, heard)): (u64, (&Found, &Found))| Entry {
        sequence,
        uri: format!("cell.m4s?number={sequence}"),
        wall_us: at(seen.stamp.sequence),
        duration_us: FRAME_US,
        base_us: 0,
        media: Some(Media {
            video: vec![sample(seen)],
            sound: vec![sample(heard)],
        }),
        fetched_us: 0,
    };
    let entries = (0..).zip(video.iter().zip(sound)).map(entry).collect();
    let (camera, asked) = ("cam01".to_owned(), "node3".to_owned());
    Showing {
        camera,
        kind: Kind::Live,
        asked,
        from_us: 0,
        entries,
        wrong: Vec::new(),
    }
}

fn watermark(node: &str, sequence: u64) -> Event {
    let mark = Mark {
        node: node.to_owned(),
        epoch: 1,
        is_recording: true,
        watermark_us: at(sequence),
    };
    let marks = BTreeMap::from([("cam01".to_owned(), mark)]);
    Event {
        at_us: at(sequence) + 100_000,
        what: What::Watermarks {
            reported_by: "node3".to_owned(),
            marks,
        },
    }
}

fn broken_by(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = evidence(200, 50..75);
    change(&mut evidence);
    let checks = check_all(&evidence).into_iter();
    checks
        .filter(|check| check.verdict == Verdict::Broken)
        .map(|check| check.name)
        .collect()
}

fn assignment(epoch: u64, owner: &str) -> What {
    What::Assignment {
        reported_by: "node2".to_owned(),
        camera: "cam01".to_owned(),
        epoch,
        owner: Some(owner.to_owned()),
        mirror: None,
        successor: None,
        moving_to: None,
    }
}

fn add(evidence: &mut Evidence, what: What) {
    evidence.events.push(Event {
        at_us: at(150),
        what,
    });
}

#[test]
fn a_cause_that_was_reported_stays() {
    let reported = |cause: GapCause, from: u64, to: u64| {
        let gap = history::LedgerGap {
            camera: "cam01".to_owned(),
            start_us: at(from),
            end_us: at(to),
            cause,
        };
        broken_by(|evidence| {
            add(
                evidence,
                What::Gaps {
                    reported_by: "node1".to_owned(),
                    gaps: vec![gap],
                },
            )
        })
    };
    // In the end the timeline blames node1 for all of it.
    assert_eq!(
        reported(GapCause::CameraUnreachable, 50, 75),
        ["causes-final"]
    );
    assert!(reported(GapCause::NodeDown, 50, 75).is_empty());
    assert!(
        reported(GapCause::Unknown, 50, 75).is_empty(),
        "that was no cause"
    );
    assert!(
        reported(GapCause::CameraUnreachable, 20, 55).is_empty(),
        "the seam of two causes"
    );
}

#[test]
fn a_sound_run_breaks_nothing() {
    let checks = check_all(&evidence(200, 50..75));
    assert_eq!(checks.len(), INVARIANTS.len());
    assert!(
        checks.iter().all(|check| check.verdict == Verdict::Holds),
        "{checks:?}"
    );
}

/// Removes frames as if no node had ever recorded them.
fn lose(evidence: &mut Evidence, range: Range<u64>) {
    let camera = &mut evidence.cameras[0];
    camera
        .found
        .retain(|found| !range.contains(&found.stamp.sequence));
    let stamps: Vec<Stamp> = camera.found.iter().map(|found| found.stamp).collect();
    camera.loss = count(1, &camera.sent, &stamps);
}

#[test]
fn frames_reported_as_durable_must_be_there() {
    assert_eq!(
        broken_by(|evidence| lose(evidence, 20..21)),
        ["durable-stays"]
    );
    let with = |cause, state: Option<&str>| {
        broken_by(|evidence| {
            if let Some(state) = state {
                let recorder = What::Recorder {
                    reported_by: "node3".to_owned(),
                    camera: "cam01".to_owned(),
                    node: Some("node2".to_owned()),
                    state: Some(state.to_owned()),
                    error: None,
                };
                let next = evidence
                    .events
                    .iter()
                    .position(|event| event.at_us > at(105))
                    .unwrap();
                evidence.events.insert(
                    next,
                    Event {
                        at_us: at(105),
                        what: recorder,
                    },
                );
            }
            lose(evidence, 100..110);
            let (start, end) = (Timestamp(at(100)), Timestamp(at(110)));
            let timeline = &mut evidence.cameras[0].timeline;
            timeline.spans.last_mut().unwrap().start = end;
            let before = Span {
                start: Timestamp(at(75)),
                end: start,
                ..timeline.spans[1].clone()
            };
            timeline.spans.push(before);
            timeline.gaps.push(TimelineGap {
                start,
                end,
                cause,
                node: None,
                frames_missing: None,
            });
        })
    };
    assert_eq!(with(GapCause::NodeDown, None), ["durable-stays"]);
    assert_eq!(
        with(GapCause::NodeDown, Some("recording")),
        ["durable-stays"]
    );
    assert!(
        with(GapCause::NodeDown, Some("starting")).is_empty(),
        "a new process promised nothing of before"
    );
    assert!(
        with(GapCause::CameraStalled, None).is_empty(),
        "what never arrived was not promised"
    );
}

#[test]
fn a_loss_must_be_reported() {
    assert_eq!(
        broken_by(|evidence| evidence.cameras[0].timeline.gaps.clear()),
        ["gaps-reported", "timeline-once"]
    );
}

#[test]
fn frames_must_be_single_in_order_own_whole_and_on_time() {
    let twice = |evidence: &mut Evidence| {
        let last = *evidence.cameras[0].found.last().unwrap();
        evidence.cameras[0].found.push(last);
    };
    assert_eq!(broken_by(twice), ["frames-once"]);
    assert_eq!(
        broken_by(|evidence| evidence.cameras[0].found.swap(3, 4)),
        ["frames-in-order"]
    );
    assert_eq!(
        broken_by(|evidence| evidence.cameras[0].found[3].stamp.camera = 2),
        ["frames-own"]
    );
    assert_eq!(
        broken_by(|evidence| evidence.cameras[0].unstamped = 1),
        ["frames-own"]
    );
    assert_eq!(
        broken_by(|evidence| evidence.cameras[0].found[3].wall_us = Some(at(200))),
        ["frames-on-time", "sound-with-video"]
    );
}

#[test]
fn sound_must_be_single_in_order_own_whole_and_with_its_video() {
    let of = |change: fn(&mut SoundEvidence)| {
        broken_by(|evidence| change(&mut evidence.cameras[0].sound))
    };
    assert_eq!(
        of(|sound| sound.found.push(sound.found[140])),
        ["frames-once", "frames-in-order"]
    );
    assert_eq!(of(|sound| sound.found.swap(3, 4)), ["frames-in-order"]);
    assert_eq!(of(|sound| sound.found[3].stamp.camera = 2), ["frames-own"]);
    assert_eq!(of(|sound| sound.unstamped = 1), ["sound-stored"]);
    assert_eq!(
        of(|sound| sound.found.retain(|found| found.stamp.sequence != 120)),
        ["sound-stored"]
    );
    assert_eq!(
        of(|sound| sound.found[90].wall_us = Some(at(115) + 200_000)),
        ["sound-with-video"]
    );
}

#[test]
fn what_players_got_must_be_what_was_sent() {
    let of = |change: fn(&mut Showing)| broken_by(|evidence| change(&mut evidence.showings[0]));
    let media = |showing: &mut Showing| showing.entries[150].media.take().unwrap();
    assert_eq!(
        of(|showing| showing.wrong.push("404".to_owned())),
        ["hls-answers"]
    );
    let lacks = |evidence: &mut Evidence| {
        evidence.faults.clear();
        media(&mut evidence.showings[0]);
    };
    assert_eq!(broken_by(lacks), ["hls-frames"]);
    let silent = |evidence: &mut Evidence| {
        evidence.faults.clear();
        evidence.showings[0].entries[120]
            .media
            .as_mut()
            .unwrap()
            .sound
            .clear();
    };
    assert_eq!(broken_by(silent), ["hls-sound"]);
    assert_eq!(
        of(|showing| showing.entries[150].base_us += 5_000),
        ["hls-times"]
    );
    let stepped = |evidence: &mut Evidence| {
        evidence.showings[0].wrong.push("404".to_owned());
        evidence.faults[0].action = "clock-step +90 s".to_owned();
    };
    assert!(broken_by(stepped).is_empty());
}

#[test]
fn footage_and_timelines_must_be_whole() {
    assert_eq!(
        broken_by(|evidence| evidence.cameras[0].unplayable = Some("x".to_owned())),
        ["footage-plays"]
    );
    let doubled = |evidence: &mut Evidence| {
        let first = evidence.cameras[0].timeline.spans[0].clone();
        evidence.cameras[0].timeline.spans.push(first);
    };
    assert_eq!(broken_by(doubled), ["timeline-once"]);
}

#[test]
fn reports_must_not_go_back_or_contradict_each_other() {
    assert_eq!(
        broken_by(|evidence| evidence.events.push(watermark("node2", 150))),
        ["watermarks-forward"]
    );
    let back = |evidence: &mut Evidence| {
        add(evidence, assignment(5, "node1"));
        add(evidence, assignment(4, "node2"));
    };
    assert_eq!(broken_by(back), ["epochs-grow"]);
    let again = |evidence: &mut Evidence| {
        add(evidence, assignment(5, "node1"));
        add(
            evidence,
            What::Answers {
                reported_by: "node2".to_owned(),
                yes: true,
            },
        );
        add(evidence, assignment(4, "node2"));
    };
    assert!(
        broken_by(again).is_empty(),
        "a node that came back reads its log again"
    );
    let two = |evidence: &mut Evidence| {
        add(evidence, assignment(5, "node1"));
        add(evidence, assignment(5, "node2"));
    };
    assert_eq!(broken_by(two), ["one-owner"]);
}

#[test]
fn the_cluster_must_live_obey_and_recover() {
    assert_eq!(
        broken_by(|evidence| evidence.settled_after = None),
        ["settles"]
    );
    assert_eq!(
        broken_by(|evidence| evidence.trouble.push("x".to_owned())),
        ["orders-obeyed"]
    );
    assert_eq!(
        broken_by(|evidence| evidence.nodes[0].panics.push("panicked at".to_owned())),
        ["nodes-stay-up"]
    );
    let ended = |evidence: &mut Evidence| {
        add(
            evidence,
            What::EndedByItself {
                node: "node1".to_owned(),
            },
        )
    };
    assert_eq!(broken_by(ended), ["nodes-stay-up"]);
}

#[test]
fn thresholds_are_judged_where_they_are_set() {
    let with = |expect: Expect| broken_by(|evidence| evidence.expect = expect);
    let gap = 26 * 40;
    assert!(
        with(Expect {
            gap_worst_ms: Some(gap),
            gap_median_ms: Some(gap),
            ..Expect::default()
        })
        .is_empty()
    );
    assert_eq!(
        with(Expect {
            gap_worst_ms: Some(gap - 1),
            ..Expect::default()
        }),
        ["gap_worst_ms"]
    );
    assert_eq!(
        with(Expect {
            gap_median_ms: Some(gap - 1),
            ..Expect::default()
        }),
        ["gap_median_ms"]
    );
    assert_eq!(
        with(Expect {
            lost_frames_standard_max: Some(24),
            ..Expect::default()
        }),
        ["lost_frames_standard_max"]
    );
    assert!(
        with(Expect {
            lost_frames_unaffected_max: Some(0),
            lost_frames_gapless_max: Some(0),
            ..Expect::default()
        })
        .is_empty()
    );
    assert_eq!(
        with(Expect {
            settled_within_s: Some(1.0),
            ..Expect::default()
        }),
        ["settled_within_s"]
    );
    let others = |hit: &[&str]| {
        broken_by(|evidence| {
            evidence.faults[0].cameras = hit.iter().map(ToString::to_string).collect();
            evidence.expect.gap_worst_others_ms = Some(gap - 1);
        })
    };
    assert_eq!(
        (others(&[]), others(&["cam01"])),
        (vec!["gap_worst_others_ms".to_owned()], Vec::new())
    );
    let ends = |most| {
        broken_by(|evidence| {
            evidence.faults[0].action = crate::evidence::DEADLY_KILL.to_owned();
            evidence.expect.deadly_kills_max = Some(most);
        })
    };
    assert_eq!(
        (ends(0), ends(1)),
        (vec!["deadly_kills_max".to_owned()], Vec::new())
    );
    let answers = |answered| {
        broken_by(|evidence| {
            let (kind, asked) = ("api".to_owned(), 200);
            add(
                evidence,
                What::Load {
                    kind,
                    asked,
                    answered,
                    first_error: None,
                },
            );
            evidence.expect.api_answered_percent_min = Some(99.0);
        })
    };
    assert!(answers(198).is_empty());
    assert_eq!(answers(197), ["api_answered_percent_min"]);
    let unaffected = broken_by(|evidence| {
        evidence.faults.clear();
        evidence.expect.lost_frames_unaffected_max = Some(0);
    });
    assert_eq!(unaffected, ["lost_frames_unaffected_max"]);
}

#[test]
fn the_first_offence_comes_with_the_lines_around_it() {
    let mut evidence = evidence(200, 50..75);
    for number in 0..20 {
        let text = format!("line {number}");
        evidence.events.push(Event {
            at_us: at(200 + number),
            what: What::Said { text },
        });
    }
    let near = around(&evidence.events, at(210));
    assert_eq!(near.len(), 2 * AROUND);
    assert!(
        near[0].contains("line 4") && near[11].contains("line 15"),
        "{near:?}"
    );
}
