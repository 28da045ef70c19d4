//! The simulation's replacement for the network.

use super::client::PeerError;

/// Carries one node's requests.
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Posts `body` to `path` at `addr`; returns status and body. The caller enforces the deadline.
    fn post(
        &self,
        addr: &str,
        path: &str,
        body: Vec<u8>,
    ) -> futures::future::BoxFuture<'static, Result<(u16, Vec<u8>), PeerError>>;
}
