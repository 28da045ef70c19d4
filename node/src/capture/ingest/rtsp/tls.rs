//! TLS towards cameras (`rtsps://`): by the system's certificate authorities, by a pinned
//! certificate, or unchecked.

use holdfast_consensus::model::{Fingerprint, Tls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::sync::{Arc, OnceLock};

/// The configuration for connections to one camera.
pub(crate) fn config(tls: Tls) -> Arc<ClientConfig> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    match tls {
        Tls::System => Arc::clone(SYSTEM.get_or_init(|| with(system_verifier()))),
        Tls::Pinned(Fingerprint(digest)) => with(Arc::new(OwnWord::Pinned(digest))),
        Tls::Insecure => with(Arc::new(OwnWord::Any)),
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

fn with(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let versions =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    // The provider that is built in has cipher suites for both.
    let Ok(builder) = versions else {
        unreachable!("no cipher suites for TLS 1.2 and 1.3")
    };
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config)
}

/// If no authority can be read, it refuses every certificate.
fn system_verifier() -> Arc<dyn ServerCertVerifier> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, "read the system's certificate authorities");
    match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build() {
        Ok(verifier) => verifier,
        Err(error) => {
            tracing::warn!(
                %error,
                "the system has no certificate authorities: pin the certificates of rtsps:// \
                 cameras"
            );
            Arc::new(OwnWord::Nothing)
        }
    }
}

/// Accepts a certificate by this rule, regardless of its name, dates and authority.
#[derive(Debug)]
enum OwnWord {
    /// The one with this SHA-256.
    Pinned([u8; 32]),
    Any,
    Nothing,
}

impl ServerCertVerifier for OwnWord {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let sha256 = || ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, end_entity);
        let refused = match self {
            Self::Any => return Ok(ServerCertVerified::assertion()),
            Self::Pinned(pinned) if sha256().as_ref() == pinned => {
                return Ok(ServerCertVerified::assertion());
            }
            Self::Pinned(_) => CertificateError::ApplicationVerificationFailure,
            Self::Nothing => CertificateError::UnknownIssuer,
        };
        Err(Error::InvalidCertificate(refused))
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
