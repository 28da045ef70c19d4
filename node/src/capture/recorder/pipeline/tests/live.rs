//! What subscribers receive is what is stored.

use super::*;
use crate::capture::hub::{self, Published, Start, Subscriber};
use crate::capture::ingest::media::AudioCodec;
use holdfast_storage::chunk::Chunk;

const STREAM: StreamId = StreamId::main(CameraId(1));

/// A frame, as readers of chunks and subscribers see it: its number, and when it is decoded.
type Seen = (i64, u64);

/// Notes the frames of each chunk.
#[derive(Default)]
struct NotingMux(Mutex<Vec<(TrackKind, u64, Vec<Seen>)>>);

impl Mux for NotingMux {
    fn init(&self, parameters: &TrackParameters) -> Result<Bytes, mux::Error> {
        PlainMux.init(parameters)
    }

    fn chunk(
        &self,
        track: TrackKind,
        sequence: u32,
        start: Timestamp,
        frames: &[mux::Frame],
    ) -> Result<Vec<Bytes>, mux::Error> {
        let seen = frames
            .iter()
            .map(|frame| (number(&frame.data), frame.decode_time))
            .collect();
        let end = frames
            .last()
            .map_or(0, |last| last.decode_time + u64::from(last.duration));
        self.0.lock().unwrap().push((track, end, seen));
        PlainMux.chunk(track, sequence, start, frames)
    }
}

impl NotingMux {
    /// The track's chunks so far: when each ends, and its frames.
    fn chunks(&self, track: TrackKind) -> Vec<(u64, Vec<Seen>)> {
        let chunks = self.0.lock().unwrap();
        let of_track = chunks.iter().filter(|chunk| chunk.0 == track);
        of_track
            .map(|(_, end, frames)| (*end, frames.clone()))
            .collect()
    }
}

/// The number at a frame's end.
fn number(data: &[u8]) -> i64 {
    i64::from_be_bytes(data[data.len() - 8..].try_into().unwrap())
}

fn numbered(data: &[u8], number: i64) -> Bytes {
    Bytes::from([data, &number.to_be_bytes()].concat())
}

/// A story whose frames are numbered by their time.
fn noted() -> (Story, Arc<NotingMux>) {
    let mux = Arc::new(NotingMux::default());
    (
        story_of(Before::default(), Arc::clone(&mux) as Arc<dyn Mux>),
        mux,
    )
}

impl Story {
    fn watch(&self, start: Start) -> Subscriber {
        self.hub.subscribe(STREAM, start).unwrap()
    }

    /// As [`Self::stream`], a tick each 120 ms, with frames of sound in between. Frames come late
    /// by up to 30 ms.
    fn play(&mut self, from_ms: i64, to_ms: i64) {
        for ms in (from_ms..to_ms).step_by(40) {
            let late_ms = ms * 7 % 31;
            let Now { instant, wall } = self.now(ms + late_ms);
            let keyframe = ms % 1000 == 0;
            let slice = &slice(keyframe);
            let video = MediaFrame {
                received: instant,
                received_wall: wall,
                data: numbered(&slice[..slice.len() - 8], ms),
                ..self.frame(ms, keyframe)
            };
            let is_first = !self.parameters_sent;
            self.push(video.clone());
            let parameters = TrackParameters::Audio {
                codec: AudioCodec::Pcma,
                config: Bytes::new(),
                channels: 1,
                timescale: 8_000,
            };
            let sound = MediaFrame {
                track: TrackKind::Audio,
                rtp: ms * 8,
                timescale: 8_000,
                data: numbered(b"sound", ms),
                access: Some(AccessPoint::Sync),
                length: Some(320),
                parameters: is_first.then(|| Arc::new(parameters)),
                ..video
            };
            self.pipeline.item(SessionItem::Frame(sound)).unwrap();
            if ms % 120 == 0 {
                self.pipeline.turn_ended();
                self.pipeline.tick(self.now(ms + 39));
            }
        }
        self.pipeline.turn_ended();
    }
}

fn received(subscriber: &mut Subscriber) -> Vec<Published> {
    std::iter::from_fn(|| subscriber.try_next()).collect()
}

/// What a turn that ends now brings.
fn drained(story: &mut Story, subscriber: &mut Subscriber) -> Vec<Published> {
    story.pipeline.turn_ended();
    received(subscriber)
}

fn seen(received: &[Published], track: TrackKind) -> Vec<Seen> {
    let frame = |published: &Published| match published {
        Published::Frame(frame) if frame.track == track => {
            Some((number(&frame.data), frame.decode.ticks(frame.timescale)))
        }
        _ => None,
    };
    received.iter().filter_map(frame).collect()
}

