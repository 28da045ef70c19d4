//! How many files and sockets the process may have open, and how many of them are reserved for
//! cameras and volumes.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it remembers when it last looked"
)]

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// About what a node with as many cameras as one lane takes needs: a socket for each camera, as
/// many connections of clients and members as the ports accept, and files.
const WANTED: u64 = 4096;

/// Reserved for each camera that the node may record: its connection, and as much again for UDP, or
/// for a session that is opened before the one that it replaces has closed.
const RESERVED_PER_CAMERA: u64 = 2;

/// For each volume: the segments that are written, sealed, scrubbed and read.
const RESERVED_PER_VOLUME: u64 = 16;

/// For the Raft log, connections to other members, and anything short-lived.
const RESERVED_FOR_NODE: u64 = 64;

/// The greatest age of a count of open files.
const COUNT_AGE_MAX: Duration = Duration::from_millis(20);

/// Raises the limit to what the system grants: shells and service managers start processes with
/// 1,024, because programs that use `select` cannot handle more (getrlimit(2)).
pub(crate) fn raise_limit(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        )
    {
        tracing::warn!(%error, ?current, ?maximum, "the limit of open files could not be raised");
    }
    let wanted = wanted(config);
    if let Some(granted) = limit().filter(|granted| *granted < wanted) {
        tracing::warn!(
            "this process may have {granted} files and sockets open; for hundreds of cameras, \
             raise its hard limit to {wanted} or more (`ulimit -Hn`, `LimitNOFILE=`)"
        );
    }
}

fn wanted(config: &Config) -> u64 {
    let connections = config.listen.api_connections_max + config.listen.peer_connections_max;
    WANTED.max(connections as u64 + needed(config))
}

/// How many files and sockets the process may have open; `None`: no limit.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many the process has open.
///
/// # Errors
/// `/proc` is not there.
pub(crate) fn open() -> io::Result<u64> {
    const OPEN: &str = "/proc/self/fd";
    // Since Linux 6.2 the directory's size is the number of open files; before, it is 0.
    let counted = fs::metadata(OPEN)?.len();
    if counted > 0 {
        Ok(counted)
    } else {
        Ok(fs::read_dir(OPEN)?.count() as u64)
    }
}

/// The descriptors that cameras, volumes and the node itself may need beyond what they have.
fn needed(config: &Config) -> u64 {
    let cameras = RESERVED_PER_CAMERA * u64::from(config.cluster.camera_capacity);
    cameras + RESERVED_PER_VOLUME * config.volumes().len() as u64 + RESERVED_FOR_NODE
}

struct Counted {
    at: Instant,
    open: u64,
    /// Newcomers since then: a full backlog empties within a moment.
    since: u64,
}

/// Descriptors that connections of strangers and clients may not use.
pub(crate) struct Reserve {
    limit: Option<u64>,
    reserved: u64,
    counted: Mutex<Option<Counted>>,
    uncountable: Once,
}

impl Reserve {
    /// At most half of the limit: with few descriptors, the node still answers requests.
    pub(crate) fn of(config: &Config) -> Self {
        let limit = limit();
        let reserved = limit.map_or(0, |limit| needed(config).min(limit / 2));
        Self {
            limit,
            reserved,
            counted: Mutex::default(),
            uncountable: Once::new(),
        }
    }

    /// Whether fewer descriptors are free than are reserved. Checked for each connection that is
    /// accepted.
    pub(crate) fn is_short(&self) -> bool {
        self.limit
            .is_some_and(|limit| is_short(limit, self.reserved, self.count()))
    }

    fn count(&self) -> u64 {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = counted
            .as_mut()
            .filter(|counted| counted.at.elapsed() < COUNT_AGE_MAX)
        {
            counted.since += 1;
            return counted.open + counted.since;
        }
        let open = open().unwrap_or_else(|error| {
            self.uncountable.call_once(|| {
                tracing::warn!(
                    %error,
                    "open files cannot be counted, so none are kept in reserve for cameras and \
                     volumes; mount /proc"
                );
            });
            0
        });
        *counted = Some(Counted {
            at: Instant::now(),
            open,
            since: 0,
        });
        open
    }
}

fn is_short(limit: u64, reserved: u64, open: u64) -> bool {
    limit.saturating_sub(open) < reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 500 cameras and one volume.
    fn config() -> Config {
        Config::new("a", "/d")
    }

    #[test]
    fn what_a_shell_withholds_is_taken() {
        let before = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(512),
                ..before
            },
        )
        .unwrap();
        raise_limit(&config());
        assert_eq!(
            getrlimit(Resource::Nofile),
            Rlimit {
                current: before.maximum,
                ..before
            }
        );
    }

    #[test]
    fn the_limit_that_is_documented_holds_all_connections_and_the_reserve() {
        let mut config = config();
        assert_eq!((needed(&config), wanted(&config)), (1080, WANTED));
        config.listen.api_connections_max = 10_000;
        assert_eq!(wanted(&config), 10_000 + 1024 + 1080);
    }

    #[test]
    fn files_are_short_below_the_reserve() {
        assert!(!is_short(4096, 1080, 3016));
        assert!(is_short(4096, 1080, 3017));
        assert!(is_short(4096, 1080, 5000));
    }

    #[test]
    fn open_files_are_counted() {
        let files: Vec<_> = (0..300)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let many = open().unwrap();
        assert!(many >= 300, "{many}");
        drop(files);
        // Other tests open files, too, but not hundreds.
        let few = open().unwrap();
        assert!(few + 200 < many, "{few} {many}");
    }
}
