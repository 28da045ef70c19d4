//! Volumes of one node where a disk is bad from the start, fails later, or is somebody else's.

use super::*;
use crate::config;
use crate::recorder::sink::{RecordSink, SinkError};
use crate::server::sink::VolumeSink;
use holdfast_storage::chunk::{Chunk, Init, Record};
use holdfast_storage::ids::{Epoch, Rank, SessionId, TrackKind};
use holdfast_storage::{Error, Volume, VolumeOptions};
use tempfile::TempDir;
use tokio::sync::watch;

const NODE: NodeId = NodeId(1);
const CAMERA: CameraId = CameraId(0);
const START: i64 = 1_795_000_000_000_000;

fn cluster() -> Uuid {
    Uuid::from_u128(1)
}

fn config(paths: &[&Path]) -> Config {
    let mut config = Config::new("a", "/nowhere");
    config.storage.io = config::Io::Plain;
    config.storage.free_bytes_min = config::ByteSize(0);
    config.storage.volumes = paths.iter().map(|path| config::Volume { path: path.to_path_buf() }).collect();
    config
}

fn all() -> Range {
    Range::all(CAMERA, StreamKind::Main)
}

/// A path where no directory can be made.
fn bad(dir: &TempDir) -> PathBuf {
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    file.join("volume")
}

