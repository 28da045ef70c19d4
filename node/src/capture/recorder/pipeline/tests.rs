//! Stories of a recorder: frames in, records out, with time as a value.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]

mod clocks;
mod live;
mod loss;
mod outage;
mod realign;
mod sound;

use super::*;
use crate::capture::hub::Hub;
use crate::capture::ingest::media::{SenderReport, VideoCodec};
use crate::capture::recorder::mux;
use bytes::Bytes;
use holdfast_storage::chunk::{AccessPoint, ChunkMeta, Gap, Record};
use holdfast_storage::ids::{CameraId, Epoch, Rank};
use std::sync::Mutex;

pub(crate) const START: Timestamp = Timestamp(1_795_341_600_000_000);

/// Writes nothing but lengths; the frames' own bytes are the parts.
pub(crate) struct PlainMux;

/// A frame that it cannot express.
const INEXPRESSIBLE: &[u8] = b"inexpressible";

impl Mux for PlainMux {
    fn init(&self, parameters: &TrackParameters) -> Result<Bytes, mux::Error> {
        match parameters {
            TrackParameters::Video { width: 0, .. } => Err(mux::Error("no picture".to_owned())),
            _ => Ok(Bytes::from(format!("{parameters:?}"))),
        }
    }

    fn chunk(
        &self,
        _: TrackKind,
        sequence: u32,
        _: Timestamp,
        frames: &[mux::Frame],
    ) -> Result<Vec<Bytes>, mux::Error> {
        if frames.iter().any(|frame| frame.data == INEXPRESSIBLE) {
            return Err(mux::Error("test".to_owned()));
        }
        let header = Bytes::copy_from_slice(&sequence.to_be_bytes());
        Ok(std::iter::once(header)
            .chain(frames.iter().map(|frame| frame.data.clone()))
            .collect())
    }
}

/// Keeps records, or refuses them.
#[derive(Default)]
pub(crate) struct MemorySink {
    pub(crate) records: Mutex<Vec<Record>>,
    pub(crate) refuse: Mutex<Option<SinkError>>,
    /// Refuses the next record only.
    refuse_once: Mutex<Option<SinkError>>,
}

impl RecordSink for MemorySink {
    fn append(&self, class: &str, record: Record) -> Result<(), SinkError> {
        assert_eq!(class, "default");
        let once = self.refuse_once.lock().unwrap().take();
        if let Some(error) = once.or_else(|| self.refuse.lock().unwrap().clone()) {
            return Err(error);
        }
        self.records.lock().unwrap().push(record);
        Ok(())
    }
}

impl MemorySink {
    pub(crate) fn chunks(&self, track: TrackKind) -> Vec<ChunkMeta> {
        let records = self.records.lock().unwrap();
        let meta = |record: &Record| {
            if let Record::Chunk(chunk) = record {
                Some(chunk.meta)
            } else {
                None
            }
        };
        records
            .iter()
            .filter_map(meta)
            .filter(|meta| meta.track == track)
            .collect()
    }

    pub(crate) fn gaps(&self) -> Vec<(i64, i64, GapCause)> {
        self.ledger().into_iter().map(shown).collect()
    }

    /// As [`Self::gaps`], but the pieces of one outage are one, as in the timeline.
    pub(crate) fn outages(&self) -> Vec<(i64, i64, GapCause)> {
        let mut outages: Vec<Gap> = Vec::new();
        for piece in self.ledger() {
            let is_before = |gap: &&mut Gap| {
                (gap.camera, gap.cause, gap.end) == (piece.camera, piece.cause, piece.start)
            };
            match outages.iter_mut().find(is_before) {
                Some(gap) => gap.end = piece.end,
                None => outages.push(piece),
            }
        }
        outages.into_iter().map(shown).collect()
    }

    fn ledger(&self) -> Vec<Gap> {
        let records = self.records.lock().unwrap();
        let gap = |record: &Record| match record {
            Record::Gap(gap) => Some(*gap),
            _ => None,
        };
        records.iter().filter_map(gap).collect()
    }
}

