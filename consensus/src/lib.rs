//! The replicated state of the cluster: nodes, cameras, assignments, settings. Video never passes
//! through here.
//!
//! Pure, no clock and no I/O: [`model`] (the nouns), [`state`] (how commands change them),
//! [`observe`] (what nodes see of each other), [`decide`] (decisions from both). The edges:
//! [`peer`], openraft behind [`Consensus`], and how a node joins and recovers.

pub mod codec;
pub mod command;
mod consensus;
pub mod decide;
pub mod generation;
mod join;
pub mod model;
pub mod observe;
pub mod peer;
mod quorum;
mod raft;
pub mod recovery;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod state;
pub mod table;

pub use consensus::{
    Consensus, InitializeFailure, Leadership, OpenError, Options, Timing, WRITE_DEADLINE,
    WriteError,
};
pub use join::token::{JoinToken, NoToken};
pub use join::{Issued, JOIN_DEADLINE, JoinError, Joined, Newcomer};
pub use peer::auth::{OnAuthorised, SentBy, members_only};
pub use raft::identity;
pub use raft::membership::VOTERS_MAX;

/// A boxed future. The code of an `async fn` is generated in every crate that awaits it; boxing
/// keeps the code of openraft and of the HTTP client in this crate.
type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
