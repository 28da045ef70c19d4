//! A sign of life on the disk, so that a process that starts after a crash knows until when the
//! last one ran. It does not guess why footage is missing before that: the last process, and other
//! nodes, recorded what they saw.
//!
//! The sign is the modification time of an empty file in the data directory: it costs no write and
//! no flush. A second file has the same for processes that ran long enough to write any gap entry,
//! a third the newest time that recorders had stamped. After a power cut these times may be
//! outdated by as long as the kernel keeps inodes in memory; then more is shown as `node_down` if
//! nothing else is known.

use crate::capture::ingest::wall::WallTrust;
use crate::capture::recorder::accounts::Signs;
use crate::capture::recorder::supervisor::SupervisorHandle;
use crate::clock::Clock;
use crate::member::ticks::ticks;
use holdfast_storage::time::Timestamp;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::task::spawn_blocking;

const SIGN_INTERVAL: Duration = Duration::from_secs(1);

const SIGN: &str = "alive";
const ACCOUNTED: &str = "accounted";
const STAMPED: &str = "stamped";

/// The last signs of processes before this one; `None` if there was none, or it cannot be read.
pub(crate) fn last_signs(data_dir: &Path) -> Signs {
    let modified = |name| std::fs::metadata(data_dir.join(name)).and_then(|file| file.modified());
    let sign = |name| modified(name).ok().map(Timestamp::from_system);
    Signs {
        last: sign(SIGN),
        accounted: sign(ACCOUNTED),
        stamped: sign(STAMPED),
    }
}

/// Gives signs of life until it is dropped, continuing those of earlier processes.
pub(crate) async fn keep(
    (data_dir, mut last): (PathBuf, Signs),
    (clock, wall): (Clock, WallTrust),
    recorders: SupervisorHandle,
) {
    let mut signs = ticks(SIGN_INTERVAL);
    let (mut files, mut is_warned) = (Files::default(), false);
    // Recorders begin now: before, nothing could be written down, however long the start took.
    let began = clock.elapsed();
    loop {
        signs.tick().await;
        let newest = recorders
            .statuses()
            .iter()
            .filter_map(|status| status.received_until)
            .max();
        last = last.given(
            clock.now(),
            clock.elapsed().saturating_sub(began),
            (newest, wall.is_certain()),
        );
        let data_dir = data_dir.clone();
        // The disk may hang.
        let given = spawn_blocking(move || files.give(&data_dir, last)).await;
        files = match given.map_err(io::Error::other).flatten() {
            Ok(files) => {
                is_warned = false;
                files
            }
            Err(error) => {
                if !std::mem::replace(&mut is_warned, true) {
                    tracing::warn!(
                        %error,
                        "no sign of life can be left in the data directory: after a crash, more is \
                         shown as node_down than was"
                    );
                }
                Files::default()
            }
        };
    }
}

/// Opened when they are first written.
#[derive(Default)]
struct Files([Option<File>; 3]);

impl Files {
    fn give(mut self, data_dir: &Path, signs: Signs) -> io::Result<Self> {
        let names = [
            (SIGN, signs.last),
            (ACCOUNTED, signs.accounted),
            (STAMPED, signs.stamped),
        ];
        for ((name, sign), file) in names.into_iter().zip(&mut self.0) {
            let Some(sign) = sign else { continue };
            *file = Some(give(file.take(), &data_dir.join(name), sign)?);
        }
        Ok(self)
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
        assert_eq!(last_signs(dir.path()), Signs::default());
        let at = |seconds: i64| Some(Timestamp(1_795_341_600_000_000 + seconds * 1_000_000));
        let young = Signs {
            last: at(10),
            accounted: None,
            stamped: None,
        };
        let files = Files::default().give(dir.path(), young).unwrap();
        assert_eq!(last_signs(dir.path()), young);
        let old = Signs {
            last: at(11),
            accounted: at(9),
            stamped: at(900),
        };
        files.give(dir.path(), old).unwrap();
        assert_eq!(last_signs(dir.path()), old);
    }
}
