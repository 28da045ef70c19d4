//! A session that sends frames of video but no access point. Pure.

use crate::capture::ingest::media::Undecodable;
use holdfast_storage::chunk::GapCause;
use std::time::{Duration, Instant};

/// After this long it is reported.
const SAID_AFTER: Duration = Duration::from_secs(3);
/// After this long recording begins at any frame: footage that decoders must conceal is better than
/// none.
const BEGINS_AFTER: Duration = Duration::from_secs(30);

/// Since when it does so, and why, if known.
#[derive(Clone, Debug, Default)]
pub(super) struct Awaited {
    since: Option<Instant>,
    undecodable: Option<Undecodable>,
}

impl Awaited {
    /// A frame without an access point came at `at`. Returns whether to begin at it all the same.
    pub(super) fn frame(&mut self, at: Instant) -> bool {
        at.saturating_duration_since(*self.since.get_or_insert(at)) >= BEGINS_AFTER
    }

    /// Sets why the session's frames cannot be decoded.
    pub(super) fn set_undecodable(&mut self, why: Option<&Undecodable>) {
        if self.undecodable.as_ref() != why {
            self.undecodable = why.cloned();
        }
    }

    /// The gap cause and the message for operators, once it takes long.
    pub(super) fn message(&self, now: Instant) -> Option<(GapCause, String)> {
        let waited = now.saturating_duration_since(self.since?);
        if waited < SAID_AFTER {
            return None;
        }
        let seconds = waited.as_secs();
        Some(match &self.undecodable {
            Some(why) => (
                why.gap_cause(),
                format!("the camera sends frames that cannot be decoded, for {seconds} s: {why}"),
            ),
            None => (
                GapCause::AwaitsKeyframe,
                format!(
                    "the camera sends frames, and none to begin at for {seconds} s: it waits for a \
                     keyframe; set the camera to send one every few seconds"
                ),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_after_three_seconds_and_ends_after_thirty() {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as an origin"
        )]
        let origin = Instant::now();
        let at = |seconds| origin + Duration::from_secs(seconds);
        let mut awaited = Awaited::default();
        assert_eq!(awaited.message(at(60)), None, "no frame came");
        assert!(!awaited.frame(origin));
        assert_eq!(awaited.message(at(2)), None);
        let said = awaited.message(at(3)).unwrap();
        assert!(said.0 == GapCause::AwaitsKeyframe && said.1.contains("3 s"));
        assert!(!awaited.frame(at(29)) && awaited.frame(at(30)));
    }

    #[test]
    fn what_cannot_be_decoded_is_said_with_what_to_do() {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as an origin"
        )]
        let origin = Instant::now();
        let said = |why: Undecodable| {
            let mut awaited = Awaited::default();
            awaited.frame(origin);
            awaited.set_undecodable(Some(&why));
            awaited.message(origin + SAID_AFTER).unwrap()
        };
        let (cause, message) = said(Undecodable::Missing("sequence parameter set (SPS)"));
        assert_eq!(cause, GapCause::AwaitsKeyframe);
        assert!(message.ends_with(
            "no sequence parameter set (SPS) was sent; set the camera to send its parameter sets \
             with every keyframe"
        ));
        let (cause, message) = said(Undecodable::Unusable(
            "its parameter sets cannot be used: x".to_owned(),
        ));
        assert_eq!(cause, GapCause::CameraProtocol);
        assert!(
            message.contains("cannot be used: x; set the camera to another"),
            "{message}"
        );
    }
}
