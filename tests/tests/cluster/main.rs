//! Stories of three nodes: real processes, real cameras, and an oracle that counts every frame.

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod failover;
mod handover;
mod headroom;
mod quorum;
mod replacement;
mod rot;
mod witness;
