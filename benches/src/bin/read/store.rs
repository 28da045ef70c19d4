//! Through the volume's own reader, in this process: how long an instant takes to find, and how
//! fast a long range is read.

use crate::footage::Footage;
use crate::{Instants, Random, Reading};
use holdfast_benches::{Outcome, clock, process};
use holdfast_control_api::limits::RUNS_AHEAD;
use holdfast_control_api::playback::gate::from_keyframe_before;
use holdfast_control_api::playback::runs::Runs;
use holdfast_control_api::playback::{LOOKBACK, Tracks};
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Range, VolumeHandle};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How far playback looks after an instant.
const AHEAD_US: i64 = 4_000_000;

/// Reads every file through the page cache, so that it is warm.
pub(crate) fn warm(files: &[impl AsRef<Path>]) -> Outcome<()> {
    for file in files {
        std::io::copy(&mut std::fs::File::open(file)?, &mut std::io::sink())?;
    }
    Ok(())
}

/// Drops the cached pages of every file. They were written past the page cache, or synced.
pub(crate) fn chill(files: &[impl AsRef<Path>]) -> Outcome<()> {
    for file in files {
        let file = std::fs::File::open(file)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Milliseconds from the request for an instant to the keyframe that playback begins with.
pub(crate) fn instants(
    handle: &VolumeHandle,
    footage: &Footage,
    count: usize,
    random: &mut Random,
) -> Outcome<Instants> {
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let (camera, at) = random.instant(footage);
        let started = clock::now();
        let range = Range {
            camera,
            stream: StreamKind::Main,
            from: at.plus_micros(-(LOOKBACK.as_micros() as i64)),
            to: at.plus_micros(AHEAD_US),
        };
        let tracks = Tracks::of(handle.entries(range)?);
        let first = from_keyframe_before(&tracks.video, at, false)
            .first()
            .ok_or("an instant is not there")?;
        let payload = handle.read(&first.location)?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
        if payload.len() != first.location.payload_bytes as usize || !first.meta.is_access_point() {
            return Err("something else was read".into());
        }
    }
    Ok(Instants(took))
}

/// Reads each camera's footage from its beginning to its end, with as many reads at once as an
/// export uses.
pub(crate) fn export(handle: &VolumeHandle, footage: &Footage, cameras: usize) -> Outcome<Reading> {
    let (cpu, started) = (process::own_cpu()?, clock::now());
    let mut bytes = 0;
    for camera in footage.cameras.clone().take(cameras).map(CameraId) {
        let range = Range {
            camera,
            stream: StreamKind::Main,
            from: Timestamp::MIN,
            to: footage.to(),
        };
        bytes += read_all(handle, handle.entries(range)?)?;
    }
    let took = started.elapsed();
    Ok(Reading {
        bytes,
        took,
        cpu: process::own_cpu()?.saturating_sub(cpu),
    })
}

fn read_all(handle: &VolumeHandle, entries: Vec<ChunkEntry>) -> Outcome<u64> {
    let runs: Vec<Vec<_>> = Runs::of(entries)
        .map(|run| run.iter().map(|entry| entry.location).collect())
        .collect();
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let read = || -> Result<(), holdfast_storage::Error> {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            for payload in handle.read_all(run) {
                bytes.fetch_add(payload?.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..RUNS_AHEAD).map(|_| scope.spawn(read)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| "a reader panicked")?
                .map_err(Box::from)
        }) as Outcome<()>
    })?;
    Ok(bytes.into_inner())
}
