//! What sender reports say.

use super::reports::{Reports, Word};
use super::*;

const HALF_MINUTE_US: i64 = 30 * SECOND_US;

/// Reports every five seconds for half a minute; `ntp`, `rtp` and `arrival` say how their clocks
/// run, in microseconds.
fn reported(
    ntp: impl Fn(i64) -> i64,
    rtp: impl Fn(i64) -> i64,
    arrival: impl Fn(i64) -> i64,
) -> Reports {
    let mut reports = Reports::default();
    for at_us in (0..=HALF_MINUTE_US).step_by(5_000_000) {
        let report = SenderReport {
            ntp_us: ntp(at_us),
            rtp: rtp(at_us),
        };
        reports.take(report, arrival(at_us), report.rtp, |us| us);
    }
    reports
}

fn as_it_is(us: i64) -> i64 {
    us
}

#[test]
fn where_all_clocks_agree_the_next_report_is_waited_for_until_it_is_overdue() {
    let reports = reported(as_it_is, as_it_is, as_it_is);
    assert_eq!(
        reports.word(HALF_MINUTE_US, HALF_MINUTE_US + 7_000_000),
        Word::Awaited
    );
    assert_eq!(
        reports.word(HALF_MINUTE_US, HALF_MINUTE_US + 9_000_000),
        Word::Network
    );
}

#[test]
fn rtp_time_that_runs_otherwise_than_the_cameras_clock_lies_until_that_is_old() {
    let reports = reported(as_it_is, |us| us / 2, as_it_is);
    assert_eq!(
        reports.word(HALF_MINUTE_US - 1, HALF_MINUTE_US + 1),
        Word::Lies
    );
    assert_eq!(
        reports.word(HALF_MINUTE_US + 1, HALF_MINUTE_US + 2),
        Word::Awaited
    );
}

#[test]
fn arrivals_that_take_longer_are_the_networks_where_the_cameras_clock_is_proven() {
    let late = |us: i64| us + (us - 20 * SECOND_US).max(0);
    let reports = reported(as_it_is, as_it_is, late);
    assert_eq!(
        reports.word(HALF_MINUTE_US, HALF_MINUTE_US + 10 * SECOND_US),
        Word::Network
    );
    let never_on_time = reported(as_it_is, as_it_is, |us| 2 * us);
    assert_eq!(
        never_on_time.word(HALF_MINUTE_US, 2 * HALF_MINUTE_US),
        Word::Nothing,
        "or they are made of RTP time"
    );
}

#[test]
fn reports_say_nothing_where_they_are_far_from_the_frames_or_their_clock_stands_or_jumps() {
    let mut far = reported(as_it_is, as_it_is, as_it_is);
    let report = SenderReport {
        ntp_us: 35 * SECOND_US,
        rtp: 35 * SECOND_US,
    };
    far.take(report, 35 * SECOND_US, 32 * SECOND_US, |us| us);
    assert_eq!(far.word(0, 36 * SECOND_US), Word::Nothing);
    for ntp in [
        |_| 0,
        |us: i64| us % 3 * 3_600_000_000,
        |us: i64| us / 5_000_000 % 2 * 86_400_000_000,
    ] {
        assert_eq!(
            reported(ntp, as_it_is, as_it_is).word(0, HALF_MINUTE_US),
            Word::Nothing
        );
    }
}
