//! Volumes of one node where a disk is bad from the start, fails later, or belongs to another
//! cluster.

mod away;
mod streams;

use super::*;
use crate::capture::recorder::sink::RecordSink;
use crate::capture::recorder::status::Identity;
use crate::volumes::sink::VolumeSink;
use bytes::Bytes;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_storage::chunk::{Access, Chunk, GapCause};
use holdfast_storage::ids::{Epoch, Rank, SessionId, StreamKind};
use holdfast_storage::{Range, Volume, VolumeOptions};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::sleep;

const NODE: NodeId = NodeId(1);
const CAMERA: CameraId = CameraId(0);
const MAIN: StreamId = StreamId::main(CAMERA);
const START: i64 = 1_795_000_000_000_000;
/// A flush interval after which a test has flushed by itself, or has ended.
const LATER_MS: u64 = 10_000;

fn cluster() -> Uuid {
    Uuid::from_u128(1)
}

fn config(dir: &TempDir, paths: &[&Path]) -> Config {
    let mut config = Config::new("a", dir.path());
    config.storage.io = config::Io::Plain;
    config.storage.free_bytes_min = config::ByteSize(0);
    config.storage.volumes = paths
        .iter()
        .map(|path| config::Volume::new(*path))
        .collect();
    config
}

fn all() -> Range {
    Range::all(CAMERA, StreamKind::Main)
}

async fn open(config: &Config) -> Result<Volumes, Error> {
    let volumes = Volumes::open(config, NODE, cluster(), Clock::start()).await?;
    recovered(&volumes).await;
    Ok(volumes)
}

fn volume(volumes: &Volumes, index: u16) -> Arc<Opened> {
    volumes
        .opened()
        .into_iter()
        .find(|volume| volume.index() == index)
        .unwrap()
}

fn sink(volumes: &Volumes) -> VolumeSink {
    VolumeSink {
        volumes: volumes.clone(),
        gaps: Arc::default(),
        state: watch::channel(Arc::default()).1,
    }
}

/// A path where no directory can be created.
fn bad(dir: &TempDir) -> PathBuf {
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    file.join("volume")
}

