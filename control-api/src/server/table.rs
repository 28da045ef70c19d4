//! Which connections a port lets in, and which go for them when it is full. Pure.
//!
//! A connection is a *stranger* until it has carried an authorised request. Strangers make room for
//! newcomers, the one that has asked for nothing for the longest first; an authorised connection
//! never does. A place that strangers hold is therefore always to be had, also for who only asks
//! for health and metrics.

use crate::limits::{BURST_GRACE, HEAD_DEADLINE, IDLE_MAX, STRANGER_WORK_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Of all connections of a port, the part that one address may have.
const ADDRESS_SHARE: usize = 2;

/// Of all connections of a port, the part that authorised ones leave to others.
const OPEN_SHARE: usize = 16;

/// Of all connections of a port, the part that is let in also while files are short, and how many
/// that are at least: health and metrics are answered, and a newcomer's head may be on its way
/// while others come.
const SPARED_SHARE: usize = 32;
const SPARED_MIN: usize = 8;

/// How many connections a port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub max: usize,
    /// Strangers of one address. Of all kinds it may have half of `max`, or this where it is more.
    pub per_address_max: usize,
}

/// What there was no room in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shortage {
    /// The port's connections.
    Port,
    /// The connections of one address.
    Address,
    /// The process' files.
    Files,
}

/// What a connection has been waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Overdue {
    /// A whole head.
    Head,
    /// The next request.
    Idle,
}

pub(crate) type ConnectionId = u64;

/// A newcomer that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) id: ConnectionId,
    /// Why another connection went for it, where one did.
    pub(crate) evicted_for: Option<Shortage>,
}

/// Times are since any moment, the same for all. `H` holds a connection open: dropping it closes
/// the connection.
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
    /// Nothing of a request has come since.
    Waiting { since: Duration },
    /// Of an authorised connection: the first byte of a head came then.
    Reading { since: Duration },
    /// A request is being answered since.
    Working { since: Duration },
}

/// Whom addresses belong to: IPv6 gives a network of 64 bits to each client.
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
    /// Since when a stranger has been of no use: it makes room in this order. `None`: it does not.
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

    /// Lets a connection in, if need be in the place of a stranger. `files_short`: the process
    /// should open no more.
    ///
    /// # Errors
    /// What there is no room in, and nobody to make it.
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
            // A burst may be clients whose heads are on their way.
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

    /// All of a client's connections, and its strangers.
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

    /// The first byte of a head has come.
    pub(crate) fn reading(&mut self, id: ConnectionId, now: Duration) {
        // A stranger's time runs on: else a byte now and then would keep it.
        if let Some(connection) = self
            .connections
            .get_mut(&id)
            .filter(|connection| connection.is_authorised)
        {
            connection.phase = Phase::Reading { since: now };
        }
    }

    /// A whole head has come.
    pub(crate) fn working(&mut self, id: ConnectionId, now: Duration) {
        self.enter(id, Phase::Working { since: now });
    }

    /// The answer is given, or given up.
    pub(crate) fn answered(&mut self, id: ConnectionId, now: Duration) {
        self.enter(id, Phase::Waiting { since: now });
    }

    fn enter(&mut self, id: ConnectionId, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = phase;
        }
    }

    /// A request was authorised. False where as many connections as may be are authorised already.
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

    /// Closes what has been waited for in vain.
    pub(crate) fn close_overdue(&mut self, now: Duration) -> Vec<Overdue> {
        let overdue = self
            .connections
            .iter()
            .filter_map(|(id, connection)| Some((*id, connection.overdue(now)?)));
        let overdue: Vec<_> = overdue.collect();
        overdue.iter().for_each(|(id, _)| self.remove(*id));
        overdue.into_iter().map(|(_, overdue)| overdue).collect()
    }

    /// Closes strangers beyond what an address may have, that came in a burst and did not become
    /// clients. Where files are short, all that are as old as those, down to what is spared.
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

    /// Returns how many went.
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
