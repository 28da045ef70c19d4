//! Stories of clocks, in minutes since the process started.

use super::*;

const MINUTE_US: i64 = 60_000_000;
const DAY: i64 = 24 * 60;
const YEAR: i64 = 365 * DAY;
const TRUE_START: Timestamp = Timestamp(1_795_000_000_000_000);

/// A node, and how far its wall clock is ahead of the truth.
struct Node {
    trust: Trust,
    peers: PeerClocks,
    at_s: i64,
}

impl Node {
    /// Starts at [`TRUE_START`]; the process before was last sure of the time so many minutes
    /// earlier.
    fn off_for(minutes: i64) -> Self {
        Self::knowing(Some(TRUE_START.plus_micros(-minutes * MINUTE_US)))
    }

    fn knowing(known: Option<Timestamp>) -> Self {
        Self {
            trust: Trust::new(Caution::DEFAULT, known),
            peers: PeerClocks::Alone,
            at_s: 0,
        }
    }

    fn reading(&self, ahead_min: i64) -> Reading {
        let uptime = Duration::from_secs(self.at_s as u64);
        let wall = TRUE_START.plus(uptime).plus_micros(ahead_min * MINUTE_US);
        Reading {
            uptime,
            wall,
            peers: self.peers,
        }
    }

    /// Looks every five seconds for so many minutes at a clock that is so many minutes ahead.
    /// Returns what the last look says, as metrics name it.
    fn lasts(&mut self, minutes: i64, ahead_min: i64) -> &'static str {
        let until_s = self.at_s + minutes * 60;
        let mut said = "nothing";
        while self.at_s < until_s {
            self.at_s += 5;
            let reading = self.reading(ahead_min);
            said = self
                .trust
                .judge(reading)
                .map_or_else(Pause::reason, |time| {
                    assert_eq!(time, reading.wall);
                    "trusted"
                });
        }
        said
    }
}

fn heard(agreeing: u32, disagreeing: u32, is_vouched: bool) -> PeerClocks {
    PeerClocks::Heard {
        agreeing,
        disagreeing,
        is_vouched,
    }
}

#[test]
fn a_restart_of_a_minute_is_trusted_once_the_clock_has_settled() {
    let mut node = Node::off_for(1);
    node.at_s = 10;
    assert_eq!(node.trust.judge(node.reading(0)), Err(Pause::Settling));
    assert_eq!(node.lasts(1, 0), "trusted");
}

#[test]
fn a_boot_two_years_ahead_is_never_trusted_and_the_true_time_is_again_within_a_minute() {
    let mut node = Node::off_for(1);
    assert_eq!(node.lasts(1, 2 * YEAR), "ahead");
    assert_eq!(
        node.lasts(3 * DAY, 2 * YEAR),
        "ahead",
        "however long it stays"
    );
    assert_eq!(node.lasts(1, 0), "trusted");
}

#[test]
fn a_step_of_two_years_for_ten_seconds_is_not_trusted_for_a_moment() {
    let mut node = Node::off_for(1);
    assert_eq!(node.lasts(5, 0), "trusted");
    for _ in 0..2 {
        node.at_s += 5;
        assert_eq!(
            node.trust.judge(node.reading(2 * YEAR)),
            Err(Pause::Settling)
        );
    }
    assert_eq!(node.lasts(1, 0), "trusted");
}

#[test]
fn a_step_of_an_hour_either_way_waits_a_day() {
    for (hour, said) in [(60, "ahead"), (-60, "behind")] {
        let mut node = Node::off_for(1);
        assert_eq!(node.lasts(5, 0), "trusted");
        assert_eq!(node.lasts(DAY - 1, hour), said);
        assert_eq!(
            node.lasts(2, hour),
            "trusted",
            "nothing contradicts it but the past"
        );
    }
}

#[test]
fn a_night_off_is_no_reason_for_doubt_and_a_week_off_takes_a_day() {
    assert_eq!(Node::off_for(12 * 60).lasts(1, 0), "trusted");
    let mut node = Node::off_for(7 * DAY);
    assert_eq!(node.lasts(DAY - 1, 0), "ahead");
    assert_eq!(node.lasts(2, 0), "trusted");
}

#[test]
fn a_clock_that_only_unproven_footage_backs_takes_a_day_and_is_said_to_be_that() {
    let mut node = Node::off_for(1);
    node.trust = node.trust.unproven();
    assert_eq!(node.lasts(5, 0), "unproven");
    assert_eq!(
        node.lasts(5, 2 * YEAR),
        "ahead",
        "what contradicts it is another matter"
    );
    assert_eq!(node.lasts(DAY - 1, 0), "unproven");
    assert_eq!(node.lasts(2, 0), "trusted");
}

#[test]
fn a_peer_that_knows_the_time_ends_the_doubt_of_one_that_was_off_for_a_week() {
    let mut node = Node::off_for(7 * DAY);
    node.peers = heard(1, 0, false);
    assert_eq!(
        node.lasts(5, 0),
        "ahead",
        "it may be as wrong: the whole site was off"
    );
    node.peers = heard(1, 0, true);
    assert_eq!(node.lasts(5, 0), "trusted");
}

#[test]
fn a_whole_site_that_boots_two_years_ahead_trusts_nothing() {
    let mut node = Node::off_for(1);
    node.peers = heard(2, 0, false);
    assert_eq!(node.lasts(3 * DAY, 2 * YEAR), "ahead");
}

#[test]
fn peers_are_waited_for_and_as_many_against_as_for_are_a_reason_to_pause() {
    let mut node = Node::off_for(1);
    node.peers = PeerClocks::Awaited;
    assert_eq!(node.lasts(1, 0), "peers_awaited");
    node.peers = heard(0, 1, false);
    assert_eq!(
        node.lasts(1, 0),
        "peers_disagree",
        "of two, either may be wrong"
    );
    node.peers = heard(1, 1, true);
    assert_eq!(node.lasts(1, 0), "trusted", "of three, one is wrong");
}

#[test]
fn a_fresh_volume_has_nothing_that_contradicts_its_clock() {
    let mut node = Node::knowing(None);
    assert_eq!(node.lasts(1, 0), "trusted");
    assert!(
        !node.trust.may_vouch(),
        "nor anything that would confirm it to others"
    );
    node.peers = heard(1, 0, true);
    node.lasts(1, 0);
    assert!(node.trust.may_vouch());
}

#[test]
fn an_operator_vouches_for_a_clock_or_refuses_it() {
    let mut node = Node::off_for(100 * DAY);
    assert_eq!(
        node.lasts(3 * DAY, 0),
        "ahead",
        "longer than a node is off without a witness"
    );
    node.trust.accept(node.reading(0));
    assert_eq!(node.lasts(1, 0), "trusted");
    let mut node = Node::off_for(7 * DAY);
    node.trust.refuse();
    assert_eq!(node.lasts(3 * DAY, 0), "ahead");
    assert_eq!(
        node.lasts(3, -7 * DAY),
        "trusted",
        "it agrees with what was known"
    );
}

#[test]
fn without_caution_every_clock_counts() {
    let mut node = Node::off_for(1);
    node.trust = Trust::new(Caution::NONE, Some(TRUE_START));
    assert_eq!(node.lasts(1, 50 * DAY), "trusted");
    assert_eq!(node.lasts(1, -50 * DAY), "trusted");
}