/// In milliseconds since the start.
fn shown(gap: Gap) -> (i64, i64, GapCause) {
    let ms = |time: Timestamp| time.micros_since(START) / 1000;
    (ms(gap.start), ms(gap.end), gap.cause)
}

impl MemorySink {
    /// Over all entries; `None` if it is not known of one.
    fn frames_missing(&self) -> Option<u32> {
        let records = self.records.lock().unwrap();
        let gaps = records.iter().filter_map(|record| {
            if let Record::Gap(gap) = record {
                Some(gap)
            } else {
                None
            }
        });
        gaps.map(|gap| gap.frames_missing.map(u32::from)).sum()
    }
}

struct Story {
    origin: Instant,
    /// How far the wall clock is off, in milliseconds.
    wall_off_ms: i64,
    sink: Arc<MemorySink>,
    status: Arc<StatusCell>,
    wall: WallTrust,
    pipeline: Pipeline,
    rtp_off: i64,
    parameters_sent: bool,
    hub: Hub,
}

const OWNER: Identity = Identity {
    epoch: Epoch(3),
    rank: Rank::Owner,
};

fn story() -> Story {
    story_after(Before::default())
}

fn story_after(before: Before) -> Story {
    story_of(before, Arc::new(PlainMux))
}

fn story_of(before: Before, mux: Arc<dyn Mux>) -> Story {
    let sink = Arc::new(MemorySink::default());
    let status = Arc::new(StatusCell::new(StreamId::main(CameraId(1)), OWNER));
    let wall = WallTrust::default();
    let context = Context {
        stream: StreamId::main(CameraId(1)),
        node: NodeId(2),
        retention_class: "default".to_owned(),
        limits: Limits::default(),
        mux,
        sink: Arc::clone(&sink) as Arc<dyn RecordSink>,
        status: Arc::clone(&status),
        totals: Arc::default(),
        wall: wall.clone(),
    };
    let origin = Instant::now();
    let hub = Hub::default();
    let stream = StreamId::main(CameraId(1));
    let pipeline = Pipeline::new(
        context,
        hub.publisher(stream),
        OWNER,
        before,
        Now {
            instant: origin,
            wall: START,
        },
    );
    Story {
        origin,
        wall_off_ms: 0,
        sink,
        status,
        wall,
        pipeline,
        rtp_off: 0,
        parameters_sent: false,
        hub,
    }
}

fn h264(width: u16) -> Arc<TrackParameters> {
    let (codec, config) = (VideoCodec::H264, Bytes::from_static(b"avcC"));
    let timescale = 90_000;
    Arc::new(TrackParameters::Video {
        codec,
        config,
        width,
        height: 720,
        pixel_aspect_ratio: None,
        timescale,
    })
}

/// A slice of an IDR picture or of another.
fn slice(keyframe: bool) -> Bytes {
    Bytes::from(
        [
            &[0, 0, 0, 46, if keyframe { 0x65 } else { 0x41 }][..],
            &[7; 45],
        ]
        .concat(),
    )
}

impl Story {
    fn now(&self, ms: i64) -> Now {
        let instant = self.origin + Duration::from_millis(ms as u64);
        Now {
            instant,
            wall: START.plus_micros((ms + self.wall_off_ms) * 1000),
        }
    }

    fn frame(&self, ms: i64, keyframe: bool) -> MediaFrame {
        let Now { instant, wall } = self.now(ms);
        MediaFrame {
            track: TrackKind::Video,
            rtp: ms * 90 + self.rtp_off,
            timescale: 90_000,
            received: instant,
            received_wall: wall,
            data: slice(keyframe),
            access: keyframe.then_some(AccessPoint::Sync),
            lost_packets: 0,
            is_damaged: false,
            length: None,
            parameters: None,
        }
    }

    fn push(&mut self, mut frame: MediaFrame) {
        if !std::mem::replace(&mut self.parameters_sent, true) {
            frame.parameters = Some(h264(1280));
        }
        self.pipeline.item(SessionItem::Frame(frame)).unwrap();
    }

