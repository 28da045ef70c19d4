//! Two streams of one camera, recorded at once by one supervisor.

use super::*;
use crate::capture::hub::Hub;
use crate::capture::ingest::admission::{Admission, CONNECTING_MAX};
use crate::capture::ingest::runtime::{self, IngestRuntime};
use crate::capture::ingest::session::script::{Script, ScriptedCamera};
use crate::capture::ingest::wall::WallTrust;
use crate::capture::recorder::pipeline::tests::PlainMux;
use crate::capture::recorder::reconcile::DesiredRecording;
use crate::capture::recorder::supervisor::{self, Desired, Supervisor, SupervisorHandle};
use crate::capture::recorder::task::{self, Services};
use crate::volumes::report::Recorded;
use holdfast_consensus::model::{Source, Treatment};
use holdfast_consensus::observe::heartbeat::Progress;
use holdfast_storage::ids::SegmentId;
use std::collections::BTreeSet;

const SUB: StreamId = StreamId {
    camera: CAMERA,
    kind: StreamKind::Sub,
};

struct Site {
    volumes: Volumes,
    ingest: IngestRuntime,
    desired: watch::Sender<Desired>,
    handle: SupervisorHandle,
}

impl Site {
    async fn of(dir: &TempDir) -> Self {
        let mut config = config(dir, &[&dir.path().join("a")]);
        config.retention.push(config::RetentionClass {
            class: "short".to_owned(),
            age_days: Some(1),
            bytes_max: None,
        });
        let volumes = open(&config).await.unwrap();
        let lanes = runtime::Options {
            tick: Duration::from_millis(10),
            tcp_lanes: 1,
        };
        let ingest = IngestRuntime::start(lanes).unwrap();
        let services = Services {
            wall: WallTrust::default(),
            mux: Arc::new(PlainMux),
            sink: Arc::new(sink(&volumes)),
            ingest: ingest.handle(),
            admission: Admission::new(CONNECTING_MAX),
            totals: Arc::default(),
            hub: Hub::default(),
        };
        let options = supervisor::Options {
            node: NODE,
            recorder: task::Options::default(),
            shutdown_deadline: Duration::from_secs(5),
        };
        let (desired, watched) = watch::channel(Desired::new());
        let (supervisor, handle) = Supervisor::new(options, services, watched);
        tokio::spawn(supervisor.run());
        Self {
            volumes,
            ingest,
            desired,
            handle,
        }
    }

    /// What the heartbeat reports.
    fn progress(&self, stream: StreamId) -> Option<Progress> {
        let statuses = self.handle.statuses().into_iter();
        let status = statuses
            .into_iter()
            .find(|status| status.stream == stream)?;
        Some(self.volumes.progress(status))
    }

    async fn until(&self, stream: StreamId, what: &str, is_so: impl Fn(&Progress) -> bool) {
        let waiting = async {
            while !self.progress(stream).is_some_and(|report| is_so(&report)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let reported = || self.progress(stream);
        timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("{stream} is not {what}: {:?}", reported()));
    }
}

/// What the node holds of a stream, and in which segments.
async fn recorded_of(volumes: &Volumes, stream: StreamId) -> (BTreeSet<SegmentId>, Recorded) {
    let range = Range::all(stream.camera, stream.kind);
    let (entries, _) = volumes.entries(range).await.unwrap();
    assert!(entries.iter().all(|entry| entry.meta.stream_id() == stream));
    let segments = entries.iter().map(|entry| entry.location.segment);
    (segments.collect(), volumes.recorded(range).await.unwrap())
}

fn want(camera: &ScriptedCamera, class: &str) -> DesiredRecording {
    DesiredRecording {
        epoch: IDENTITY.epoch,
        rank: IDENTITY.rank,
        revision: 1,
        source: Source::new(&camera.url()).unwrap(),
        retention_class: class.to_owned(),
        priority: 100,
        treatment: Treatment::Usual,
    }
}

fn is_recorded(report: &Progress) -> bool {
    report.state == RecorderState::Recording && report.watermark.is_some()
}

#[tokio::test]
async fn each_has_its_class_its_watermark_its_status_and_its_failures() {
    let dir = TempDir::new().unwrap();
    let site = Site::of(&dir).await;
    let [main, sub] = [(), ()].map(|()| ScriptedCamera::start(Script::default()));
    let refuses = ScriptedCamera::start(Script {
        describe_status: 404,
        ..Script::default()
    });
    let both = |sub: &ScriptedCamera| {
        Desired::from([(MAIN, want(&main, "default")), (SUB, want(sub, "short"))])
    };
    site.desired.send_replace(both(&sub));
    site.until(MAIN, "recorded", is_recorded).await;
    site.until(SUB, "recorded", is_recorded).await;

    // The sub stream's source changes to one that the camera refuses.
    site.desired.send_replace(both(&refuses));
    let fails = |report: &Progress| report.state == RecorderState::Failing;
    site.until(SUB, "failing", fails).await;
    let before = [MAIN, SUB].map(|stream| site.progress(stream).unwrap());
    let later = before[0].watermark.unwrap().plus(Duration::from_secs(2));
    let advances = |report: &Progress| is_recorded(report) && report.watermark >= Some(later);
    site.until(MAIN, "recorded further", advances).await;
    let sub = site.progress(SUB).unwrap();
    assert!(sub.error.unwrap().contains("does not know this path"));
    let lag = later.micros_since(sub.watermark.unwrap());
    assert!(lag > 1_000_000, "its watermark is its own: {lag} us behind");
    let Site {
        volumes,
        ingest,
        handle,
        ..
    } = site;
    handle.shutdown().await.unwrap();
    ingest.shutdown();
    volume(&volumes, 0).handle.flush().await.unwrap();

    let (of_main, recorded) = recorded_of(&volumes, MAIN).await;
    let shown = (recorded.spans.len(), recorded.gaps.len());
    assert_eq!(
        shown,
        (1, 0),
        "the main stream's timeline is as without the other"
    );
    let (of_sub, recorded) = recorded_of(&volumes, SUB).await;
    assert_eq!(recorded.spans.len(), 1);
    assert!(recorded.gaps.iter().all(|gap| gap.stream_id() == SUB));
    assert!(!recorded.gaps.is_empty(), "its outage is in its own ledger");
    assert!(
        of_main.is_disjoint(&of_sub),
        "a segment holds footage of one retention class: {of_main:?}, {of_sub:?}"
    );
    volumes.close().await.unwrap();
}
