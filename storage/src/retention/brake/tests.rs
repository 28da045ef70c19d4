//! Stories of a class on a volume: segments of 100 bytes, one a minute, and a look after each.

use super::*;

const DAY_MIN: u64 = 24 * 60;
const SEGMENT: u64 = 100;

/// A class with a limit of bytes, and its brake.
struct Class {
    brake: Brake,
    subject: Subject,
    stored: u64,
    limit: u64,
    at_min: u64,
    changes: Vec<Change>,
}

impl Class {
    fn of(stored: u64, limit: u64) -> Self {
        let brake = Brake::new(Duration::from_secs(24 * 3600), Vec::new());
        Self {
            brake,
            subject: Subject::Class("default".to_owned()),
            stored,
            limit,
            at_min: 0,
            changes: Vec::new(),
        }
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.at_min * 60)
    }

    /// One more segment comes in, and the excess over the limit goes as far as the brake allows.
    fn minute(&mut self, comes: u64) {
        self.at_min += 1;
        let now = self.now();
        self.stored += comes;
        self.brake.came(&self.subject, comes, now);
        let bytes = self.stored.saturating_sub(self.limit).div_ceil(SEGMENT) * SEGMENT;
        let wish = Wish {
            bytes,
            stored_bytes: self.stored,
            largest_bytes: SEGMENT,
            limits: self.limit,
        };
        let (allowed, change) = self.brake.allow(&self.subject, wish, now);
        self.changes.extend(change);
        let mut left = i64::try_from(allowed).unwrap();
        while left > 0 && self.stored > self.limit {
            self.stored -= SEGMENT;
            left -= SEGMENT as i64;
            self.brake.went(&self.subject, SEGMENT, now);
        }
    }

    fn minutes(&mut self, minutes: u64) -> u64 {
        (0..minutes).for_each(|_| self.minute(SEGMENT));
        self.stored
    }

    /// Another process, after the machine was off.
    fn restart(&mut self) {
        let announced = self
            .brake
            .announced()
            .map(|(subject, announced)| (subject.clone(), *announced))
            .collect();
        self.brake = Brake::new(Duration::from_secs(24 * 3600), announced);
        self.at_min = 0;
    }

    fn state(&self) -> Option<State> {
        self.brake
            .announced()
            .next()
            .map(|(_, announced)| announced.state)
    }
}

#[test]
fn a_ring_that_is_full_deletes_as_much_as_comes_in_and_announces_nothing() {
    let mut class = Class::of(100_000, 100_000);
    assert_eq!(class.minutes(7 * DAY_MIN), 100_000);
    assert_eq!(class.changes, []);
}

#[test]
fn a_class_with_three_segments_is_a_ring_too() {
    let mut class = Class::of(0, 300);
    assert_eq!(class.minutes(2 * DAY_MIN), 300);
    assert_eq!(class.changes, []);
}

#[test]
fn less_than_a_tenth_beyond_the_limit_goes_at_once() {
    let mut class = Class::of(109_000, 100_000);
    assert_eq!(class.minutes(1), 100_000);
    assert_eq!(class.changes, []);
}

#[test]
fn a_typing_error_in_a_limit_is_announced_and_deletes_nothing_for_a_day() {
    let mut class = Class::of(1_000_000, 5_000);
    assert_eq!(class.minutes(DAY_MIN), 1_000_000 + DAY_MIN * SEGMENT);
    assert_eq!(class.changes, [Change::Announced]);
    class.limit = 2_000_000;
    class.minutes(1);
    assert_eq!(
        (class.state(), &class.changes[1..]),
        (None, &[Change::Ended][..]),
        "corrected in time, all is there"
    );
}

