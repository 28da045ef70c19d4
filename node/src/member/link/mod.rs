//! Links between nodes: each node keeps a connection to every other member and sends its heartbeat
//! over it (over a few more while answers are late).
//!
//! The connection itself is evidence: if it closes and the reconnect is refused, the peer's process
//! is gone; that is known within milliseconds instead of after a silence.

mod outbound;
mod routes;

pub use outbound::{Links, LinksOptions};
pub use routes::heartbeat_routes;

use holdfast_consensus::observe::clocks::Sample;
use holdfast_consensus::observe::heartbeat::{Audience, Heartbeat};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;

/// Reads the wall clock.
pub type Now = fn() -> Timestamp;

/// The next heartbeat, and how much of it each peer gets.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub heartbeat: Heartbeat,
    pub audience: Audience,
}

/// Path of the heartbeat POST on the peer port; the body is a [`Heartbeat`] as
/// [`holdfast_consensus::identity::Identity`] seals it, the
/// answer a [`holdfast_consensus::observe::clocks::Heard`].
pub(crate) const HEARTBEAT_PATH: &str = "/link/heartbeat";

/// Events that may wait for the pilot; beyond that senders wait, which slows heartbeats instead of
/// losing evidence.
pub const EVENTS_MAX: usize = 1024;

/// What a link has seen of a peer.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    Heartbeat(Heartbeat),
    /// A connection to the peer's address was refused: nothing listens there.
    Refused(NodeId),
    /// The peer answered a heartbeat with what its clock shows.
    Answered(NodeId, Sample),
}
