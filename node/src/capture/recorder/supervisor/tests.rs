//! Recorders on real threads against scripted cameras, with a sink in memory.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]

mod held;
mod viewers;

use super::*;
use crate::capture::hub::Hub;
use crate::capture::ingest::admission::{Admission, CONNECTING_MAX};
use crate::capture::ingest::media::TrackParameters;
use crate::capture::ingest::runtime::{self, IngestRuntime};
use crate::capture::ingest::session::script::{Script, ScriptedCamera, Then, VIDEO};
use crate::capture::ingest::wall::WallTrust;
use crate::capture::recorder::mux::{self, Mux};
use crate::capture::recorder::pipeline::tests::{MemorySink, PlainMux};
use crate::capture::recorder::sink::RecordSink;
use bytes::Bytes;
use holdfast_consensus::model::{Source, Treatment};
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_storage::ids::{CameraId, Epoch, Rank, TrackKind};
use holdfast_storage::time::Timestamp;
use std::sync::atomic::AtomicBool;
use tokio::task::JoinHandle;

struct Site {
    ingest: IngestRuntime,
    hub: Hub,
    sink: Arc<MemorySink>,
    desired: watch::Sender<Desired>,
    handle: SupervisorHandle,
    task: JoinHandle<()>,
}

fn site(mux: Arc<dyn Mux>) -> Site {
    site_with(mux, task::Options::default().deadlines.describe)
}

fn site_with(mux: Arc<dyn Mux>, describe: Duration) -> Site {
    site_ticking(mux, describe, Duration::from_millis(10))
}

fn site_ticking(mux: Arc<dyn Mux>, describe: Duration, tick: Duration) -> Site {
    let options = runtime::Options { tick, tcp_lanes: 1 };
    let ingest = IngestRuntime::start(options).unwrap();
    let sink = Arc::new(MemorySink::default());
    let hub = Hub::default();
    let services = Services {
        wall: WallTrust::default(),
        mux,
        sink: Arc::clone(&sink) as Arc<dyn RecordSink>,
        hub: hub.clone(),
        ingest: ingest.handle(),
        admission: Admission::new(CONNECTING_MAX),
        totals: Arc::default(),
    };
    let mut recorder = task::Options::default();
    recorder.deadlines.stall = Duration::from_millis(500);
    recorder.deadlines.describe = describe;
    recorder.turn = Duration::from_millis(300);
    let options = Options {
        node: NodeId(1),
        recorder,
        shutdown_deadline: Duration::from_secs(5),
    };
    let (desired, watched) = watch::channel(Desired::new());
    let (supervisor, handle) = Supervisor::new(options, services, watched);
    let task = tokio::spawn(supervisor.run());
    Site {
        ingest,
        hub,
        sink,
        desired,
        handle,
        task,
    }
}

fn want(camera: &ScriptedCamera, epoch: u64) -> DesiredRecording {
    DesiredRecording {
        epoch: Epoch(epoch),
        rank: Rank::Owner,
        revision: 1,
        source: Source::new(&camera.url()).unwrap(),
        retention_class: "default".to_owned(),
        priority: 100,
        treatment: Treatment::Usual,
    }
}

impl Site {
    fn desire(&self, wanted: &[(u32, DesiredRecording)]) {
        self.desired.send_replace(
            wanted
                .iter()
                .map(|(id, want)| (StreamId::main(CameraId(*id)), want.clone()))
                .collect(),
        );
    }

