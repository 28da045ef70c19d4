//! Controls the faults of one camera, and returns the facts that tests compare with.

use crate::camera::Camera;
use crate::clip::Picture;
use crate::faults::{SdpKind, TimestampKind};
use crate::history::Sent;
use crate::oddity::Oddity;
use crate::sound::Sound;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A running camera. Cheap to clone. Faults apply to all of its sessions alike, from the next frame
/// or request on.
#[derive(Clone, Debug)]
pub struct CameraHandle {
    pub(crate) camera: Arc<Camera>,
}

impl CameraHandle {
    #[must_use]
    pub fn id(&self) -> u32 {
        self.camera.options.id
    }

    /// The camera's oddity, if it has one.
    #[must_use]
    pub fn oddity(&self) -> Option<Oddity> {
        self.camera.options.oddity
    }

    /// Whether the camera's oddity has spoiled this frame: a recording without it has lost nothing.
    #[must_use]
    pub fn is_hurt(&self, sequence: u64) -> bool {
        self.camera.history().is_hurt(sequence)
    }

    /// Stops the frames from now on; sessions stay open, and no sequence numbers are used.
    pub fn freeze(&self) {
        self.camera.faults().frozen = true;
    }

    pub fn resume(&self) {
        self.camera.faults().frozen = false;
    }

    /// The next `count` frames are captured and numbered, but not sent.
    pub fn drop_frames(&self, count: u32) {
        self.camera.faults().drop_frames = count;
    }

    /// The next `count` RTP packets of the video are not sent, but use their RTP sequence numbers.
    pub fn drop_packets(&self, count: u32) {
        self.camera.faults().drop_packets = count;
    }

    /// The packets of the next `count` frames reach UDP sessions with each pair swapped.
    pub fn reorder_frames(&self, count: u32) {
        self.camera.faults().reorder_frames = count;
    }

    /// The RTP payloads of the next `count` frames are random bytes.
    pub fn garbage_frames(&self, count: u32) {
        self.camera.faults().garbage_frames = count;
    }

    /// RTP timestamps of the video jump by `millis`, permanently. Capture times in the stamps stay
    /// true.
    pub fn jump_timestamps(&self, millis: i64) {
        self.camera.faults().timestamp_offset_90k += millis.saturating_mul(90);
    }

    pub fn set_timestamps(&self, kind: TimestampKind) {
        self.camera.faults().timestamps = kind;
    }

    /// Changes the parameter sets, with the next frame (a keyframe).
    pub fn set_picture(&self, picture: Picture) {
        self.camera.faults().picture = picture;
    }

    /// Sets the answer to DESCRIBE from now on.
    pub fn set_sdp(&self, kind: SdpKind) {
        self.camera.faults().sdp = kind;
    }

    /// Closes all sessions and their connections.
    pub fn kick(&self) {
        self.camera.kick();
    }

    /// Closes all sessions and answers 404 until switched on.
    pub fn switch_off(&self) {
        self.camera.faults().off = true;
        self.camera.kick();
    }

    pub fn switch_on(&self) {
        self.camera.faults().off = false;
    }

    /// Answers 503 to DESCRIBE and SETUP; playing sessions continue.
    pub fn refuse_sessions(&self, refuse: bool) {
        self.camera.faults().refusing = refuse;
    }

    /// Further SETUP requests beyond this number of sessions are answered with 453 (not enough
    /// bandwidth).
    pub fn limit_sessions(&self, sessions_max: Option<usize>) {
        self.camera.faults().sessions_max = sessions_max;
    }

    /// Delays the answer to DESCRIBE; not other requests or frames.
    pub fn delay_describe(&self, delay: Duration) {
        self.camera.faults().describe_delay = delay;
    }

    /// Number of DESCRIBE requests with a valid login so far, including those rejected for another
    /// reason.
    #[must_use]
    pub fn describes(&self) -> u64 {
        self.camera.describes()
    }

    /// Number of sessions set up at the moment.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.camera.sessions()
    }

    /// Number of sessions closed so far because they did not keep up.
    #[must_use]
    pub fn sessions_shed(&self) -> u64 {
        self.camera.sessions_shed()
    }

    /// The range of sequence numbers captured so far: from the oldest remembered to the next one.
    #[must_use]
    pub fn sent(&self) -> Range<u64> {
        let history = self.camera.history();
        history.first()..history.next()
    }

    /// When a frame was captured, in microseconds since the Unix epoch; `None` if it was not, or is
    /// no longer remembered.
    #[must_use]
    pub fn captured_us(&self, sequence: u64) -> Option<u64> {
        self.camera.history().captured_us(sequence)
    }

    /// The frames captured at or after `from_us` and before `to_us` (microseconds since the Unix
    /// epoch), for [`crate::count()`].
    #[must_use]
    pub fn sent_between(&self, from_us: u64, to_us: u64) -> Vec<Sent> {
        self.camera.history().between(from_us, to_us)
    }

    /// The frames of sound that begin at or after `from_us` and before `to_us` and were sent to any
    /// client; none if the camera's sound carries no stamps.
    #[must_use]
    pub fn sound_between(&self, from_us: u64, to_us: u64) -> Vec<Sent> {
        self.camera.sounds().between(from_us, to_us)
    }

    /// The codec of its sound, if that carries stamps.
    #[must_use]
    pub fn sound(&self) -> Option<Sound> {
        self.camera
            .hearing()
            .filter(|hearing| hearing.is_stamped())
            .map(|hearing| hearing.sound)
    }

    /// The frames of a range of sequence numbers, as far as they are remembered.
    #[must_use]
    pub fn sent_range(&self, sequences: Range<u64>) -> Vec<Sent> {
        let history = self.camera.history();
        let known = sequences.start.max(history.first())..sequences.end.min(history.next());
        known
            .filter_map(|sequence| {
                Some(Sent {
                    sequence,
                    captured_us: history.captured_us(sequence)?,
                })
            })
            .collect()
    }

    /// The current time of the camera's clock, in microseconds since the Unix epoch.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.camera.now_us()
    }
}
