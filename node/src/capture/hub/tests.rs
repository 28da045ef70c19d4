//! Publishers and subscribers of a node.

use super::*;
use crate::capture::hub::event::Heading;
use bytes::Bytes;
use holdfast_storage::chunk::{AccessPoint, GapCause, Init};
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use std::time::{Duration, Instant};

const STREAM: StreamId = StreamId::main(CameraId(7));
const GAP: Published = Published::Gap {
    since: Timestamp(5),
    cause: GapCause::CameraUnreachable,
};

fn origin(epoch: u64, session: u64) -> Origin {
    Origin {
        node: NodeId(1),
        epoch: Epoch(epoch),
        rank: Rank::Owner,
        session: SessionId(session),
    }
}

fn init(bytes: &'static [u8]) -> Init {
    Init {
        camera: STREAM.camera,
        stream: STREAM.kind,
        track: TrackKind::Video,
        bytes: Bytes::from_static(bytes),
    }
}

/// Frame `at` of 25 a second.
fn frame(at: i64, keyframe: bool) -> Frame {
    Frame {
        track: TrackKind::Video,
        data: Bytes::from(vec![at as u8; 1000]),
        decode: Timestamp(at * 40_000),
        composition_us: 0,
        timescale: 90_000,
        access: keyframe.then_some(AccessPoint::Sync),
        length_us: None,
        after_loss: false,
    }
}

fn describe(publisher: &mut Publisher, origin: Origin, init: &Init) {
    publisher.describe(origin, [Some((init.id(), init)), None]);
}

/// Publishes frames as a recorder does, a turn each, with a keyframe each second.
fn stream(publisher: &mut Publisher, frames: std::ops::Range<i64>) {
    for at in frames {
        if publisher.is_kept() {
            publisher.begins();
            publisher.frame(frame(at, at % 25 == 0));
        }
        publisher.flush();
    }
}

fn hub() -> (Hub, Publisher) {
    let hub = Hub::default();
    let mut publisher = hub.publisher(STREAM);
    describe(&mut publisher, origin(1, 1), &init(b"first"));
    (hub, publisher)
}

fn received(subscriber: &mut Subscriber) -> Vec<Published> {
    std::iter::from_fn(|| subscriber.try_next()).collect()
}

fn frames(received: &[Published]) -> Vec<i64> {
    let frame = |published: &Published| match published {
        Published::Frame(frame) => Some(frame.decode.micros() / 40_000),
        _ => None,
    };
    received.iter().filter_map(frame).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as an origin"
)]
fn origin_of_time() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_late_subscriber_begins_with_the_last_gop_of_a_watched_stream() {
    let (hub, mut publisher) = hub();
    stream(&mut publisher, 0..30);
    assert_eq!(hub.counts().ring_bytes, 0, "it was not watched");
    let mut first = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    stream(&mut publisher, 30..60);
    let mut second = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    let expected = (50..60).collect::<Vec<_>>();
    let received = received(&mut second);
    assert!(matches!(received[0], Published::Origin(_)));
    assert!(matches!(received[1], Published::Init(_)));
    assert_eq!(frames(&received), expected);
    assert_eq!(frames(&self::received(&mut first)), expected);
}

#[tokio::test]
async fn a_reader_in_the_way_does_not_hold_the_publisher_up() {
    let (hub, mut publisher) = hub();
    let mut subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    let channel = Arc::clone(&hub.0.channels()[&STREAM]);
    {
        let _reads = channel.lock();
        // It would not return if it waited.
        stream(&mut publisher, 0..3);
        publisher.tick(origin_of_time());
    }
    assert_eq!(received(&mut subscriber), []);
    publisher.flush();
    assert_eq!(frames(&received(&mut subscriber)), [0, 1, 2]);
    {
        let _reads = channel.lock();
        stream(&mut publisher, 3..3003);
    }
    stream(&mut publisher, 3003..3026);
    {
        let _reads = channel.lock();
        let data = Bytes::from(vec![0; 1 << 20]);
        for at in 3026..3046 {
            let data = data.clone();
            publisher.frame(Frame {
                data,
                ..frame(at, false)
            });
        }
    }
    stream(&mut publisher, 3046..3060);
    let received = received(&mut subscriber);
    let skipped = received.iter().filter_map(|published| match published {
        Published::Skipped { frames } => Some(*frames as usize),
        _ => None,
    });
    let skipped: usize = skipped.sum();
    assert!(skipped > 0);
    assert_eq!(skipped + frames(&received).len(), 3057);
    assert!(skipped > 2000, "{skipped}: what waits is bounded");
    assert_eq!(hub.counts().skipped_frames, skipped as u64);
}

