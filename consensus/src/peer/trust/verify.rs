//! rustls' questions in a handshake, answered by the roster.

use super::keys::Credentials;
use super::roster::{Caller, Untrusted};
use super::{Shared, TrustError, names, provider};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use std::sync::Arc;

/// The own certificate, ready to sign handshakes.
#[derive(Debug)]
pub(super) struct Own(Arc<CertifiedKey>);

impl Own {
    pub(super) fn new(credentials: &Credentials) -> Result<Self, TrustError> {
        let key = CertifiedKey::from_der(
            credentials.chain.clone(),
            credentials.private_key(),
            &provider(),
        )?;
        Ok(Self(Arc::new(key)))
    }
}

#[derive(Debug)]
pub(super) struct PeerVerifier(pub(super) Arc<Shared>);

fn refused(why: Untrusted) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(expected) = names::parse_expected(&server_name.to_str()) else {
            return Err(Error::General(format!("{server_name:?} names no node")));
        };
        let found = self
            .0
            .roster()
            .caller(end_entity, intermediates, now)
            .map_err(refused)?;
        match (found, expected) {
            (Caller::Member(_) | Caller::Newer(_), None) => Ok(ServerCertVerified::assertion()),
            (Caller::Member(node) | Caller::Newer(node), Some(expected)) if node == expected => {
                Ok(ServerCertVerified::assertion())
            }
            (Caller::Member(found) | Caller::Newer(found), Some(dialled)) => {
                Err(refused(Untrusted::Misdirected { dialled, found }))
            }
            (Caller::Former(node), _) => Err(refused(Untrusted::NoMember(node))),
            (Caller::Invited(_), _) => Err(refused(Untrusted::Nameless)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0
            .roster()
            .caller(end_entity, intermediates, now)
            .map(|_| ClientCertVerified::assertion())
            .map_err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

impl ResolvesServerCert for PeerVerifier {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.own().0))
    }
}

impl ResolvesClientCert for PeerVerifier {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.own().0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