    fn status(&self, camera: u32) -> Option<Status> {
        self.handle
            .statuses()
            .into_iter()
            .find(|status| status.stream == StreamId::main(CameraId(camera)))
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "not within 10 s: {what}; {:?}",
                self.handle.statuses()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn recording(&self, camera: u32, frames: u64) {
        self.until("recording", |site| {
            site.status(camera).is_some_and(|status| {
                status.counts.frames >= frames && status.state == RecorderState::Recording
            })
        })
        .await;
    }

    async fn end(self) -> Arc<MemorySink> {
        self.handle.shutdown().await.unwrap();
        self.task.await.unwrap();
        self.ingest.shutdown();
        self.sink
    }
}

#[tokio::test]
async fn an_orderly_stop_loses_no_frame_and_tears_down() {
    let camera = ScriptedCamera::start(Script::default());
    let site = site(Arc::new(PlainMux));
    site.desire(&[(1, want(&camera, 1))]);
    site.recording(1, 40).await;
    let handle = site.handle.clone();
    let sink = site.end().await;
    let counts = handle.totals().read();
    let recorded: u32 = sink
        .chunks(TrackKind::Video)
        .iter()
        .map(|meta| meta.frames)
        .sum();
    assert_eq!(u64::from(recorded) + counts.discarded_frames, counts.frames);
    assert_eq!(
        (counts.sessions, counts.failures, sink.gaps().len()),
        (1, 0, 0)
    );
    assert_eq!(
        camera.teardowns.load(std::sync::atomic::Ordering::SeqCst),
        1
    );
    assert!(matches!(handle.shutdown().await, Err(Error::Gone)));
}

#[tokio::test]
async fn a_camera_that_hangs_up_or_freezes_is_reconnected_and_the_gap_is_known() {
    for (then, cause) in [
        (Then::Close, GapCause::CameraUnreachable),
        (Then::Freeze, GapCause::CameraStalled),
    ] {
        let camera = ScriptedCamera::start(Script {
            after: 30,
            then,
            ..Script::default()
        });
        let site = site(Arc::new(PlainMux));
        site.desire(&[(1, want(&camera, 1))]);
        site.recording(1, 35).await;
        let sink = site.end().await;
        let chunks = sink.chunks(TrackKind::Video);
        let sessions: std::collections::BTreeSet<_> =
            chunks.iter().map(|meta| meta.session).collect();
        assert!(
            sessions.len() >= 2 && chunks.windows(2).all(|pair| pair[0].end() <= pair[1].start)
        );
        let gaps = sink.outages();
        let breaks: Vec<_> = chunks
            .windows(2)
            .filter(|pair| pair[0].session != pair[1].session)
            .collect();
        assert_eq!(gaps.len(), breaks.len(), "{gaps:?}");
        for (gap, pair) in gaps.iter().zip(breaks) {
            let length_ms = pair[1].start.micros_since(pair[0].end()) / 1000;
            assert!(
                gap.2 == cause && (gap.1 - gap.0 - length_ms).abs() <= 1,
                "{gap:?}, {length_ms} ms"
            );
        }
    }
}

#[tokio::test]
async fn a_camera_that_refuses_fails_alone() {
    let good = ScriptedCamera::start(Script::default());
    let bad = ScriptedCamera::start(Script {
        describe_status: 404,
        ..Script::default()
    });
    let site = site(Arc::new(PlainMux));
    site.desire(&[(1, want(&good, 1)), (2, want(&bad, 1))]);
    site.recording(1, 20).await;
    site.until("failing", |site| {
        site.status(2)
            .is_some_and(|status| status.state == RecorderState::Failing)
    })
    .await;
    assert!(
        site.status(2)
            .unwrap()
            .error
            .unwrap()
            .contains("does not know this path")
    );
    let sink = site.end().await;
    assert_eq!(
        sink.outages().iter().map(|gap| gap.2).collect::<Vec<_>>(),
        [GapCause::CameraProtocol]
    );
}

#[tokio::test]
async fn a_camera_whose_frames_cannot_be_decoded_says_why_and_what_to_do() {
    let sets = "sprop-parameter-sets=Z0LAFtoCgL/lwEQAAAMABAAAAwBQPFi6gA==,aM48gA==";
    let missing = VIDEO.replace(sets, "profile-level-id=42c016");
    let damaged = VIDEO.replace("Z0LAFtoCgL/lwEQAAAMABAAAAwBQPFi6gA==", "Z0LA////////");
    for (media, says, cause) in [
        (
            missing,
            "set the camera to send its parameter sets with every keyframe",
            GapCause::AwaitsKeyframe,
        ),
        (
            damaged,
            "set the camera to another profile",
            GapCause::CameraProtocol,
        ),
    ] {
        let camera = ScriptedCamera::start(Script {
            media,
            ..Script::default()
        });
        let site = site(Arc::new(PlainMux));
        site.desire(&[(1, want(&camera, 1))]);
        let error = |site: &Site| {
            site.status(1)
                .and_then(|status| status.error)
                .unwrap_or_default()
        };
        site.until(says, |site| {
            error(site).contains("cannot be decoded") && error(site).contains(says)
        })
        .await;
        let sink = site.end().await;
        assert_eq!(
            sink.outages().iter().map(|gap| gap.2).collect::<Vec<_>>(),
            [cause]
        );
        assert_eq!(sink.chunks(TrackKind::Video), []);
    }
}

/// Panics with the first chunk of camera 1's width, then behaves.
struct PanickingMux(AtomicBool);

impl Mux for PanickingMux {
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
        assert!(
            sequence < 2 || self.0.swap(true, Relaxed),
            "garbage from a camera"
        );
        PlainMux.chunk(track, sequence, start, frames)
    }
}