async fn recovered(volumes: &Volumes) {
    for _ in 0..1000 {
        if volumes
            .opened()
            .iter()
            .all(|volume| volume.handle.stats().is_recovered())
        {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("recovery hangs");
}

#[tokio::test]
async fn a_volume_that_cannot_be_opened_is_left_out_and_reported() {
    let dir = TempDir::new().unwrap();
    let (bad, good) = (bad(&dir), dir.path().join("good"));
    let volumes = open(&config(&dir, &[&bad, &good])).await.unwrap();
    assert_eq!(volumes.writable(), Ok(()));
    let statuses = volumes.statuses();
    assert_eq!(
        [statuses[0].state.as_str(), statuses[1].state.as_str()],
        ["away", "active"]
    );
    assert!(
        statuses[0].trouble.as_ref().unwrap().contains("file"),
        "{statuses:?}"
    );
    for camera in 0..4 {
        let entered = volumes.enter(
            "default",
            &Record::Init(Init {
                camera: CameraId(camera),
                ..init()
            }),
        );
        assert_eq!(entered.ok().map(|volume| volume.index()), Some(1));
    }
    assert!(
        !volumes.recorded(all()).await.unwrap().complete,
        "what the bad one holds is not known"
    );
    volumes.close().await.unwrap();
}

#[tokio::test]
async fn a_node_starts_without_any_volume_and_not_on_another_clusters() {
    let dir = TempDir::new().unwrap();
    let (bad, foreign, used) = (
        bad(&dir),
        dir.path().join("foreign"),
        dir.path().join("used"),
    );
    let volumes = open(&config(&dir, &[&bad])).await.unwrap();
    assert!(volumes.writable().unwrap_err().contains("cannot be opened"));
    let (volume, handle) =
        Volume::open(VolumeOptions::new(&foreign, NODE, Uuid::from_u128(2))).unwrap();
    handle.close().await.unwrap();
    volume.run().await.unwrap();
    let good = dir.path().join("good");
    let refused = open(&config(&dir, &[&good, &foreign])).await.err();
    assert!(
        matches!(refused, Some(Error::ForeignVolume { .. })),
        "{refused:?}"
    );
    let (_volume, _handle) = Volume::open(VolumeOptions::new(&used, NODE, cluster())).unwrap();
    let other = dir.path().join("other");
    let refused = open(&config(&dir, &[&other, &used])).await.err();
    assert!(matches!(refused, Some(Error::Locked { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_recorded_is_complete_once_everything_is_listed() {
    let dir = TempDir::new().unwrap();
    let volumes = open(&config(
        &dir,
        &[&dir.path().join("a"), &dir.path().join("b")],
    ))
    .await
    .unwrap();
    assert!(volumes.recorded(all()).await.unwrap().complete);
    volumes.close().await.unwrap();
}

#[tokio::test]
async fn volumes_keep_their_numbers_when_the_configuration_is_reordered() {
    let dir = TempDir::new().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
    let numbers = async |paths: &[&Path]| {
        let volumes = open(&config(&dir, paths)).await.unwrap();
        let mut numbers: Vec<_> = volumes
            .opened()
            .iter()
            .map(|volume| (volume.path().to_owned(), volume.index()))
            .collect();
        numbers.sort();
        volumes.close().await.unwrap();
        while !volumes.opened().iter().all(|volume| volume.has_ended()) {
            sleep(Duration::from_millis(5)).await;
        }
        numbers
    };
    let first = numbers(&[&a, &b]).await;
    assert_eq!(first, [(a.clone(), 0), (b.clone(), 1)]);
    assert_eq!(numbers(&[&b, &a]).await, first);
    assert_eq!(numbers(&[&c, &b]).await, [(b.clone(), 1), (c.clone(), 2)]);
    std::fs::rename(&b, dir.path().join("moved")).unwrap();
    std::fs::create_dir(&b).unwrap();
    holdfast_storage::disk::mark_new(&b).unwrap();
    let [(_, new), (_, moved)] = numbers(&[&dir.path().join("moved"), &b]).await[..] else {
        panic!("two volumes")
    };
    assert_eq!(
        (moved, new > 2),
        (1, true),
        "a new volume gets a number that no other ever had"
    );
}

const IDENTITY: Identity = Identity {
    epoch: Epoch(1),
    rank: Rank::Owner,
};
const CHUNK_US: i64 = 500_000;

fn at(sequence: i64) -> Timestamp {
    Timestamp(START + sequence * CHUNK_US)
}

fn init() -> Init {
    Init {
        camera: CAMERA,
        stream: StreamKind::Main,
        track: TrackKind::Video,
        bytes: Bytes::from_static(b"moov"),
    }
}

/// Every second one begins with a keyframe.
fn chunk(sequence: u32) -> Record {
    let meta = ChunkMeta {
        camera: CAMERA,
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node: NODE,
        epoch: IDENTITY.epoch,
        rank: IDENTITY.rank,
        session: SessionId(1),
        sequence,
        init: init().id(),
        start: at(sequence.into()),
        duration_us: CHUNK_US as u32,
        frames: 12,
        access: sequence.is_multiple_of(2).then_some(Access::sync(1)),
        since_access_ms: Some(500 * (sequence % 2)),
        after_loss: false,
        damaged: false,
    };
    Record::Chunk(Chunk {
        meta,
        parts: vec![Bytes::from(vec![7; 1000])],
    })
}

async fn failed(volumes: &Volumes, index: u16) {
    let mut failed = volume(volumes, index).handle.failed();
    timeout(Duration::from_secs(20), failed.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();
}

async fn stored(volumes: &Volumes) -> Vec<(u32, u16)> {
    let (entries, _) = volumes.entries(all()).await.unwrap();
    let mut stored: Vec<_> = entries
        .iter()
        .map(|entry| (entry.meta.sequence, entry.location.volume))
        .collect();
    stored.sort_unstable();
    stored
}

fn mark(volumes: &Volumes) -> Option<Timestamp> {
    volumes
        .watermark(MAIN, IDENTITY)
        .map(|mark| mark.durable_end)
}

/// Two volumes, with a durable chunk of the camera on the first, which fails with the next record.
async fn failing(dir: &TempDir) -> Volumes {
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let mut config = config(dir, &[&first, &second]);
    config.storage.segment_seconds = 0;
    config.storage.flush_interval_ms = LATER_MS;
    let volumes = open(&config).await.unwrap();
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    volume(&volumes, 0).handle.flush().await.unwrap();
    // Each batch needs a new segment, and there is no place for it any more.
    std::fs::remove_dir_all(first.join("segments")).unwrap();
    volumes
}

#[tokio::test]
async fn a_camera_moves_to_the_next_volume_and_what_was_lost_is_reported_once() {
    let dir = TempDir::new().unwrap();
    let volumes = failing(&dir).await;
    let sink = sink(&volumes);
    assert_eq!(mark(&volumes), Some(at(1)));
    sink.append("default", chunk(1)).unwrap();
    failed(&volumes, 0).await;
    assert_eq!(
        sink.append("default", chunk(2)),
        Err(SinkError::Moved {
            lost: Some((at(1), at(2)))
        })
    );
    assert_eq!(
        mark(&volumes),
        Some(at(1)),
        "it neither goes back nor passes what is lost"
    );
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(2)).unwrap();
    volume(&volumes, 1).handle.flush().await.unwrap();
    assert_eq!(mark(&volumes), Some(at(3)));
    assert_eq!(
        volume(&volumes, 1)
            .handle
            .init(CAMERA, init().id())
            .unwrap(),
        init().bytes
    );
    assert_eq!(stored(&volumes).await, [(0, 0), (2, 1)]);
    assert_eq!(volumes.writable(), Ok(()));
    assert_eq!(volumes.statuses()[0].moved_cameras, 1);
    assert!(
        volumes.close().await.is_err(),
        "the first volume lost what it had taken"
    );
}

#[tokio::test]
async fn a_gap_that_a_volume_took_with_its_failure_is_repeated_on_the_next() {
    let dir = TempDir::new().unwrap();
    let volumes = failing(&dir).await;
    let sink = sink(&volumes);
    let gap = Gap {
        camera: CAMERA,
        stream: StreamKind::Main,
        node: NODE,
        epoch: IDENTITY.epoch,
        start: at(1),
        end: at(5),
        cause: GapCause::CameraUnreachable,
        frames_missing: Some(7),
    };
    sink.append("default", Record::Gap(gap)).unwrap();
    failed(&volumes, 0).await;
    assert_eq!(
        sink.append("default", chunk(5)),
        Err(SinkError::Moved { lost: None }),
        "no footage was lost"
    );
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(5)).unwrap();
    volume(&volumes, 1).handle.flush().await.unwrap();
    assert_eq!(volume(&volumes, 1).handle.gaps(all()).unwrap(), [gap]);
    assert!(
        volumes.close().await.is_err(),
        "the first volume lost what it had taken"
    );
}

/// Two volumes, with the camera on the first, which an operator retires.
async fn retiring(dir: &TempDir, flush_interval_ms: u64) -> (Volumes, Config) {
    let mut config = config(dir, &[&dir.path().join("a"), &dir.path().join("b")]);
    config.storage.flush_interval_ms = flush_interval_ms;
    let volumes = open(&config).await.unwrap();
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    config.storage.volumes[0].retire = true;
    volumes.reconfigure(&config);
    (volumes, config)
}

#[tokio::test]
async fn a_retired_volume_loses_its_camera_at_a_keyframe_and_no_chunk() {
    let dir = TempDir::new().unwrap();
    let (volumes, _) = retiring(&dir, LATER_MS).await;
    let sink = sink(&volumes);
    assert_eq!(volumes.statuses()[0].state, "retiring");
    (1..5).for_each(|sequence| sink.append("default", chunk(sequence)).unwrap());
    volume(&volumes, 1).handle.flush().await.unwrap();
    assert!(
        mark(&volumes) <= Some(at(2)),
        "what the first has not made durable holds the watermark back"
    );
    volume(&volumes, 0).handle.flush().await.unwrap();
    sink.append("default", chunk(5)).unwrap();
    assert_eq!(mark(&volumes), Some(at(5)));
    volume(&volumes, 1).handle.flush().await.unwrap();
    assert_eq!(
        stored(&volumes).await,
        [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 1)]
    );
    assert_eq!(
        volume(&volumes, 1)
            .handle
            .init(CAMERA, init().id())
            .unwrap(),
        init().bytes
    );
    assert_eq!(volumes.recorded(all()).await.unwrap().gaps, []);
    assert_eq!(volumes.statuses()[0].state, "retired");
    volumes.close().await.unwrap();
}

#[tokio::test]
async fn what_a_volume_left_behind_never_made_durable_is_reported_as_a_gap() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, &[&dir.path().join("a"), &dir.path().join("b")]);
    config.storage.segment_seconds = 0;
    config.storage.flush_interval_ms = 10_000;
    let volumes = open(&config).await.unwrap();
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    volume(&volumes, 0).handle.flush().await.unwrap();
    std::fs::remove_dir_all(dir.path().join("a/segments")).unwrap();
    config.storage.volumes[0].retire = true;
    volumes.reconfigure(&config);
    // The second is a keyframe and continues elsewhere, before the first is found to have no file.
    (1..3).for_each(|sequence| sink.append("default", chunk(sequence)).unwrap());
    failed(&volumes, 0).await;
    sink.append("default", chunk(3)).unwrap();
    volume(&volumes, 1).handle.flush().await.unwrap();
    let gaps = volumes.recorded(all()).await.unwrap().gaps;
    let reported: Vec<_> = gaps
        .iter()
        .map(|gap| (gap.start, gap.end, gap.cause))
        .collect();
    assert_eq!(reported, [(at(1), at(2), GapCause::VolumeFailed)]);
    assert_eq!(mark(&volumes), Some(at(4)));
    assert!(volumes.close().await.is_err());
}

#[tokio::test]
async fn what_a_hung_volume_would_shed_goes_to_another_one_at_once() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, &[&dir.path().join("a"), &dir.path().join("b")]);
    config.storage.flush_interval_ms = 10_000;
    let volumes = open(&config).await.unwrap();
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    assert!(
        volumes.leave_at_once("default", MAIN).is_none(),
        "a volume that takes records is not left"
    );
    volumes.slots_mut()[0].health = health::Health::Hung;
    sink.append("default", chunk(1)).unwrap();
    assert_eq!(
        volumes.shed(MAIN),
        SinkError::Failed(volumes.slots()[0].trouble().unwrap())
    );
    assert_eq!(
        volumes
            .leave_at_once("default", MAIN)
            .map(|volume| volume.index()),
        Some(1)
    );
    sink.append("default", chunk(3)).unwrap();
    volume(&volumes, 1).handle.flush().await.unwrap();
    assert_eq!(
        stored(&volumes).await,
        [(3, 1)],
        "the hung one is not even asked"
    );
    let gaps = volumes.recorded(all()).await.unwrap().gaps;
    assert_eq!(
        gaps.iter()
            .map(|gap| (gap.start, gap.end))
            .collect::<Vec<_>>(),
        [(at(0), at(2))]
    );
    volumes.slots_mut()[0].health = health::Health::Well;
    volume(&volumes, 0).handle.flush().await.unwrap();
    assert_eq!(
        stored(&volumes).await,
        [(0, 0), (1, 0), (3, 1)],
        "what was late is there"
    );
    volumes.close().await.unwrap();
}

#[tokio::test]
async fn a_full_volume_loses_its_camera_to_another_one_or_is_reported_as_failing() {
    let dir = TempDir::new().unwrap();
    let volumes = open(&config(
        &dir,
        &[&dir.path().join("a"), &dir.path().join("b")],
    ))
    .await
    .unwrap();
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    let status = || crate::capture::recorder::status::StatusCell::new(MAIN, IDENTITY).read();
    let set = |index: usize, health| volumes.slots_mut()[index].health = health;
    set(0, health::Health::Full);
    assert_ne!(
        volumes.progress(status()).state,
        RecorderState::Failing,
        "the other one helps"
    );
    set(1, health::Health::Full);
    let reported = volumes.progress(status());
    assert_eq!(
        reported.state,
        RecorderState::Failing,
        "another node must help"
    );
    assert!(
        reported
            .error
            .as_ref()
            .unwrap()
            .contains("full, and nothing on it may be deleted"),
        "{reported:?}"
    );
    set(1, health::Health::Well);
    (1..3).for_each(|sequence| sink.append("default", chunk(sequence)).unwrap());
    volume(&volumes, 0).handle.flush().await.unwrap();
    volume(&volumes, 1).handle.flush().await.unwrap();
    assert_eq!(
        stored(&volumes).await,
        [(0, 0), (1, 0), (2, 1)],
        "it goes at a keyframe"
    );
    volumes.close().await.unwrap();
}

#[tokio::test]
async fn a_detached_volume_is_closed_once_its_cameras_are_gone_and_comes_back() {
    let dir = TempDir::new().unwrap();
    let (volumes, mut config) = retiring(&dir, 400).await;
    tokio::spawn(volumes.clone().watch());
    let gone = config.storage.volumes.remove(0);
    volumes.reconfigure(&config);
    let sink = sink(&volumes);
    sink.append("default", chunk(1)).unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(volumes.opened().len(), 2, "its camera waits for a keyframe");
    sink.append("default", chunk(2)).unwrap();
    eventually("it is detached", || volumes.opened().len() == 1).await;
    volume(&volumes, 1).handle.flush().await.unwrap();
    assert_eq!(stored(&volumes).await, [(2, 1)]);
    config.storage.volumes.push(config::Volume {
        retire: false,
        ..gone
    });
    volumes.reconfigure(&config);
    eventually("it is back", || volumes.opened().len() == 2).await;
    recovered(&volumes).await;
    assert_eq!(stored(&volumes).await, [(0, 0), (1, 0), (2, 1)]);
    volumes.close().await.unwrap();
}

/// Six chunks of three processes, and so in three segments whatever the disk's pace, on a volume
/// whose limits keep nothing.
async fn expired(dir: &TempDir, path: &Path) -> Config {
    let mut config = config(dir, &[path]);
    for chunks in [0..2, 2..4, 4..6] {
        let volumes = open(&config).await.unwrap();
        let sink = sink(&volumes);
        sink.append("default", Record::Init(init())).unwrap();
        chunks.for_each(|sequence| sink.append("default", chunk(sequence)).unwrap());
        let opened = volume(&volumes, 0);
        volumes.close().await.unwrap();
        eventually("the volume has ended", || opened.has_ended()).await;
    }
    config.retention[0].bytes_max = Some(config::ByteSize(1));
    config
}

#[tokio::test]
async fn a_volume_that_is_attached_later_deletes_nothing_before_it_knows_the_holds() {
    let held = holdfast_storage::Hold {
        camera: CAMERA,
        from: at(0),
        to: at(2),
    };
    for are_holds_known in [false, true] {
        let dir = TempDir::new().unwrap();
        let mut config = expired(&dir, &dir.path().join("later")).await;
        let later = std::mem::replace(
            &mut config.storage.volumes[0],
            config::Volume::new(dir.path().join("first")),
        );
        let volumes = open(&config).await.unwrap();
        if are_holds_known {
            volumes.set_holds(&Holds::from_iter([held]));
        }
        config.storage.volumes.push(later);
        volumes.reconfigure(&config);
        eventually("it is attached", || volumes.opened().len() == 2).await;
        recovered(&volumes).await;
        let kept = || volume(&volumes, 0).handle.entries(all()).unwrap().len();
        if !are_holds_known {
            // Retention looks every five seconds.
            sleep(Duration::from_secs(7)).await;
            assert_eq!(kept(), 6, "it was deleted before the holds were known");
            volumes.set_holds(&Holds::from_iter([held]));
        }
        eventually("what is not held is deleted", || kept() == 2).await;
        sleep(Duration::from_secs(6)).await;
        assert_eq!(
            stored(&volumes).await,
            [(0, 0), (1, 0)],
            "held footage was deleted"
        );
        volumes.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_volume_is_reopened_when_it_is_sound_again() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, &[&dir.path().join("a")]);
    config.storage.segment_seconds = 0;
    let volumes = open(&config).await.unwrap();
    tokio::spawn(volumes.clone().watch());
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    volume(&volumes, 0).handle.flush().await.unwrap();
    assert_eq!(mark(&volumes), Some(at(1)));
    std::fs::rename(dir.path().join("a/segments"), dir.path().join("kept")).unwrap();
    sink.append("default", chunk(1)).unwrap();
    failed(&volumes, 0).await;
    assert!(matches!(
        sink.append("default", chunk(2)),
        Err(SinkError::Failed(_))
    ));
    assert!(volumes.writable().is_err());
    std::fs::rename(dir.path().join("kept"), dir.path().join("a/segments")).unwrap();
    eventually("it is taken back", || volumes.writable().is_ok()).await;
    let status = &volumes.statuses()[0];
    assert_eq!(
        (status.index, status.failures, status.reattachments),
        (0, 1, 1)
    );
    assert_eq!(mark(&volumes), Some(at(1)), "it does not go back");
    assert_eq!(
        sink.append("default", chunk(3)),
        Err(SinkError::Moved {
            lost: Some((at(1), at(2)))
        })
    );
    assert_eq!(
        mark(&volumes),
        Some(at(1)),
        "nor where the volume that was reopened knows nothing of it"
    );
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(3)).unwrap();
    volume(&volumes, 0).handle.flush().await.unwrap();
    recovered(&volumes).await;
    // Chunk 1 was on its way into the segment that was still open, when the next segment's file
    // could not be created.
    assert_eq!(stored(&volumes).await, [(0, 0), (1, 0), (3, 0)]);
    volumes.close().await.unwrap();
}

