//! Which connections a port accepts, and which ones it closes for them when it is full. Pure.
//!
//! A connection is a *stranger* until it has carried an authorised request. Strangers make room for
//! newcomers, starting with the one that has requested nothing for the longest time; an authorised
//! connection never does. So places that strangers hold are always available, also for clients that
//! only request health and metrics.

use crate::limits::{BURST_GRACE, HEAD_DEADLINE, IDLE_MAX, STRANGER_WORK_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The inverse of the share of a port's connections that one address may have.
const ADDRESS_SHARE: usize = 2;

/// The inverse of the share of a port's connections that authorised ones leave to others.
const OPEN_SHARE: usize = 16;

/// The inverse of the share of a port's connections that is accepted even while files are short,
/// and their minimum number: health and metrics are answered, and a newcomer's head may be in
/// transit while others arrive.
const SPARED_SHARE: usize = 32;
const SPARED_MIN: usize = 8;

/// The most connections of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub max: usize,
    /// Strangers of one address. In total it may have half of `max`, or this if it is more.
    pub per_address_max: usize,
}

/// Where room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shortage {
    /// The port's connections.
    Port,
    /// The connections of one address.
    Address,
    /// The process' files.
    Files,
}

/// What a connection failed to send in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Overdue {
    /// A complete head.
    Head,
    /// The next request.
    Idle,
    /// Its part of the handshake.
    Handshake,
}

pub(crate) type ConnectionId = u64;

/// A newcomer that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) id: ConnectionId,
    /// Why another connection was closed for it, if one was.
    pub(crate) evicted_for: Option<Shortage>,
}

/// Times are relative to any moment, the same for all. `H` holds a connection open: dropping it
/// closes the connection.
pub(crate) struct ConnectionTable<H> {
    limits: ConnectionLimits,
    connections: BTreeMap<ConnectionId, Connection<H>>,
    authorised: usize,
    next: ConnectionId,
}

struct Connection<H> {
    client: Client,
    is_authorised: bool,
    phase: Phase,
    _held: H,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Nothing of a request has arrived since then.
    Waiting { since: Duration },
    /// For an authorised connection: the first byte of a head arrived then.
    Reading { since: Duration },
    /// A request has been in progress since then.
    Working { since: Duration },
}

/// The client that an address belongs to: an IPv6 client has a network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client(IpAddr);

impl Client {
    fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl<H> Connection<H> {
    /// Since when a stranger has been useless; the one with the earliest time makes room first.
    /// `None`: it does not.
    fn evictable_since(&self, now: Duration) -> Option<Duration> {
        match self.phase {
            _ if self.is_authorised => None,
            Phase::Working { since } => {
                (now.saturating_sub(since) >= STRANGER_WORK_MAX).then_some(since)
            }
            Phase::Waiting { since } | Phase::Reading { since } => Some(since),
        }
    }

    fn overdue(&self, now: Duration) -> Option<Overdue> {
        let (since, limit, overdue) = match self.phase {
            Phase::Working { .. } => return None,
            Phase::Waiting { since } if self.is_authorised => (since, IDLE_MAX, Overdue::Idle),
            Phase::Waiting { since } | Phase::Reading { since } => {
                (since, HEAD_DEADLINE, Overdue::Head)
            }
        };
        (now.saturating_sub(since) >= limit).then_some(overdue)
    }
}

impl<H> ConnectionTable<H> {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            connections: BTreeMap::new(),
            authorised: 0,
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn authorised(&self) -> usize {
        self.authorised
    }

    /// Accepts a connection, if necessary in place of a stranger. `files_short`: the process should
    /// open no more.
    ///
    /// # Errors
    /// Where room is short, if no stranger can make room.
    pub(crate) fn admit(
        &mut self,
        from: IpAddr,
        now: Duration,
        files_short: bool,
        held: H,
    ) -> Result<Admitted, Shortage> {
        let client = Client::at(from);
        let evicted_for = self.make_room(client, now, files_short)?;
        let id = self.next;
        self.next += 1;
        let phase = Phase::Waiting { since: now };
        self.connections.insert(
            id,
            Connection {
                client,
                is_authorised: false,
                phase,
                _held: held,
            },
        );
        Ok(Admitted { id, evicted_for })
    }

    fn make_room(
        &mut self,
        client: Client,
        now: Duration,
        files_short: bool,
    ) -> Result<Option<Shortage>, Shortage> {
        let ConnectionLimits {
            max,
            per_address_max,
        } = self.limits;
        let (all, strangers) = self.count_of(client);
        let shortage = if all >= (max / ADDRESS_SHARE).max(per_address_max) {
            Shortage::Address
        } else if self.len() >= max {
            Shortage::Port
        } else if files_short && self.len() >= self.spared() {
            Shortage::Files
        } else if strangers >= per_address_max {
            // A burst may be from clients whose heads are in transit.
            let victim = self.oldest_stranger(now, |connection| connection.client == client);
            let victim = victim.filter(|(since, _)| now.saturating_sub(*since) >= BURST_GRACE);
            return Ok(victim
                .map(|(_, id)| self.remove(id))
                .map(|()| Shortage::Address));
        } else {
            return Ok(None);
        };
        let may_go = |connection: &Connection<H>| {
            shortage != Shortage::Address || connection.client == client
        };
        let (_, victim) = self.oldest_stranger(now, may_go).ok_or(shortage)?;
        self.remove(victim);
        Ok(Some(shortage))
    }

