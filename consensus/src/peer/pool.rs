//! Connections that wait for their next request, per address.

use super::connection::Connection;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More connections to one address are not kept; more can be in use.
const IDLE_PER_ADDRESS_MAX: usize = 8;
/// Less than a member's port keeps a connection without requests.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The connections that nothing uses at present.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<BTreeMap<String, Vec<Idle>>>);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// The connection to `addr` that was used last, if one is still open.
    pub(super) fn take(&self, addr: &str, now: Instant) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(addr)?;
        connections.retain(|idle| idle.is_usable(now));
        connections.pop().map(|idle| idle.connection)
    }

    /// Keeps a connection for later, and closes those that nothing has needed for long.
    pub(super) fn put(&self, addr: &str, connection: Connection, now: Instant) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, connections| {
            connections.retain(|idle| idle.is_usable(now));
            !connections.is_empty()
        });
        let connections = idle.entry(addr.to_owned()).or_default();
        if connections.len() < IDLE_PER_ADDRESS_MAX {
            connections.push(Idle {
                connection,
                since: now,
            });
        }
    }
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        !self.connection.is_closed() && now.saturating_duration_since(self.since) < IDLE_MAX
    }
}
