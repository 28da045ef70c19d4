//! Statistics of a port's connections: counted in metrics, and logged at most once a minute for
//! each reason.

use super::table::{Overdue, Shortage};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::BTreeMap;
use std::time::Duration;

/// Interval between two log lines of one reason. Events in between are counted in the next line.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

const SHORTAGES: [Shortage; 3] = [Shortage::Port, Shortage::Address, Shortage::Files];

/// The metrics of all ports.
#[derive(Clone)]
pub struct ServerMetrics {
    accepted: IntCounterVec,
    evicted: IntCounterVec,
    refused: IntCounterVec,
    timed_out: IntCounterVec,
    not_trusted: IntCounterVec,
    open: IntGaugeVec,
}

/// Those of one port.
#[derive(Clone)]
pub struct PortMetrics {
    all: ServerMetrics,
    pub(super) port: &'static str,
    pub(super) accepted: IntCounter,
    strangers: IntGauge,
    authorised: IntGauge,
}

impl ServerMetrics {
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter =
            |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            accepted: counter(
                "holdfast_accepted_connections_total",
                "Connections that clients made.",
                &["port"],
            )?,
            evicted: counter(
                "holdfast_evicted_connections_total",
                "Connections without an authorised request that were closed to make room.",
                &["port", "reason"],
            )?,
            refused: counter(
                "holdfast_refused_connections_total",
                "Connections that were closed at once because there was no room.",
                &["port", "reason"],
            )?,
            timed_out: counter(
                "holdfast_timed_out_connections_total",
                "Connections on which no whole request came in time.",
                &["port", "reason"],
            )?,
            not_trusted: counter(
                "holdfast_not_trusted_connections_total",
                "Connections whose handshake failed: without a certificate of this cluster, or no \
                 TLS.",
                &["port"],
            )?,
            open: IntGaugeVec::new(
                Opts::new("holdfast_open_connections", "Connections that are open."),
                &["port", "state"],
            )?,
        };
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.evicted.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.timed_out.clone()))?;
        registry.register(Box::new(metrics.not_trusted.clone()))?;
        registry.register(Box::new(metrics.open.clone()))?;
        Ok(metrics)
    }

    /// With every series at zero, so that the first event is an increase.
    #[must_use]
    pub fn of_port(&self, port: &'static str) -> PortMetrics {
        for reason in SHORTAGES.map(Shortage::name) {
            self.evicted.with_label_values(&[port, reason]);
            self.refused.with_label_values(&[port, reason]);
        }
        for reason in [Overdue::Head, Overdue::Idle, Overdue::Handshake].map(Overdue::name) {
            self.timed_out.with_label_values(&[port, reason]);
        }
        self.not_trusted.with_label_values(&[port]);
        PortMetrics {
            all: self.clone(),
            port,
            accepted: self.accepted.with_label_values(&[port]),
            strangers: self.open.with_label_values(&[port, "stranger"]),
            authorised: self.open.with_label_values(&[port, "authorised"]),
        }
    }
}

impl PortMetrics {
    pub(super) fn evicted(&self, reason: Shortage) {
        self.all
            .evicted
            .with_label_values(&[self.port, reason.name()])
            .inc();
    }

    pub(super) fn refused(&self, reason: Shortage) {
        self.all
            .refused
            .with_label_values(&[self.port, reason.name()])
            .inc();
    }

    pub(super) fn timed_out(&self, reason: Overdue) {
        self.all
            .timed_out
            .with_label_values(&[self.port, reason.name()])
            .inc();
    }

    pub(super) fn not_trusted(&self) {
        self.all.not_trusted.with_label_values(&[self.port]).inc();
    }

    pub(super) fn open(&self, all: usize, authorised: usize) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.authorised.set(gauge(authorised));
        self.strangers.set(gauge(all - authorised));
    }
}

impl Shortage {
    fn name(self) -> &'static str {
        match self {
            Self::Port => "port_full",
            Self::Address => "address_full",
            Self::Files => "files_short",
        }
    }
}

impl Overdue {
    fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Handshake => "handshake",
        }
    }
}

/// An event that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Evicted(Shortage),
    Refused(Shortage),
    NotAccepted,
}

impl Event {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Evicted(Shortage::Port) => {
                "all connections of this port are taken: those that asked for nothing make room \
                 for newcomers"
            }
            Self::Evicted(Shortage::Address) => {
                "an address has as many connections without an authorised request as it may: the \
                 oldest of them make room"
            }
            Self::Evicted(Shortage::Files) => {
                "files and sockets run short and are kept for cameras and volumes: connections \
                 that asked for nothing are closed"
            }
            Self::Refused(Shortage::Port) => {
                "all connections of this port are taken and in use: newcomers are closed; raise \
                 its `connections_max` in [listen]"
            }
            Self::Refused(Shortage::Address) => {
                "an address has half of this port's connections, all in use: its newcomers are \
                 closed; raise its `connections_max` in [listen]"
            }
            Self::Refused(Shortage::Files) => {
                "files and sockets run short and are kept for cameras and volumes: newcomers are \
                 closed; raise the limit (`ulimit -Hn`, `LimitNOFILE=`)"
            }
            Self::NotAccepted => "connections cannot be accepted",
        }
    }
}

/// Decides when an event may be logged. Pure.
#[derive(Default)]
pub(super) struct Throttle {
    /// When each was last logged, and how many events there were since.
    lines: BTreeMap<Event, (Duration, u64)>,
}

impl Throttle {
    /// How many events the line stands for, if one may be written.
    pub(super) fn note(&mut self, event: Event, now: Duration) -> Option<u64> {
        let Some((last, since)) = self.lines.get_mut(&event) else {
            self.lines.insert(event, (now, 0));
            return Some(1);
        };
        *since += 1;
        if now.saturating_sub(*last) < LOG_INTERVAL {
            return None;
        }
        *last = now;
        Some(std::mem::take(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_line_a_minute_that_counts_what_came_in_between() {
        let mut throttle = Throttle::default();
        let at = Duration::from_secs;
        let full = Event::Evicted(Shortage::Port);
        assert_eq!(throttle.note(full, at(5)), Some(1));
        assert_eq!(
            [6, 64].map(|second| throttle.note(full, at(second))),
            [None, None]
        );
        assert_eq!(
            throttle.note(Event::Refused(Shortage::Port), at(64)),
            Some(1)
        );
        assert_eq!(
            [65, 66, 125].map(|second| throttle.note(full, at(second))),
            [Some(3), None, Some(2)]
        );
    }
}
