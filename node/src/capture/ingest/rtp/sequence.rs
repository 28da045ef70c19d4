//! Puts a track's packets in order and counts lost ones. Pure.
//!
//! Sequence numbers and synchronisation sources (SSRC) are hints, as cameras reset both without
//! notice. A new source is followed once two of its packets came in a row, with none of the old
//! source between them; numbers that jump are followed if the RTP time continues. Over UDP, packets
//! that came early wait a moment for those before them.

use crate::capture::ingest::codec::{Arrival, Fault, Packet};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far ahead of the next one a packet over UDP may be to wait for those between.
const EARLY_MAX: i16 = 100;
/// Packets that wait at most, and how long.
const WAITING_MAX: usize = 64;
const WAITING: Duration = Duration::from_millis(100);
/// Packets behind the next one in a row, each following the one before, that show that the numbers
/// begin again though their RTP time is not newer.
const RESTARTED: u32 = 16;

/// Over TCP, packets that a camera may leave out at once; where more seem to be missing and RTP
/// time has hardly moved, the numbers began elsewhere.
const MISSING_MAX: u16 = 3000;
/// RTP time between two packets that leaves nothing out, in ticks: half a second of video.
const SOON_TICKS: u32 = 45_000;

/// The header and payload of an RTP packet (RFC 3550, 5.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) ssrc: u32,
    pub(crate) number: u16,
    /// RTP time from the header.
    pub(crate) rtp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: &'a [u8],
    pub(crate) arrival: Arrival,
}

#[derive(Debug)]
pub(crate) struct Sequence {
    /// Packets may overtake each other on their way.
    reorders: bool,
    source: Option<Source>,
    /// The last packet of another source, and its SSRC.
    stranger: Option<(u32, Kept)>,
    /// Packets that came before others, by number.
    waiting: VecDeque<Kept>,
    /// The number that would follow the last packet from behind, and how many such packets came in
    /// a row.
    behind: Option<(u16, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    next: u16,
    last_rtp: u32,
    /// `last_rtp` with its wraps undone.
    rtp: i64,
}

/// A packet that waits.
#[derive(Debug)]
struct Kept {
    number: u16,
    rtp: u32,
    marker: bool,
    payload: Vec<u8>,
    arrival: Arrival,
}

impl Sequence {
    /// `reorders`: over UDP.
    pub(crate) fn new(reorders: bool) -> Self {
        Self {
            reorders,
            source: None,
            stranger: None,
            waiting: VecDeque::new(),
            behind: None,
        }
    }

