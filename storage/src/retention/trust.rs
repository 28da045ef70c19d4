//! Whether the wall clock may be used for ages. Pure: readings are passed in as values.
//!
//! Three witnesses have to agree: this node's wall clock, the clocks of its peers, and what was
//! known before, which is the last time that was trusted, or the newest footage from before this
//! start, plus the time that has passed since. A clock that stepped is left to settle first. If
//! only the known time contradicts a clock, the node may have been off for long: such a clock has
//! to stay steady for a day, and one that is further ahead than [`ABSENCE_MAX`] is trusted only
//! when a peer or an operator vouches for it.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longer than this no node is thought to have been off without a witness.
pub const ABSENCE_MAX: Duration = Duration::from_secs(60 * 24 * 3600);

/// Clocks that are closer than this agree, and a reading that is further from the one before, by
/// the time between, is a step.
pub const TOLERANCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(2);

/// How careful deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caution {
    /// How long a clock that stepped is not trusted.
    pub clock_settle: Duration,
    /// How far a clock may be ahead of what the previous process knew: the node was off.
    pub absence: Duration,
    /// How long a clock that only the past contradicts has to be steady.
    pub doubt: Duration,
    /// How long an announced deletion waits; zero: nothing is announced, and nothing waits.
    pub wait: Duration,
}

impl Caution {
    pub const DEFAULT: Self = Self {
        clock_settle: Duration::from_secs(20),
        absence: Duration::from_secs(24 * 3600),
        doubt: Duration::from_secs(24 * 3600),
        wait: Duration::from_secs(24 * 3600),
    };

    /// Every clock is trusted, and nothing waits: for tests of the limits.
    pub const NONE: Self = Self {
        clock_settle: Duration::ZERO,
        absence: Duration::MAX,
        doubt: Duration::ZERO,
        wait: Duration::ZERO,
    };
}

/// How the clocks of the other members compare with this node's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerClocks {
    /// There is no other member, or none has answered for so long that the node stops waiting.
    #[default]
    Alone,
    /// There are others, and none has been heard yet.
    Awaited,
    Heard {
        /// How many are within [`TOLERANCE`] of this node's.
        agreeing: u32,
        disagreeing: u32,
        /// One of those that agree trusts its own.
        is_vouched: bool,
    },
}

/// Why the wall clock is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// It stepped, or the node has just started.
    Settling,
    /// No other member has been heard yet.
    PeersAwaited,
    /// As many other clocks contradict it as agree.
    PeersDisagree { disagreeing: u32 },
    /// It is ahead of the known time by `by_s` seconds, and will be trusted in `trusted_in_s`;
    /// `None`: not by itself.
    Ahead {
        by_s: u64,
        trusted_in_s: Option<u64>,
    },
    /// It is behind, in the same way.
    Behind {
        by_s: u64,
        trusted_in_s: Option<u64>,
    },
    /// It agrees with the newest footage of the previous process, which was never certain of its
    /// own clock.
    Unproven { trusted_in_s: Option<u64> },
}

impl Pause {
    /// The reasons that metrics distinguish.
    pub const REASONS: [&'static str; 6] = [
        "settling",
        "peers_awaited",
        "peers_disagree",
        "ahead",
        "behind",
        "unproven",
    ];

    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::PeersAwaited => "peers_awaited",
            Self::PeersDisagree { .. } => "peers_disagree",
            Self::Ahead { .. } => "ahead",
            Self::Behind { .. } => "behind",
            Self::Unproven { .. } => "unproven",
        }
    }

    /// Whether it needs attention: every start settles for a moment, which does not.
    #[must_use]
    pub fn is_notable(self) -> bool {
        !matches!(self, Self::Settling | Self::PeersAwaited)
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way_out = |f: &mut fmt::Formatter<'_>, trusted_in_s: Option<u64>| match trusted_in_s {
            Some(s) => {
                write!(
                    f,
                    "; it counts in {s} s if it stays as it is, or at once by `holdfast retention \
                     release`"
                )
            }
            None => write!(
                f,
                "; correct it, or let it count by `holdfast retention release`"
            ),
        };
        let by = |f: &mut fmt::Formatter<'_>, by_s: u64, side: &str, trusted_in_s: Option<u64>| {
            write!(f, "the wall clock is {by_s} s {side} what was known before")?;
            way_out(f, trusted_in_s)
        };
        match *self {
            Self::Settling => write!(
                f,
                "the wall clock was set a moment ago, or the node has just started"
            ),
            Self::PeersAwaited => write!(f, "no other member's clock has been heard yet"),
            Self::PeersDisagree { disagreeing } => {
                write!(
                    f,
                    "the clocks of {disagreeing} other members contradict this node's; correct the \
                     one that is wrong"
                )
            }
            Self::Ahead { by_s, trusted_in_s } => by(f, by_s, "ahead of", trusted_in_s),
            Self::Behind { by_s, trusted_in_s } => by(f, by_s, "behind", trusted_in_s),
            Self::Unproven { trusted_in_s } => {
                write!(
                    f,
                    "only footage of a process that was never certain of its clock agrees with the \
                     wall clock"
                )?;
                way_out(f, trusted_in_s)
            }
        }
    }
}

/// A time that was known to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    time: Timestamp,
    uptime: Duration,
    /// Of a process before this one, which may have ended long ago.
    is_former: bool,
}

/// One look at the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Since the process started, by the monotonic clock.
    pub uptime: Duration,
    pub wall: Timestamp,
    pub peers: PeerClocks,
}

