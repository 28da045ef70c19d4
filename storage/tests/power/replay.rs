//! Power cuts at the disk: one run is recorded write by write. Then its disk is reconstructed at
//! many moments, with a random half of the unflushed writes lost, and judged.

use super::filesystem::{Filesystem, Kind, make_image};
use super::judge::judge;
use super::load::{Orders, SEGMENT_BYTES_LONG, SEGMENT_BYTES_SHORT};
use super::log_disk::{Event, LogDisk};
use super::plan::{Random, replays};
use super::recorder::Recorder;
use super::scratch::{Scratch, leave_out, missing, run as command, text};
use super::testimony::Testimony;
use holdfast_storage::disk::IoChoice;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As much as NBD and FUSE can handle on a busy machine without falling behind.
const CAMERAS: u32 = 100;

/// Once with short segments, once with one long one.
const RECORDED: Duration = Duration::from_secs(4);

/// The unit that a disk loses of a torn write, and the least that ext4 and xfs write at once.
const BLOCK_BYTES: usize = 4096;

/// One line is printed for every so many moments.
const SHOWN_EVERY: usize = 25;

pub(crate) fn run(kind: Kind, io: IoChoice) {
    let what = format!("replayed power cuts on {} with {io:?} I/O", kind.name());
    if let Some(why) = missing(&["nbdfuse", "fusermount3", "mkfs.xfs", "mkfs.ext4"]) {
        return leave_out(&what, &why);
    }
    println!("{what}: {} moments", replays());
    let mut random = Random::from_environment();
    let started = Instant::now();
    let outcome = [SEGMENT_BYTES_SHORT, SEGMENT_BYTES_LONG].map(|segment_bytes_max| {
        let moments = replays().div_ceil(2);
        one_run(kind, io, segment_bytes_max, moments, &mut random)
            .unwrap_or_else(|problem| panic!("{what}: {problem}"))
    });
    let [(short, lost_short), (long, lost_long)] = outcome;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{what}: {} moments, {} writes lost or torn in all; {seconds:.1} s",
        short + long,
        lost_short + lost_long
    );
}

/// Returns how many moments were judged, and how many writes were lost or torn in total.
fn one_run(
    kind: Kind,
    io: IoChoice,
    segment_bytes_max: u64,
    moments: usize,
    random: &mut Random,
) -> Result<(usize, usize), String> {
    let scratch = Scratch::new();
    let (image, base) = (
        scratch.path().join("disk.img"),
        scratch.path().join("base.img"),
    );
    make_image(kind, &image)?;
    command("cp", &["--sparse=always", text(&image), text(&base)])?;
    let log = record(&scratch, &image, io, segment_bytes_max)?;
    std::fs::remove_file(&image).map_err(|error| error.to_string())?;
    let mut past = Past::new(&base, scratch.path())?;
    let mut lost = 0;
    for (number, moment) in moments_of(&log, moments, random).into_iter().enumerate() {
        past.advance(&log[..moment])?;
        let (kept, pending) = past.cut(random)?;
        lost += pending - kept;
        let chunks = past
            .judge()
            .map_err(|problem| format!("event {moment} of {}: {problem}", log.len()))?;
        if number % SHOWN_EVERY == 0 {
            println!(
                "  moment {number}: event {moment} of {}, kept {kept} of {pending} unflushed \
                 writes, {chunks} chunks",
                log.len()
            );
        }
    }
    Ok((moments, lost))
}

