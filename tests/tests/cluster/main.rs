//! Scenarios with three nodes: real processes, real cameras, and an oracle that counts every frame.

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod deleted;
mod disaster;
mod drill;
mod evidence;
mod failover;
mod gapless;
mod handover;
mod headroom;
mod leadership;
mod linearizable;
mod non_voter;
mod not_recorded;
mod quorum;
mod removed;
mod replacement;
mod rot;
mod steady;
mod strangers;
mod witness;
