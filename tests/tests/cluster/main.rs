//! Stories of three nodes: real processes, real cameras, and an oracle that counts every frame.

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod evidence;
mod failover;
mod gapless;
mod handover;
mod linearizable;
mod non_voter;
mod quorum;
mod rot;
mod steady;