    /// 25 frames a second, a keyframe each second.
    fn stream(&mut self, from_ms: i64, to_ms: i64) {
        for ms in (from_ms..to_ms).step_by(40) {
            self.push(self.frame(ms, ms % 1000 == 0));
        }
    }

    fn lose(&mut self, ms: i64, cause: GapCause) {
        self.pipeline.session_lost(cause, self.now(ms));
        self.parameters_sent = false;
    }

    fn video(&self) -> Vec<ChunkMeta> {
        self.sink.chunks(TrackKind::Video)
    }
}

/// Chunk starts and ends, in milliseconds of the story.
fn times(chunks: &[ChunkMeta]) -> Vec<(i64, i64)> {
    let ms = |time: Timestamp| time.micros_since(START) / 1000;
    chunks
        .iter()
        .map(|meta| (ms(meta.start), ms(meta.end())))
        .collect()
}

fn assert_whole(chunks: &[ChunkMeta]) {
    for pair in chunks.windows(2) {
        assert!(
            pair[0].is_followed_by(&pair[1]),
            "{:?} then {:?}",
            pair[0],
            pair[1]
        );
        assert_eq!(pair[0].end(), pair[1].start);
    }
}

#[test]
fn a_session_begins_at_a_keyframe_and_is_numbered_without_holes() {
    let mut story = story();
    story.stream(480, 3000);
    story.pipeline.finish(story.now(3000));
    let chunks = story.video();
    assert_whole(&chunks);
    assert_eq!(
        (
            times(&chunks)[0].0,
            chunks[0].sequence,
            chunks[0].is_access_point()
        ),
        (1000, 0, true)
    );
    assert_eq!(
        chunks[0].session,
        SessionId(chunks[0].start.micros() as u64)
    );
    assert_eq!(times(&chunks).last().map(|last| last.1), Some(3000));
    assert_eq!(story.status.read().counts.discarded_frames, 13);
    assert!(
        matches!(story.sink.records.lock().unwrap()[0], Record::Init(_)),
        "what decodes it comes first"
    );
    assert_eq!(story.sink.gaps(), [], "recording was not requested before");
    let status = story.status.read();
    assert_eq!(
        (status.first_keyframe, status.received_until),
        (Some(chunks[0].start), chunks.last().map(ChunkMeta::end))
    );
}

#[test]
fn a_late_first_frame_does_not_bend_the_beginning() {
    let mut story = story();
    for ms in (1000..3000).step_by(40) {
        let late_ms = (300 - (ms - 1000)).max(0);
        let frame = MediaFrame {
            rtp: ms * 90,
            ..story.frame(ms + late_ms, ms % 1000 == 0)
        };
        story.push(frame);
    }
    story.pipeline.finish(story.now(3000));
    let chunks = story.video();
    assert_whole(&chunks);
    assert_eq!(
        times(&chunks)[0],
        (1000, 1480),
        "as they were sent, not as they came"
    );
}

#[test]
fn frames_that_are_still_held_when_the_session_is_lost_are_recorded() {
    let mut story = story();
    story.stream(0, 200);
    story.lose(3200, GapCause::CameraStalled);
    assert_eq!(times(&story.video()), [(0, 200)]);
}

#[test]
fn a_lost_session_leaves_a_gap_from_the_last_frame_to_the_next_keyframe() {
    let mut story = story();
    story.stream(0, 2000);
    story.lose(5000, GapCause::CameraStalled);
    story.lose(7000, GapCause::CameraUnreachable);
    for ms in (7000..30_000).step_by(200) {
        story.pipeline.tick(story.now(ms));
    }
    story.stream(30_000, 31_000);
    use GapCause::{CameraStalled, CameraUnreachable};
    let gaps = story.sink.gaps();
    assert_eq!(
        (gaps[0], gaps.last().map(|gap| gap.1)),
        ((2000, 7000, CameraStalled), Some(30_000))
    );
    assert!(
        gaps.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "consecutive: {gaps:?}"
    );
    assert!(gaps[1..].iter().all(|gap| gap.2 == CameraUnreachable) && gaps.len() >= 4);
    assert_eq!(
        story.sink.frames_missing(),
        None,
        "what a camera that is not there did not send is unknown, not none"
    );
    story.pipeline.finish(story.now(31_000));
    let chunks = story.video();
    let resumed = chunks
        .iter()
        .find(|meta| times(&[**meta])[0].0 == 30_000)
        .unwrap();
    assert!(resumed.session > chunks[0].session && resumed.sequence == 0);
}

