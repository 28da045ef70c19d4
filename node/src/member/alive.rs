//! A sign of life on the disk, so that a process that comes back after a crash knows until when the
//! last one ran. What was not recorded before that is not for it to guess: the last process, and
//! others, wrote down what they saw.
//!
//! The sign is the modification time of an empty file in the data directory: it costs no write and
//! no flush. After a power cut it may be old by as long as the kernel keeps inodes in memory; then
//! more is shown as `node_down`, where nothing else is known.

use crate::capture::ingest::wall::WallTrust;
use crate::clock::Clock;
use holdfast_storage::time::Timestamp;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

const SIGN_INTERVAL: Duration = Duration::from_secs(1);

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("alive")
}

/// When the last process gave its last sign; `None` where there was none, or it cannot be read.
pub(crate) fn last_sign(data_dir: &Path) -> Option<Timestamp> {
    let modified = std::fs::metadata(path(data_dir)).and_then(|file| file.modified());
    modified.ok().map(Timestamp::from_system)
}

/// Gives signs of life until it is dropped: not before `floor` and the time since the start, where
/// this process stamps nothing before that either.
pub(crate) async fn keep(
    data_dir: PathBuf,
    (clock, wall): (Clock, WallTrust),
    floor: Option<Timestamp>,
) {
    let mut signs = interval(SIGN_INTERVAL);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut file, mut is_warned) = (None, false);
    loop {
        signs.tick().await;
        // A sign that was ahead must not keep itself alive.
        let not_before = floor
            .filter(|_| !wall.is_certain())
            .map(|floor| floor.plus(clock.elapsed()));
        let (now, path) = (
            clock.now().max(not_before.unwrap_or(Timestamp::MIN)),
            path(&data_dir),
        );
        // The disk may hang.
        let given = spawn_blocking(move || give(file, &path, now)).await;
        file = match given.map_err(io::Error::other).flatten() {
            Ok(file) => {
                is_warned = false;
                Some(file)
            }
            Err(error) => {
                if !std::mem::replace(&mut is_warned, true) {
                    tracing::warn!(%error, "no sign of life can be left in the data directory: after a crash, more is shown as node_down than was");
                }
                None
            }
        };
    }
}

fn give(file: Option<File>, path: &Path, now: Timestamp) -> io::Result<File> {
    let file = match file {
        Some(file) => file,
        None => File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?,
    };
    let micros = u64::try_from(now.micros()).unwrap_or(0);
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_knows_until_when_this_one_ran() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_sign(dir.path()), None);
        let at = |seconds: i64| Timestamp(1_795_341_600_000_000 + seconds * 1_000_000);
        let file = give(None, &path(dir.path()), at(10)).unwrap();
        give(Some(file), &path(dir.path()), at(11)).unwrap();
        assert_eq!(last_sign(dir.path()), Some(at(11)));
    }
}
