//! The recordings of all nodes as one: fetched from peers, merged, explained.

pub(crate) mod cluster_footage;
pub mod explain;
pub(crate) mod former;
pub(crate) mod peer_reads;
pub(crate) mod retention;
pub(crate) mod scrub;
pub(crate) mod timeline;
