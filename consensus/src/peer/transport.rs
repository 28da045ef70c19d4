//! What a simulation puts in the place of the network.

use super::client::PeerError;

/// Carries one node's requests.
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Posts `body` to `path` at `addr`, with `secret` as bearer token; answers status and body.
    /// Whoever asks keeps the deadline.
    fn post(
        &self,
        addr: &str,
        path: &str,
        secret: &str,
        body: Vec<u8>,
    ) -> futures::future::BoxFuture<'static, Result<(u16, Vec<u8>), PeerError>>;
}