#[tokio::test]
async fn stored_chunks_and_live_frames_join_without_a_missing_or_doubled_frame() {
    // It is watched from any point of a GOP and of a chunk on.
    for watched_ms in (2000..3200).step_by(40) {
        let (mut story, mux) = noted();
        story.play(0, watched_ms);
        assert_eq!(
            story.hub.counts().ring_bytes,
            0,
            "without subscribers nothing is kept"
        );
        let mut subscriber = story.watch(Start::Anywhere);
        // The turn after that, before any further chunk can have ended.
        story.play(watched_ms, watched_ms + 40);
        let tracks = [TrackKind::Video, TrackKind::Audio];
        let handed_over = tracks.map(|track| mux.chunks(track).len());
        let mut live = received(&mut subscriber);
        for from_ms in (watched_ms + 40..5000).step_by(480) {
            story.play(from_ms, 5000.min(from_ms + 480));
            live.extend(received(&mut subscriber));
        }
        story.pipeline.finish(story.now(5000));
        for (track, handed_over) in tracks.into_iter().zip(handed_over) {
            let (live, chunks) = (seen(&live, track), mux.chunks(track));
            let first = live[0].1;
            let before = chunks.iter().filter(|chunk| chunk.0 <= first);
            assert!(
                before.clone().count() <= handed_over,
                "{watched_ms}: what precedes the first frame is handed over when it comes"
            );
            let stored: Vec<Seen> = chunks.iter().flat_map(|chunk| chunk.1.clone()).collect();
            let joined = before.flat_map(|chunk| chunk.1.clone()).chain(live);
            let joined: Vec<Seen> = joined.collect();
            assert_eq!(joined, stored, "{track:?} watched from {watched_ms} ms on");
        }
    }
}

#[tokio::test]
async fn published_bytes_are_the_stored_ones() {
    let (mut story, _) = noted();
    let mut subscriber = story.watch(Start::Keyframe);
    story.play(0, 1000);
    story.pipeline.finish(story.now(1000));
    let live: Vec<_> = received(&mut subscriber)
        .into_iter()
        .filter_map(|published| match published {
            Published::Frame(frame) => Some(frame.data.as_ptr()),
            _ => None,
        })
        .collect();
    let records = story.sink.records.lock().unwrap();
    let parts = records.iter().flat_map(|record| match record {
        Record::Chunk(Chunk { parts, .. }) => &parts[1..],
        _ => &[],
    });
    let mut stored: Vec<_> = parts.map(|part| part.as_ptr()).collect();
    let mut live = live;
    stored.sort_unstable();
    live.sort_unstable();
    assert!(!live.is_empty());
    assert_eq!(live, stored);
}

#[tokio::test]
async fn a_new_epoch_and_new_parameters_are_announced_before_their_frames() {
    let mut story = story();
    let mut subscriber = story.watch(Start::Keyframe);
    story.stream(0, 1000);
    let mut received = drained(&mut story, &mut subscriber);
    story.stream(1000, 2000);
    let next = Identity {
        epoch: Epoch(4),
        rank: Rank::Owner,
    };
    story.pipeline.set_identity(next);
    story.stream(2000, 2040);
    let mut changed = story.frame(2040, true);
    changed.parameters = Some(h264(640));
    story.push(changed);
    received.extend(drained(&mut story, &mut subscriber));
    let events: Vec<_> = received
        .iter()
        .filter(|published| !matches!(published, Published::Frame(_)))
        .collect();
    assert!(
        matches!(
            events[..],
            [
                Published::Origin(hub::Origin {
                    epoch: Epoch(3),
                    ..
                }),
                Published::Init(_),
                Published::Origin(hub::Origin {
                    epoch: Epoch(4),
                    rank: Rank::Owner,
                    ..
                }),
                Published::Init(_)
            ]
        ),
        "{events:?}"
    );
    let first = received
        .iter()
        .rposition(|published| matches!(published, Published::Origin(_)));
    let first = received.get(first.unwrap() + 1);
    let Some(Published::Frame(first)) = first else {
        panic!("{first:?}");
    };
    assert_eq!(first.decode.micros_since(START) / 1000, 2000);
}

#[tokio::test]
async fn a_lost_session_is_a_gap_with_its_cause_and_a_new_session() {
    let mut story = story();
    let mut subscriber = story.watch(Start::Keyframe);
    story.stream(0, 1000);
    story.lose(1000, GapCause::CameraStalled);
    story.lose(1500, GapCause::CameraUnreachable);
    story.lose(2000, GapCause::CameraUnreachable);
    let until = received(&mut subscriber);
    let gap = |cause| Published::Gap {
        since: START.plus_micros(1_000_000),
        cause,
    };
    let gaps = [
        gap(GapCause::CameraStalled),
        gap(GapCause::CameraUnreachable),
    ];
    assert_eq!(until[until.len() - 2..], gaps, "each cause once");
    let mut late = story.watch(Start::Keyframe);
    let late = received(&mut late);
    assert_eq!(late.last(), Some(&gaps[1]), "also for who comes later");
    story.stream(3000, 3480);
    story.pipeline.turn_ended();
    let after = received(&mut subscriber);
    assert!(
        matches!(after[..2], [Published::Origin(_), Published::Frame(_)]),
        "{after:?}"
    );
    story.lose(3500, GapCause::CameraStalled);
    let session = story.video().last().unwrap().session;
    assert!(matches!(after[0], Published::Origin(origin) if origin.session == session));
    assert!(matches!(
        received(&mut subscriber).last(),
        Some(Published::Gap { .. })
    ));
    drop(story.pipeline);
    assert_eq!(received(&mut subscriber), [Published::Ended]);
}

#[tokio::test]
async fn frames_after_a_loss_are_marked() {
    let mut story = story();
    let mut subscriber = story.watch(Start::Keyframe);
    story.stream(0, 1200);
    let mut after = story.frame(1280, false);
    after.lost_packets = 3;
    story.push(after);
    story.stream(1320, 1400);
    story.pipeline.turn_ended();
    let marked: Vec<i64> = received(&mut subscriber)
        .iter()
        .filter_map(|published| match published {
            Published::Frame(frame) if frame.after_loss => {
                Some(frame.decode.micros_since(START) / 1000)
            }
            _ => None,
        })
        .collect();
    assert_eq!(marked, [1280]);
}
