//! What the cluster agrees on: nodes, cameras, assignments, settings. Video never passes through here.
//!
//! Pure, no clock and no I/O: [`state`] (what a command does), [`liveness`] (who is alive), [`clocks`] (how far their clocks are off), [`placement`] (who should record what),
//! [`headroom`] (what the next failure would cost), [`drill`] (whether the next failover would work), [`suspects`] (which cameras nodes may have died of), [`steward`] (what the leader does about it), [`desired`] (what a node should be recording). The world's edge: [`Consensus`],
//! over openraft.

mod auth;
pub mod bitrate;
pub mod clocks;
pub mod codec;
pub mod command;
mod consensus;
pub mod desired;
pub mod drill;
pub mod generation;
pub mod headroom;
pub mod heartbeat;
pub mod identity;
mod join;
pub mod liveness;
mod membership;
pub mod model;
pub mod peer;
pub mod placement;
mod quorum;
mod raft;
pub mod recovery;
pub mod reports;
mod routes;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod state;
pub mod steward;
pub mod suspects;
pub mod table;

pub use auth::{OnAuthorised, peer_auth};
pub use consensus::{Consensus, InitializeFailure, Leadership, OpenError, Options, Timing, WRITE_DEADLINE, WriteError};
pub use join::{JOIN_DEADLINE, JoinError, Joined, cluster_of, join};
pub use membership::VOTERS_MAX;

/// A future behind a pointer. The code of an `async fn` is generated in every crate that awaits it; this keeps that of openraft and of the
/// HTTP client in this crate.
type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