async fn recovered(volumes: &Volumes) {
    for _ in 0..1000 {
        if volumes.attached.opened.iter().all(|volume| volume.handle.stats().is_recovered()) {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("recovery hangs");
}

#[tokio::test]
async fn a_volume_that_cannot_be_opened_is_left_out_and_told() {
    let dir = TempDir::new().unwrap();
    let (bad, good) = (bad(&dir), dir.path().join("good"));
    let volumes = Volumes::open(&config(&[&bad, &good]), NODE, cluster()).unwrap();
    recovered(&volumes).await;
    assert_eq!(volumes.writable(), Ok(()));
    let stats = volumes.stats();
    assert_eq!((stats[0].failed.is_some(), stats[1].failed.is_some()), (true, false));
    assert!(stats[0].failed.as_ref().unwrap().contains("file"), "{stats:?}");
    for camera in 0..4 {
        assert_eq!(volumes.enter(CameraId(camera)).ok().map(Opened::index), Some(1));
    }
    assert!(!volumes.recorded(all()).await.unwrap().complete, "what the bad one holds is not known");
    volumes.close().await.unwrap();
}

#[tokio::test]
async fn a_node_does_not_start_without_any_volume_or_on_somebody_elses() {
    let dir = TempDir::new().unwrap();
    let (bad, foreign, used) = (bad(&dir), dir.path().join("foreign"), dir.path().join("used"));
    assert!(Volumes::open(&config(&[&bad]), NODE, cluster()).is_err());
    let (volume, handle) = Volume::open(VolumeOptions::new(&foreign, NODE, Uuid::from_u128(2))).unwrap();
    handle.close().await.unwrap();
    volume.run().await.unwrap();
    let good = dir.path().join("good");
    let refused = Volumes::open(&config(&[&good, &foreign]), NODE, cluster()).err();
    assert!(matches!(refused, Some(Error::ForeignVolume { .. })), "{refused:?}");
    let (_volume, _handle) = Volume::open(VolumeOptions::new(&used, NODE, cluster())).unwrap();
    let other = dir.path().join("other");
    let refused = Volumes::open(&config(&[&other, &used]), NODE, cluster()).err();
    assert!(matches!(refused, Some(Error::Locked { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_recorded_is_complete_once_everything_is_listed() {
    let dir = TempDir::new().unwrap();
    let volumes = Volumes::open(&config(&[&dir.path().join("a"), &dir.path().join("b")]), NODE, cluster()).unwrap();
    recovered(&volumes).await;
    assert!(volumes.recorded(all()).await.unwrap().complete);
    volumes.close().await.unwrap();
}

const IDENTITY: Identity = Identity { epoch: Epoch(1), rank: Rank::Owner };
const CHUNK_US: i64 = 500_000;

fn at(sequence: i64) -> Timestamp {
    Timestamp(START + sequence * CHUNK_US)
}

fn init() -> Init {
    Init { camera: CAMERA, stream: StreamKind::Main, track: TrackKind::Video, bytes: Bytes::from_static(b"moov") }
}

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
        keyframe_crc: Some(1),
        after_loss: false,
    };
    Record::Chunk(Chunk { meta, parts: vec![Bytes::from(vec![7; 1000])] })
}

async fn failed(volumes: &Volumes, index: u16) {
    let mut failed = volumes.opened(index).unwrap().handle.failed();
    timeout(Duration::from_secs(20), failed.wait_for(Option::is_some)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_camera_moves_to_the_next_volume_and_what_was_lost_is_told_once() {
    let dir = TempDir::new().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let mut config = config(&[&first, &second]);
    config.storage.segment_seconds = 0;
    let volumes = Volumes::open(&config, NODE, cluster()).unwrap();
    recovered(&volumes).await;
    let state = watch::channel(Arc::default()).1;
    let sink = VolumeSink { volumes: volumes.clone(), state };
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    volumes.opened(0).unwrap().handle.flush().await.unwrap();
    let mark = |volumes: &Volumes| volumes.watermark(CAMERA, IDENTITY).map(|mark| mark.durable_end);
    assert_eq!(mark(&volumes), Some(at(1)));

    // Each batch wants a new segment, and there is no place for it any more.
    std::fs::remove_dir_all(first.join("segments")).unwrap();
    sink.append("default", chunk(1)).unwrap();
    sink.append("default", chunk(2)).unwrap();
    failed(&volumes, 0).await;
    assert_eq!(sink.append("default", chunk(3)), Err(SinkError::Moved { lost: Some((at(1), at(3))) }));
    assert_eq!(mark(&volumes), Some(at(1)), "it neither goes back nor passes what is lost");
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(3)).unwrap();
    volumes.opened(1).unwrap().handle.flush().await.unwrap();
    assert_eq!(mark(&volumes), Some(at(4)));
    assert_eq!(volumes.opened(1).unwrap().handle.init(CAMERA, init().id()).unwrap(), init().bytes);
    let stored: Vec<u32> = volumes.entries(all()).await.unwrap().iter().map(|entry| entry.meta.sequence).collect();
    assert_eq!(stored, [0, 3]);
    assert_eq!(volumes.writable(), Ok(()));
    assert!(volumes.close().await.is_err(), "the first volume lost what it had taken");
}

#[tokio::test]
async fn where_no_volume_works_any_more_nothing_is_said_to_move() {
    let dir = TempDir::new().unwrap();
    let paths = [dir.path().join("a"), dir.path().join("b")];
    let volumes = Volumes::open(&config(&[&paths[0], &paths[1]]), NODE, cluster()).unwrap();
    let sink = VolumeSink { volumes: volumes.clone(), state: watch::channel(Arc::default()).1 };
    for (index, path) in paths.iter().enumerate() {
        std::fs::remove_dir_all(path.join("segments")).unwrap();
        if index > 0 {
            assert!(matches!(sink.append("default", chunk(0)), Err(SinkError::Moved { .. })));
        }
        sink.append("default", chunk(0)).unwrap();
        failed(&volumes, index as u16).await;
    }
    for _ in 0..2 {
        assert!(matches!(sink.append("default", chunk(1)), Err(SinkError::Failed(_))));
    }
    assert!(volumes.writable().is_err());
}

#[tokio::test]
async fn a_volume_that_does_not_close_is_named() {
    let closing = std::future::pending();
    let error = close_within(Duration::from_millis(20), Path::new("/disk3"), closing).await.unwrap_err();
    assert!(error.to_string().contains("/disk3 did not make its last records durable within 20ms"), "{error}");
}
