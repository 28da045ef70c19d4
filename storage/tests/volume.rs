//! A volume from the outside: appended records are durable after a flush, and present after a
//! restart.

#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

mod support;

use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, FRAME_BYTES_MAX, InitId, Record};
use holdfast_storage::disk::{IoChoice, IoMode};
use holdfast_storage::format::RECORD_PAYLOAD_BYTES_MAX;
use holdfast_storage::ids::{CameraId, StreamId, StreamKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{AppendError, BUFFER_BYTES_MIN, Error, Range, Volume, VolumeOptions};
use std::time::Duration;
use support::*;

async fn what_was_flushed_is_there_now_and_after_a_restart(io: IoChoice) {
    let dir = Dir::new();
    let options = VolumeOptions {
        io,
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options.clone()).unwrap();
    for camera in 1..=3 {
        record_chunks(&handle, camera, 0..40);
    }
    append(&handle, Record::Gap(gap(2, 5, 9)));
    within(handle.flush()).await.unwrap();
    await_recovery(&handle);
    for camera in 1..=3 {
        assert_eq!(stored(&handle, camera), (0..40).collect::<Vec<_>>());
    }
    let mark = handle.watermark(StreamId::main(CameraId(1))).unwrap();
    assert_eq!(
        (mark.durable_end, mark.first_keyframe),
        (Timestamp(T0 + 40 * CHUNK_US), Some(Timestamp(T0)))
    );
    close(volume, handle).await;

    let (volume, handle) = Volume::open(options).unwrap();
    await_recovery(&handle);
    assert_eq!(
        handle.stats().segments_to_recover,
        0,
        "the catalogue lists the sealed segment"
    );
    assert_eq!(stored(&handle, 3), (0..40).collect::<Vec<_>>());
    assert_eq!(
        handle.gaps(Range::all(CameraId(2), MAIN)).unwrap(),
        [gap(2, 5, 9)]
    );
    assert_eq!(
        handle
            .init(CameraId(2), InitId::of(&init_bytes(2)))
            .unwrap(),
        init_bytes(2)
    );
    let spans = handle.spans(Range::all(CameraId(1), MAIN)).unwrap();
    assert_eq!(
        spans
            .iter()
            .map(|span| (span.start.0, span.end.0))
            .collect::<Vec<_>>(),
        [(T0, T0 + 40 * CHUNK_US)]
    );
    assert_eq!(
        handle
            .watermark(StreamId::main(CameraId(1)))
            .map(|mark| mark.durable_end),
        Some(mark.durable_end)
    );
    close(volume, handle).await;
}

#[tokio::test]
async fn plain_io_keeps_what_was_flushed() {
    what_was_flushed_is_there_now_and_after_a_restart(IoChoice::Plain).await;
}

#[tokio::test]
async fn io_uring_keeps_what_was_flushed() {
    let dir = Dir::new();
    match Volume::open(VolumeOptions {
        io: IoChoice::Uring,
        ..dir.options()
    }) {
        Ok((volume, handle)) => {
            close(volume, handle).await;
            what_was_flushed_is_there_now_and_after_a_restart(IoChoice::Uring).await;
        }
        Err(error) => {
            eprintln!("SKIPPED: this machine has no io_uring with O_DIRECT here: {error}")
        }
    }
}

#[tokio::test]
async fn plain_io_says_so() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    within(handle.flush()).await.unwrap();
    assert_eq!(handle.stats().io_mode, Some(IoMode::Plain));
    close(volume, handle).await;
}

#[tokio::test]
async fn nothing_is_listed_before_it_is_durable_and_then_without_being_asked() {
    let dir = Dir::new();
    // Far longer than the write delay, however busy the machine is.
    let options = VolumeOptions {
        flush_interval: Duration::from_secs(5),
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options).unwrap();
    await_recovery(&handle);
    let mut progress = handle.progress();
    record_chunks(&handle, 1, 0..3);
    let written = async {
        while handle.stats().written_bytes == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(written).await;
    assert!(stored(&handle, 1).is_empty());
    assert_eq!(handle.watermark(StreamId::main(CameraId(1))), None);
    within(progress.changed()).await.unwrap();
    assert_eq!(stored(&handle, 1), [0, 1, 2]);
    close(volume, handle).await;
}

#[tokio::test]
async fn what_comes_together_is_one_write_without_delay_and_the_next_waits_for_its_turn() {
    let dir = Dir::new();
    let hour = Duration::from_secs(3600);
    let options = VolumeOptions {
        write_delay: hour,
        flush_interval: hour,
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options).unwrap();
    let class = handle.class("default").unwrap();
    let append = |record| handle.append_quietly(class, record).unwrap();
    append(init(1));
    (0..5).for_each(|sequence| append(chunk(1, sequence, 3_000)));
    handle.hand_over();
    let written = async {
        while handle.stats().batches == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(written).await;
    for sequence in 5..8 {
        append(chunk(1, sequence, 3_000));
        handle.hand_over();
        // The writer is awake now, and might write it alone.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    append(chunk(1, 8, 3_000));
    within(handle.flush()).await.unwrap();
    assert_eq!(handle.stats().batches, 2);
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..9).collect::<Vec<_>>());
    close(volume, handle).await;
}

#[tokio::test]
async fn what_was_not_handed_over_is_written_on_close() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    let class = handle.class("default").unwrap();
    for record in [init(1), chunk(1, 0, 3_000)] {
        handle.append_quietly(class, record).unwrap();
    }
    // Longer than `write_delay`: nothing wakes the writer.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(handle.stats().written_bytes, 0);
    close(volume, handle).await;
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), [0]);
    close(volume, handle).await;
}