/// All requests to the disk and all output of the recorder, in the order of their occurrence.
fn record(
    scratch: &Scratch,
    image: &Path,
    io: IoChoice,
    segment_bytes_max: u64,
) -> Result<Vec<Event>, String> {
    let disk = LogDisk::new(image, scratch.path())?;
    let filesystem = Filesystem::open(&disk.file(), scratch.path())?;
    let orders = Orders {
        volume: filesystem.at().join("volume"),
        io,
        cameras: CAMERAS,
        epoch: 1,
        segment_bytes_max,
    };
    let log = disk.log();
    let mut recorder = Recorder::start(&orders, {
        let log = disk.log();
        move |line| log.lock().unwrap().push(Event::Mark(line.to_owned()))
    })?;
    std::thread::sleep(RECORDED);
    recorder.end();
    let length = log.lock().unwrap().len();
    drop(filesystem);
    drop(disk);
    let log = Arc::into_inner(log).ok_or("the log is still in use")?;
    let mut log = log.into_inner().map_err(|error| error.to_string())?;
    log.truncate(length);
    Ok(log)
}

/// Random moments of the recording at which something was not flushed, each immediately after a
/// write; in order.
fn moments_of(log: &[Event], moments: usize, random: &mut Random) -> Vec<usize> {
    let is_begin = |event: &Event| matches!(event, Event::Mark(line) if line.starts_with("began "));
    let first = log.iter().position(is_begin).unwrap();
    let writes: Vec<usize> = (first..log.len())
        .filter(|at| matches!(log[*at], Event::Write { .. }))
        .collect();
    let mut found: Vec<usize> = (0..moments)
        .map(|_| writes[random.below(writes.len() as u64) as usize] + 1)
        .collect();
    found.sort_unstable();
    found
}

/// A past state of the disk: flushed data is in the base, unflushed writes are pending.
struct Past<'a> {
    dir: PathBuf,
    base: PathBuf,
    file: File,
    next: usize,
    pending: Vec<(u64, &'a [u8])>,
    testimony: Testimony,
}

impl<'a> Past<'a> {
    fn new(base: &Path, dir: &Path) -> Result<Self, String> {
        let file = File::options()
            .write(true)
            .open(base)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            dir: dir.to_owned(),
            base: base.to_owned(),
            file,
            next: 0,
            pending: Vec::new(),
            testimony: Testimony::default(),
        })
    }

    /// Advances to the end of this part of the log.
    fn advance(&mut self, log: &'a [Event]) -> Result<(), String> {
        for event in &log[self.next..] {
            match event {
                Event::Write { offset, bytes } => self.pending.push((*offset, bytes)),
                Event::Mark(line) => self.testimony.hear(line),
                Event::Flush => {
                    for (offset, bytes) in self.pending.drain(..) {
                        self.file
                            .write_all_at(bytes, offset)
                            .map_err(|error| error.to_string())?;
                    }
                }
            }
        }
        self.next = log.len();
        Ok(())
    }

    fn image(&self) -> PathBuf {
        self.dir.join("cut.img")
    }

    /// Makes the disk as the cut leaves it. Returns how many pending writes are complete in it, and
    /// how many there were.
    fn cut(&self, random: &mut Random) -> Result<(usize, usize), String> {
        command(
            "cp",
            &["--sparse=always", text(&self.base), text(&self.image())],
        )?;
        let file = File::options()
            .write(true)
            .open(self.image())
            .map_err(|error| error.to_string())?;
        let mut kept = 0;
        for (offset, bytes) in &self.pending {
            let fate = random.below(3);
            kept += usize::from(fate == 0);
            // A third is complete, a third is gone, a third is torn: half of the blocks in total.
            for (number, block) in (0_u64..).zip(bytes.chunks(BLOCK_BYTES)) {
                let is_kept = fate == 0 || fate == 1 && random.below(2) == 0;
                if is_kept {
                    let at = offset + number * BLOCK_BYTES as u64;
                    file.write_all_at(block, at)
                        .map_err(|error| error.to_string())?;
                }
            }
        }
        Ok((kept, self.pending.len()))
    }

    /// Returns how many chunks are there, including all promised ones.
    fn judge(&self) -> Result<u64, String> {
        let filesystem = Filesystem::open(&self.image(), &self.dir)?;
        let volume = filesystem.at().join("volume");
        Ok(judge(&volume, std::slice::from_ref(&self.testimony), CAMERAS)?.chunks)
    }
}
