//! Held footage survives its segments, whatever ends the process in between, and readers see no
//! difference.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

#[path = "support/disk.rs"]
mod disk;
mod support;

use disk::WatchedDisk;
use holdfast_storage::chunk::{ChunkEntry, GapCause, Record};
use holdfast_storage::clock::SystemClock;
use holdfast_storage::ids::StreamId;
use holdfast_storage::offline;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{
    HOLD_CLASS, Hold, Holds, Range, RetentionClass, ScrubOptions, Stats, Volume, VolumeHandle,
    VolumeOptions,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::*;

const CLASS_BYTES_MAX: u64 = 4 << 20;

/// For each of two cameras: 200 s in about eight segments.
const CHUNKS: u32 = 400;

/// A hold on camera 1; including its lead, these chunks are held.
const HELD: std::ops::Range<u32> = 140..220;

fn at(chunk: u32) -> Timestamp {
    Timestamp(T0 + i64::from(chunk) * CHUNK_US)
}

fn held() -> Hold {
    Hold {
        camera: camera(1),
        from: at(HELD.start + 60),
        to: at(HELD.end),
    }
}

fn holds() -> Holds {
    [held()].into_iter().collect()
}

/// One class of 4 MiB; the holds are not known yet.
fn options(dir: &Dir) -> VolumeOptions {
    let class = RetentionClass {
        name: "default".to_owned(),
        age_max: None,
        bytes_max: Some(CLASS_BYTES_MAX),
    };
    VolumeOptions {
        segment_bytes_max: 2 << 20,
        retention: vec![class],
        holds: None,
        ..dir.options()
    }
}

/// Both cameras, each with a gap in the held interval, all of it in sealed segments.
async fn record(dir: &Dir) {
    let (volume, handle) = Volume::open(options(dir)).unwrap();
    append(&handle, init(1));
    append(&handle, init(2));
    for sequence in 0..CHUNKS {
        append(&handle, chunk(1, sequence, 20_000));
        append(&handle, chunk(2, sequence, 20_000));
        if sequence == HELD.start + 5 {
            append(
                &handle,
                Record::Gap(gap(1, at(sequence).0, at(sequence).0 + 7)),
            );
            append(
                &handle,
                Record::Gap(gap(2, at(sequence).0, at(sequence).0 + 7)),
            );
        }
        if sequence % 20 == 0 {
            within(handle.flush()).await.unwrap();
        }
    }
    close(volume, handle).await;
    assert!(dir.segments().len() >= 7, "{:?}", dir.segments());
}

fn open(dir: &Dir) -> (Volume, VolumeHandle) {
    let opened = Volume::open(options(dir)).unwrap();
    await_recovery(&opened.1);
    opened
}

fn wait_until(handle: &VolumeHandle, what: &str, is_so: impl Fn(&Stats) -> bool) {
    let started = Instant::now();
    while !is_so(&handle.stats()) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{what}: {:?}",
            handle.stats()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the class is within its limit, without copies.
fn wait_retained(handle: &VolumeHandle, dir: &Dir) {
    wait_until(handle, "the class is within its limit", |_| {
        class_bytes(dir) <= CLASS_BYTES_MAX
    });
}

fn class_bytes(dir: &Dir) -> u64 {
    of_class(dir, "default")
        .iter()
        .map(|path| path.metadata().map_or(0, |meta| meta.len()))
        .sum()
}

fn of_class(dir: &Dir, class: &str) -> Vec<PathBuf> {
    let is_of = |path: &PathBuf| path.parent().unwrap().ends_with(class);
    dir.segments().into_iter().filter(is_of).collect()
}

fn entries(handle: &VolumeHandle, of: u32) -> Vec<ChunkEntry> {
    handle.entries(Range::all(camera(of), MAIN)).unwrap()
}

fn gaps(handle: &VolumeHandle, of: u32) -> usize {
    handle.gaps(Range::all(camera(of), MAIN)).unwrap().len()
}

fn assert_readable(handle: &VolumeHandle, entry: &ChunkEntry) {
    let bytes = entry.location.payload_bytes as usize;
    assert_eq!(
        handle.read(&entry.location).unwrap(),
        payload(1, entry.meta.sequence, bytes)
    );
}

/// The held chunks are listed, each once and whole.
fn assert_held(handle: &VolumeHandle) {
    let here: Vec<ChunkEntry> = entries(handle, 1)
        .into_iter()
        .filter(|entry| HELD.contains(&entry.meta.sequence))
        .collect();
    assert_eq!(
        here.iter()
            .map(|entry| entry.meta.sequence)
            .collect::<Vec<_>>(),
        HELD.collect::<Vec<_>>()
    );
    here.iter().for_each(|entry| assert_readable(handle, entry));
    assert_eq!(gaps(handle, 1), 1);
    let spans = handle
        .spans(Range {
            from: held().from,
            to: held().to,
            ..Range::all(camera(1), MAIN)
        })
        .unwrap();
    assert_eq!(
        spans
            .iter()
            .map(|span| (span.start, span.end))
            .collect::<Vec<_>>(),
        [(held().from, held().to)]
    );
}

/// The chunks in the files of all copies.
fn copied(dir: &Dir) -> Vec<u32> {
    let mut copied = Vec::new();
    for path in of_class(dir, HOLD_CLASS) {
        let footage = offline::footage(&path, camera(1), MAIN, |_, _| {}).unwrap();
        assert!(
            footage.entries().is_empty() || footage.inits().unwrap().len() == 1,
            "{}",
            path.display()
        );
        copied.extend(footage.entries().iter().map(|entry| entry.meta.sequence));
    }
    copied.sort_unstable();
    copied
}

#[tokio::test]
async fn nothing_is_deleted_before_it_is_known_what_is_held_and_then_held_footage_stays() {
    let dir = Dir::new();
    record(&dir).await;
    let (volume, handle) = open(&dir);
    let before = entries(&handle, 1);
    let mark = handle.watermark(StreamId::main(camera(1)));
    std::thread::sleep(Duration::from_secs(6));
    let stats = handle.stats();
    assert_eq!(
        (stats.segments_deleted, stats.are_holds_known),
        (0, false),
        "the class is over its limit all the while"
    );
    handle.set_holds(holds());
    wait_retained(&handle, &dir);
    assert_held(&handle);
    wait_until(&handle, "nothing of the other camera is held", |_| {
        gaps(&handle, 2) == 0
    });
    assert!(entries(&handle, 2).len() < CHUNKS as usize / 2);
    assert_eq!(handle.watermark(StreamId::main(camera(1))), mark);
    let moved = before
        .iter()
        .filter(|entry| HELD.contains(&entry.meta.sequence));
    for entry in moved {
        // A reader that looked before can continue to read.
        assert_readable(&handle, entry);
    }
    assert!(handle.stats().held_bytes > HELD.len() as u64 * 20_000);
    close(volume, handle).await;
    assert_eq!(copied(&dir), HELD.collect::<Vec<_>>());
    for path in of_class(&dir, HOLD_CLASS) {
        assert!(
            offline::verify(&path, |_, _| {}).unwrap().is_sound(),
            "{}",
            path.display()
        );
    }

    let (volume, handle) = open(&dir);
    assert_held(&handle);
    handle.set_holds(holds());
    std::thread::sleep(Duration::from_secs(6));
    assert_held(&handle);
    assert_eq!(handle.stats().copied_segments, 0);
    // The newest segment always stays.
    record_chunks(&handle, 2, CHUNKS..CHUNKS + 1);
    within(handle.flush()).await.unwrap();
    handle.set_holds(Holds::default());
    let is_released = |entry: &ChunkEntry| !HELD.contains(&entry.meta.sequence);
    wait_until(&handle, "released copies go", |_| {
        entries(&handle, 1).iter().all(is_released)
    });
    assert_eq!(of_class(&dir, HOLD_CLASS), Vec::<PathBuf>::new());
    let init = entries(&handle, 1)[0].meta.init;
    assert_eq!(
        handle.init(camera(1), init).unwrap(),
        init_bytes(1),
        "what is left can be decoded"
    );
    close(volume, handle).await;
}

/// Restores files to the state that a crash would have left.
fn put_back(files: &[(PathBuf, Vec<u8>)]) {
    files
        .iter()
        .for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
}

fn contents(paths: Vec<PathBuf>) -> Vec<(PathBuf, Vec<u8>)> {
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

async fn retain_with_holds(dir: &Dir) {
    let (volume, handle) = open(dir);
    assert_held(&handle);
    handle.set_holds(holds());
    wait_retained(&handle, dir);
    assert_held(&handle);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_crash_before_the_original_goes_shows_no_doubles_and_makes_no_second_copy() {
    let dir = Dir::new();
    record(&dir).await;
    let originals = contents(dir.segments());
    retain_with_holds(&dir).await;
    let copies = contents(of_class(&dir, HOLD_CLASS));
    put_back(&originals);
    let (volume, handle) = open(&dir);
    assert_eq!(
        stored(&handle, 1),
        (0..CHUNKS).collect::<Vec<_>>(),
        "each chunk once"
    );
    assert_eq!(gaps(&handle, 1), 1);
    close(volume, handle).await;
    retain_with_holds(&dir).await;
    for (path, bytes) in copies {
        assert!(
            std::fs::read(path).unwrap() == bytes,
            "a copy was made again, or changed"
        );
    }
    let sequences = copied(&dir);
    assert!(
        sequences.is_sorted_by(|a, b| a < b),
        "copied twice: {sequences:?}"
    );
}

#[tokio::test]
async fn a_crash_anywhere_in_a_copy_leaves_each_chunk_copied_once_in_the_end() {
    let dir = Dir::new();
    record(&dir).await;
    let originals = contents(dir.segments());
    retain_with_holds(&dir).await;
    let copies = contents(of_class(&dir, HOLD_CLASS));
    let (path, whole) = copies.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let batches: Vec<usize> = (0..whole.len())
        .step_by(4096)
        .filter(|at| whole[*at..].starts_with(b"HFBT"))
        .collect();
    // Created; within the first batch; after it; without its footer.
    for cut in [
        4096,
        batches[0] + 4096,
        batches[0] + 40_000,
        whole.len() - 4096,
    ] {
        put_back(&originals);
        put_back(&copies);
        std::fs::write(path, &whole[..cut]).unwrap();
        retain_with_holds(&dir).await;
        // The newest may be in a segment that need not be deleted, depending on how much is in the
        // open one: they are listed there, each once.
        let copied = copied(&dir);
        assert!(copied.len() > HELD.len() / 2, "cut at {cut}: {copied:?}");
        assert_eq!(
            copied,
            HELD.take(copied.len()).collect::<Vec<_>>(),
            "cut at {cut}"
        );
        of_class(&dir, HOLD_CLASS)
            .iter()
            .for_each(|path| std::fs::remove_file(path).unwrap());
    }
}

#[tokio::test]
async fn a_segment_that_is_all_held_stays_as_it_is_and_does_not_count() {
    let dir = Dir::new();
    record(&dir).await;
    let count = dir.segments().len();
    let (volume, handle) = open(&dir);
    let all = [1, 2].map(|id| Hold {
        camera: camera(id),
        from: at(0),
        to: Timestamp::MAX,
    });
    handle.set_holds(all.into_iter().collect());
    std::thread::sleep(Duration::from_secs(7));
    let stats = handle.stats();
    assert_eq!((stats.segments_deleted, stats.copied_segments), (0, 0));
    assert!(
        stats.held_bytes >= stats.sealed_bytes - (1 << 20),
        "{stats:?}"
    );
    assert_eq!(dir.segments().len(), count);
    handle.set_holds(Holds::default());
    wait_retained(&handle, &dir);
    close(volume, handle).await;
}

fn open_on(dir: &Dir, disk: &Arc<WatchedDisk>) -> (Volume, VolumeHandle) {
    let opened = Volume::open_on(options(dir), Arc::clone(disk), Arc::new(SystemClock)).unwrap();
    await_recovery(&opened.1);
    opened
}

#[tokio::test]
async fn without_room_for_a_copy_its_segment_stays_and_others_go() {
    let dir = Dir::new();
    record(&dir).await;
    let disk = Arc::new(WatchedDisk::new(dir.path()));
    disk.is_full.store(true, Ordering::SeqCst);
    let (volume, handle) = open_on(&dir, &disk);
    handle.set_holds(holds());
    wait_until(&handle, "what needs no copy goes", |stats| {
        stats.segments_deleted >= 2
    });
    std::thread::sleep(Duration::from_secs(6));
    assert_held(&handle);
    assert_eq!(handle.stats().copied_segments, 0);
    assert_eq!(
        of_class(&dir, HOLD_CLASS),
        Vec::<PathBuf>::new(),
        "unfinished copies do not pile up"
    );
    disk.is_full.store(false, Ordering::SeqCst);
    for sequence in CHUNKS..2 * CHUNKS {
        append(&handle, chunk(2, sequence, 20_000));
    }
    wait_until(&handle, "the oldest is copied", |stats| {
        stats.copied_segments >= 1
    });
    assert_held(&handle);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_copy_is_durable_before_its_footer_says_what_is_in_it() {
    let dir = Dir::new();
    record(&dir).await;
    let disk = Arc::new(WatchedDisk::new(dir.path()));
    let (volume, handle) = open_on(&dir, &disk);
    handle.set_holds(holds());
    wait_retained(&handle, &dir);
    close(volume, handle).await;
    let copies = of_class(&dir, HOLD_CLASS);
    assert!(copies.len() >= 2, "{copies:?}");
    for path in copies {
        let steps = disk.steps(&path);
        let footer = steps.iter().position(|step| step == "footer").unwrap();
        assert_eq!(steps[footer - 1], "sync", "{steps:?}");
        assert_eq!(steps.last().unwrap(), "sync", "{steps:?}");
    }
}

/// Changes one byte in the middle of a held chunk of camera 1.
fn damage(path: &Path) -> bool {
    let footage = offline::footage(path, camera(1), MAIN, |_, _| {}).unwrap();
    let held = |entry: &&ChunkEntry| HELD.contains(&entry.meta.sequence);
    let Some(entry) = footage.entries().iter().find(held) else {
        return false;
    };
    let mut bytes = std::fs::read(path).unwrap();
    bytes[entry.location.offset as usize + 5_000] ^= 1;
    std::fs::write(path, bytes).unwrap();
    true
}

#[tokio::test]
async fn a_segment_whose_held_footage_is_damaged_is_kept_whole_in_case_more_can_be_saved() {
    let dir = Dir::new();
    record(&dir).await;
    let damaged = dir
        .segments()
        .into_iter()
        .find(|path| damage(path))
        .unwrap();
    let (volume, handle) = open(&dir);
    handle.set_holds(holds());
    let kept_bytes = std::fs::metadata(&damaged).unwrap().len();
    wait_until(&handle, "the others are within the limit", |_| {
        class_bytes(&dir) <= CLASS_BYTES_MAX + kept_bytes
    });
    std::thread::sleep(Duration::from_secs(6));
    assert!(damaged.is_file());
    let listed: Vec<u32> = entries(&handle, 1)
        .iter()
        .map(|entry| entry.meta.sequence)
        .collect();
    assert!(HELD.clone().all(|sequence| listed.contains(&sequence)));
    assert!(
        of_class(&dir, HOLD_CLASS).len() < 4,
        "unfinished copies do not pile up"
    );
    close(volume, handle).await;
}

/// A crash after the copy was listed and before its original was deleted; then the original is
/// damaged.
#[tokio::test]
async fn a_sound_copy_makes_up_for_an_original_that_rotted() {
    let dir = Dir::new();
    record(&dir).await;
    let originals = contents(dir.segments());
    retain_with_holds(&dir).await;
    put_back(&originals);
    let rotten = of_class(&dir, "default")
        .into_iter()
        .find(|path| damage(path))
        .unwrap();
    let scrub = ScrubOptions {
        bytes_per_second_max: 1 << 30,
        pass_interval: Duration::from_secs(3600),
    };
    let mut options = options(&dir);
    options.retention[0].bytes_max = None;
    let (volume, handle) = Volume::open(VolumeOptions { scrub, ..options }).unwrap();
    await_recovery(&handle);
    wait_until(&handle, "the scrub reads all", |stats| {
        stats.scrub.last_ended_at.is_some()
    });
    assert_eq!(handle.damaged().0.len(), 1, "{}", rotten.display());
    assert_held(&handle);
    let all = Range::all(camera(1), MAIN);
    assert!(
        handle
            .entries(all)
            .unwrap()
            .iter()
            .all(|entry| !entry.meta.after_loss)
    );
    assert!(
        handle
            .gaps(all)
            .unwrap()
            .iter()
            .all(|gap| gap.cause != GapCause::Damaged)
    );
    let spans = handle.spans(all).unwrap();
    let is_held = |at: Timestamp| spans.iter().any(|span| span.start <= at && at < span.end);
    assert!(HELD.map(at).all(is_held), "{spans:?}");
    close(volume, handle).await;
}

#[tokio::test]
async fn a_class_named_hold_is_refused() {
    let dir = Dir::new();
    let class = RetentionClass {
        name: HOLD_CLASS.to_owned(),
        age_max: None,
        bytes_max: None,
    };
    let mut options = options(&dir);
    options.retention.push(class);
    let error = Volume::open(options).err().unwrap().to_string();
    assert!(error.contains("\"hold\" is taken"), "{error}");
}
