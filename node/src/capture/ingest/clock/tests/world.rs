//! Cameras that send frames, and networks that carry them.

use super::*;
use std::collections::VecDeque;

/// What a camera sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at_us: i64,
    pub(super) rtp: i64,
    pub(super) bytes: usize,
}

/// What a camera says in its sender reports, every five seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Nothing,
    /// Its own clock runs as it should.
    Time,
    /// Its clock is made up from RTP time.
    RtpTime,
    /// 1970, and jumps.
    Nonsense,
}

#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) jitter_us: i64,
    /// How often the reader looks at its sockets.
    pub(super) tick_us: i64,
    /// Nothing passes from one to the other, relative to the start; it comes at once then.
    pub(super) holds: Vec<(i64, i64)>,
    pub(super) link: Option<Link>,
}

/// A link that is too slow for some time, and the camera's buffer before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) from_us: i64,
    pub(super) until_us: i64,
    pub(super) bytes_per_s: i64,
    pub(super) buffer_bytes: i64,
}

/// A frame that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) sent_us: i64,
    pub(super) arrival_us: i64,
    pub(super) stamp: Stamp,
}

/// Small numbers that look random.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as i64
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            jitter_us: 5_000,
            tick_us: 50_000,
            holds: Vec::new(),
            link: None,
        }
    }
}

impl Came {
    /// How far it is stamped after it was sent.
    pub(super) fn error_us(&self) -> i64 {
        self.stamp.decode.micros() - self.sent_us
    }
}

/// Sizes of 2 Mbit/s at 25 Hz: keyframes are eight times as large, others vary.
pub(super) fn size(n: i64, gop: i64) -> usize {
    let vary = Dice(0x9e37_79b9 ^ (n as u64 + 1)).below(6000) as usize;
    if n % gop == 0 { 64_000 } else { 5_000 + vary }
}

/// `frames` frames at a distance of `period_us`, with an RTP time that `rtp` says of number and
/// time.
pub(super) fn camera(frames: i64, period_us: i64, rtp: impl Fn(i64, i64) -> i64) -> Vec<Sent> {
    let sent = |n: i64| Sent {
        at_us: n * period_us,
        rtp: rtp(n, n * period_us),
        bytes: size(n, 25),
    };
    (0..frames).map(sent).collect()
}

/// What honest RTP time is at a time.
pub(super) fn honest(at_us: i64) -> i64 {
    at_us * 9 / 100
}

/// Sends the frames through the network and stamps them, as the recorder does.
pub(super) fn watch(frames: &[Sent], says: Says, network: &Network) -> Vec<Came> {
    let mut clock = clock();
    let first = deliver(frames, says, network);
    let held = first
        .iter()
        .take_while(|item| item.arrival_us < first[0].arrival_us + 400_000);
    let frame_of =
        |item: &Delivered| (item.report.is_none()).then_some((item.sent.rtp, at(item.arrival_us)));
    clock.settle(&held.filter_map(frame_of).collect::<Vec<_>>());
    let mut came = Vec::new();
    for item in first {
        if let Some(report) = item.report {
            clock.report(report, at(item.arrival_us));
            continue;
        }
        let Sent { at_us, rtp, bytes } = item.sent;
        let stamp = clock.stamp(&Arrived {
            bytes,
            ..arrived(rtp, at(item.arrival_us))
        });
        came.push(Came {
            sent_us: START_US + at_us,
            arrival_us: START_US + item.arrival_us,
            stamp,
        });
    }
    came
}

/// Checks the guarantees: stamps grow, are never a second after the arrival, and, if `counts` holds
/// for the time since the start, are within a second of sending.
pub(super) fn hold_to(came: &[Came], counts: impl Fn(i64) -> bool) -> Result<(), String> {
    for pair in came.windows(2) {
        if pair[1].stamp.decode.ticks(RATE) <= pair[0].stamp.decode.ticks(RATE) {
            return Err(format!("{:?} then {:?}", pair[0], pair[1]));
        }
    }
    for one in came {
        let ahead_us = one.stamp.decode.micros() - one.arrival_us;
        let at_us = one.sent_us - START_US;
        if ahead_us > SECOND_US {
            return Err(format!(
                "sent at {at_us}: stamped {ahead_us} us after its arrival"
            ));
        }
        if counts(at_us) && one.error_us().abs() > SECOND_US {
            let late_us = one.arrival_us - one.sent_us;
            return Err(format!(
                "sent at {at_us}: {} us off, and {late_us} us underway",
                one.error_us()
            ));
        }
    }
    Ok(())
}

pub(super) fn corrections(came: &[Came]) -> Vec<(i64, Correction)> {
    let of = |one: &Came| {
        one.stamp
            .correction
            .map(|correction| (one.sent_us - START_US, correction))
    };
    came.iter().filter_map(of).collect()
}

#[derive(Clone, Copy, Debug)]
struct Delivered {
    sent: Sent,
    report: Option<SenderReport>,
    arrival_us: i64,
}

fn at(us: i64) -> Timestamp {
    Timestamp(START_US + us)
}

fn deliver(frames: &[Sent], says: Says, network: &Network) -> Vec<Delivered> {
    let mut queue: VecDeque<(Sent, Option<SenderReport>)> = VecDeque::new();
    let (mut dice, mut report_due_us) = (Dice(0x1234_5678_9abc), 300_000);
    for sent in frames {
        queue.push_back((*sent, None));
        if says != Says::Nothing && sent.at_us >= report_due_us {
            report_due_us = sent.at_us + 5 * SECOND_US;
            let ntp_us = match says {
                Says::Time | Says::Nothing => 77_000_000 + sent.at_us,
                Says::RtpTime => 77_000_000 + sent.rtp * 100 / 9,
                Says::Nonsense => dice.below(3) * 3_600_000_000,
            };
            let report = SenderReport {
                ntp_us,
                rtp: sent.rtp,
            };
            queue.push_back((Sent { bytes: 0, ..*sent }, Some(report)));
        }
    }
    let (mut free_us, mut last_us) = (0, 0);
    let mut delivered = Vec::new();
    for (sent, report) in queue {
        let mut out_us = sent.at_us.max(free_us);
        if let Some(link) = network
            .link
            .filter(|link| (link.from_us..link.until_us).contains(&out_us))
        {
            let waiting = (out_us - sent.at_us) * link.bytes_per_s / SECOND_US;
            if report.is_none() && waiting + sent.bytes as i64 > link.buffer_bytes {
                continue;
            }
            free_us = out_us + sent.bytes as i64 * SECOND_US / link.bytes_per_s;
        } else {
            free_us = out_us;
        }
        for (from_us, until_us) in &network.holds {
            if (*from_us..*until_us).contains(&out_us) {
                out_us = *until_us;
            }
        }
        let came_us = (out_us + dice.below(network.jitter_us)).max(last_us);
        last_us = came_us;
        let arrival_us = (came_us + network.tick_us - 1) / network.tick_us * network.tick_us;
        delivered.push(Delivered {
            sent,
            report,
            arrival_us,
        });
    }
    delivered
}
