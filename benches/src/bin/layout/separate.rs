//! A file for each camera, as in recorders that keep cameras apart; each is synced as soon as its
//! oldest frame is 400 ms old, by as many threads as help.

use crate::{FRAME_BYTES, Layout};
use holdfast_benches::{Outcome, clock};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A frame waits this long for others before its file is synced: well under the second that may be
/// at risk; the rest is for the disk.
const SYNC_AFTER: Duration = Duration::from_millis(400);
/// Syncs in flight: a journal takes many at once.
const THREADS_MAX: usize = 32;
const IDLE: Duration = Duration::from_millis(5);

pub(crate) struct Separate {
    cameras: Arc<Vec<Mutex<Waiting>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

#[derive(Clone, Copy, Default)]
struct Waiting {
    bytes: usize,
    /// Arrival of the oldest frame that no write has taken.
    oldest: Option<Duration>,
    /// Arrival of the oldest frame that is being written and synced.
    in_flight: Option<Duration>,
}

impl Layout for Separate {
    fn open(dir: &Path, cameras: u32) -> Outcome<Self> {
        let waiting: Arc<Vec<_>> = Arc::new(
            (0..cameras)
                .map(|_| Mutex::new(Waiting::default()))
                .collect(),
        );
        let stop = Arc::new(AtomicBool::new(false));
        let workers = waiting.len().min(THREADS_MAX);
        let started = clock::now();
        let mut threads = Vec::with_capacity(workers);
        for worker in 0..workers {
            let mine: Vec<usize> = (worker..waiting.len()).step_by(workers).collect();
            let open =
                |camera: &usize| Ok((*camera, File::create(dir.join(format!("{camera}.mp4")))?));
            let files = mine.iter().map(open).collect::<std::io::Result<Vec<_>>>()?;
            let (waiting, stop) = (Arc::clone(&waiting), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || {
                write(&files, &waiting, &stop, started)
            }));
        }
        Ok(Self {
            cameras: waiting,
            stop,
            threads,
        })
    }

    fn frame(&mut self, camera: u32, at: Duration) -> Outcome<()> {
        let mut waiting = self.cameras[camera as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.bytes += FRAME_BYTES;
        waiting.oldest.get_or_insert(at);
        Ok(())
    }

    fn oldest_at_risk(&mut self) -> Option<Duration> {
        let oldest = |waiting: &Mutex<Waiting>| {
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.in_flight.or(waiting.oldest)
        };
        self.cameras.iter().filter_map(oldest).min()
    }

    fn close(self) -> Outcome<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| "a writer panicked")??;
        }
        Ok(())
    }
}

/// Writes and syncs the files of one thread, in turn, until it is stopped.
fn write(
    files: &[(usize, File)],
    cameras: &[Mutex<Waiting>],
    stop: &AtomicBool,
    started: Instant,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for (camera, file) in files {
            let is_wanted = !stop.load(Ordering::Relaxed);
            let Some(taken) = take(&cameras[*camera], started.elapsed()).filter(|_| is_wanted)
            else {
                continue;
            };
            is_idle = false;
            bytes.resize(taken, 0x5a);
            let mut file = file;
            file.write_all(&bytes)?;
            file.sync_data()?;
            cameras[*camera]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .in_flight = None;
        }
        if is_idle {
            std::thread::sleep(IDLE);
        }
    }
    Ok(())
}

/// How many bytes of a camera have to be written now.
fn take(camera: &Mutex<Waiting>, now: Duration) -> Option<usize> {
    let mut waiting = camera.lock().unwrap_or_else(PoisonError::into_inner);
    waiting
        .oldest
        .filter(|oldest| now.saturating_sub(*oldest) >= SYNC_AFTER)?;
    let bytes = waiting.bytes;
    *waiting = Waiting {
        bytes: 0,
        oldest: None,
        in_flight: waiting.oldest,
    };
    Some(bytes)
}