#[tokio::test]
async fn a_volume_whose_handles_are_all_gone_ends() {
    let dir = Dir::new();
    let options = VolumeOptions {
        flush_interval: Duration::from_millis(10),
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options).unwrap();
    append(&handle, init(1));
    within(handle.flush()).await.unwrap();
    drop(handle.clone());
    // The writer is asleep now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(handle);
    within(volume.run()).await.unwrap();
}

#[tokio::test]
async fn segments_rotate_and_each_can_be_decoded_alone() {
    let dir = Dir::new();
    let options = VolumeOptions {
        segment_bytes_max: 2 << 20,
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options).unwrap();
    append(&handle, init(1));
    for sequence in 0..60 {
        append(&handle, chunk(1, sequence, 100_000));
        if sequence % 7 == 0 {
            within(handle.flush()).await.unwrap();
        }
    }
    close(volume, handle).await;
    let segments = dir.segments();
    assert!(segments.len() >= 3, "{segments:?}");
    let mut sequences = Vec::new();
    for path in &segments {
        let footage =
            holdfast_storage::offline::footage(path, CameraId(1), MAIN, |_, _| {}).unwrap();
        assert_eq!(
            footage.inits().unwrap(),
            [(InitId::of(&init_bytes(1)), init_bytes(1))],
            "{}",
            path.display()
        );
        for entry in footage.entries() {
            assert_eq!(
                footage.read(entry).unwrap(),
                payload(1, entry.meta.sequence, 100_000)
            );
            sequences.push(entry.meta.sequence);
        }
        assert!(holdfast_storage::offline::inspect(path).unwrap().is_sealed);
        assert!(
            holdfast_storage::offline::verify(path, |_, _| {})
                .unwrap()
                .is_sound()
        );
    }
    assert_eq!(sequences, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_frame_longer_than_a_batch_is_stored_whole() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    append(&handle, init(1));
    append(&handle, chunk(1, 0, FRAME_BYTES_MAX));
    append(&handle, chunk(1, 1, 10));
    within(handle.flush()).await.unwrap();
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), [0, 1]);
    close(volume, handle).await;
}

/// A chunk of one frame, four seconds after the previous one.
fn rare(sequence: u32) -> Record {
    let Record::Chunk(chunk) = chunk(1, sequence, 1000) else {
        unreachable!()
    };
    let start = Timestamp(T0 + i64::from(sequence) * 4_000_000);
    let access = Some(Access::sync(sequence));
    let meta = ChunkMeta {
        start,
        duration_us: 40_000,
        access,
        since_access_ms: Some(0),
        ..chunk.meta
    };
    Record::Chunk(Chunk { meta, ..chunk })
}

#[tokio::test]
async fn frames_many_seconds_apart_are_one_span_also_to_a_query_that_begins_between_them() {
    let dir = Dir::new();
    for sequence in 0..3 {
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        append(&handle, init(1));
        append(&handle, rare(sequence));
        close(volume, handle).await;
    }
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    append(&handle, init(1));
    append(&handle, rare(3));
    append(&handle, rare(5));
    within(handle.flush()).await.unwrap();
    await_recovery(&handle);
    assert_eq!(dir.segments().len(), 4);
    let at = |ms: i64| Timestamp(T0 + ms * 1000);
    let spans = |from: i64, to: i64| -> Vec<(i64, i64)> {
        let range = Range {
            from: at(from),
            to: at(to),
            ..Range::all(CameraId(1), StreamKind::Main)
        };
        let ms = |time: Timestamp| (time.0 - T0) / 1000;
        handle
            .spans(range)
            .unwrap()
            .iter()
            .map(|span| (ms(span.start), ms(span.end)))
            .collect()
    };
    assert_eq!(
        spans(-1000, 60_000),
        [(0, 12_040), (20_000, 20_040)],
        "the fifth is missing"
    );
    assert_eq!(spans(5000, 6000), [(5000, 6000)]);
    assert_eq!(spans(10_000, 18_000), [(10_000, 12_040)]);
    close(volume, handle).await;
}

