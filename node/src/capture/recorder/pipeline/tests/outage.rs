//! An outage is written in pieces: none of them may reach into what is recorded.

use super::*;

/// Each interval of time is recorded or missing, and neither twice.
fn assert_disjoint(story: &Story, what: &str) {
    let gaps = story.sink.gaps().into_iter().map(|gap| (gap.0, gap.1));
    let mut all: Vec<_> = gaps.chain(times(&story.video())).collect();
    all.sort_unstable();
    assert!(
        all.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "{what}: {:?} and {:?}",
        story.sink.gaps(),
        times(&story.video())
    );
}

#[test]
fn a_piece_ends_before_the_frames_that_end_the_outage() {
    // Pieces are due at 1.04 and at 3.04 s; the keyframe is from 3.0 s.
    for (late_ms, first_ms) in [(0, 2880), (0, 3000), (400, 2000), (900, 1480), (2500, 1480)] {
        let mut story = story();
        story.lose(1040, GapCause::CameraUnreachable);
        // The path's delay grows to `late_ms` within 1.5 s.
        let delay_ms = |ms: i64| late_ms.min((ms - first_ms) * late_ms / 1500);
        let mut frames = (first_ms..4000)
            .step_by(40)
            .map(|ms| (ms, ms + delay_ms(ms)))
            .peekable();
        for now in (1040..7000).step_by(20) {
            while let Some((ms, at)) = frames.next_if(|(_, at)| *at <= now) {
                let Now { instant, wall } = story.now(at);
                let frame = MediaFrame {
                    received: instant,
                    received_wall: wall,
                    ..story.frame(ms, ms == 3000)
                };
                story.push(frame);
            }
            story.pipeline.tick(story.now(now));
        }
        story.pipeline.finish(story.now(7000));
        let what = format!("{late_ms} ms late, from {first_ms} ms on");
        let began = times(&story.video())[0].0;
        assert_disjoint(&story, &what);
        // So long a delay is a hole of its own later on.
        let gaps: Vec<_> = story
            .sink
            .gaps()
            .into_iter()
            .filter(|gap| gap.0 < began)
            .collect();
        let first = gaps.first().map(|gap| (gap.0, gap.2));
        assert_eq!(first, Some((0, GapCause::CameraUnreachable)), "{what}");
        assert_eq!(gaps.last().map(|gap| gap.1), Some(began), "{what}");
        let missing: i64 = gaps.iter().map(|gap| gap.1 - gap.0).sum();
        assert_eq!(missing, began, "{what}: {gaps:?}");
    }
}

#[test]
fn a_piece_ends_before_the_keyframe_that_ends_a_move_to_another_volume() {
    let mut missing = Vec::new();
    for moved_ms in (2000..6000).step_by(120) {
        let mut story = story();
        for now in (0..12_000).step_by(20) {
            if now == moved_ms {
                story.sink.move_on(None);
            }
            if now % 40 == 0 {
                story.push(story.frame(now, now % 4000 == 0));
            }
            story.pipeline.tick(story.now(now));
        }
        story.pipeline.finish(story.now(12_000));
        assert_disjoint(&story, &format!("moved at {moved_ms} ms"));
        let gaps = story.sink.gaps().into_iter();
        missing.push(gaps.map(|gap| gap.1 - gap.0).sum::<i64>());
    }
    let most = missing.iter().max();
    assert!(most.is_some_and(|most| *most > 3000), "{missing:?}");
}

#[test]
fn a_wall_clock_set_back_in_an_outage_uses_no_time_twice() {
    for back_at_ms in [1500, 9000, 16_900] {
        let mut story = story();
        story.stream(0, 1000);
        story.lose(1000, GapCause::CameraUnreachable);
        for now in (1000..back_at_ms).step_by(20) {
            story.pipeline.tick(story.now(now));
        }
        story.wall_off_ms = -3_600_000;
        for now in (back_at_ms..back_at_ms + 500).step_by(20) {
            story.pipeline.tick(story.now(now));
        }
        story.stream(20_000, 22_000);
        story.pipeline.finish(story.now(22_000));
        assert_disjoint(&story, &format!("back at {back_at_ms} ms"));
        let began = times(&story.video()).iter().map(|chunk| chunk.0).max();
        let missing: i64 = story.sink.gaps().iter().map(|gap| gap.1 - gap.0).sum();
        assert!(
            began.is_some_and(|began| began > 19_000) && (18_900..19_100).contains(&missing),
            "{began:?}, {missing} ms"
        );
    }
}