    /// Takes a packet, and hands those that are next to `deliver`.
    ///
    /// # Errors
    /// The packet does not belong to the track, or not any more.
    pub(crate) fn push(
        &mut self,
        packet: &Received<'_>,
        mut deliver: impl FnMut(Packet<'_>),
    ) -> Result<(), Fault> {
        let source = *self.source.get_or_insert(Source {
            ssrc: packet.ssrc,
            next: packet.number,
            last_rtp: packet.rtp,
            rtp: i64::from(packet.rtp),
        });
        if packet.ssrc != source.ssrc {
            return self.follow_stranger(packet, &mut deliver);
        }
        self.stranger = None;
        let ahead = packet.number.wrapping_sub(source.next).cast_signed();
        if ahead < 0 {
            return self.take_behind(packet, source, &mut deliver);
        }
        self.behind = None;
        if ahead == 0 {
            self.next(packet, 0, &mut deliver);
            self.release(&mut deliver);
            return Ok(());
        }
        if self.reorders && ahead <= EARLY_MAX {
            self.wait(packet)?;
            self.give_up(packet.arrival.instant, &mut deliver);
            return Ok(());
        }
        self.abandon(&mut deliver);
        let next = self.source.map_or(packet.number, |source| source.next);
        let missing = packet.number.wrapping_sub(next);
        let has_jumped = !self.reorders && missing > MISSING_MAX && self.is_soon(packet);
        self.next(packet, if has_jumped { 0 } else { missing }, &mut deliver);
        Ok(())
    }

    /// Hands over packets that have waited long enough for lost ones.
    pub(crate) fn idle(&mut self, now: Instant, mut deliver: impl FnMut(Packet<'_>)) {
        if !self.waiting.is_empty() {
            self.give_up(now, &mut deliver);
        }
    }

    /// Whether [`Self::idle`] has something to do soon.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The RTP time `rtp` of a report with its wraps undone; `None` before the first packet.
    pub(crate) fn unwrapped(&self, rtp: u32) -> Option<i64> {
        let source = self.source?;
        Some(
            source
                .rtp
                .saturating_add(i64::from(rtp.wrapping_sub(source.last_rtp).cast_signed())),
        )
    }

    /// Whether the packet's RTP time shows that nothing is missing before it.
    fn is_soon(&self, packet: &Received<'_>) -> bool {
        self.source
            .is_some_and(|source| packet.rtp.wrapping_sub(source.last_rtp) <= SOON_TICKS)
    }

    fn next(&mut self, packet: &Received<'_>, lost: u16, deliver: &mut impl FnMut(Packet<'_>)) {
        let rtp = self.unwrapped(packet.rtp).unwrap_or_default();
        if let Some(source) = &mut self.source {
            source.next = packet.number.wrapping_add(1);
            (source.last_rtp, source.rtp) = (packet.rtp, rtp);
        }
        let Received {
            payload,
            marker,
            arrival,
            ..
        } = *packet;
        deliver(Packet {
            payload,
            rtp,
            marker,
            lost,
            arrival,
        });
    }

    fn follow_stranger(
        &mut self,
        packet: &Received<'_>,
        deliver: &mut impl FnMut(Packet<'_>),
    ) -> Result<(), Fault> {
        match self.stranger.take() {
            Some((ssrc, first))
                if ssrc == packet.ssrc && packet.number == first.number.wrapping_add(1) =>
            {
                self.abandon(deliver);
                if let Some(source) = &mut self.source {
                    source.ssrc = ssrc;
                }
                // How many packets were lost between the two sources is not known.
                self.next(&first.received(ssrc), 1, deliver);
                self.next(packet, 0, deliver);
                Ok(())
            }
            _ => {
                self.stranger = Some((packet.ssrc, Kept::of(packet)));
                Err(Fault::Source)
            }
        }
    }

    fn take_behind(
        &mut self,
        packet: &Received<'_>,
        source: Source,
        deliver: &mut impl FnMut(Packet<'_>),
    ) -> Result<(), Fault> {
        let is_newer = packet.rtp.wrapping_sub(source.last_rtp).cast_signed() > 0;
        let follows = self
            .behind
            .filter(|(next, _)| *next == packet.number)
            .map_or(0, |(_, count)| count);
        let has_restarted = match is_newer {
            true => !self.reorders || follows >= 1,
            false => follows >= RESTARTED,
        };
        if !has_restarted {
            self.behind = Some((packet.number.wrapping_add(1), follows + 1));
            return Err(Fault::Duplicate);
        }
        self.behind = None;
        self.abandon(deliver);
        // Over TCP nothing is lost on the way: only the numbers began again.
        let lost = u16::from(self.reorders || !self.is_soon(packet));
        self.next(packet, lost, deliver);
        Ok(())
    }

    fn wait(&mut self, packet: &Received<'_>) -> Result<(), Fault> {
        let next = self.source.map_or(packet.number, |source| source.next);
        let distance = |number: u16| number.wrapping_sub(next);
        let at = self
            .waiting
            .partition_point(|kept| distance(kept.number) < distance(packet.number));
        if self
            .waiting
            .get(at)
            .is_some_and(|kept| kept.number == packet.number)
        {
            return Err(Fault::Duplicate);
        }
        self.waiting.insert(at, Kept::of(packet));
        Ok(())
    }

    /// Hands over the packets that waited for the one that came.
    fn release(&mut self, deliver: &mut impl FnMut(Packet<'_>)) {
        while let (Some(first), Some(source)) = (self.waiting.front(), self.source) {
            if first.number != source.next {
                return;
            }
            if let Some(kept) = self.waiting.pop_front() {
                self.next(&kept.received(source.ssrc), 0, deliver);
            }
        }
    }

    /// Treats the packets before the first waiting one as lost, if it has waited long enough or too
    /// many wait.
    fn give_up(&mut self, now: Instant, deliver: &mut impl FnMut(Packet<'_>)) {
        let is_due = |kept: &Kept| now.saturating_duration_since(kept.arrival.instant) >= WAITING;
        while self.waiting.len() > WAITING_MAX || self.waiting.iter().any(is_due) {
            self.skip(deliver);
        }
    }

    /// Hands over all that waits.
    fn abandon(&mut self, deliver: &mut impl FnMut(Packet<'_>)) {
        while !self.waiting.is_empty() {
            self.skip(deliver);
        }
    }

    fn skip(&mut self, deliver: &mut impl FnMut(Packet<'_>)) {
        let (Some(kept), Some(source)) = (self.waiting.pop_front(), self.source) else {
            return;
        };
        let lost = kept.number.wrapping_sub(source.next);
        self.next(&kept.received(source.ssrc), lost, deliver);
        self.release(deliver);
    }
}

impl Kept {
    fn of(packet: &Received<'_>) -> Self {
        let Received {
            number,
            rtp,
            marker,
            payload,
            arrival,
            ..
        } = *packet;
        Self {
            number,
            rtp,
            marker,
            payload: payload.to_vec(),
            arrival,
        }
    }

    fn received(&self, ssrc: u32) -> Received<'_> {
        let Self {
            number,
            rtp,
            marker,
            ref payload,
            arrival,
        } = *self;
        Received {
            ssrc,
            number,
            rtp,
            marker,
            payload,
            arrival,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::time::Timestamp;

    /// Numbers, lost packets and RTP times of what is delivered, and how many packets were faulty.
    struct Run {
        sequence: Sequence,
        began: Instant,
        delivered: Vec<(u8, u16, i64)>,
        faults: u32,
    }

    impl Run {
        fn new(reorders: bool) -> Self {
            #[expect(
                clippy::disallowed_methods,
                reason = "any instant will do as an origin"
            )]
            let began = Instant::now();
            Self {
                sequence: Sequence::new(reorders),
                began,
                delivered: Vec::new(),
                faults: 0,
            }
        }

        fn at(&self, ms: u64) -> Arrival {
            Arrival {
                instant: self.began + Duration::from_millis(ms),
                wall: Timestamp(0),
            }
        }

        /// A packet whose payload is the low byte of `number`.
        fn push(&mut self, ssrc: u32, number: u16, rtp: u32, ms: u64) {
            let payload = [number as u8];
            let arrival = self.at(ms);
            let packet = Received {
                ssrc,
                number,
                rtp,
                marker: false,
                payload: &payload,
                arrival,
            };
            let delivered = &mut self.delivered;
            let pushed = self.sequence.push(&packet, |packet| {
                delivered.push((packet.payload[0], packet.lost, packet.rtp))
            });
            self.faults += u32::from(pushed.is_err());
        }

        fn numbers(&self) -> Vec<(u8, u16)> {
            self.delivered
                .iter()
                .map(|(number, lost, _)| (*number, *lost))
                .collect()
        }
    }

    #[test]
    fn numbers_and_times_wrap() {
        let mut run = Run::new(false);
        for (step, number) in [65_534, 65_535, 0, 1].into_iter().enumerate() {
            run.push(
                7,
                number,
                (u32::MAX - 3000).wrapping_add(3000 * step as u32),
                0,
            );
        }
        assert_eq!(run.numbers(), [(254, 0), (255, 0), (0, 0), (1, 0)]);
        let times: Vec<_> = run
            .delivered
            .windows(2)
            .map(|pair| pair[1].2 - pair[0].2)
            .collect();
        assert_eq!(times, [3000; 3]);
    }

    #[test]
    fn what_is_missing_over_tcp_is_lost_at_once() {
        let mut run = Run::new(false);
        [1, 2, 5, 6]
            .into_iter()
            .for_each(|number| run.push(7, number, 0, 0));
        assert_eq!(run.numbers(), [(1, 0), (2, 0), (5, 2), (6, 0)]);
    }

    #[test]
    fn packets_over_udp_are_put_in_order() {
        let mut run = Run::new(true);
        [1, 3, 4, 2, 2, 5]
            .into_iter()
            .for_each(|number| run.push(7, number, 0, 0));
        assert_eq!(run.numbers(), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
        assert_eq!(run.faults, 1, "the double");
    }

    #[test]
    fn what_is_missing_over_udp_is_lost_after_a_moment() {
        let mut run = Run::new(true);
        [1, 3, 6]
            .into_iter()
            .for_each(|number| run.push(7, number, 0, 0));
        let now = run.at(99).instant;
        let delivered = &mut run.delivered;
        run.sequence.idle(now, |packet| {
            delivered.push((packet.payload[0], packet.lost, 0))
        });
        assert_eq!(run.numbers(), [(1, 0)]);
        run.push(7, 7, 0, 100);
        assert_eq!(run.numbers(), [(1, 0), (3, 1), (6, 2), (7, 0)]);
        assert!(!run.sequence.is_waiting());
    }

    #[test]
    fn stray_packets_of_another_source_are_left_out() {
        let mut run = Run::new(false);
        for number in 0..20 {
            run.push(7, number, u32::from(number), 0);
            run.push(8, 500 + number, 0, 0);
        }
        assert_eq!((run.delivered.len(), run.faults), (20, 20));
        assert!(run.numbers().iter().all(|(_, lost)| *lost == 0));
    }

    #[test]
    fn another_source_that_continues_alone_is_followed() {
        let mut run = Run::new(false);
        [1, 2]
            .into_iter()
            .for_each(|number| run.push(7, number, 0, 0));
        [90, 91, 92]
            .into_iter()
            .for_each(|number| run.push(8, number, 0, 0));
        assert_eq!(run.numbers(), [(1, 0), (2, 0), (90, 1), (91, 0), (92, 0)]);
    }

    #[test]
    fn numbers_that_begin_again_are_followed() {
        for reorders in [false, true] {
            let mut run = Run::new(reorders);
            (200..210).for_each(|number| run.push(7, number, u32::from(number), 0));
            (5..15).for_each(|number| run.push(7, number, 300 + u32::from(number), 0));
            let lost = run
                .delivered
                .iter()
                .filter(|(_, lost, _)| *lost > 0)
                .count();
            let missing = usize::from(reorders);
            assert_eq!(
                (run.delivered.len(), lost),
                (20 - missing, missing),
                "reorders: {reorders}"
            );
        }
    }

    #[test]
    fn numbers_that_begin_elsewhere_over_tcp_are_no_loss() {
        let mut run = Run::new(false);
        [(1, 0), (2, 3600), (30_000, 7200), (30_001, 10_800)]
            .into_iter()
            .for_each(|(number, rtp)| run.push(7, number, rtp, 0));
        assert!(run.numbers().iter().all(|(_, lost)| *lost == 0));
        run.push(7, 40_000, 10_800 + 900_000, 0);
        assert_eq!(
            run.delivered.last().map(|last| last.1),
            Some(9_998),
            "ten seconds are missing"
        );
    }

    #[test]
    fn numbers_that_begin_again_at_a_frozen_time_are_followed_in_the_end() {
        let mut run = Run::new(false);
        (200..210).for_each(|number| run.push(7, number, 9, 0));
        (5..60).for_each(|number| run.push(7, number, 9, 0));
        assert!(run.delivered.len() > 40, "{}", run.delivered.len());
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_delivered_once_or_counted(
            reorders: bool,
            packets in proptest::collection::vec(
                (0_u32..3, proptest::num::u16::ANY, proptest::num::u32::ANY),
                0..300,
            ),
        ) {
            let mut run = Run::new(reorders);
            let sent = packets.len();
            for (ms, (ssrc, number, rtp)) in (0..).zip(packets) {
                run.push(ssrc, number, rtp, ms);
            }
            proptest::prop_assert!(run.sequence.waiting.len() <= WAITING_MAX + 1);
            proptest::prop_assert!(run.delivered.len() <= sent);
        }

        #[test]
        fn small_disorder_over_udp_loses_nothing(late in proptest::collection::vec(0_u16..6, 100)) {
            let mut run = Run::new(true);
            let mut numbers: Vec<u16> = (0..100).collect();
            // The first one is where the sequence begins.
            numbers.sort_by_key(|number| match number {
                0 => 0,
                number => number + late[usize::from(*number)],
            });
            numbers.into_iter().for_each(|number| run.push(7, number, u32::from(number), 0));
            let delivered: Vec<_> = run.numbers().into_iter().map(|(number, _)| number).collect();
            proptest::prop_assert_eq!(delivered, (0..100).collect::<Vec<u8>>());
        }
    }
}
