//! What tests need to prove a cluster.
