//! Free loopback ports that stay reserved while a node is down.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's range for outgoing connections (32768 and up), so that none of those takes the
/// port of a node that is being restarted.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How far this process has gone through [`PORTS`]: no port is given out twice.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// Ports that are free now. `start` (any random number) keeps processes that ask at the same time
/// apart.
///
/// # Errors
/// Fewer than `count` are free.
pub(super) fn free(count: usize, start: u32) -> io::Result<Vec<u16>> {
    let too_few = || {
        io::Error::other(format!(
            "no {count} free ports between {} and {}",
            PORTS.start, PORTS.end
        ))
    };
    // Not found by taking all of them: other processes look for ports at the same time.
    if count > PORTS.len() {
        return Err(too_few());
    }
    let mut held = Vec::new();
    for _ in PORTS {
        if held.len() == count {
            break;
        }
        let at = (start % PORTS.len() as u32 + GIVEN.fetch_add(1, Ordering::Relaxed))
            % PORTS.len() as u32;
        let port = PORTS.start + u16::try_from(at).unwrap_or(0);
        held.extend(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|listener| (port, listener)),
        );
    }
    if held.len() < count {
        return Err(too_few());
    }
    Ok(held.into_iter().map(|(port, _listener)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_distinct_free_and_not_given_twice() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let all: BTreeSet<u16> = (0..10).flat_map(|_| free(5, 7).unwrap()).collect();
        assert_eq!(all.len(), 50);
        assert!(!all.contains(&taken) && all.iter().all(|port| PORTS.contains(port)));
        assert!(free(30_000, 0).is_err());
    }
}
