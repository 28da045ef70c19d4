//! The current faults of a camera, and their effect on its next frame.

use crate::clip::Picture;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The description that a camera gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SdpKind {
    #[default]
    Honest,
    /// No valid description at all: numbers out of range, bytes that are not text.
    Absurd,
    /// Audio only.
    NoVideo,
    Mjpeg,
    Vp8,
}

/// How a camera's RTP timestamps follow its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampKind {
    #[default]
    Honest,
    /// Each frame has the same timestamp.
    Stuck,
    /// Each frame has a random timestamp.
    Random,
    /// Time runs backwards.
    Backward,
}

/// Faults of one camera. Each frame or packet that a count spoils decrements it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) frozen: bool,
    pub(crate) drop_frames: u32,
    pub(crate) drop_packets: u32,
    pub(crate) reorder_frames: u32,
    pub(crate) garbage_frames: u32,
    /// Added to every RTP timestamp, in ticks of the 90 kHz clock.
    pub(crate) timestamp_offset_90k: i64,
    pub(crate) timestamps: TimestampKind,
    pub(crate) picture: Picture,
    /// Answers 404.
    pub(crate) off: bool,
    /// Answers 503.
    pub(crate) refusing: bool,
    pub(crate) sessions_max: Option<usize>,
    pub(crate) sdp: SdpKind,
    /// Delay of the answer to DESCRIBE.
    pub(crate) describe_delay: Duration,
}

/// How to treat the frame that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlan {
    pub(crate) picture: Picture,
    /// The frame is captured and numbered, but not sent.
    pub(crate) dropped: bool,
    pub(crate) garbage: bool,
    pub(crate) reordered: bool,
    pub(crate) packets_dropped_max: u32,
    pub(crate) timestamps: TimestampKind,
    pub(crate) timestamp_offset_90k: i64,
}

impl Faults {
    /// The plan for the frame that is due; `None` while frozen. Decrements the counts of frames.
    pub(crate) fn plan(&mut self) -> Option<FramePlan> {
        if self.frozen {
            return None;
        }
        let dropped = take_one(&mut self.drop_frames);
        Some(FramePlan {
            picture: self.picture,
            dropped,
            garbage: !dropped && take_one(&mut self.garbage_frames),
            reordered: !dropped && take_one(&mut self.reorder_frames),
            packets_dropped_max: if dropped { 0 } else { self.drop_packets },
            timestamps: self.timestamps,
            timestamp_offset_90k: self.timestamp_offset_90k,
        })
    }
}

fn take_one(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_camera_has_no_frames_and_keeps_its_other_faults() {
        let mut faults = Faults {
            frozen: true,
            drop_frames: 1,
            ..Faults::default()
        };
        assert_eq!(faults.plan(), None);
        faults.frozen = false;
        assert!(faults.plan().unwrap().dropped);
        assert!(!faults.plan().unwrap().dropped);
    }

    #[test]
    fn a_dropped_frame_uses_up_no_other_fault() {
        let mut faults = Faults {
            drop_frames: 1,
            garbage_frames: 1,
            reorder_frames: 1,
            ..Faults::default()
        };
        let first = faults.plan().unwrap();
        assert!(first.dropped && !first.garbage && !first.reordered);
        let second = faults.plan().unwrap();
        assert!(!second.dropped && second.garbage && second.reordered);
    }
}
