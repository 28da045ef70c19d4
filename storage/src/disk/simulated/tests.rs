//! Tests of the fault model: each loss that it promises happens, and nothing that it forbids.

use super::*;
use crate::disk::BatchDisk;
use crate::format::BLOCK_BYTES;
use std::collections::BTreeSet;
use std::time::Duration;

const PATH: &str = "/volume/segments/a/0000000001.hfs";
const BLOCK: u64 = BLOCK_BYTES as u64;

fn disk(seed: u64, sector_bytes: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new(
        Geometry {
            capacity_bytes: 1 << 30,
            sector_bytes,
        },
        Random::new(seed),
    );
    disk.create_dir(Path::new(PATH).parent().unwrap()).unwrap();
    disk
}

fn simulate<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, body)
}

/// A durable file of a header block and reserved space, with block `number` filled with each of
/// `fills` in turn.
async fn written(
    disk: &SimulatedDisk,
    fills: &[(u64, u8)],
) -> <SimulatedBatchDisk as BatchDisk>::File {
    let batch = disk.batch();
    let (file, _) = batch
        .create(Path::new(PATH), vec![1; BLOCK_BYTES], 8 * BLOCK, false)
        .await
        .unwrap();
    for (number, fill) in fills {
        write(&batch, &file, *number, *fill).await.unwrap();
    }
    file
}

async fn write(
    batch: &SimulatedBatchDisk,
    file: &<SimulatedBatchDisk as BatchDisk>::File,
    number: u64,
    fill: u8,
) -> io::Result<()> {
    let mut buffer = batch.buffer(BLOCK_BYTES).unwrap();
    buffer[..BLOCK_BYTES].fill(fill);
    batch
        .write(file, buffer, BLOCK_BYTES, number * BLOCK)
        .await
        .0
}

fn block(disk: &SimulatedDisk, number: u64) -> Vec<u8> {
    let contents = disk.contents(Path::new(PATH)).unwrap();
    contents[(number * BLOCK) as usize..][..BLOCK_BYTES].to_vec()
}

#[test]
fn what_a_sync_covered_survives_and_the_rest_is_torn_by_sectors() {
    for sector_bytes in [512, 4096] {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let disk = disk(seed, sector_bytes);
            simulate(async {
                let file = written(&disk, &[(1, 7)]).await;
                disk.batch().sync(&file).await.unwrap();
                write(&disk.batch(), &file, 2, 9).await.unwrap();
            });
            assert_eq!(
                block(&disk, 2),
                [9; BLOCK_BYTES],
                "readers see it before it is durable"
            );
            disk.restart(End::PowerCut(Loss::Scattered { kept_of_eight: 4 }));
            assert_eq!(
                (block(&disk, 0), block(&disk, 1)),
                (vec![1; BLOCK_BYTES], vec![7; BLOCK_BYTES])
            );
            let torn = block(&disk, 2);
            let sectors: Vec<u8> = torn.chunks(sector_bytes).map(|sector| sector[0]).collect();
            assert!(
                torn.chunks(sector_bytes)
                    .all(|sector| sector.iter().all(|byte| *byte == sector[0]))
            );
            assert!(sectors.iter().all(|fill| [0, 9].contains(fill)));
            seen.insert(sectors);
        }
        assert!(
            seen.len() > if sector_bytes == 512 { 50 } else { 1 },
            "{seen:?}"
        );
    }
}

#[test]
fn a_later_write_may_survive_an_earlier_one_and_the_rules_of_loss_hold() {
    let after = |seed, loss| {
        let disk = disk(seed, 4096);
        simulate(async { written(&disk, &[(1, 7), (2, 8), (2, 9)]).await });
        disk.restart(End::PowerCut(loss));
        (block(&disk, 1)[0], block(&disk, 2)[0])
    };
    let scattered: BTreeSet<_> = (0..100)
        .map(|seed| after(seed, Loss::Scattered { kept_of_eight: 4 }))
        .collect();
    assert_eq!(
        scattered.len(),
        6,
        "any of the versions of each block: {scattered:?}"
    );
    let ordered: BTreeSet<_> = (0..100).map(|seed| after(seed, Loss::Ordered)).collect();
    assert!(
        ordered
            .iter()
            .all(|(first, second)| *first == 7 || *second == 0),
        "{ordered:?}"
    );
    assert_eq!(
        (after(1, Loss::Everything), after(1, Loss::Nothing)),
        ((0, 0), (7, 9))
    );
}

