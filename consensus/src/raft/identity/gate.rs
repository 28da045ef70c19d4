//! When a started node may take part: once every peer that can be reached has reported what it has
//! seen of it. Pure.
//!
//! The wait is short: a peer that cannot be reached counts as asked after one attempt. So a start
//! is delayed by one round trip, or by the deadline of one request if a peer is silent; recording
//! does not wait.

/// The state of the request to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// It has admitted this process.
    pub(crate) has_admitted: bool,
    /// An attempt failed that began after the first peer had admitted this process.
    pub(crate) failed_after_first: bool,
    /// Any attempt failed.
    pub(crate) failed: bool,
}

/// `is_only_voter`: this node decides alone. Any other node can do nothing without a peer anyway,
/// so it waits for the first: until then its own network may not be up, and a failed attempt says
/// nothing.
pub(crate) fn opens(peers: &[Asked], is_only_voter: bool) -> bool {
    let any = peers.iter().any(|peer| peer.has_admitted);
    let is_settled = |peer: &Asked| {
        let in_vain = if any {
            peer.failed_after_first
        } else {
            peer.failed
        };
        peer.has_admitted || in_vain
    };
    peers.is_empty() || ((any || is_only_voter) && peers.iter().all(is_settled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMITTED: Asked = Asked {
        has_admitted: true,
        failed_after_first: false,
        failed: false,
    };
    const FAILED: Asked = Asked {
        has_admitted: false,
        failed_after_first: false,
        failed: true,
    };
    const FAILED_LATE: Asked = Asked {
        has_admitted: false,
        failed_after_first: true,
        failed: true,
    };
    const OPEN: Asked = Asked {
        has_admitted: false,
        failed_after_first: false,
        failed: false,
    };

    #[test]
    fn everyone_who_can_be_reached_is_asked_first() {
        assert!(opens(&[], false), "a cluster of one");
        assert!(opens(&[ADMITTED, ADMITTED], false));
        assert!(!opens(&[ADMITTED, OPEN], false));
        assert!(opens(&[ADMITTED, FAILED_LATE], false), "one is dead");
    }

    #[test]
    fn what_failed_before_anyone_answered_says_nothing() {
        assert!(
            !opens(&[FAILED, FAILED], false),
            "its own network may not be up yet"
        );
        assert!(!opens(&[ADMITTED, FAILED], false));
        assert!(
            opens(&[FAILED, FAILED], true),
            "it decides alone, and must not wait for one that does not vote"
        );
        assert!(!opens(&[FAILED, OPEN], true));
    }
}