#[test]
fn after_a_day_it_goes_at_a_bounded_rate_and_then_the_class_is_a_ring() {
    let mut class = Class::of(1_000_000, 500_000);
    class.minutes(DAY_MIN + 1);
    assert_eq!(class.state(), Some(State::Running));
    let before = class.stored;
    assert!(
        class.minutes(10) > before - before / 10,
        "a hundredth a minute, no more: {} of {before}",
        class.stored
    );
    class.minutes(180);
    assert!(class.stored <= 620_000, "{}", class.stored);
    class.minutes(120);
    assert_eq!(
        (class.state(), class.changes.last()),
        (None, Some(&Change::Ended))
    );
    assert_eq!(class.minutes(60), 500_000);
}

#[test]
fn a_ring_continues_though_its_tenth_is_used_up() {
    let mut class = Class::of(110_000, 100_000);
    assert_eq!(class.minutes(2 * DAY_MIN), 100_000);
    assert_eq!(class.changes, []);
}

#[test]
fn a_release_begins_it_now_and_a_cancel_drops_it_until_the_limit_is_another() {
    let mut class = Class::of(1_000_000, 500_000);
    class.minutes(10);
    assert_eq!(class.brake.release(|_| true), 1);
    assert!(class.minutes(30) < 1_000_000);
    assert_eq!(class.brake.cancel(|_| true), 1);
    let stored = class.stored;
    assert!(class.minutes(3 * DAY_MIN) > stored);
    assert_eq!(class.state(), Some(State::Cancelled));
    class.limit = 400_000;
    class.minutes(1);
    assert_eq!(
        class.state(),
        Some(State::Waiting),
        "another limit is another reason"
    );
}

#[test]
fn a_restart_forgets_neither_the_wait_nor_a_cancel() {
    let mut class = Class::of(1_000_000, 500_000);
    for _ in 0..23 {
        class.minutes(61);
        class.restart();
    }
    assert_eq!(class.state(), Some(State::Waiting));
    class.minutes(45);
    assert_eq!(
        class.state(),
        Some(State::Running),
        "a node that is restarted every hour gets there, too"
    );
    class.brake.cancel(|_| true);
    class.restart();
    class.minutes(2 * DAY_MIN);
    assert_eq!(class.state(), Some(State::Cancelled));
}

#[test]
fn what_cannot_be_judged_for_a_while_is_not_forgotten() {
    let mut class = Class::of(1_000_000, 500_000);
    class.minutes(10);
    for _ in 0..3 * DAY_MIN {
        class.at_min += 1;
        class.brake.skip(&class.subject, class.now());
    }
    class.minutes(1);
    assert_eq!(class.state(), Some(State::Waiting));
}

#[test]
fn a_node_that_was_off_for_a_week_announces_what_grew_old_in_the_meantime() {
    // Thirty days of footage, a week of which is over its age when the node is back.
    let stored = 30 * DAY_MIN * SEGMENT;
    let mut class = Class::of(stored, stored / 30 * 23);
    class.minutes(1);
    assert_eq!(class.changes, [Change::Announced]);
    // After a night it is no more than usual.
    let mut class = Class::of(stored, stored - 12 * 60 * SEGMENT);
    class.minutes(1);
    assert_eq!(class.changes, []);
}

#[test]
fn a_disk_that_fills_up_deletes_what_comes_in_while_more_waits() {
    let mut class = Class::of(1_000_000, 500_000);
    class.subject = Subject::FreeSpace;
    class.minutes(1);
    let stored = class.stored;
    assert_eq!(
        class.minutes(600),
        stored,
        "the ring continues, and shrinks by nothing"
    );
    assert_eq!(class.changes, [Change::Announced]);
}

#[test]
fn many_small_steps_are_one_large_one() {
    let mut class = Class::of(1_000_000, 1_000_000);
    for _ in 0..60 {
        class.limit -= 5_000;
        class.minute(0);
    }
    assert!(class.stored > 890_000, "{}", class.stored);
    assert_eq!(class.changes.first(), Some(&Change::Announced));
}

#[test]
fn without_a_wait_everything_goes_at_once() {
    let mut class = Class::of(1_000_000, 5_000);
    class.brake = Brake::new(Duration::ZERO, Vec::new());
    assert_eq!(class.minutes(1), 5_000);
}
