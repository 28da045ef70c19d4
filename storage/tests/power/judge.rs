//! Opens a volume after a cut and compares it with what was promised.

use super::footage::{self, Session};
use super::load::options;
use super::support::{await_recovery, close};
use super::testimony::Testimony;
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::{CameraId, StreamId, StreamKind};
use holdfast_storage::{Range, Volume, VolumeHandle};
use std::collections::BTreeSet;
use std::path::Path;

/// What was found of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) damaged_batches: u64,
    /// By camera, from 1: until when the last session is complete, in microseconds.
    pub(crate) until_us: Vec<i64>,
}

/// Recovers the volume, checks every chunk in it and every promise, and closes it in order.
///
/// # Errors
/// What is missing, wrong, or should not be there.
pub(crate) fn judge(volume: &Path, sessions: &[Testimony], cameras: u32) -> Result<Found, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let opened = Volume::open(options(volume, IoChoice::Plain));
        let (volume, handle) =
            opened.map_err(|error| format!("the volume does not open: {error}"))?;
        await_recovery(&handle);
        let found = check_all(&handle, sessions, cameras);
        close(volume, handle).await;
        found
    })
}

fn check_all(handle: &VolumeHandle, sessions: &[Testimony], cameras: u32) -> Result<Found, String> {
    let stats = handle.stats();
    if stats.segments_refused > 0 {
        return Err(format!(
            "{} segments cannot be read",
            stats.segments_refused
        ));
    }
    let mut found = Found {
        damaged_batches: stats.damaged_batches,
        ..Found::default()
    };
    for camera in 1..=cameras {
        check_camera(handle, sessions, camera, &mut found)?;
    }
    Ok(found)
}

fn check_camera(
    handle: &VolumeHandle,
    sessions: &[Testimony],
    camera: u32,
    found: &mut Found,
) -> Result<(), String> {
    let stored = stored(handle, sessions, camera, found)?;
    let mut until_us = 0;
    for testimony in sessions {
        let Some(session) = testimony.session else {
            continue;
        };
        until_us = (0..)
            .take_while(|sequence| stored.contains(&(session.epoch, *sequence)))
            .last()
            .map_or_else(
                || session.start_of(camera, 0).micros(),
                |sequence| session.end_of(camera, sequence).micros(),
            );
        let promised_us = testimony.durable.get(&camera).copied().unwrap_or(0);
        if until_us < promised_us {
            let session = session.epoch;
            return Err(format!(
                "camera {camera}, session {session}: durable until {promised_us} was promised, \
                 {until_us} is there"
            ));
        }
        check_watermark(handle, camera, session, promised_us)?;
    }
    found.until_us.push(until_us);
    Ok(())
}

/// The watermark that a restart finds is not before the promised one, unless a later session has
/// its own.
fn check_watermark(
    handle: &VolumeHandle,
    camera: u32,
    session: Session,
    promised_us: i64,
) -> Result<(), String> {
    let mark = handle.watermark(StreamId::main(CameraId(camera)));
    let is_kept = mark.is_some_and(|mark| {
        mark.epoch.0 > session.epoch || mark.durable_end.micros() >= promised_us
    });
    if promised_us == 0 || is_kept {
        return Ok(());
    }
    Err(format!(
        "camera {camera}, session {}: the watermark went back from {promised_us} to {mark:?}",
        session.epoch
    ))
}

/// Session and number of every chunk that is listed; each is read and compared.
fn stored(
    handle: &VolumeHandle,
    sessions: &[Testimony],
    camera: u32,
    found: &mut Found,
) -> Result<BTreeSet<(u64, u32)>, String> {
    let entries = handle.entries(Range::all(CameraId(camera), StreamKind::Main));
    let mut chunks = BTreeSet::new();
    for entry in entries.map_err(|error| format!("camera {camera}: {error}"))? {
        let (epoch, sequence) = (entry.meta.epoch.0, entry.meta.sequence);
        let what = || format!("camera {camera}, session {epoch}, chunk {sequence}");
        let named = sessions
            .iter()
            .filter_map(|testimony| testimony.session)
            .find(|session| session.epoch == epoch);
        let session = named.ok_or_else(|| format!("{}: no session recorded it", what()))?;
        if entry.meta != footage::meta(camera, session, sequence) {
            return Err(format!("{}: listed as {:?}", what(), entry.meta));
        }
        let payload = handle
            .read(&entry.location)
            .map_err(|error| format!("{}: {error}", what()))?;
        if !footage::is_payload(camera, session, sequence, &payload) {
            return Err(format!("{}: other bytes than were recorded", what()));
        }
        if !chunks.insert((epoch, sequence)) {
            return Err(format!("{}: listed twice", what()));
        }
        let init = handle
            .init(CameraId(camera), entry.meta.init)
            .map_err(|error| format!("{}: {error}", what()))?;
        if init != footage::init_bytes(camera, session) {
            return Err(format!("{}: another init segment", what()));
        }
        found.chunks += 1;
        found.bytes += payload.len() as u64;
    }
    Ok(chunks)
}