#[test]
fn lengths_and_names_are_lost_too() {
    let (mut cut, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..40 {
        let disk = disk(seed, 512);
        simulate(async { written(&disk, &[]).await });
        disk.open_write(Path::new(PATH))
            .unwrap()
            .set_bytes(BLOCK)
            .unwrap();
        let other = Path::new("/volume/segments/a/0000000002.hfs");
        disk.replace(other, b"durable").unwrap();
        disk.remove(other).unwrap();
        assert!(disk.contents(other).is_none());
        disk.restart(End::PowerCut(Loss::Scattered { kept_of_eight: 4 }));
        cut.insert(disk.contents(Path::new(PATH)).unwrap().len() as u64);
        gone.insert(disk.contents(other));
    }
    assert_eq!(cut, BTreeSet::from([BLOCK, 8 * BLOCK]));
    assert_eq!(
        gone,
        BTreeSet::from([None, Some(b"durable".to_vec())]),
        "a removed file may come back with its data"
    );
}

#[test]
fn what_a_failed_sync_gave_up_is_seen_until_it_is_settled_and_never_durable() {
    let disk = disk(3, 4096);
    simulate(async {
        let file = written(&disk, &[(1, 7)]).await;
        disk.set_faults(Faults {
            sync_fails: 1,
            ..Faults::default()
        });
        assert!(disk.batch().sync(&file).await.is_err());
        disk.set_faults(Faults::default());
        disk.batch().sync(&file).await.unwrap();
    });
    disk.restart(End::Killed);
    assert_eq!(
        block(&disk, 1)[0],
        7,
        "the machine went on, and its memory with it"
    );
    let (cut, settled) = (disk.fork(), disk.fork());
    cut.restart(End::PowerCut(Loss::Everything));
    assert_eq!(block(&cut, 1)[0], 0);
    settled
        .open_read(Path::new(PATH))
        .unwrap()
        .settle()
        .unwrap();
    let shown = block(&settled, 1);
    settled.restart(End::PowerCut(Loss::Everything));
    assert_eq!(
        block(&settled, 1),
        shown,
        "after settling, readers see what is on the medium"
    );
}

#[test]
fn a_stopped_machine_changes_nothing_and_ends_nothing() {
    let disk = disk(1, 512);
    simulate(async {
        let file = written(&disk, &[(1, 7)]).await;
        disk.stop_after(1);
        let batch = disk.batch();
        let write =
            tokio::time::timeout(Duration::from_secs(3600), write(&batch, &file, 1, 9)).await;
        assert!(
            write.is_err() && disk.is_stopped(),
            "the write was begun and never ends"
        );
        assert!(disk.remove(Path::new(PATH)).is_err());
    });
    assert_eq!(block(&disk, 1)[0], 7);
    let fills: BTreeSet<u8> = (0..20).map(|seed| after_kill(&disk, seed)).collect();
    assert_eq!(
        fills,
        BTreeSet::from([7, 9]),
        "a write in flight is there or not"
    );
}

fn after_kill(disk: &SimulatedDisk, seed: u64) -> u8 {
    let disk = disk.fork();
    lock(&disk.state).random = Random::new(seed);
    disk.restart(End::Killed);
    block(&disk, 1)[0]
}

#[test]
fn room_is_counted_and_errors_come_as_asked() {
    let disk = SimulatedDisk::new(
        Geometry {
            capacity_bytes: 10 * BLOCK,
            sector_bytes: 512,
        },
        Random::new(1),
    );
    disk.create_dir(Path::new(PATH).parent().unwrap()).unwrap();
    simulate(async {
        let file = written(&disk, &[]).await;
        assert_eq!(disk.space(Path::new("/")).unwrap().free_bytes, 2 * BLOCK);
        let full = disk
            .batch()
            .allocate(&file, 8 * BLOCK, 3 * BLOCK)
            .await
            .unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        disk.set_faults(Faults {
            write_fails: 1,
            ..Faults::default()
        });
        let failed = write(&disk.batch(), &file, 1, 7).await.unwrap_err();
        assert_eq!(
            failed.raw_os_error(),
            Some(rustix::io::Errno::IO.raw_os_error())
        );
        disk.set_faults(Faults {
            hangs: 1,
            hang: Duration::from_secs(30),
            ..Faults::default()
        });
        let started = Duration::from_secs(20);
        assert!(
            tokio::time::timeout(started, disk.batch().sync(&file))
                .await
                .is_err(),
            "it hangs"
        );
    });
}