#[test]
fn a_camera_never_reached_is_missing_since_recording_was_asked_for() {
    let mut story = story();
    story.lose(4000, GapCause::CameraUnreachable);
    story.pipeline.finish(story.now(6000));
    assert_eq!(story.sink.gaps(), [(0, 6000, GapCause::CameraUnreachable)]);
}

#[test]
fn what_an_earlier_recorder_left_off_is_a_gap_and_never_overlapped() {
    let recorded_until = Some(START.plus_micros(700_000));
    let cause = Some(GapCause::RecorderStopped);
    let mut story = story_after(Before {
        recorded_until,
        missing_since: Some(START),
        cause,
    });
    story.stream(0, 1000);
    story.pipeline.finish(story.now(1000));
    assert!(
        story.video()[0].start >= START.plus_micros(700_000),
        "{:?}",
        times(&story.video())
    );
    assert_eq!(
        story.sink.gaps()[0],
        (0, 700, GapCause::RecorderStopped),
        "since when, and not since the last frame"
    );
}

#[test]
fn a_stand_in_explains_nothing_of_before_it_began() {
    let long_ago = Some(START.plus_micros(-86_400_000_000));
    let mut story = story_after(Before {
        recorded_until: long_ago,
        ..Before::default()
    });
    story.lose(1000, GapCause::CameraUnreachable);
    story.pipeline.finish(story.now(3000));
    assert_eq!(story.sink.gaps(), [(0, 3000, GapCause::CameraUnreachable)]);
    assert_eq!(
        story.status.accounted_until(),
        Some(START.plus_micros(3_000_000))
    );
}

/// Start in milliseconds of the chunks that are marked as damaged.
fn damaged(chunks: &[ChunkMeta]) -> Vec<i64> {
    let damaged: Vec<ChunkMeta> = chunks.iter().copied().filter(|meta| meta.damaged).collect();
    times(&damaged)
        .into_iter()
        .map(|(start, _)| start)
        .collect()
}

#[test]
fn a_full_sink_sheds_chunks_says_so_and_numbers_on_without_holes() {
    let mut story = story();
    story.stream(0, 1000);
    *story.sink.refuse.lock().unwrap() = Some(SinkError::Full);
    story.stream(1000, 3000);
    assert!(
        story
            .status
            .read()
            .error
            .is_some_and(|error| error.contains("buffer is full"))
    );
    *story.sink.refuse.lock().unwrap() = None;
    story.stream(3000, 5000);
    story.pipeline.finish(story.now(5000));
    let (chunks, gaps) = (story.video(), story.sink.gaps());
    assert_eq!(
        chunks.iter().map(|meta| meta.sequence).collect::<Vec<_>>(),
        (0..chunks.len() as u32).collect::<Vec<_>>()
    );
    assert!(
        gaps.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "one interval: {gaps:?}"
    );
    assert!(
        gaps.iter().all(|gap| gap.2 == GapCause::Overload),
        "{gaps:?}"
    );
    let missing: i64 = gaps.iter().map(|gap| gap.1 - gap.0).sum();
    let playable: i64 = times(&chunks).iter().map(|(start, end)| end - start).sum();
    assert_eq!(
        playable + missing,
        5000,
        "what is not missing can be played"
    );
    assert_eq!(
        damaged(&chunks),
        [2960],
        "it came while the sink took chunks again, and its GOP had lost some"
    );
    assert!(story.status.read().error.is_none());
}

