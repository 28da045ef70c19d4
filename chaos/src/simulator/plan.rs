//! The plan of a seed: the site, how bad the world is, and which faults occur. Drawn once, at the
//! start.

use super::faults::Kind;
use holdfast_consensus::model::{CameraSpec, NodeSpec, Protection, Role};
use holdfast_storage::random::Random;
use std::time::Duration;

/// Selects a separate random stream for the newer parts of a plan.
pub(super) const MORE: u64 = 0x9e37_79b9_7f4a_7c15;

/// How faults follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// One at a time, with time to recover in between.
    Calm,
    /// A few at a time.
    Usual,
    /// One upon the other.
    Wild,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: u64,
    /// The last node votes and records nothing.
    pub(super) has_witness: bool,
    /// Failure domains; 0: every node fails alone.
    pub(super) domains: u64,
    pub(super) cameras: u32,
    /// One camera in so many is gapless; 0: none.
    pub(super) gapless_one_in: u32,
    /// Of each node.
    pub(super) capacity: u32,
    pub(super) frames_per_gop: u64,
    pub(super) dial_max: Duration,
    pub(super) delay_max: Duration,
    pub(super) flush_latency: Duration,
    pub(super) pace: Pace,
    /// How long faults are made.
    pub(super) unrest: Duration,
    pub(super) kinds: Vec<(Kind, u64)>,
    /// Faults that are not mended at the end.
    pub(super) lasting: usize,
    /// A camera ends each process that records it, and little else happens.
    pub(super) is_deadly: bool,
}

impl Plan {
    pub(super) fn new(random: &mut Random) -> Self {
        let nodes = *random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7]);
        let has_witness = nodes > 2 && random.one_in(4);
        let cameras = random.within(1..9) as u32;
        let is_ample = !random.one_in(4);
        Self {
            nodes,
            has_witness,
            domains: *random.pick(&[0, 0, 2, 3]),
            cameras,
            gapless_one_in: *random.pick(&[0, 1, 2, 3]),
            capacity: if is_ample {
                100
            } else {
                random.within(1..6) as u32
            },
            frames_per_gop: *random.pick(&[5, 5, 10, 20]),
            dial_max: Duration::from_millis(*random.pick(&[50, 200, 800])),
            delay_max: Duration::from_millis(*random.pick(&[1, 1, 5, 30, 100])),
            flush_latency: Duration::from_millis(*random.pick(&[5, 20, 100, 300])),
            pace: *random.pick(&[Pace::Calm, Pace::Usual, Pace::Usual, Pace::Wild]),
            unrest: Duration::from_secs(random.within(30..100)),
            kinds: kinds(random),
            lasting: random.below(3) as usize,
            is_deadly: false,
        }
    }

    /// Drawn from a stream of their own, so that a seed without these parts is the same run as
    /// before they existed.
    /// `is_deadly`: with cameras that end processes, whatever is drawn.
    pub(super) fn draw_more(&mut self, more: &mut Random, is_deadly: bool) {
        if more.one_in(4) {
            self.kinds.push((Kind::WrongClock, more.within(3..9)));
        }
        if more.one_in(5) {
            self.kinds.extend([(Kind::CameraOff, 5), (Kind::Drain, 5)]);
        }
        if more.one_in(5) {
            (self.pace, self.lasting) = (Pace::Usual, 0);
            self.kinds.push((Kind::PutBack, 12));
        }
        if more.one_in(6) || is_deadly {
            (self.is_deadly, self.lasting) = (true, 0);
            self.unrest = Duration::from_secs(more.within(60..120));
            self.kinds = vec![
                (Kind::Deadly, 6),
                (Kind::Drain, 1),
                (Kind::CameraUnseen, 1),
                (Kind::Drill, 1),
            ];
        }
    }

    pub(super) fn node_spec(&self, number: u64) -> NodeSpec {
        let is_witness = self.has_witness && number == self.nodes;
        let failure_domain = if self.domains == 0 {
            String::new()
        } else {
            format!("rack-{}", number % self.domains)
        };
        let name = format!("node-{number}");
        let spec = NodeSpec::new(
            &name,
            &format!("{name}.example:8481"),
            &format!("{name}.example:8480"),
        );
        NodeSpec {
            role: if is_witness {
                Role::Witness
            } else {
                Role::Recorder
            },
            failure_domain: failure_domain.parse().expect("valid"),
            camera_capacity: if is_witness { 0 } else { self.capacity },
            ..spec.expect("valid")
        }
    }

    pub(super) fn camera_spec(&self, number: u64, random: &mut Random) -> CameraSpec {
        let is_gapless = random.one_in(self.gapless_one_in);
        let spec = CameraSpec::new(
            &format!("camera-{number}"),
            &format!("rtsp://camera-{number}.example/main"),
        );
        CameraSpec {
            protection: if is_gapless {
                Protection::Gapless
            } else {
                Protection::Standard
            },
            priority: random.below(4) as u8,
            ..spec.expect("valid")
        }
    }
}

/// Each run leaves some kinds out, so that every kind has runs in which others do not hide it.
fn kinds(random: &mut Random) -> Vec<(Kind, u64)> {
    let all = Kind::ALL.iter().map(|kind| (*kind, random.within(1..6)));
    let some: Vec<_> = all
        .collect::<Vec<_>>()
        .into_iter()
        .filter(|_| !random.one_in(3))
        .collect();
    if some.is_empty() {
        vec![(Kind::Crash, 1)]
    } else {
        some
    }
}