#[tokio::test]
async fn a_panic_hits_one_recorder_which_starts_again_and_records_the_gap() {
    let cameras = [
        ScriptedCamera::start(Script::default()),
        ScriptedCamera::start(Script::default()),
    ];
    let site = site(Arc::new(PanickingMux(AtomicBool::new(false))));
    site.desire(&[(1, want(&cameras[0], 1)), (2, want(&cameras[1], 1))]);
    site.until("a panic", |site| site.handle.totals().read().panics == 1)
        .await;
    let recovered = |site: &Site| {
        let statuses = site.handle.statuses();
        statuses.len() == 2 && statuses.iter().all(|status| status.counts.chunks >= 4)
    };
    site.until("both recording again", recovered).await;
    let handle = site.handle.clone();
    let sink = site.end().await;
    let counts = handle.totals().read();
    assert_eq!(
        (counts.panics, counts.sessions),
        (1, 3),
        "the other camera's session continued"
    );
    assert_eq!(
        sink.outages().iter().map(|gap| gap.2).collect::<Vec<_>>(),
        [GapCause::Unknown]
    );
}

#[tokio::test]
async fn a_new_epoch_keeps_the_session_and_a_new_source_replaces_it() {
    let cameras = [
        ScriptedCamera::start(Script::default()),
        ScriptedCamera::start(Script::default()),
    ];
    let site = site(Arc::new(PlainMux));
    site.desire(&[(1, want(&cameras[0], 1))]);
    site.recording(1, 20).await;
    site.desire(&[(1, want(&cameras[0], 2))]);
    site.recording(1, 40).await;
    assert_eq!(site.status(1).unwrap().identity.epoch, Epoch(2));
    site.desire(&[(1, want(&cameras[1], 2))]);
    let plays = |camera: &ScriptedCamera| camera.plays.load(std::sync::atomic::Ordering::SeqCst);
    site.until("the new source", |_| plays(&cameras[1]) == 1)
        .await;
    site.recording(1, 20).await;
    site.desire(&[]);
    site.until("gone", |site| site.handle.statuses().is_empty())
        .await;
    let sink = site.end().await;
    let chunks = sink.chunks(TrackKind::Video);
    assert_eq!(plays(&cameras[0]), 1);
    let (first, last) = (chunks[0], chunks[chunks.len() - 1]);
    let promoted = chunks.iter().find(|meta| meta.epoch == Epoch(2)).unwrap();
    assert!(promoted.session == first.session && last.session > first.session);
    assert!(chunks.windows(2).all(|pair| pair[0].end() <= pair[1].start));
    assert_eq!(
        sink.outages().iter().map(|gap| gap.2).collect::<Vec<_>>(),
        [GapCause::RecorderStopped]
    );
}

#[tokio::test]
async fn recording_continues_when_the_sender_of_desired_recordings_is_gone() {
    let camera = ScriptedCamera::start(Script::default());
    let mut site = site(Arc::new(PlainMux));
    site.desire(&[(1, want(&camera, 1))]);
    site.recording(1, 10).await;
    site.desired = watch::channel(Desired::new()).0;
    site.recording(1, 60).await;
    let sink = site.end().await;
    assert_eq!(sink.gaps(), []);
}
