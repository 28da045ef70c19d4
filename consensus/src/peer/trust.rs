//! Who may speak for which node: mutual TLS 1.3 between members, without any other way in.
//!
//! Each node has a key pair, and a certificate of it that the cluster's [`authority`] signed and
//! that names the node ([`names`]). The replicated state holds the hash of each member's key: that
//! is the list of who is a member. [`roster`] decides by both, purely; [`verify`] asks it in each
//! handshake, in both directions. A newcomer presents the key of its invitation instead, and may
//! do nothing but join.

pub mod authority;
pub mod keys;
pub mod names;
pub mod roster;
mod verify;

use self::authority::Authority;
use self::keys::{Credentials, Key};
use self::names::NodeUri;
use self::roster::{Caller, Roster, Untrusted};
use self::verify::{Own, PeerVerifier};
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, OtherError, ServerConfig};
use std::io;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Keys, certificates or TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the system has no random numbers")]
    NoRandomness,
    #[error("{what} cannot be read: {why}")]
    Unreadable { what: &'static str, why: String },
}

/// A node's own credentials, and what it knows of others. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    shared: Arc<Shared>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// What handshakes look at; it changes while connections are open.
#[derive(Debug)]
struct Shared {
    own: RwLock<Arc<Own>>,
    roster: RwLock<Arc<Roster>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    /// # Errors
    /// See [`TrustError`].
    pub fn new(own: &Credentials, roster: Roster) -> Result<Self, TrustError> {
        let shared = Arc::new(Shared {
            own: RwLock::new(Arc::new(Own::new(own)?)),
            roster: RwLock::new(Arc::new(roster)),
        });
        let verifier = Arc::new(PeerVerifier(Arc::clone(&shared)));
        let mut as_client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&verifier) as _);
        // The name is only for our verifier, and a resumed session would not ask it.
        as_client.enable_sni = false;
        as_client.resumption = rustls::client::Resumption::disabled();
        let mut as_server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::clone(&verifier) as _)
            .with_cert_resolver(verifier);
        as_server.send_tls13_tickets = 0;
        Ok(Self {
            shared,
            client: Arc::new(as_client),
            server: Arc::new(as_server),
        })
    }

    /// From now on handshakes use these.
    ///
    /// # Errors
    /// See [`TrustError`]; the former ones stay.
    pub fn set_own(&self, own: &Credentials) -> Result<(), TrustError> {
        let own = Arc::new(Own::new(own)?);
        *self
            .shared
            .own
            .write()
            .unwrap_or_else(PoisonError::into_inner) = own;
        Ok(())
    }

    /// Handshakes and open connections are judged by this roster from now on.
    pub fn set_roster(&self, roster: Roster) {
        *self
            .shared
            .roster
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(roster);
    }

    /// Takes members and invitations from the state, unless nothing of them has changed. A state
    /// from before the node's first one changes nothing. `voters`: of Raft.
    pub(crate) fn follow(&self, state: &ClusterState, voters: &[NodeId]) {
        if state.cluster.is_none() {
            return;
        }
        let known = self.roster();
        let members = state.nodes.iter().map(|(id, node)| (id, node.key));
        let leaving = voters
            .iter()
            .filter(|node| state.has_left(**node))
            .filter_map(|node| Some((*node, *known.members.get(node)?)));
        let invited = state.invites.iter();
        let invited = invited.map(|(_, invite)| (invite.spec.key, invite.spec.expires));
        let next = Roster {
            members: members.chain(leaving).collect(),
            newest: state.newest_node(),
            invited: invited.collect(),
            ..Roster::clone(&known)
        };
        if next != *known {
            self.set_roster(next);
        }
    }

    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        self.shared.roster()
    }

    /// For the peer port: the handshake with a client, and who it is. A client without a
    /// certificate of this cluster is sent no byte but TLS's alert. The caller sets the deadline.
    ///
    /// # Errors
    /// It may not speak, or speaks something else.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(server::TlsStream<S>, Caller), HandshakeError> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        let stream = acceptor.accept(stream).await?;
        let caller = self.caller(stream.get_ref().1.peer_certificates().unwrap_or_default())?;
        Ok((stream, caller))
    }

    fn caller(&self, presented: &[CertificateDer<'_>]) -> Result<Caller, Untrusted> {
        let (own, rest) = presented.split_first().ok_or(Untrusted::NoCertificate)?;
        self.roster().caller(own, rest, UnixTime::now())
    }

    /// Makes `stream` a connection to `node`, or to any member if its id is not known.
    ///
    /// # Errors
    /// The handshake failed; nothing but it was sent.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        node: Option<NodeId>,
    ) -> Result<client::TlsStream<TcpStream>, HandshakeError> {
        let name = ServerName::try_from(names::expected(node)).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.client));
        Ok(connector.connect(name, stream).await?)
    }
}

/// Why a connection to or from a member did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("{0}")]
    Untrusted(#[from] Untrusted),
    /// The other side does not accept the own certificate.
    #[error("it refuses this node's certificate ({0:?})")]
    Refused(AlertDescription),
    #[error("no TLS handshake: {0}")]
    Tls(rustls::Error),
    #[error("no TLS handshake: {0}")]
    Io(io::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
            return Self::Io(error);
        };
        match tls {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
                match why.downcast_ref::<Untrusted>() {
                    Some(untrusted) => Self::Untrusted(untrusted.clone()),
                    None => Self::Tls(tls.clone()),
                }
            }
            rustls::Error::AlertReceived(alert) => Self::Refused(*alert),
            tls => Self::Tls(tls.clone()),
        }
    }
}

/// TLS's alert among the causes of an error. It may come after the handshake: a client has ended
/// its part before the server has looked at its certificate.
pub(crate) fn alert_in(error: &(dyn std::error::Error + 'static)) -> Option<AlertDescription> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
            return Some(*alert);
        }
        // What is inside an I/O error is not its source.
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

/// What the founder of a cluster makes: its own credentials, and the authority.
///
/// # Errors
/// See [`TrustError`].
pub fn found(name: NodeUri, at: Timestamp) -> Result<(Credentials, Authority), TrustError> {
    let (key, authority) = (Key::generate()?, Authority::found(name.cluster)?);
    let chain = authority.issue(name.node, &key.public(), at)?;
    Ok((Credentials { key, chain }, authority))
}

impl Shared {
    fn own(&self) -> Arc<Own> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&own)
    }

    fn roster(&self) -> Arc<Roster> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&roster)
    }
}

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

#[cfg(test)]
impl Trust {
    /// A node that knows no other.
    pub(crate) fn alone(cluster: uuid::Uuid, node: NodeId) -> (Self, Arc<Authority>) {
        let (own, authority) = found(NodeUri { cluster, node }, Timestamp(0)).unwrap();
        let roster = Roster::of(cluster, vec![authority.root().clone()]);
        (Self::new(&own, roster).unwrap(), Arc::new(authority))
    }
}

#[cfg(test)]
mod tests;
