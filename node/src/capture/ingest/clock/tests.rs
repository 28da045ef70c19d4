//! The guarantees of the clock, on scripted and on random cameras and networks.

mod honest;
mod lies;
mod mixtures;
mod networks;
mod reported;
mod world;

use super::*;

const START_US: i64 = 1_795_341_600_000_000;
const RATE: u32 = 90_000;
const SECOND_US: i64 = 1_000_000;

fn clock() -> TrackClock {
    TrackClock::new(RATE, Timestamp::MIN)
}

/// A frame of which nothing is known but when it came.
fn arrived(rtp: i64, at: Timestamp) -> Arrived {
    Arrived {
        rtp,
        at,
        bytes: 0,
        sent: None,
        is_held: false,
    }
}
