//! Subscribers of real recorders.

use super::*;
use crate::capture::hub::{Origin, Published, Start, Subscriber};

/// What comes next and satisfies `is_it`.
async fn next(subscriber: &mut Subscriber, is_it: impl Fn(&Published) -> bool) -> Published {
    let next = async {
        loop {
            let published = subscriber.next().await;
            if is_it(&published) {
                return published;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next)
        .await
        .expect("it did not come within 10 s")
}

fn is_frame(published: &Published) -> bool {
    matches!(published, Published::Frame(_))
}

#[tokio::test]
async fn subscribers_follow_a_stream_from_one_recorder_to_the_next() {
    let camera = ScriptedCamera::start(Script::default());
    let site = site(Arc::new(PlainMux));
    let stream = StreamId::main(CameraId(1));
    let mut subscriber = site.hub.subscribe(stream, Start::Keyframe).unwrap();
    assert_eq!(
        subscriber.next().await,
        Published::Ended,
        "it is not recorded yet"
    );
    for epoch in [1, 2] {
        site.desire(&[(1, want(&camera, epoch))]);
        let origin = next(&mut subscriber, |published| {
            matches!(published, Published::Origin(_))
        });
        let origin = origin.await;
        assert!(
            matches!(origin, Published::Origin(Origin { epoch: Epoch(now), .. }) if now == epoch),
            "{origin:?}"
        );
        let first = next(&mut subscriber, is_frame).await;
        assert!(matches!(first, Published::Frame(frame) if frame.is_keyframe()));
        for _ in 0..30 {
            next(&mut subscriber, is_frame).await;
        }
        site.desire(&[]);
        next(&mut subscriber, |published| *published == Published::Ended).await;
    }
    assert_eq!(site.hub.counts().skipped_frames, 0);
    site.end().await;
}

#[tokio::test]
async fn a_session_is_read_more_often_while_it_is_watched() {
    let camera = ScriptedCamera::start(Script::default());
    let tick = Duration::from_millis(400);
    let site = site_ticking(Arc::new(PlainMux), Duration::from_secs(5), tick);
    site.desire(&[(1, want(&camera, 1))]);
    site.recording(1, 40).await;
    let ingest = site.ingest.handle();
    let turns = async || {
        // Housekeeping notices who watches, and attempts to connect wake at once for a second.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let before = ingest.turns();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        ingest.turns() - before
    };
    let unwatched = turns().await;
    let stream = StreamId::main(CameraId(1));
    let subscriber = site.hub.subscribe(stream, Start::Keyframe).unwrap();
    let watched = turns().await;
    drop(subscriber);
    let again = turns().await;
    assert!(
        unwatched <= 6 && watched >= 12 && again <= 6,
        "{unwatched}, {watched} while it is watched, then {again}"
    );
    site.end().await;
}