impl Reading {
    /// The wall time at which the process started, if this wall clock is right, in microseconds.
    fn start_us(self) -> i64 {
        self.wall
            .micros()
            .saturating_sub(i64::try_from(self.uptime.as_micros()).unwrap_or(i64::MAX))
    }
}

/// What a process knows of the time.
#[derive(Clone, Debug)]
pub struct Trust {
    caution: Caution,
    anchor: Option<Anchor>,
    /// The last look, and since when the clock has not stepped.
    last: Option<(i64, Duration)>,
    is_refused: bool,
    /// The trust was based on more than this clock alone.
    has_witness: bool,
    /// False if the known time was never trusted.
    is_proven: bool,
    /// A peer or an operator has said of this process's clock that it is right.
    is_vouched: bool,
}

impl Trust {
    /// `known` was the time when the process before this one was last sure of it; `None` if nothing
    /// is stored yet.
    #[must_use]
    pub fn new(caution: Caution, known: Option<Timestamp>) -> Self {
        let anchor = known.map(|time| Anchor {
            time,
            uptime: Duration::ZERO,
            is_former: true,
        });
        let has_witness = known.is_some();
        Self {
            caution,
            anchor,
            last: None,
            is_refused: false,
            has_witness,
            is_proven: true,
            is_vouched: false,
        }
    }

    /// Marks the known time as only a stamp in footage of a former process, which may not have
    /// trusted its clock: a clock that agrees with it has to stay steady for as long as one that
    /// does not.
    #[must_use]
    pub fn unproven(self) -> Self {
        Self {
            is_proven: false,
            ..self
        }
    }

    /// Marks the known time as one from a volume without a past, which nothing could contradict: it
    /// is no witness.
    #[must_use]
    pub fn unwitnessed(self) -> Self {
        Self {
            has_witness: false,
            ..self
        }
    }

    /// The time by which footage may be called old.
    ///
    /// # Errors
    /// Why there is none.
    pub fn judge(&mut self, reading: Reading) -> Result<Timestamp, Pause> {
        let steady = self.steady(reading);
        if steady < self.caution.clock_settle {
            return Err(Pause::Settling);
        }
        let is_vouched = match reading.peers {
            PeerClocks::Alone => false,
            PeerClocks::Awaited => return Err(Pause::PeersAwaited),
            PeerClocks::Heard {
                agreeing,
                disagreeing,
                ..
            } if disagreeing > agreeing => {
                return Err(Pause::PeersDisagree { disagreeing });
            }
            PeerClocks::Heard { is_vouched, .. } => is_vouched,
        };
        if !is_vouched {
            self.compare(reading, steady)?;
        }
        self.has_witness |= is_vouched;
        self.is_vouched |= is_vouched;
        self.know(reading);
        Ok(reading.wall)
    }

    /// An operator confirms the wall clock.
    pub fn accept(&mut self, reading: Reading) {
        (self.has_witness, self.is_vouched) = (true, true);
        self.know(reading);
    }

    fn know(&mut self, reading: Reading) {
        self.anchor = Some(Anchor {
            time: reading.wall,
            uptime: reading.uptime,
            is_former: false,
        });
        (self.is_refused, self.is_proven) = (false, true);
    }

    /// Whether a node that trusts its clock may vouch for others: a new volume knows no more than
    /// they do.
    #[must_use]
    pub fn may_vouch(&self) -> bool {
        self.has_witness
    }

    /// Whether a peer or an operator has confirmed its clock.
    #[must_use]
    pub fn is_vouched(&self) -> bool {
        self.is_vouched
    }

    /// An operator refuses the wall clock: it has to agree with the known time.
    pub fn refuse(&mut self) {
        self.is_refused = true;
    }

    /// How long the clock has not stepped.
    fn steady(&mut self, reading: Reading) -> Duration {
        let start_us = reading.start_us();
        let since = match self.last {
            Some((last_us, since)) if !is_beyond(start_us.saturating_sub(last_us), STEP) => since,
            _ => reading.uptime,
        };
        self.last = Some((start_us, since));
        reading.uptime.saturating_sub(since)
    }

    fn compare(&self, reading: Reading, steady: Duration) -> Result<(), Pause> {
        let Some(anchor) = self.anchor else {
            return Ok(());
        };
        let expected = anchor
            .time
            .plus(reading.uptime.saturating_sub(anchor.uptime));
        let ahead_us = reading.wall.micros_since(expected);
        let by_s = ahead_us.unsigned_abs() / 1_000_000;
        let allowed = if anchor.is_former {
            self.caution.absence.max(TOLERANCE)
        } else {
            TOLERANCE
        };
        let is_ahead = ahead_us > 0 && is_beyond(ahead_us, allowed);
        let is_behind = ahead_us < 0 && is_beyond(ahead_us, TOLERANCE);
        let left = self.caution.doubt.saturating_sub(steady);
        let may_count = !(self.is_refused || is_ahead && is_beyond(ahead_us, ABSENCE_MAX));
        let agrees = !is_ahead && !is_behind;
        if (agrees && self.is_proven) || (may_count && left.is_zero()) {
            return Ok(());
        }
        let trusted_in_s = may_count.then_some(left.as_secs());
        if agrees {
            return Err(Pause::Unproven { trusted_in_s });
        }
        Err(if ahead_us > 0 {
            Pause::Ahead { by_s, trusted_in_s }
        } else {
            Pause::Behind { by_s, trusted_in_s }
        })
    }
}

fn is_beyond(micros: i64, limit: Duration) -> bool {
    u128::from(micros.unsigned_abs()) > limit.as_micros()
}

#[cfg(test)]
mod tests;