    /// The numbers of a client's connections and of its strangers.
    fn count_of(&self, client: Client) -> (usize, usize) {
        let own = self
            .connections
            .values()
            .filter(|connection| connection.client == client);
        own.fold((0, 0), |(all, strangers), own| {
            (all + 1, strangers + usize::from(!own.is_authorised))
        })
    }

    fn oldest_stranger(
        &self,
        now: Duration,
        may_go: impl Fn(&Connection<H>) -> bool,
    ) -> Option<(Duration, ConnectionId)> {
        let eligible = self
            .connections
            .iter()
            .filter(|(_, connection)| may_go(connection));
        eligible
            .filter_map(|(id, connection)| Some((connection.evictable_since(now)?, *id)))
            .min()
    }

    /// The first byte of a head has arrived.
    pub(crate) fn reading(&mut self, id: ConnectionId, now: Duration) {
        // A stranger's time keeps running: otherwise a byte now and then would keep it.
        if let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| connection.is_authorised)
        {
            connection.phase = Phase::Reading { since: now };
        }
    }

    /// A complete head has arrived.
    pub(crate) fn working(&mut self, id: ConnectionId, now: Duration) {
        self.enter(id, Phase::Working { since: now });
    }

    /// The answer was sent or given up.
    pub(crate) fn answered(&mut self, id: ConnectionId, now: Duration) {
        self.enter(id, Phase::Waiting { since: now });
    }

    fn enter(&mut self, id: ConnectionId, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = phase;
        }
    }

    /// A request was authorised. `false` if the maximum number of connections is authorised
    /// already.
    pub(crate) fn authorise(&mut self, id: ConnectionId) -> bool {
        let has_room = self.authorised < self.limits.max - self.limits.max.div_ceil(OPEN_SHARE);
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        if has_room && !connection.is_authorised {
            connection.is_authorised = true;
            self.authorised += 1;
        }
        connection.is_authorised
    }

    /// Forgets a connection, and closes it if it is open.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        let removed = self.connections.remove(&id);
        self.authorised -= usize::from(removed.is_some_and(|connection| connection.is_authorised));
    }

    /// Closes overdue connections.
    pub(crate) fn close_overdue(&mut self, now: Duration) -> Vec<Overdue> {
        let overdue = self
            .connections
            .iter()
            .filter_map(|(id, connection)| Some((*id, connection.overdue(now)?)));
        let overdue: Vec<_> = overdue.collect();
        overdue.iter().for_each(|(id, _)| self.remove(*id));
        overdue.into_iter().map(|(_, overdue)| overdue).collect()
    }

    /// Closes strangers beyond an address's limit that arrived in a burst and did not become
    /// clients. While files are short, closes all strangers of that age except for a spared number.
    pub(crate) fn close_useless(&mut self, now: Duration, files_short: bool) -> Vec<Shortage> {
        let mut closed = Vec::new();
        for client in self
            .connections
            .values()
            .map(|connection| connection.client)
            .collect::<BTreeSet<_>>()
        {
            let beyond = self
                .count_of(client)
                .1
                .saturating_sub(self.limits.per_address_max);
            let gone = self.close_oldest(beyond, now, |connection| connection.client == client);
            closed.extend(std::iter::repeat_n(Shortage::Address, gone));
        }
        if files_short {
            let gone = self.close_oldest(self.len().saturating_sub(self.spared()), now, |_| true);
            closed.extend(std::iter::repeat_n(Shortage::Files, gone));
        }
        closed
    }

    fn spared(&self) -> usize {
        (self.limits.max / SPARED_SHARE).max(SPARED_MIN)
    }

    /// Returns how many were closed.
    fn close_oldest(
        &mut self,
        count: usize,
        now: Duration,
        may_go: impl Fn(&Connection<H>) -> bool,
    ) -> usize {
        let is_old = |since: &Duration| now.saturating_sub(*since) >= BURST_GRACE;
        let eligible = self
            .connections
            .iter()
            .filter(|(_, connection)| may_go(connection));
        let since =
            eligible.filter_map(|(id, connection)| Some((connection.evictable_since(now)?, *id)));
        let mut old: Vec<_> = since.filter(|(since, _)| is_old(since)).collect();
        old.sort_unstable();
        old.truncate(count);
        old.iter().for_each(|(_, id)| self.remove(*id));
        old.len()
    }
}

#[cfg(test)]
mod tests;
