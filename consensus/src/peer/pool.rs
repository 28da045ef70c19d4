//! Connections that wait for their next request, per member.

use super::client::Member;
use super::connection::Connection;
use holdfast_storage::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More connections to one member are not kept; more can be in use.
const IDLE_PER_MEMBER_MAX: usize = 8;
/// Less than a member's port keeps a connection without requests.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The connections that nothing uses at present.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<BTreeMap<Key, Vec<Idle>>>);

/// A connection is to an address and, if that was demanded, to a certain node there.
type Key = (String, Option<NodeId>);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// The connection to `member` that was used last, if one is still open.
    pub(super) fn take(&self, member: Member<'_>, now: Instant) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(&key(member))?;
        connections.retain(|idle| idle.is_usable(now));
        connections.pop().map(|idle| idle.connection)
    }

    /// Keeps a connection for later, and closes those that nothing has needed for long.
    pub(super) fn put(&self, member: Member<'_>, connection: Connection, now: Instant) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, connections| {
            connections.retain(|idle| idle.is_usable(now));
            !connections.is_empty()
        });
        let connections = idle.entry(key(member)).or_default();
        if connections.len() < IDLE_PER_MEMBER_MAX {
            connections.push(Idle {
                connection,
                since: now,
            });
        }
    }
}

fn key(member: Member<'_>) -> Key {
    (member.addr.to_owned(), member.node)
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        !self.connection.is_closed() && now.saturating_duration_since(self.since) < IDLE_MAX
    }
}