#[test]
fn a_failed_volume_is_named_as_the_cause() {
    let mut story = story();
    *story.sink.refuse.lock().unwrap() = Some(SinkError::Failed("fsync: EIO".to_owned()));
    story.stream(0, 2000);
    *story.sink.refuse.lock().unwrap() = None;
    story.stream(2000, 3000);
    assert!(
        story
            .sink
            .gaps()
            .iter()
            .all(|gap| gap.2 == GapCause::VolumeFailed)
            && !story.sink.gaps().is_empty()
    );
    let first = story
        .sink
        .records
        .lock()
        .unwrap()
        .iter()
        .position(|record| matches!(record, Record::Chunk(_)));
    let init = story
        .sink
        .records
        .lock()
        .unwrap()
        .iter()
        .position(|record| matches!(record, Record::Init(_)));
    assert!(init < first, "the init segment was offered again");
}

impl MemorySink {
    /// The camera's volume fails, and loses the records since `lost_ms.0`.
    fn move_on(&self, lost_ms: Option<(i64, i64)>) {
        let at = |ms| START.plus_micros(ms * 1000);
        let lost = lost_ms.map(|(from, until)| (at(from), at(until)));
        *self.refuse_once.lock().unwrap() = Some(SinkError::Moved { lost });
    }

    /// The records of the volume that continues: everything from record `from` on.
    fn since(&self, from: usize) -> Self {
        Self {
            records: Mutex::new(self.records.lock().unwrap()[from..].to_vec()),
            ..Self::default()
        }
    }
}

#[test]
fn on_another_volume_a_new_session_begins_at_a_keyframe_and_what_was_lost_is_a_gap() {
    let mut story = story();
    story.stream(0, 2200);
    story.sink.move_on(Some((1480, 2000)));
    let before = story.sink.records.lock().unwrap().len();
    story.stream(2200, 5000);
    story.pipeline.finish(story.now(5000));
    let after = story.sink.since(before);
    let chunks = after.chunks(TrackKind::Video);
    assert_whole(&chunks);
    assert_eq!((chunks[0].sequence, chunks[0].is_access_point()), (0, true));
    assert!(chunks[0].session > story.video()[0].session);
    let gaps: Vec<_> = after.gaps();
    assert_eq!(
        gaps.first().map(|gap| (gap.0, gap.2)),
        Some((1480, GapCause::VolumeFailed))
    );
    assert_eq!(
        gaps.last().map(|gap| gap.1),
        Some(times(&chunks)[0].0),
        "up to what is recorded again"
    );
    assert!(
        gaps.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "consecutive: {gaps:?}"
    );
    let records = after.records.lock().unwrap();
    let first = |is: fn(&Record) -> bool| records.iter().position(is);
    let chunk = first(|record| matches!(record, Record::Chunk(_)));
    assert!(
        first(|record| matches!(record, Record::Init(_))) < chunk,
        "what decodes it comes first"
    );
    assert!(
        first(|record| matches!(record, Record::Gap(_))) < chunk,
        "the hole is known before the watermark passes it"
    );
}

#[test]
fn a_move_in_the_middle_of_a_gop_loses_the_rest_of_it_and_says_so() {
    let mut story = story();
    story.stream(0, 2520);
    story.sink.move_on(None);
    story.stream(2520, 5000);
    story.pipeline.finish(story.now(5000));
    assert_eq!(story.sink.gaps(), [(2480, 3000, GapCause::VolumeFailed)]);
    let chunks = story.video();
    let sessions: std::collections::BTreeSet<_> = chunks.iter().map(|meta| meta.session).collect();
    assert_eq!(
        (sessions.len(), times(&chunks).last().map(|last| last.1)),
        (2, Some(5000))
    );
    assert!(
        story.status.read().error.is_none(),
        "one volume that failed is not the recorder's failure"
    );
}