/// Buffers beyond the pool are bounded, and records that wait for one are written eventually.
#[tokio::test]
async fn many_long_frames_are_all_stored() {
    let dir = Dir::new();
    let options = VolumeOptions {
        buffer_bytes_max: 1 << 30,
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options).unwrap();
    append(&handle, init(1));
    let Record::Chunk(longest) = chunk(1, 0, FRAME_BYTES_MAX) else {
        unreachable!()
    };
    for sequence in 0..12 {
        let meta = meta(1, sequence);
        append(
            &handle,
            Record::Chunk(Chunk {
                meta,
                parts: longest.parts.clone(),
            }),
        );
    }
    within(handle.flush()).await.unwrap();
    await_recovery(&handle);
    let entries = handle
        .entries(Range::all(CameraId(1), StreamKind::Main))
        .unwrap();
    assert_eq!(entries.len(), 12);
    assert!(
        entries
            .iter()
            .all(|entry| handle.read(&entry.location).unwrap() == longest.parts.concat())
    );
    close(volume, handle).await;
}

#[tokio::test]
async fn the_buffer_is_bounded_and_a_record_beyond_the_format_is_refused() {
    let dir = Dir::new();
    let options = VolumeOptions {
        buffer_bytes_max: BUFFER_BYTES_MIN,
        ..dir.options()
    };
    let (volume, handle) = Volume::open(options).unwrap();
    let class = handle.class("default").unwrap();
    assert!(matches!(
        handle.append(class, chunk(1, 0, RECORD_PAYLOAD_BYTES_MAX)),
        Err(AppendError::TooLong { .. })
    ));
    let big = chunk(1, 1, 1 << 20);
    let results: Vec<_> = (0..200)
        .map(|_| handle.append(class, big.clone()))
        .collect();
    assert!(results.contains(&Err(AppendError::Full {
        bytes_max: BUFFER_BYTES_MIN
    })));
    assert!(handle.stats().queued_bytes <= BUFFER_BYTES_MIN);
    within(handle.flush()).await.unwrap();
    assert_eq!(handle.stats().queued_bytes, 0);
    assert_eq!(handle.append(class, chunk(1, 2, 10)), Ok(()));
    close(volume, handle).await;
}

#[tokio::test]
async fn an_orderly_close_loses_nothing_a_hundred_times() {
    let dir = Dir::new();
    for round in 0..100_u32 {
        let (volume, handle) = Volume::open(dir.options()).unwrap();
        append(&handle, init(1));
        for sequence in round * 5..round * 5 + 5 {
            append(&handle, chunk(1, sequence, 3_000));
        }
        close(volume, handle.clone()).await;
        assert_eq!(
            handle.append(handle.class("default").unwrap(), init(1)),
            Err(AppendError::Closed)
        );
        assert!(matches!(
            within(handle.flush()).await,
            Err(Error::Closed { .. })
        ));
    }
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    await_recovery(&handle);
    assert_eq!(stored(&handle, 1), (0..500).collect::<Vec<_>>());
    close(volume, handle).await;
}

#[tokio::test]
async fn a_second_process_is_kept_out_by_name() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    let error = Volume::open(dir.options()).err().unwrap().to_string();
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    close(volume, handle).await;
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    close(volume, handle).await;
}

#[test]
fn a_file_is_no_data_directory() {
    let dir = Dir::new();
    let path = dir.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let error = Volume::open(VolumeOptions {
        path,
        ..dir.options()
    })
    .err()
    .unwrap();
    assert!(matches!(error, Error::NotADirectory { .. }), "{error}");
}

#[test]
fn a_read_only_directory_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(dir.path().join("probe"), "").is_ok() {
        eprintln!("SKIPPED: this user may write to read-only directories (root)");
        return;
    }
    let error = Volume::open(dir.options()).err().unwrap();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn another_clusters_directory_is_refused_also_when_its_name_tag_is_lost() {
    let dir = Dir::new();
    let (volume, handle) = Volume::open(dir.options()).unwrap();
    record_chunks(&handle, 1, 0..2);
    close(volume, handle).await;
    let foreign = VolumeOptions {
        cluster: uuid::Uuid::from_u128(2),
        ..dir.options()
    };
    assert!(matches!(
        Volume::open(foreign.clone()).err().unwrap(),
        Error::ForeignVolume { .. }
    ));
    std::fs::remove_file(dir.path().join("volume.json")).unwrap();
    assert!(matches!(
        Volume::open(foreign).err().unwrap(),
        Error::ForeignVolume { .. }
    ));
}
