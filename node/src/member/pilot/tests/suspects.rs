//! Processes that end, and cameras that may have caused it.

use super::*;
use holdfast_consensus::model::{ProcessEnd, Suspicion};
use holdfast_consensus::observe::heartbeat::Exposure;

/// A heartbeat of node 2 as `boot`, whose recorder reports this exposure of the camera.
fn exposed(boot: u64, ms: u64, exposure: Option<Exposure>) -> Event {
    let Event::Link(LinkEvent::Heartbeat(mut heartbeat)) = heartbeat(2, ms) else {
        unreachable!("a heartbeat")
    };
    heartbeat.boot = boot;
    heartbeat
        .recorders
        .iter_mut()
        .for_each(|progress| progress.exposure = exposure);
    Event::Link(LinkEvent::Heartbeat(heartbeat))
}

fn end(blamed: Vec<CameraId>, on_trial: bool) -> ProcessEnd {
    ProcessEnd {
        node: NodeId(2),
        boot: 1,
        blamed,
        on_trial,
    }
}

#[test]
fn the_leader_has_an_end_noted_before_it_moves_the_cameras() {
    let mut story = Story::begin(true);
    story.feed(1_050, exposed(1, 1_050, Some(Exposure::Fresh)));
    let decision = story.feed(1_100, Event::Link(LinkEvent::Refused(NodeId(2))));
    let [Command::NoteEnd(noted), Command::Assign { .. }] = decision.proposals.as_slice() else {
        panic!("{:?}", decision.proposals)
    };
    assert_eq!(*noted, end(vec![CAMERA], false));
}

#[test]
fn a_process_that_is_replaced_at_once_has_ended_and_what_it_reported_last_counts() {
    let mut story = Story::begin(true);
    story.feed(1_050, exposed(1, 1_050, Some(Exposure::OnTrial)));
    // Its next process reports nothing about the camera.
    story.feed(1_300, exposed(9, 1_300, Some(Exposure::Fresh)));
    let decision = story.feed(1_600, tick());
    assert_eq!(
        decision.proposals,
        [Command::NoteEnd(end(vec![CAMERA], true))]
    );
}

#[test]
fn a_session_that_has_lasted_is_not_blamed() {
    let mut story = Story::begin(true);
    let decision = story.feed(1_050, Event::Link(LinkEvent::Refused(NodeId(2))));
    assert!(
        matches!(decision.proposals.as_slice(), [Command::Assign { .. }]),
        "{:?}",
        decision.proposals
    );
}

/// Node 3's process ended with the camera before.
fn struck_once() -> Arc<ClusterState> {
    let mut state = ClusterState::clone(&state());
    let end = ProcessEnd {
        node: NodeId(3),
        boot: 1,
        blamed: vec![CAMERA],
        on_trial: false,
    };
    state
        .apply(Command::NoteEnd(end).by(Actor::System, WALL))
        .unwrap();
    assert!(matches!(
        state.suspicions.get(CAMERA),
        Some(Suspicion::Once { .. })
    ));
    Arc::new(state)
}

#[test]
fn a_successor_sees_a_suspect_before_anything_is_noted() {
    let mut story = Story::begin(false);
    story.feed(1_050, Event::State(struck_once()));
    story.feed(1_100, exposed(1, 1_100, Some(Exposure::Fresh)));
    let decision = story.feed(1_150, Event::Link(LinkEvent::Refused(NodeId(2))));
    assert!(decision.desired.unwrap().contains_key(&CAMERA));
    assert_eq!(
        decision.sight.unwrap().treatments.get(&CAMERA),
        Some(&Treatment::Suspect)
    );
    // It was heard after all: its process is alive.
    let heard = story.feed(1_400, exposed(1, 1_400, Some(Exposure::Fresh)));
    assert!(heard.sight.unwrap().treatments.is_empty());
}

#[test]
fn a_suspect_that_had_its_turn_is_quarantined_and_cleared_when_it_lasts_elsewhere() {
    let mut story = Story::begin(false);
    let mut state = ClusterState::clone(&struck_once());
    state
        .apply(
            Command::NoteEnd(ProcessEnd {
                boot: 0,
                ..end(vec![CAMERA], false)
            })
            .by(Actor::System, WALL),
        )
        .unwrap();
    story.feed(1_050, Event::State(Arc::new(state)));
    story.feed(1_100, exposed(1, 1_100, Some(Exposure::OnTrial)));
    let decision = story.feed(1_150, Event::Link(LinkEvent::Refused(NodeId(2))));
    let treatment = decision.sight.unwrap().treatments.get(&CAMERA).copied();
    assert!(
        matches!(treatment, Some(Treatment::Quarantined { .. })),
        "{treatment:?}"
    );
    // The recorder of node 2's next process reports that it has recorded it for a minute.
    story.feed(1_200, exposed(9, 1_200, None));
    let sight = story.feed(1_300, tick()).sight.unwrap();
    assert_eq!(
        sight.treatments.get(&CAMERA),
        Some(&Treatment::Suspect),
        "what was noted is the leader's to clear"
    );
}
