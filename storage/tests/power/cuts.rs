//! Power cuts by `FS_IOC_SHUTDOWN`: record, cut, mount again, judge; some rounds on one filesystem,
//! then a new one.

use super::filesystem::{Filesystem, Kind};
use super::judge::{Found, judge};
use super::load::{CAMERAS, Orders, SEGMENT_BYTES_LONG, SEGMENT_BYTES_SHORT, TICK, now_us};
use super::plan::{Random, cuts};
use super::recorder::Recorder;
use super::scratch::{Scratch, leave_out, missing};
use super::testimony::Testimony;
use holdfast_storage::disk::IoChoice;
use std::time::{Duration, Instant};

/// Cuts of one volume: each recovery finds what the previous ones left.
const CUTS_A_VOLUME: u32 = 3;

const BEFORE_CUT_MIN: Duration = Duration::from_millis(600);
const BEFORE_CUT_MAX: Duration = Duration::from_millis(1800);

/// A power cut costs a stream at most this much, on a machine that keeps up. Cuts that cost more
/// are counted, and judged by how late the machine was, which this test shares with other
/// processes.
const LOSS_US_MAX: i64 = 1_000_000;

/// The time at risk on a machine that is never late: a chunk, a tick, the write's delay, the flush
/// interval.
const AT_RISK_US: i64 = 400_000 + 50_000 + 20_000 + 500_000;

/// The tick, the writer's timers, the write and the flush may each be late, and only a sample of
/// that is seen.
const LATE_TIMES_MAX: i64 = 4;
const UNSEEN_US_MAX: i64 = 250_000;

#[derive(Default)]
struct Summary {
    cuts: u32,
    chunks: u64,
    damaged_batches: u64,
    loss_us_max: i64,
    over_a_second: u32,
    /// How late the machine was when the most was lost.
    late_us: i64,
}

pub(crate) fn run(kind: Kind, io: IoChoice) {
    let what = format!("power cuts on {} with {io:?} I/O", kind.name());
    if let Some(why) = missing(&["xfs_io", "mkfs.xfs", "mkfs.ext4"]) {
        return leave_out(&what, &why);
    }
    println!("{what}: {} with {CAMERAS} cameras", cuts());
    let started = Instant::now();
    let mut random = Random::from_environment();
    let mut summary = Summary::default();
    while summary.cuts < cuts() {
        if let Err(problem) = one_volume(kind, io, &mut random, &mut summary) {
            panic!("{what}, cut {}: {problem}", summary.cuts + 1);
        }
    }
    let Summary {
        cuts,
        chunks,
        damaged_batches,
        loss_us_max,
        late_us,
        over_a_second,
    } = summary;
    println!(
        "{what}: {cuts} cuts, {chunks} chunks compared, {damaged_batches} torn batches; most lost \
         of a stream: {} ms (machine late {} ms); more than 1 s: {over_a_second} times; {:.1} s a \
         cut",
        loss_us_max / 1000,
        late_us / 1000,
        started.elapsed().as_secs_f64() / f64::from(cuts),
    );
}

fn one_volume(
    kind: Kind,
    io: IoChoice,
    random: &mut Random,
    summary: &mut Summary,
) -> Result<(), String> {
    let scratch = Scratch::new();
    let mut filesystem = Filesystem::new(kind, scratch.path())?;
    let volume = filesystem.at().join("volume");
    let mut sessions = Vec::new();
    let segments = [SEGMENT_BYTES_SHORT, SEGMENT_BYTES_LONG];
    for _ in 0..CUTS_A_VOLUME.min(cuts() - summary.cuts) {
        let segment_bytes_max = segments[summary.cuts as usize % segments.len()];
        let epoch = sessions.len() as u64 + 1;
        let orders = Orders {
            volume: volume.clone(),
            io,
            cameras: CAMERAS,
            epoch,
            segment_bytes_max,
        };
        let (testimony, cut_us) = record_and_cut(&filesystem, &orders, random)?;
        filesystem.restart()?;
        sessions.push(testimony);
        let found = judge(&volume, &sessions, CAMERAS)?;
        note(summary, &found, &sessions[sessions.len() - 1], cut_us)?;
    }
    Ok(())
}

/// The recorder's testimony, and when its power was cut.
fn record_and_cut(
    filesystem: &Filesystem,
    orders: &Orders,
    random: &mut Random,
) -> Result<(Testimony, i64), String> {
    let mut recorder = Recorder::start(orders, |_| {})?;
    std::thread::sleep(random.between(BEFORE_CUT_MIN, BEFORE_CUT_MAX));
    let before_us = now_us();
    filesystem.cut()?;
    let cut_us = now_us();
    let testimony = recorder.end();
    match testimony.refused_before(before_us) {
        Some(why) => Err(format!("a record was refused before the cut: {why}")),
        None => Ok((testimony, cut_us)),
    }
}

fn note(summary: &mut Summary, found: &Found, last: &Testimony, cut_us: i64) -> Result<(), String> {
    let received_us = last.received_us(cut_us);
    let loss_us = found
        .until_us
        .iter()
        .map(|until_us| received_us - until_us)
        .max()
        .unwrap_or(0);
    let late_us = last.late_us(cut_us, TICK.as_micros() as i64);
    summary.cuts += 1;
    summary.chunks += found.chunks;
    summary.damaged_batches += found.damaged_batches;
    if loss_us > summary.loss_us_max {
        (summary.loss_us_max, summary.late_us) = (loss_us, late_us);
    }
    summary.over_a_second += u32::from(loss_us > LOSS_US_MAX);
    println!(
        "  cut {}: {} chunks, {} MB; lost {} ms at most, machine late {} ms",
        summary.cuts,
        found.chunks,
        found.bytes / 1_000_000,
        loss_us / 1000,
        late_us / 1000
    );
    if loss_us > AT_RISK_US + UNSEEN_US_MAX + LATE_TIMES_MAX * late_us {
        return Err(format!(
            "{loss_us} us of a stream are lost, on a machine that was {late_us} us late"
        ));
    }
    Ok(())
}
