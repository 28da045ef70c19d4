//! The cost of a loss: the ledger has the missing interval, and frames that refer to it are marked.

use super::*;

#[test]
fn lost_packets_are_a_gap_of_the_lost_frames_and_what_follows_is_damaged_up_to_the_next_keyframe() {
    let mut story = story();
    story.stream(0, 1480);
    let after = MediaFrame {
        lost_packets: 7,
        ..story.frame(1600, false)
    };
    story.push(after);
    story.stream(1640, 3500);
    story.pipeline.finish(story.now(3500));
    assert_eq!(story.sink.gaps(), [(1480, 1600, GapCause::PacketsLost)]);
    assert_eq!(story.sink.frames_missing(), Some(3));
    let chunks = story.video();
    for meta in &chunks {
        let (start, _) = times(&[*meta])[0];
        assert_eq!(
            meta.damaged,
            (1600..2000).contains(&start),
            "the chunk at {start} ms"
        );
        assert_eq!(meta.after_loss, start == 1600, "the chunk at {start} ms");
        assert_eq!(
            meta.since_access_ms,
            Some((start % 1000) as u32),
            "the chunk at {start} ms"
        );
    }
    assert_eq!(
        chunks.iter().map(|meta| meta.sequence).collect::<Vec<_>>(),
        (0..chunks.len() as u32).collect::<Vec<_>>()
    );
    assert_eq!(story.status.read().counts.lost_packets, 7);
}

#[test]
fn a_gradual_refresh_begins_a_session_that_is_damaged_until_it_has_ended() {
    let mut story = story();
    for ms in (0..3000).step_by(40) {
        let access = (ms % 1000 == 0).then_some(AccessPoint::Recovery { frames: 20 });
        story.push(MediaFrame {
            access,
            lost_packets: u16::from(ms == 1440),
            ..story.frame(ms, false)
        });
    }
    story.pipeline.finish(story.now(3000));
    let chunks = story.video();
    assert_eq!(
        chunks[0].access.map(|access| access.point),
        Some(AccessPoint::Recovery { frames: 20 })
    );
    // Twenty frames are 800 ms. What was lost at 1440 ms is whole again at 2800 ms.
    assert_eq!(damaged(&chunks), [0, 480, 1440, 1920, 2000, 2480]);
}

#[test]
fn a_shed_chunk_is_the_gap_and_what_follows_it_within_its_gop_is_damaged() {
    let mut story = story();
    story.stream(0, 2000);
    *story.sink.refuse.lock().unwrap() = Some(SinkError::Full);
    story.stream(2000, 2520);
    *story.sink.refuse.lock().unwrap() = None;
    story.stream(2520, 3500);
    story.pipeline.finish(story.now(3500));
    let gaps = story.sink.gaps();
    assert_eq!(
        (gaps.first().map(|gap| gap.0), gaps.last().map(|gap| gap.1)),
        (Some(1960), Some(2480)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().all(|gap| gap.2 == GapCause::Overload),
        "{gaps:?}"
    );
    assert_eq!(story.sink.frames_missing(), Some(13), "one every 40 ms");
    assert_eq!(damaged(&story.video()), [2480, 2960]);
}

#[test]
fn a_session_whose_first_chunk_was_shed_has_nothing_to_begin_with_up_to_the_next_keyframe() {
    let mut story = story();
    *story.sink.refuse.lock().unwrap() = Some(SinkError::Full);
    story.stream(0, 520);
    *story.sink.refuse.lock().unwrap() = None;
    story.stream(520, 2000);
    story.pipeline.finish(story.now(2000));
    let gaps = story.sink.gaps();
    assert_eq!(
        (gaps.first().map(|gap| gap.0), gaps.last().map(|gap| gap.1)),
        (Some(0), Some(1000)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().all(|gap| gap.2 == GapCause::Overload),
        "{gaps:?}"
    );
    let undecodable = story
        .video()
        .iter()
        .filter(|meta| meta.since_access_ms.is_none())
        .count();
    assert_eq!((undecodable, damaged(&story.video())), (2, vec![]));
}
