//! A session that sends frames of video, and none to begin at. Pure.

use std::time::{Duration, Instant};

/// After this long it is said.
const SAID_AFTER: Duration = Duration::from_secs(3);
/// After this long recording begins at any frame: footage that decoders must conceal is better than none.
const BEGINS_AFTER: Duration = Duration::from_secs(30);

/// Since when it does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Awaited(Option<Instant>);

impl Awaited {
    /// A frame came at `at` that is none to begin at. Whether to begin at it all the same.
    pub(super) fn frame(&mut self, at: Instant) -> bool {
        at.saturating_duration_since(*self.0.get_or_insert(at)) >= BEGINS_AFTER
    }

    /// What to say of it, once it takes long.
    pub(super) fn message(self, now: Instant) -> Option<String> {
        let waited = now.saturating_duration_since(self.0?);
        (waited >= SAID_AFTER).then(|| {
            let seconds = waited.as_secs();
            format!(
                "the camera sends frames, and none to begin at for {seconds} s: it waits for a keyframe; set the camera \
                 to send one every few seconds"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_after_three_seconds_and_ends_after_thirty() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as an origin")]
        let origin = Instant::now();
        let at = |seconds| origin + Duration::from_secs(seconds);
        let mut awaited = Awaited::default();
        assert_eq!(awaited.message(at(60)), None, "no frame came");
        assert!(!awaited.frame(origin));
        assert_eq!(awaited.message(at(2)), None);
        assert!(awaited.message(at(3)).is_some_and(|message| message.contains("3 s")));
        assert!(!awaited.frame(at(29)) && awaited.frame(at(30)));
    }
}
