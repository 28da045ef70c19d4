//! Adopted volumes of another cluster: read, kept and deleted under this cluster's numbers, and
//! never rewritten.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::chunk::{InitId, Record};
use holdfast_storage::disk::Root;
use holdfast_storage::ids::{NodeId, StreamId};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{
    AdoptedNumber, Adoption, CurrentName, Error, HOLD_CLASS, Hold, Holds, Range, RetentionClass,
    Volume, VolumeHandle, VolumeOptions, adopt, adoption_in, volume_cluster,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;
use uuid::Uuid;

/// The cluster of `support`, and the one that adopts its volumes.
const THEIRS: Uuid = Uuid::from_u128(1);
const OURS: Uuid = Uuid::from_u128(2);
const ME: NodeId = NodeId(1);

fn number(theirs: u32, ours: u32) -> AdoptedNumber {
    AdoptedNumber {
        theirs: camera(theirs),
        ours: camera(ours),
    }
}

fn ours(dir: &Dir) -> VolumeOptions {
    VolumeOptions {
        cluster: OURS,
        node: ME,
        index: 4,
        ..dir.options()
    }
}

/// Cameras 1 and 2, the first with a gap, as the other cluster recorded them.
async fn record(dir: &Dir, chunks: u32, bytes: usize) -> Uuid {
    let options = VolumeOptions {
        segment_bytes_max: 2 << 20,
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options).unwrap();
    let id = handle.id();
    append(&handle, init(1));
    append(&handle, init(2));
    for sequence in 0..chunks {
        append(&handle, chunk(1, sequence, bytes));
        append(&handle, chunk(2, sequence, bytes));
        if sequence == 5 {
            append(&handle, Record::Gap(gap(1, T0, T0 + 7)));
        }
        if sequence % 20 == 0 {
            within(handle.flush()).await.unwrap();
        }
    }
    close(volume, handle).await;
    id
}

/// Their camera 1 is camera 12 here, and their camera 2 is camera 1.
fn adoption(volume: Uuid) -> Adoption {
    Adoption::new(
        volume,
        (THEIRS, OURS),
        Timestamp(T0),
        vec![number(1, 12), number(2, 1)],
    )
    .unwrap()
}

fn sums(dir: &Dir) -> BTreeMap<PathBuf, u32> {
    dir.segments()
        .into_iter()
        .map(|path| {
            (
                path.clone(),
                crc32fast::hash(&std::fs::read(&path).unwrap()),
            )
        })
        .collect()
}

fn open(options: VolumeOptions) -> (Volume, VolumeHandle) {
    let opened = Volume::open(options).unwrap();
    await_recovery(&opened.1);
    opened
}

/// The sequence numbers listed for camera `of`; each chunk is read and compared with what was
/// written for `theirs`.
fn listed(handle: &VolumeHandle, of: u32, theirs: u32) -> Vec<u32> {
    let entries = handle.entries(Range::all(camera(of), MAIN)).unwrap();
    let check = |entry: &holdfast_storage::chunk::ChunkEntry| {
        assert_eq!(
            (
                entry.meta.camera,
                entry.location.holder,
                entry.location.volume
            ),
            (camera(of), ME, 4)
        );
        let bytes = entry.location.payload_bytes as usize;
        assert_eq!(
            handle.read(&entry.location).unwrap(),
            payload(theirs, entry.meta.sequence, bytes)
        );
        entry.meta.sequence
    };
    entries.iter().map(check).collect()
}

#[tokio::test]
async fn footage_is_known_by_our_numbers_and_the_segments_stay_as_they_are() {
    let dir = Dir::new();
    let id = record(&dir, 20, 10_000).await;
    let before = sums(&dir);
    assert!(matches!(
        Volume::open(ours(&dir)).err().unwrap(),
        Error::ForeignVolume { .. }
    ));
    adopt(dir.path(), &adoption(id)).unwrap();
    assert_eq!(volume_cluster(dir.path()).unwrap(), Some(OURS));
    let (volume, handle) = open(ours(&dir));
    assert!(handle.is_adopted() && handle.id() == id);
    let all: Vec<u32> = (0..20).collect();
    assert_eq!(
        (listed(&handle, 12, 1), listed(&handle, 1, 2)),
        (all.clone(), all)
    );
    assert!(
        handle
            .entries(Range::all(camera(2), MAIN))
            .unwrap()
            .is_empty(),
        "their number means nothing here"
    );
    let (spans, gaps) = handle.recorded(Range::all(camera(12), MAIN)).unwrap();
    assert!(
        spans
            .iter()
            .all(|span| span.node == NodeId(1_000_000 + NODE.0)),
        "{spans:?}"
    );
    assert_eq!(
        gaps.iter()
            .map(|gap| (gap.camera, gap.node.0))
            .collect::<Vec<_>>(),
        [(camera(12), 1_000_000 + NODE.0)]
    );
    assert!(handle.init(camera(1), InitId::of(&init_bytes(2))).is_ok());
    assert!(handle.init(camera(2), InitId::of(&init_bytes(2))).is_err());
    assert_eq!(
        (
            handle.watermark(StreamId::main(camera(12))),
            handle.camera_highest()
        ),
        (None, Some(camera(12))),
        "of their epochs nothing is known, and their numbers are given out"
    );
    let name = CurrentName {
        camera: camera(12),
        name: "yard".to_owned(),
        deleted: None,
    };
    assert!(
        !handle.keep_names(&[name], Timestamp(T0)).unwrap(),
        "the names on it are theirs"
    );
    close(volume, handle).await;
    assert_eq!(sums(&dir), before);
    // The numbers may be changed; the catalogue does not contain them.
    let other = Adoption::new(id, (THEIRS, OURS), Timestamp(T0), vec![number(1, 2)]).unwrap();
    adopt(dir.path(), &other).unwrap();
    let (volume, handle) = open(ours(&dir));
    assert_eq!(
        (listed(&handle, 2, 1).len(), listed(&handle, 12, 1).len()),
        (20, 0)
    );
    close(volume, handle).await;
}

#[tokio::test]
async fn it_falls_under_our_retention_and_our_holds() {
    let dir = Dir::new();
    let id = record(&dir, 400, 20_000).await;
    adopt(dir.path(), &adoption(id)).unwrap();
    let class = RetentionClass {
        name: "default".to_owned(),
        age_max: None,
        bytes_max: Some(4 << 20),
    };
    let at = |sequence: i64| Timestamp(T0 + sequence * CHUNK_US);
    let hold = Hold {
        camera: camera(12),
        from: at(100),
        to: at(120),
    };
    let options = VolumeOptions {
        retention: vec![class],
        holds: None,
        ..ours(&dir)
    };
    let (volume, handle) = open(options);
    handle.set_holds([hold].into_iter().collect::<Holds>());
    let started = Instant::now();
    while handle
        .entries(Range {
            from: at(0),
            to: at(30),
            ..Range::all(camera(1), MAIN)
        })
        .unwrap()
        .len()
        > 1
    {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{:?}",
            handle.stats()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    while handle.stats().copied_segments == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{:?}",
            handle.stats()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // Footage that is not held may be deleted before it is read.
    let of_theirs = handle.entries(Range::all(camera(12), MAIN)).unwrap();
    let held: Vec<u32> = of_theirs.iter().map(|entry| entry.meta.sequence).collect();
    assert!(
        (100..120).all(|sequence| held.contains(&sequence)),
        "{held:?}"
    );
    let copied = dir
        .segments()
        .iter()
        .any(|path| path.parent().unwrap().ends_with(HOLD_CLASS));
    assert!(copied, "held footage is copied on the volume");
    close(volume, handle).await;
    // If the copies named our cluster, a lost volume.json would make the volume ours, with their
    // numbers.
    std::fs::remove_file(dir.path().join("volume.json")).unwrap();
    let (volume, handle) = open(VolumeOptions {
        holds: Some([hold].into_iter().collect()),
        ..ours(&dir)
    });
    assert!((100..120).all(|sequence| listed(&handle, 12, 1).contains(&sequence)));
    close(volume, handle).await;
}

#[tokio::test]
async fn only_a_whole_list_for_this_volume_and_this_cluster_counts() {
    let dir = Dir::new();
    let id = record(&dir, 4, 1_000).await;
    let path = dir.path().join("adopted.json");
    let foreign = async |why: &str| {
        assert!(
            matches!(
                Volume::open(ours(&dir)).err(),
                Some(Error::ForeignVolume { .. })
            ),
            "{why}"
        );
        // Its own cluster opens it in any case.
        let (volume, handle) = open(dir.options());
        assert_eq!(stored(&handle, 2).len(), 4, "{why}");
        close(volume, handle).await;
    };
    // What a crash leaves before the file is in place.
    std::fs::write(dir.path().join("adopted.next"), "{\"version\":1").unwrap();
    foreign("interrupted").await;
    let elsewhere = Adoption::new(
        id,
        (THEIRS, Uuid::from_u128(9)),
        Timestamp(T0),
        vec![number(1, 12)],
    )
    .unwrap();
    adopt(dir.path(), &elsewhere).unwrap();
    foreign("taken over by another cluster").await;
    let wrong = [
        Adoption::new(Uuid::from_u128(7), (THEIRS, OURS), Timestamp(T0), vec![]).unwrap(),
        Adoption::new(id, (Uuid::from_u128(8), OURS), Timestamp(T0), vec![]).unwrap(),
    ];
    for adoption in wrong {
        assert!(matches!(
            adopt(dir.path(), &adoption),
            Err(Error::ForeignVolume { .. })
        ));
    }
    adopt(dir.path(), &adoption(id)).unwrap();
    let root = Arc::new(Root::open(dir.path()).unwrap());
    assert_eq!(adoption_in(&root).unwrap().unwrap().cameras().len(), 2);
    let mut text = std::fs::read(&path).unwrap();
    text[30] ^= 1;
    std::fs::write(&path, text).unwrap();
    assert!(
        matches!(Volume::open(ours(&dir)).err(), Some(Error::Format { .. })),
        "a flipped bit hides nothing"
    );
    adopt(dir.path(), &adoption(id)).unwrap();
    let (volume, handle) = open(ours(&dir));
    assert!(
        matches!(adopt(dir.path(), &adoption(id)), Err(Error::Locked { .. })),
        "it is in use"
    );
    close(volume, handle).await;
    let why = Arc::from("read-only");
    let (_, handle) = Volume::open_reading(ours(&dir), root, &why).unwrap();
    await_recovery(&handle);
    assert_eq!(
        listed(&handle, 1, 2).len(),
        4,
        "also from a disk that cannot be written"
    );
}
