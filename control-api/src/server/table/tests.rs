//! Which connections are accepted and which closed, in cases: by address, by age, by what was sent.

use super::*;
use std::cell::RefCell;
use std::rc::Rc;

const LIMITS: ConnectionLimits = ConnectionLimits {
    max: 32,
    per_address_max: 4,
};

/// Records its name when its connection is closed.
struct Held(u8, Rc<RefCell<Vec<u8>>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

struct Rig {
    table: ConnectionTable<Held>,
    closed: Rc<RefCell<Vec<u8>>>,
    names: u8,
}

impl Rig {
    fn new() -> Self {
        Self {
            table: ConnectionTable::new(LIMITS),
            closed: Rc::default(),
            names: 0,
        }
    }

    /// Connections are numbered in their order, from 1.
    fn admit(&mut self, from: &str, ms: u64, files_short: bool) -> Result<Admitted, Shortage> {
        self.names += 1;
        let held = Held(self.names, Rc::clone(&self.closed));
        self.table
            .admit(from.parse().unwrap(), at(ms), files_short, held)
    }

    fn stranger(&mut self, from: &str, ms: u64) -> ConnectionId {
        self.admit(from, ms, false).unwrap().id
    }

    fn client(&mut self, from: &str, ms: u64) -> ConnectionId {
        let id = self.stranger(from, ms);
        self.table.working(id, at(ms));
        assert!(self.table.authorise(id));
        self.table.answered(id, at(ms));
        id
    }

    /// The connections closed since the last call.
    fn closed(&self) -> Vec<u8> {
        self.closed.take()
    }
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An address for each number.
fn address(number: usize) -> String {
    format!("10.0.0.{number}")
}

#[test]
fn the_oldest_stranger_of_a_full_port_goes_for_a_newcomer() {
    let mut rig = Rig::new();
    (0..LIMITS.max).for_each(|number| _ = rig.stranger(&address(number), number as u64));
    let admitted = rig.admit("10.0.1.1", 100, false).unwrap();
    assert_eq!(
        (admitted.evicted_for, rig.closed()),
        (Some(Shortage::Port), vec![1])
    );
    assert_eq!(rig.table.len(), LIMITS.max);
}

#[test]
fn who_asked_for_something_is_younger_than_who_did_not() {
    let mut rig = Rig::new();
    let scraper = rig.stranger("10.0.0.0", 0);
    (1..LIMITS.max).for_each(|number| _ = rig.stranger(&address(number), number as u64));
    rig.table.working(scraper, at(50));
    rig.table.answered(scraper, at(60));
    rig.admit("10.0.1.1", 100, false).unwrap();
    assert_eq!(rig.closed(), [2]);
}

#[test]
fn a_strangers_request_is_answered_before_its_connection_goes() {
    let mut rig = Rig::new();
    for number in 0..LIMITS.max {
        let id = rig.stranger(&address(number), 0);
        rig.table.working(id, at(number as u64));
    }
    assert_eq!(rig.admit("10.0.1.1", 1_999, false), Err(Shortage::Port));
    assert_eq!(rig.closed(), [33], "the newcomer's own");
    assert_eq!(
        rig.admit("10.0.1.1", 2_000, false).unwrap().evicted_for,
        Some(Shortage::Port)
    );
    assert_eq!(rig.closed(), [1]);
}

#[test]
fn authorised_connections_never_go_and_leave_places_to_others() {
    let mut rig = Rig::new();
    let authorised = LIMITS.max - LIMITS.max / OPEN_SHARE;
    (0..authorised).for_each(|number| _ = rig.client(&address(number), 0));
    let late = rig.stranger("10.0.1.1", 1);
    assert!(
        !rig.table.authorise(late),
        "the last places are for strangers"
    );
    rig.stranger("10.0.1.2", 2);
    // They take turns at the last places.
    rig.admit("10.0.1.3", 3, false).unwrap();
    assert_eq!(rig.closed(), [31]);
    assert_eq!(
        (rig.table.len(), rig.table.authorised()),
        (LIMITS.max, authorised)
    );

    rig.table.remove(0);
    assert_eq!(rig.closed(), [1]);
    let next = rig.stranger("10.0.1.4", 4);
    assert!(rig.table.authorise(next), "a place is free again");
}

#[test]
fn strangers_of_one_address_make_room_for_each_other_and_not_those_of_others() {
    let mut rig = Rig::new();
    rig.stranger("10.0.0.9", 0);
    (0..4).for_each(|_| _ = rig.stranger("10.0.0.1", 1));
    let next = rig.admit("10.0.0.1", 501, false).unwrap();
    assert_eq!(
        (next.evicted_for, rig.closed()),
        (Some(Shortage::Address), vec![2])
    );
}

#[test]
fn a_burst_is_let_in_and_what_of_it_stays_silent_goes_within_a_second() {
    let mut rig = Rig::new();
    (0..10).for_each(|_| _ = rig.stranger("10.0.0.1", 0));
    assert!(rig.closed().is_empty());
    let client = 0;
    rig.table.working(client, at(10));
    assert!(rig.table.authorise(client));
    assert_eq!(rig.table.close_useless(at(499), false), []);
    assert_eq!(
        rig.table.close_useless(at(500), false),
        vec![Shortage::Address; 5]
    );
    assert_eq!(
        rig.closed(),
        [2, 3, 4, 5, 6],
        "the oldest strangers beyond four"
    );
}

#[test]
fn one_address_has_half_of_the_port_at_most() {
    let mut rig = Rig::new();
    let _older = rig.stranger("10.0.0.9", 0);
    (0..10).for_each(|_| _ = rig.client("10.0.0.1", 0));
    (0..6).for_each(|_| _ = rig.stranger("10.0.0.1", 1));
    assert_eq!(
        rig.admit("10.0.0.1", 2, false).unwrap().evicted_for,
        Some(Shortage::Address)
    );
    assert_eq!(
        rig.closed(),
        [12],
        "its own oldest stranger, young as it is"
    );
    let strangers: Vec<ConnectionId> = (12..18).collect();
    strangers
        .iter()
        .for_each(|id| assert!(rig.table.authorise(*id)));
    assert_eq!(rig.admit("10.0.0.1", 3, false), Err(Shortage::Address));
    assert_eq!(rig.admit("10.0.0.2", 3, false).unwrap().evicted_for, None);
}

#[test]
fn short_of_files_a_newcomer_needs_anothers_place_and_a_few_are_served_all_the_same() {
    let mut rig = Rig::new();
    (0..SPARED_MIN).for_each(|number| _ = rig.admit(&address(number), 0, true).unwrap());
    assert_eq!(
        rig.admit("10.0.1.1", 1, true).unwrap().evicted_for,
        Some(Shortage::Files)
    );
    assert_eq!(rig.closed(), [1]);
    // Of the connections from before files were short, all beyond the spared ones are closed.
    (0..3).for_each(|number| _ = rig.client(&address(20 + number), 2));
    assert_eq!(rig.table.close_useless(at(499), true), []);
    assert_eq!(
        rig.table.close_useless(at(500), true),
        vec![Shortage::Files; 3]
    );
    assert_eq!((rig.closed(), rig.table.len()), (vec![2, 3, 4], SPARED_MIN));
    assert_eq!(rig.table.close_useless(at(600), true), []);

    let mut rig = Rig::new();
    (0..SPARED_MIN).for_each(|number| _ = rig.client(&address(number), 600));
    assert_eq!(rig.admit("10.0.1.2", 601, true), Err(Shortage::Files));
    assert!(rig.admit("10.0.1.2", 601, false).is_ok());
}

#[test]
fn a_head_is_waited_for_ten_seconds_whatever_of_it_has_come() {
    let mut rig = Rig::new();
    let (silent, dripping, asked) = (
        rig.stranger("10.0.0.1", 0),
        rig.stranger("10.0.0.2", 0),
        rig.client("10.0.0.3", 0),
    );
    rig.table.reading(dripping, at(9_000));
    rig.table.reading(asked, at(70_000));
    assert_eq!(rig.table.close_overdue(at(9_999)), []);
    assert_eq!(
        rig.table.close_overdue(at(10_000)),
        [Overdue::Head, Overdue::Head]
    );
    assert_eq!(rig.closed(), [1, 2]);
    assert_eq!(rig.table.close_overdue(at(79_999)), []);
    assert_eq!(rig.table.close_overdue(at(80_000)), [Overdue::Head]);
    // Later events of a closed connection change nothing.
    rig.table.working(silent, at(80_001));
    assert!(!rig.table.authorise(silent));
    assert_eq!((rig.table.len(), rig.table.authorised()), (0, 0));
}

#[test]
fn a_connection_that_is_at_work_or_used_every_minute_stays() {
    let mut rig = Rig::new();
    let (client, stranger) = (rig.client("10.0.0.1", 0), rig.stranger("10.0.0.2", 0));
    rig.table.working(stranger, at(1));
    assert_eq!(rig.table.close_overdue(at(74_999)), []);
    assert_eq!(rig.table.close_overdue(at(75_000)), [Overdue::Idle]);
    let busy = rig.client("10.0.0.1", 75_000);
    rig.table.working(busy, at(76_000));
    rig.table.answered(stranger, at(80_000));
    assert_eq!(rig.table.close_overdue(at(89_999)), []);
    assert_eq!(rig.table.close_overdue(at(3_600_000)), [Overdue::Head]);
    assert_eq!((rig.table.len(), client), (1, 0));
}

#[test]
fn clients_are_distinguished_by_address_and_by_network_of_ipv6() {
    let same = [
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("2001:db8::1", "2001:db8::ffff:1:2:3"),
    ];
    let other = [
        ("10.0.0.1", "10.0.0.2"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("127.0.0.1", "::1"),
    ];
    let clients = |(a, b): (&str, &str)| {
        (
            Client::at(a.parse().unwrap()),
            Client::at(b.parse().unwrap()),
        )
    };
    for (a, b) in same.map(clients) {
        assert_eq!(a, b);
    }
    for (a, b) in other.map(clients) {
        assert_ne!(a, b);
    }
}