#[tokio::test]
async fn a_slow_subscriber_skips_to_a_keyframe() {
    let (hub, mut publisher) = hub();
    let mut subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    stream(&mut publisher, 0..2);
    assert_eq!(frames(&received(&mut subscriber)), [0, 1]);
    stream(&mut publisher, 2..260);
    let received = received(&mut subscriber);
    assert_eq!(received[0], Published::Skipped { frames: 248 });
    assert_eq!(frames(&received), (250..260).collect::<Vec<_>>());
    assert_eq!(hub.counts().skipped_frames, 248);
}

#[tokio::test]
async fn all_subscribers_share_the_recorders_bytes() {
    let (hub, mut publisher) = hub();
    let subscribe = |_| hub.subscribe(STREAM, Start::Keyframe).unwrap();
    let mut subscribers: Vec<_> = (0..200).map(subscribe).collect();
    let recorded = frame(0, true);
    publisher.begins();
    publisher.frame(recorded.clone());
    publisher.flush();
    for subscriber in &mut subscribers {
        let Some(Published::Frame(received)) = received(subscriber).pop() else {
            panic!("no frame");
        };
        assert_eq!(received.data.as_ptr(), recorded.data.as_ptr());
    }
    assert_eq!(hub.counts().subscribers, 200);
    drop(subscribers);
    assert_eq!(hub.counts().subscribers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_waiting_subscriber_is_woken() {
    let (hub, mut publisher) = hub();
    let wait = |_| {
        let mut subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
        tokio::spawn(async move {
            let mut frames = 0;
            while frames < 50 {
                if let Published::Frame(_) = subscriber.next().await {
                    frames += 1;
                }
            }
        })
    };
    let mut waiting: Vec<_> = (0..50).map(wait).collect();
    let publishing = tokio::spawn(async move {
        for at in 0..50 {
            stream(&mut publisher, at..at + 1);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        publisher
    });
    for waiting in &mut waiting {
        let deadline = Duration::from_secs(10);
        tokio::time::timeout(deadline, waiting)
            .await
            .expect("it was not woken")
            .unwrap();
    }
    drop(publishing.await.unwrap());
}

#[tokio::test]
async fn a_later_recorder_continues_for_the_same_subscribers() {
    let (hub, mut publisher) = hub();
    let mut subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    stream(&mut publisher, 0..3);
    drop(publisher);
    let first = received(&mut subscriber);
    assert_eq!(
        (frames(&first), first.last()),
        (vec![0, 1, 2], Some(&Published::Ended))
    );
    let mut next = hub.publisher(STREAM);
    describe(&mut next, origin(2, 9), &init(b"first"));
    stream(&mut next, 25..27);
    let second = received(&mut subscriber);
    assert_eq!(second[0], Published::Origin(origin(2, 9)));
    assert_eq!((second.len(), frames(&second)), (3, vec![25, 26]));
}

#[tokio::test]
async fn of_two_publishers_the_newer_one_counts() {
    let (hub, mut older) = hub();
    let mut subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    let mut newer = hub.publisher(STREAM);
    describe(&mut newer, origin(2, 2), &init(b"first"));
    stream(&mut older, 0..3);
    stream(&mut newer, 25..27);
    older.gap(Timestamp(5), GapCause::CameraUnreachable);
    drop(older);
    let received = received(&mut subscriber);
    assert_eq!(frames(&received), [25, 26]);
    assert!(!received.contains(&Published::Ended) && !received.contains(&GAP));
}

#[tokio::test]
async fn a_gap_is_shown_with_its_cause_and_ends_with_the_next_frame() {
    let (hub, mut publisher) = hub();
    let mut subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    stream(&mut publisher, 0..2);
    publisher.gap(Timestamp(5), GapCause::CameraUnreachable);
    publisher.gap(Timestamp(6), GapCause::CameraUnreachable);
    publisher.flush();
    let before = received(&mut subscriber);
    assert_eq!(
        before.iter().filter(|published| **published == GAP).count(),
        1
    );
    assert_eq!(before.last(), Some(&GAP));
    publisher.resumed();
    describe(&mut publisher, origin(1, 2), &init(b"second"));
    stream(&mut publisher, 50..51);
    let after = received(&mut subscriber);
    assert_eq!(
        after[..2],
        [
            Published::Origin(origin(1, 2)),
            Published::Init(init(b"second"))
        ]
    );
    assert_eq!(frames(&after), [50]);
}

#[tokio::test]
async fn a_subscriber_that_comes_in_a_gap_learns_why() {
    let (hub, mut publisher) = hub();
    publisher.gap(Timestamp(5), GapCause::CameraUnreachable);
    publisher.flush();
    let mut subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    assert_eq!(received(&mut subscriber), [GAP]);
    publisher.resumed();
    publisher.flush();
    let mut later = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    assert_eq!(received(&mut later), []);
    let elsewhere = StreamId::main(CameraId(8));
    let mut elsewhere = hub.subscribe(elsewhere, Start::Keyframe).unwrap();
    assert_eq!(received(&mut elsewhere), [Published::Ended]);
}

#[tokio::test]
async fn a_ring_is_kept_for_a_while_after_the_last_subscriber() {
    let (hub, mut publisher) = hub();
    let began = origin_of_time();
    let subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    stream(&mut publisher, 0..5);
    publisher.tick(began);
    drop(subscriber);
    assert!(!publisher.has_subscribers());
    publisher.tick(began + Duration::from_secs(100));
    publisher.tick(began + Duration::from_secs(100) + GRACE - Duration::from_millis(1));
    let mut back = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    assert_eq!(frames(&received(&mut back)), (0..5).collect::<Vec<_>>());
    publisher.tick(began + Duration::from_secs(200));
    drop(back);
    publisher.tick(began + Duration::from_secs(300));
    publisher.tick(began + Duration::from_secs(300) + GRACE);
    assert_eq!((publisher.is_kept(), hub.counts().ring_bytes), (false, 0));
    let mut again = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    assert!(publisher.begins(), "open chunks come first again");
    assert_eq!(received(&mut again), []);
}

#[tokio::test]
async fn an_unused_stream_is_forgotten() {
    let (hub, mut publisher) = hub();
    let subscriber = hub.subscribe(STREAM, Start::Keyframe).unwrap();
    let other = hub
        .subscribe(
            StreamId {
                camera: CameraId(8),
                kind: StreamKind::Sub,
            },
            Start::Keyframe,
        )
        .unwrap();
    stream(&mut publisher, 0..5);
    assert!(hub.counts().ring_bytes > 5000);
    assert_eq!(hub.0.channels().len(), 2);
    drop(other);
    drop(publisher);
    assert_eq!(hub.0.channels().keys().collect::<Vec<_>>(), [&STREAM]);
    drop(subscriber);
    // The task that woke it ends.
    tokio::task::yield_now().await;
    assert_eq!((hub.0.channels().len(), hub.counts().ring_bytes), (0, 0));
}

#[tokio::test]
async fn the_number_of_subscribers_is_bounded() {
    let hub = Hub::new(Options {
        subscribers_max: 2,
        ..Options::default()
    });
    let subscribe = || hub.subscribe(STREAM, Start::Keyframe);
    let (first, _second) = (subscribe().unwrap(), subscribe().unwrap());
    assert_eq!(subscribe().unwrap_err(), Full(2));
    drop(first);
    assert!(subscribe().is_ok());
}

#[tokio::test]
async fn large_rings_give_way_and_the_budget_holds() {
    let bytes_max = 400_000;
    let hub = Hub::new(Options {
        ring_bytes_max: 200_000,
        bytes_max,
        ..Options::default()
    });
    let streams: Vec<StreamId> = (0..20).map(|id| StreamId::main(CameraId(id))).collect();
    let mut publishers: Vec<_> = streams
        .iter()
        .map(|stream| hub.publisher(*stream))
        .collect();
    let mut subscribers = Vec::new();
    let publish = |publisher: &mut Publisher, at: i64, bytes: usize| {
        describe(publisher, origin(1, 1), &init(b"first"));
        publisher.frame(Frame {
            data: Bytes::from(vec![0; bytes]),
            ..frame(at, at % 100 == 0)
        });
        publisher.flush();
        assert!(hub.counts().ring_bytes <= bytes_max, "{:?}", hub.counts());
    };
    let kept = |at: usize| hub.0.channels()[&streams[at]].lock().ring_bytes();
    for (at, publisher) in publishers.iter_mut().enumerate().take(2) {
        subscribers.push(hub.subscribe(streams[at], Start::Keyframe).unwrap());
        (0..100).for_each(|at| publish(publisher, at, 5_000));
    }
    assert!(kept(0) > 150_000 && kept(1) > 150_000);
    // Small ones come. Each of the large ones gives way with its next frame.
    for stream in &streams[2..] {
        subscribers.push(hub.subscribe(*stream, Start::Keyframe).unwrap());
    }
    for at in 0..10 {
        for (id, publisher) in publishers.iter_mut().enumerate() {
            let (at, bytes) = if id < 2 { (100 + at, 5_000) } else { (at, 500) };
            publish(publisher, at, bytes);
        }
    }
    let share = bytes_max / 8 * 7 / 20;
    assert!(
        kept(0) <= share || kept(1) <= share,
        "{}, {}",
        kept(0),
        kept(1)
    );
    let small = 10 * 500;
    assert!(
        (2..20).all(|at| kept(at) > small),
        "the small ones are whole"
    );
    assert!(hub.counts().cut_gops > 0);
    // One that publishes nothing gives way, too.
    publish(&mut publishers[1], 120, 90_000);
    publishers[0].tick(origin_of_time());
    publishers[1].tick(origin_of_time());
    assert!(kept(0) + kept(1) <= 200_000, "{}, {}", kept(0), kept(1));
}

#[tokio::test]
async fn a_ring_that_grows_does_not_exceed_the_budget_that_others_use_up() {
    let bytes_max = 400_000;
    let hub = Hub::new(Options {
        ring_bytes_max: 300_000,
        bytes_max,
        ..Options::default()
    });
    let streams = [0, 1].map(|id| StreamId::main(CameraId(id)));
    let mut publishers = streams.map(|stream| hub.publisher(stream));
    let mut subscribers = streams.map(|stream| hub.subscribe(stream, Start::Keyframe).unwrap());
    for (publisher, subscriber) in publishers.iter_mut().zip(&mut subscribers) {
        describe(publisher, origin(1, 1), &init(b"first"));
        for at in 0..1000 {
            publisher.frame(frame(at, at == 0));
            publisher.flush();
            assert!(hub.counts().ring_bytes <= bytes_max, "{:?}", hub.counts());
            let received = received(subscriber);
            assert_eq!(frames(&received), [at], "who follows misses nothing");
        }
    }
    assert!(hub.counts().ring_bytes > bytes_max - 2_000);
}

#[test]
fn a_heading_is_made_once_for_all_frames_that_share_it() {
    let (_, mut publisher) = hub();
    let heading = |publisher: &Publisher| -> Arc<Heading> { publisher.heading_for_tests() };
    let first = heading(&publisher);
    describe(&mut publisher, origin(1, 1), &init(b"first"));
    assert!(Arc::ptr_eq(&first, &heading(&publisher)));
    describe(&mut publisher, origin(1, 1), &init(b"second"));
    assert!(!Arc::ptr_eq(&first, &heading(&publisher)));
}
