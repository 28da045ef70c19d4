//! Rings and their readers, whatever is published and however slowly it is read.

use super::*;
use bytes::Bytes;
use holdfast_storage::chunk::{AccessPoint, GapCause};
use holdfast_storage::ids::{Epoch, NodeId, Rank, SessionId};
use proptest::prelude::*;

use crate::capture::hub::event::Origin;

const FRAME_US: i64 = 40_000;
const ENOUGH: usize = 1 << 20;

fn heading() -> Arc<Heading> {
    Arc::new(Heading {
        origin: Origin {
            node: NodeId(1),
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(1),
        },
        inits: [None, None],
    })
}

fn video(at: i64, keyframe: bool, bytes: usize) -> Frame {
    Frame {
        track: TrackKind::Video,
        data: Bytes::from(vec![0; bytes]),
        decode: Timestamp(at * FRAME_US),
        composition_us: 0,
        timescale: 90_000,
        access: keyframe.then_some(AccessPoint::Sync),
        length_us: None,
        after_loss: false,
    }
}

fn item(at: i64, keyframe: bool) -> Item {
    Item::Frame(video(at, keyframe, 100), heading())
}

/// 25 frames a second, a keyframe each `gop` frames.
fn filled(frames: i64, gop: i64) -> Ring {
    let mut ring = Ring::default();
    for at in 0..frames {
        ring.push(item(at, at % gop == 0));
    }
    ring
}

/// The numbers of frames that a reader receives now; minus how many it skips.
fn read_all(ring: &Ring, cursor: &mut Cursor) -> Vec<i64> {
    std::iter::from_fn(|| ring.read(cursor))
        .map(|read| match read {
            Read::Item(Item::Frame(frame, _)) => frame.decode.micros() / FRAME_US,
            Read::Item(Item::Mark(_)) => i64::MAX,
            Read::Skipped(frames) => -(frames as i64),
        })
        .collect()
}

#[test]
fn a_reader_begins_with_the_last_gop() {
    let ring = filled(60, 25);
    assert_eq!(
        read_all(&ring, &mut ring.cursor(false)),
        (50..60).collect::<Vec<_>>()
    );
}

#[test]
fn a_reader_a_second_behind_misses_nothing_when_a_gop_begins() {
    let mut ring = filled(30, 25);
    let mut cursor = ring.cursor(false);
    assert_eq!(read_all(&ring, &mut cursor).last(), Some(&29));
    for at in 30..55 {
        ring.push(item(at, at % 25 == 0));
    }
    assert_eq!(read_all(&ring, &mut cursor), (30..55).collect::<Vec<_>>());
    assert_eq!(ring.oldest, 25, "the GOP before the last second is gone");
    // Keyframes alone: as many as a second has.
    assert_eq!(filled(100, 1).entries.len(), 26);
}

#[test]
fn a_slow_reader_skips_to_the_newest_keyframe() {
    let mut ring = filled(30, 25);
    let mut cursor = ring.cursor(false);
    read_all(&ring, &mut cursor);
    for at in 30..160 {
        ring.push(item(at, at % 25 == 0));
    }
    let mut expected = vec![-120];
    expected.extend(150..160);
    assert_eq!(read_all(&ring, &mut cursor), expected);
}

#[test]
fn a_gop_that_does_not_fit_is_cut_and_no_reader_begins_within_it() {
    let mut ring = filled(20, 1000);
    let mut follows = ring.cursor(false);
    assert_eq!(read_all(&ring, &mut follows).len(), 20);
    assert!(!ring.fit(ENOUGH));
    let half = ring.bytes() / 2;
    assert!(ring.fit(half) && !ring.fit(half), "it is cut once");
    assert!(read_all(&ring, &mut ring.cursor(false)).is_empty());
    assert_eq!(
        read_all(&ring, &mut ring.cursor(true)),
        (10..20).collect::<Vec<_>>(),
        "but who knows the frames before can continue"
    );
    let mut waits = ring.cursor(false);
    ring.push(item(20, false));
    assert_eq!(
        read_all(&ring, &mut follows),
        [20],
        "who has the frame before does not skip"
    );
    ring.push(item(21, true));
    assert_eq!(
        (read_all(&ring, &mut waits), read_all(&ring, &mut follows)),
        (vec![21], vec![21])
    );
}

#[test]
fn frames_of_before_a_step_of_the_clock_do_not_stay() {
    for first_again in [-90_000, 90_000] {
        let mut ring = filled(50, 25);
        for at in first_again..first_again + 60 {
            ring.push(item(at, at % 25 == 0));
        }
        assert!(ring.entries.len() <= 60, "{}", ring.entries.len());
    }
}