#[test]
fn a_move_that_a_gap_meets_while_the_camera_is_away_claims_nothing_twice() {
    let mut story = story();
    story.stream(0, 2000);
    story.lose(2100, GapCause::CameraUnreachable);
    story.sink.move_on(Some((1480, 2000)));
    story.pipeline.tick(story.now(12_500));
    story.stream(13_000, 15_000);
    story.pipeline.finish(story.now(15_000));
    let mut gaps = story.sink.gaps();
    gaps.sort_unstable();
    assert_eq!(
        gaps.first().copied(),
        Some((1480, 2000, GapCause::VolumeFailed))
    );
    assert_eq!(
        gaps.last().map(|gap| (gap.1, gap.2)),
        Some((13_000, GapCause::CameraUnreachable)),
        "{gaps:?}"
    );
    assert!(
        gaps.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "consecutive: {gaps:?}"
    );
}

#[test]
fn a_chunk_that_cannot_be_expressed_is_left_out_and_known() {
    let mut story = story();
    story.stream(0, 1000);
    story.push(MediaFrame {
        data: Bytes::from_static(INEXPRESSIBLE),
        ..story.frame(1000, true)
    });
    story.stream(1040, 3000);
    story.pipeline.finish(story.now(3000));
    let gaps = story.sink.gaps();
    assert_eq!(
        (gaps[0], gaps.last().map(|gap| gap.1)),
        ((1000, 1480, GapCause::Unknown), Some(1480)),
        "{gaps:?}"
    );
    assert_eq!(
        (
            story.status.read().counts.shed_chunks,
            damaged(&story.video())
        ),
        (1, vec![1480, 1960])
    );
}

#[test]
fn a_new_identity_ends_the_chunk_and_keeps_the_session() {
    let mut story = story();
    story.stream(0, 1200);
    let promoted = Identity {
        epoch: Epoch(4),
        rank: Rank::Owner,
    };
    story.pipeline.set_identity(promoted);
    assert_eq!(
        story.status.read().first_keyframe,
        None,
        "the new epoch has yet to prove itself"
    );
    story.stream(1200, 3000);
    story.pipeline.finish(story.now(3000));
    let chunks = story.video();
    assert_whole(&chunks);
    assert_eq!(times(&chunks).last().map(|last| last.1), Some(3000));
    let changed = chunks.iter().find(|meta| meta.epoch == Epoch(4)).unwrap();
    assert_eq!(
        (
            times(&[*changed])[0].0,
            changed.is_access_point(),
            changed.session
        ),
        (1200, false, chunks[0].session)
    );
}

#[test]
fn new_parameters_bring_a_new_init_segment_and_a_new_chunk() {
    let mut story = story();
    story.stream(0, 1200);
    let changed = MediaFrame {
        parameters: Some(h264(640)),
        ..story.frame(1200, true)
    };
    story.push(changed);
    story.stream(1240, 2000);
    story.pipeline.finish(story.now(2000));
    let chunks = story.video();
    assert_whole(&chunks);
    let first_of_new = chunks
        .iter()
        .find(|meta| meta.init != chunks[0].init)
        .unwrap();
    assert_eq!(times(&[*first_of_new])[0].0, 1200);
    let inits = story
        .sink
        .records
        .lock()
        .unwrap()
        .iter()
        .filter(|record| matches!(record, Record::Init(_)))
        .count();
    assert_eq!(inits, 2);
}

#[test]
fn parameters_that_no_init_can_be_made_of_end_the_session() {
    let mut story = story();
    let frame = MediaFrame {
        parameters: Some(h264(0)),
        ..story.frame(0, true)
    };
    let outcome = story.pipeline.item(SessionItem::Frame(frame));
    assert!(matches!(outcome, Err(SessionError::BadSdp(_))));
}

#[test]
fn an_oversized_or_empty_frame_is_counted_and_marks_a_loss() {
    let mut story = story();
    story.stream(0, 480);
    story.push(MediaFrame {
        data: Bytes::from(vec![0; FRAME_BYTES_MAX + 1]),
        ..story.frame(480, false)
    });
    story.push(MediaFrame {
        data: Bytes::new(),
        ..story.frame(520, false)
    });
    story.stream(560, 1000);
    story.pipeline.finish(story.now(1000));
    assert_eq!(story.status.read().counts.discarded_frames, 2);
    assert_eq!(story.sink.gaps(), [(480, 560, GapCause::PacketsLost)]);
}
