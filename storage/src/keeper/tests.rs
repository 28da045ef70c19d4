//! The keeper's work list.

use super::*;
use crate::clock::SystemClock;
use crate::disk::simulated::{End, Geometry, Loss, Random, SimulatedDisk};
use crate::disk::{Disk, FileId, IoChoice, RealDisk};
use crate::format::index::SegmentIndex;
use crate::format::{BLOCK, BLOCK_BYTES, encode_footer};
use crate::ids::NodeId;
use crate::layout::Layout;
use crate::options::VolumeOptions;
use crate::retention::{FreeSpace, Reason};
use crate::state::OpenState;
use crate::time::Timestamp;
use uuid::Uuid;

fn pending(shared: &Shared) -> u64 {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &shared.counters;
    count(&counters.segments_to_recover)
        - count(&counters.segments_recovered)
        - count(&counters.refused_segments)
}

#[expect(clippy::disallowed_methods, reason = "an instant to count from")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_catalogue_lost_during_recovery_leaves_each_segment_to_recover_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = VolumeOptions::new(dir.path(), NodeId(1), Uuid::nil());
    let layout = Layout {
        root: dir.path().to_owned(),
    };
    let disk = Arc::new(RealDisk::new(IoChoice::Plain, dir.path()).unwrap());
    let shared = Arc::new(Shared::new(
        options,
        layout,
        Uuid::nil(),
        disk,
        Arc::new(SystemClock),
        SegmentId(4),
    ));
    let class: Arc<str> = Arc::from("default");
    let found = |id| Found {
        id: SegmentId(id),
        class: Arc::clone(&class),
        bytes: 4096,
    };
    let mut keeper = Keeper::new(Arc::clone(&shared), vec![found(1), found(2)], now());
    keeper.open_catalogue();
    assert_eq!(pending(&shared), 2);
    let known = Known {
        class: Arc::clone(&class),
        bytes: 4096,
        closed_at: Timestamp(0),
    };
    write(&shared.known).insert(SegmentId(3), known);
    keeper.rebuild_catalogue(&Broken("injected".to_owned()));
    assert_eq!(pending(&shared), 3);
    keeper.open_catalogue();
    while let Some(found) = keeper.to_recover.pop_back() {
        // None of the files exists.
        keeper.recover(&found);
    }
    assert_eq!(pending(&shared), 0, "recovery is over once nothing waits");
}

#[test]
fn the_newest_segment_that_holds_something_stays_though_one_is_opened_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = VolumeOptions::new(dir.path(), NodeId(1), Uuid::nil());
    options.retention[0].bytes_max = Some(0);
    let layout = Layout {
        root: dir.path().to_owned(),
    };
    let disk = Arc::new(RealDisk::new(IoChoice::Plain, dir.path()).unwrap());
    let shared = Arc::new(Shared::new(
        options,
        layout,
        Uuid::nil(),
        disk,
        Arc::new(SystemClock),
        SegmentId(3),
    ));
    let class: Arc<str> = Arc::from("default");
    let open = |data_end| {
        let state = std::sync::RwLock::new(OpenState {
            data_end,
            ..OpenState::default()
        });
        Arc::new(OpenSegment {
            class: Arc::clone(&class),
            file: FileId {
                device: 0,
                inode: 0,
            },
            state,
        })
    };
    let known = Known {
        class: Arc::clone(&class),
        bytes: 8192,
        closed_at: Timestamp(0),
    };
    write(&shared.known).insert(SegmentId(1), known);
    let keeper = Keeper::new(Arc::clone(&shared), Vec::new(), now());
    let planned = |keeper: &Keeper| {
        keeper
            .plan(&shared.options.retention, FreeSpace::default())
            .deletions
    };
    write(&shared.open).insert(SegmentId(2), open(0));
    assert_eq!(
        planned(&keeper),
        [],
        "it is removed if it is not needed, and then segment 1 determines the next id"
    );
    write(&shared.open).insert(SegmentId(2), open(8192));
    assert_eq!(planned(&keeper), [(SegmentId(1), Reason::ClassBytes)]);
}

#[test]
fn a_footer_that_a_killed_process_did_not_sync_is_durable_before_it_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let options = VolumeOptions::new(dir.path(), NodeId(1), Uuid::nil());
    let layout = Layout {
        root: dir.path().to_owned(),
    };
    let (id, class): (_, Arc<str>) = (SegmentId(1), Arc::from("default"));
    let path = layout.segment(&class, id);
    let geometry = Geometry {
        capacity_bytes: 1 << 30,
        sector_bytes: 512,
    };
    let disk = SimulatedDisk::new(geometry, Random::new(1));
    let sealed = sealed_segment(&disk, id, &path);
    let shared = Arc::new(Shared::new(
        options,
        layout,
        Uuid::nil(),
        Arc::new(disk.clone()),
        Arc::new(SystemClock),
        SegmentId(2),
    ));
    let mut keeper = Keeper::new(
        Arc::clone(&shared),
        vec![Found {
            id,
            class,
            bytes: 0,
        }],
        now(),
    );
    keeper.open_catalogue();
    while let Some(found) = keeper.to_recover.pop_back() {
        keeper.recover(&found);
    }
    assert!(read(&shared.known).contains_key(&id));
    disk.restart(End::PowerCut(Loss::Everything));
    assert_eq!(
        disk.contents(&path),
        Some(sealed),
        "what the list calls sealed survives as the list has it"
    );
}

/// A durable header and a footer that is only in memory, as after a process was killed while
/// sealing. Returns the file as readers see it.
fn sealed_segment(disk: &SimulatedDisk, id: SegmentId, path: &Path) -> Vec<u8> {
    disk.create_dir(path.parent().unwrap()).unwrap();
    disk.replace(path, &[0; BLOCK_BYTES]).unwrap();
    let file = disk.open_write(path).unwrap();
    let footer = Footer {
        segment: id,
        volume: Uuid::nil(),
        offset: BLOCK,
        closed_at: Timestamp(0),
        batches: 0,
        damaged_batches: 0,
    };
    let (bytes, _, trailer) = encode_footer(&footer, &SegmentIndex::default());
    file.write_all_at(&bytes, BLOCK).unwrap();
    file.set_bytes(trailer.file_bytes()).unwrap();
    disk.contents(path).unwrap()
}
