//! Calls to other members: HTTP POST with a body that names its version, over pooled connections,
//! and a deadline for each call.

use super::connection::{Answer, Dialer};
use super::pool::Pool;
use crate::Boxed;
use crate::codec::{self, CodecError, Finalized, Format};
use bytes::Bytes;
use holdfast_storage::ids::NodeId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any answer of a member (a snapshot is sent in a request).
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a call to a member failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its machine answers that nothing listens there: the process is gone. Nothing was sent.
    #[error("{addr} refused the connection: no node listens there")]
    Refused { addr: String },
    /// No connection (no route, name not found, connection timed out). Nothing was sent.
    #[error("{addr} cannot be reached: {why}")]
    Unreachable { addr: String, why: String },
    /// The other end may not speak for the member that was called. Nothing was sent.
    #[error("{addr} is not the node that was called: {why}")]
    Untrusted { addr: String, why: String },
    /// It does not accept this node. The request was not read.
    #[error("{addr} refuses this node: {why}")]
    Refuses { addr: String, why: String },
    /// No answer in time; the request may have been carried out.
    #[error("{addr} did not answer within {deadline:?}")]
    Timeout { addr: String, deadline: Duration },
    /// The connection broke; the request may have been carried out.
    #[error("the connection to {addr} broke: {why}")]
    Closed { addr: String, why: String },
    #[error("{addr} answered {status}: {message}")]
    Rejected {
        addr: String,
        status: u16,
        message: String,
    },
    /// The two nodes use different versions.
    #[error("{addr} answered what cannot be read: {why}")]
    Garbled { addr: String, why: String },
}

impl PeerError {
    /// Whether the request was certainly not executed.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::Unreachable { .. }
                | Self::Untrusted { .. }
                | Self::Refuses { .. }
        )
    }
}

/// The member that a call is for.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// `None`: whichever member has the address.
    pub node: Option<NodeId>,
    /// `host:port`.
    pub addr: &'a str,
}

/// Cheap to clone; connections are pooled and shared.
#[derive(Clone, Debug)]
pub struct PeerClient {
    way: Way,
    /// The member's, for the requests that are encoded here.
    finalized: Finalized,
}

/// Carries requests.
#[derive(Clone, Debug)]
enum Way {
    Network(Dialer, Arc<Pool>),
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn super::transport::Transport>),
}

impl PeerClient {
    #[must_use]
    pub fn new(dialer: Dialer, finalized: Finalized) -> Self {
        Self {
            way: Way::Network(dialer, Arc::default()),
            finalized,
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn over(
        transport: Arc<dyn super::transport::Transport>,
        finalized: Finalized,
    ) -> Self {
        Self {
            way: Way::Simulated(transport),
            finalized,
        }
    }

    /// Posts `request` to `path` at `member` and reads the answer, all within `deadline`.
    ///
    /// # Errors
    /// See [`PeerError`]; [`PeerError::is_unsent`] shows whether trying again is safe.
    pub async fn call<Req: Format, Resp: Format>(
        &self,
        member: Member<'_>,
        path: &str,
        request: &Req,
        deadline: Duration,
    ) -> Result<Resp, PeerError> {
        let answer = self.fetch(member, path, request, deadline).await?;
        codec::decode(&answer).map_err(|error| garbled(member.addr, error))
    }

    /// Like [`Self::call`], for a request that is already encoded.
    pub(crate) async fn call_encoded<Resp: Format>(
        &self,
        member: Member<'_>,
        path: &str,
        request: Vec<u8>,
        deadline: Duration,
    ) -> Result<Resp, PeerError> {
        let answer = self.fetch_encoded(member, path, request, deadline).await?;
        codec::decode(&answer).map_err(|error| garbled(member.addr, error))
    }

    /// Like [`Self::call`], for an answer of raw bytes.
    ///
    /// # Errors
    /// Like [`Self::call`].
    pub async fn fetch<Req: Format>(
        &self,
        member: Member<'_>,
        path: &str,
        request: &Req,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let body =
            codec::encode(request, &self.finalized).map_err(|error| garbled(member.addr, error))?;
        self.fetch_encoded(member, path, body, deadline).await
    }

    /// Like [`Self::fetch`], for a request that is already encoded.
    pub(crate) async fn fetch_encoded(
        &self,
        member: Member<'_>,
        path: &str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let exchange: Boxed<'_, _> = Box::pin(self.post(member, path, Bytes::from(body)));
        match tokio::time::timeout(deadline, exchange).await {
            Ok(answer) => answer.map(Bytes::from),
            Err(_) => Err(PeerError::Timeout {
                addr: member.addr.to_owned(),
                deadline,
            }),
        }
    }

    async fn post(
        &self,
        member: Member<'_>,
        path: &str,
        body: Bytes,
    ) -> Result<Vec<u8>, PeerError> {
        let (status, answer) = match &self.way {
            Way::Network(dialer, pool) => post_over(dialer, pool, member, path, body).await?,
            #[cfg(feature = "simulation")]
            Way::Simulated(transport) => transport.post(member.addr, path, body.to_vec()).await?,
        };
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let message = String::from_utf8_lossy(&answer).into_owned();
        Err(PeerError::Rejected {
            addr: member.addr.to_owned(),
            status,
            message,
        })
    }
}

/// Over a connection that is open already, or a new one. A peer may close one that was idle at the
/// same moment.
#[expect(
    clippy::disallowed_methods,
    reason = "an edge: how long a connection was idle decides only whether it is reused"
)]
async fn post_over(
    dialer: &Dialer,
    pool: &Pool,
    member: Member<'_>,
    path: &str,
    body: Bytes,
) -> Result<Answer, PeerError> {
    loop {
        let pooled = pool.take(member, Instant::now());
        let is_pooled = pooled.is_some();
        let mut connection = match pooled {
            Some(connection) => connection,
            None => dialer.open(member, || {}).await?,
        };
        let exchanged = connection
            .exchange(path, body.clone(), ANSWER_BYTES_MAX)
            .await;
        match exchanged {
            Ok(answer) => {
                pool.put(member, connection, Instant::now());
                return Ok(answer);
            }
            Err(unanswered) if is_pooled && unanswered.is_unsent => {}
            Err(unanswered) => return Err(unanswered.error),
        }
    }
}

fn garbled(addr: &str, error: CodecError) -> PeerError {
    PeerError::Garbled {
        addr: addr.to_owned(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