#[tokio::test]
async fn what_the_tasks_of_a_tick_append_is_one_write() {
    let dir = TempDir::new().unwrap();
    let mut config = config(&dir, &[&dir.path().join("a")]);
    config.storage.flush_interval_ms = 60_000;
    let volumes = open(&config).await.unwrap();
    let sink = Arc::new(sink(&volumes));
    let volume = volume(&volumes, 0);
    // On one thread, as on a lane: none runs before this one waits.
    for sequence in 0..20 {
        let sink = Arc::clone(&sink);
        tokio::spawn(async move {
            sink.append("default", Record::Init(init())).unwrap();
            sink.append("default", chunk(sequence)).unwrap();
            // Until then a writer that is awake writes what is there.
            std::thread::sleep(Duration::from_millis(2));
        });
    }
    let batches = || volume.handle.stats().batches;
    eventually("it is written without a flush", || batches() > 0).await;
    volume.handle.flush().await.unwrap();
    assert_eq!(batches(), 1);
    assert_eq!(stored(&volumes).await.len(), 20);
    volumes.close().await.unwrap();
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1500 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("it is still not so that {what}");
}

#[tokio::test]
async fn where_no_volume_works_any_more_nothing_is_said_to_move() {
    let dir = TempDir::new().unwrap();
    let paths = [dir.path().join("a"), dir.path().join("b")];
    let volumes = open(&config(&dir, &[&paths[0], &paths[1]])).await.unwrap();
    let sink = sink(&volumes);
    for (index, path) in paths.iter().enumerate() {
        std::fs::remove_dir_all(path.join("segments")).unwrap();
        if index > 0 {
            assert!(matches!(
                sink.append("default", chunk(0)),
                Err(SinkError::Moved { .. })
            ));
        }
        sink.append("default", chunk(0)).unwrap();
        failed(&volumes, index as u16).await;
    }
    for _ in 0..2 {
        assert!(matches!(
            sink.append("default", chunk(1)),
            Err(SinkError::Failed(_))
        ));
    }
    assert!(volumes.writable().is_err());
}

#[tokio::test]
async fn a_volume_that_does_not_close_is_named() {
    let closing = std::future::pending();
    let error = close_within(Duration::from_millis(20), Path::new("/disk3"), closing)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/disk3 did not make its last records durable within 20ms"),
        "{error}"
    );
}