#[test]
fn marks_are_received_in_order_and_hold_no_frame_up() {
    let mut ring = filled(30, 25);
    let mut cursor = ring.cursor(false);
    ring.push(Item::Mark(Mark::Gap {
        since: Timestamp(0),
        cause: GapCause::CameraStalled,
    }));
    ring.push(item(30, true));
    let received = read_all(&ring, &mut cursor);
    assert_eq!(received, [25, 26, 27, 28, 29, i64::MAX, 30]);
}

#[derive(Clone, Debug)]
enum Step {
    /// Video or sound, with its bytes.
    Push {
        is_video: bool,
        keyframe: bool,
        bytes: usize,
    },
    Mark,
    LeaveOut(u8),
    Fit(usize),
    Read(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let push = (
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.2),
        0_usize..3000,
    );
    prop_oneof![
        12 => push.prop_map(|(is_video, keyframe, bytes)| Step::Push { is_video, keyframe, bytes }),
        1 => Just(Step::Mark),
        1 => (1_u8..5).prop_map(Step::LeaveOut),
        4 => (0_usize..20_000).prop_map(Step::Fit),
        6 => (0_u8..8).prop_map(Step::Read),
    ]
}

/// Numbers every frame; readers check that what they miss is what they are informed of.
struct Checked {
    ring: Ring,
    published: i64,
    cursor: Cursor,
    /// The frame after the last one that the reader received.
    expected: Option<i64>,
}

impl Checked {
    fn read(&mut self) -> bool {
        let Some(read) = self.ring.read(&mut self.cursor) else {
            return false;
        };
        match read {
            Read::Skipped(frames) => {
                *self.expected.as_mut().unwrap() += frames as i64;
                let next = self.ring.read(&mut self.cursor);
                let Some(Read::Item(Item::Frame(frame, _))) = next else {
                    panic!("{next:?} after skipped frames");
                };
                assert!(frame.is_keyframe());
                self.receive(&frame);
            }
            Read::Item(Item::Frame(frame, _)) => self.receive(&frame),
            Read::Item(Item::Mark(_)) => {}
        }
        true
    }

    fn receive(&mut self, frame: &Frame) {
        let number = frame.decode.micros() / FRAME_US;
        match self.expected {
            Some(expected) => assert_eq!(number, expected),
            None => assert!(frame.is_keyframe(), "a reader began with {frame:?}"),
        }
        self.expected = Some(number + 1);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push {
                is_video,
                keyframe,
                bytes,
            } => {
                let mut frame = video(self.published, keyframe || !is_video, bytes);
                if !is_video {
                    frame.track = TrackKind::Audio;
                }
                self.published += 1;
                self.ring.push(Item::Frame(frame, heading()));
            }
            Step::Mark => self.ring.push(Item::Mark(Mark::Ended)),
            Step::LeaveOut(frames) => {
                self.published += i64::from(frames);
                self.ring.leave_out(u64::from(frames));
            }
            Step::Fit(bytes) => {
                self.ring.fit(bytes);
                assert!(self.ring.bytes() <= bytes);
            }
            Step::Read(items) => {
                for _ in 0..items {
                    self.read();
                }
            }
        }
    }
}

proptest! {
    /// Readers begin at a keyframe, receive every frame once and in order or are informed of how
    /// many they missed, and the ring knows its size.
    #[test]
    fn no_frame_is_missed_in_silence(steps in prop::collection::vec(step(), 1..200)) {
        let ring = Ring::default();
        let cursor = ring.cursor(false);
        let mut checked = Checked { ring, published: 0, cursor, expected: None };
        for step in &steps {
            checked.step(step);
            let ring = &checked.ring;
            let bytes: usize = ring.entries.iter().map(|entry| cost(&entry.item)).sum();
            prop_assert_eq!(bytes, ring.bytes());
            let keyframes = ring.entries.iter().zip(ring.oldest..).filter(|(entry, _)| {
                matches!(&entry.item, Item::Frame(frame, _) if frame.is_keyframe())
            });
            let keyframes: Vec<u64> = keyframes.map(|(_, number)| number).collect();
            prop_assert_eq!(&keyframes, &Vec::from(ring.keyframes.clone()));
            let first = ring.read(&mut ring.cursor(false));
            let may_begin = match &first {
                Some(Read::Item(Item::Frame(frame, _))) => frame.is_keyframe(),
                _ => keyframes.is_empty(),
            };
            prop_assert!(may_begin, "{:?}", first);
        }
        while checked.read() {}
        checked.step(&Step::Push { is_video: true, keyframe: true, bytes: 10 });
        while checked.read() {}
        prop_assert_eq!(checked.expected, Some(checked.published));
    }
}
