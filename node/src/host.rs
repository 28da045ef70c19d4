//! The process: a node that waits for a cluster, or a member of one with all its parts.

pub(crate) mod descriptors;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod member;
pub(crate) mod part;
pub mod preflight;
pub(crate) mod process;
pub(crate) mod recovery;
