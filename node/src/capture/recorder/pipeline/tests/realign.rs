//! Recorded time that ran ahead, because the wall clock was wrong for a moment.

use super::*;

const NEXT: Identity = Identity {
    epoch: Epoch(4),
    rank: Rank::Owner,
};
const TWO_YEARS_MS: i64 = 2 * 365 * 24 * 3_600_000;

/// Ten seconds of true time, two seconds two years ahead, and true time again.
fn ran_ahead() -> Story {
    let mut story = story();
    story.stream(0, 10_000);
    story.wall_off_ms = TWO_YEARS_MS;
    story.stream(10_000, 12_000);
    story.wall_off_ms = 0;
    story.stream(12_000, 20_040);
    story.wall.set(true);
    story
}

#[test]
fn a_new_epoch_begins_at_true_time_with_a_keyframe_and_loses_no_frame() {
    let mut story = ran_ahead();
    assert!(story.status.read().received_until.unwrap() > START.plus_micros(TWO_YEARS_MS * 1000));
    story.pipeline.set_identity(NEXT);
    story.stream(20_040, 25_000);
    story.pipeline.finish(story.now(25_000));
    let chunks = story.video();
    assert_eq!(
        chunks.iter().map(|meta| meta.frames).sum::<u32>(),
        625,
        "no frame was lost"
    );
    let (before, after): (Vec<_>, Vec<_>) = chunks
        .iter()
        .copied()
        .partition(|meta| meta.epoch == OWNER.epoch);
    assert!(
        before.windows(2).all(|pair| pair[0].end() <= pair[1].start),
        "within an epoch time never goes back"
    );
    assert!(
        after[0].is_access_point()
            && after[0].sequence == 0
            && after[0].session > before[0].session
    );
    // Until then the clock followed the system's at no more than 500 ppm.
    let is_near = |ms: i64, of: i64| (ms - of).abs() <= 10;
    let times = times(&after);
    assert!(
        is_near(times[0].0, 21_000) && is_near(times[times.len() - 1].1, 25_000),
        "{times:?}"
    );
    let until = story
        .status
        .read()
        .received_until
        .unwrap()
        .micros_since(START)
        / 1000;
    assert!(is_near(until, 25_000), "{until}");
}

#[test]
fn an_epoch_that_begins_while_the_clock_is_in_doubt_continues_where_the_last_one_was() {
    let mut story = ran_ahead();
    story.wall.set(false);
    story.pipeline.set_identity(NEXT);
    story.stream(20_040, 25_000);
    story.pipeline.finish(story.now(25_000));
    assert!(
        times(&story.video())
            .windows(2)
            .all(|pair| pair[0].1 <= pair[1].0),
        "time never goes back"
    );
}

#[test]
fn without_a_session_the_new_epoch_begins_at_once() {
    let mut story = ran_ahead();
    story.lose(20_040, GapCause::CameraUnreachable);
    story.pipeline.set_identity(NEXT);
    story.pipeline.tick(story.now(20_200));
    story.stream(25_000, 26_000);
    story.pipeline.finish(story.now(26_000));
    let after: Vec<_> = story
        .video()
        .into_iter()
        .filter(|meta| meta.epoch == NEXT.epoch)
        .collect();
    assert_eq!(times(&after).first().map(|first| first.0), Some(25_000));
    let gaps = story.sink.gaps();
    assert!(
        gaps.contains(&(20_200, 25_000, GapCause::CameraUnreachable)),
        "{gaps:?}"
    );
}

#[test]
fn a_step_back_of_a_minute_is_no_reason_for_a_new_time() {
    let mut story = story();
    story.stream(0, 10_000);
    story.wall_off_ms = -60_000;
    story.stream(10_000, 12_040);
    story.wall.set(true);
    story.pipeline.set_identity(NEXT);
    story.stream(12_040, 14_000);
    story.pipeline.finish(story.now(14_000));
    assert!(
        times(&story.video())
            .windows(2)
            .all(|pair| pair[0].1 <= pair[1].0),
        "time never goes back"
    );
}
