//! The cluster's certificate authority: a root certificate, and the certificates of nodes under it.

use super::TrustError;
use super::keys::{Key, PublicKey, hash_of};
use super::names::NodeUri;
use crate::model::KeyHash;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use uuid::Uuid;

/// How long a node's certificate is valid.
pub const CERTIFICATE_VALID: Duration = Duration::from_secs(30 * 86_400);

/// A certificate is valid from this long before it was signed: clocks of members differ.
const VALID_BEFORE: Duration = Duration::from_secs(86_400);

/// A root certificate and its private key. A root has no meaningful end: it is replaced by an
/// operator, not by a date that some clock may have wrong.
#[derive(Debug)]
pub struct Authority {
    cluster: Uuid,
    key: Key,
    root: CertificateDer<'static>,
}

impl Authority {
    /// A new authority for `cluster`.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn found(cluster: Uuid) -> Result<Self, TrustError> {
        let key = Key::generate()?;
        let root = root_params(cluster)?.self_signed(&key.0)?.der().clone();
        Ok(Self { cluster, key, root })
    }

    /// From its stored parts.
    ///
    /// # Errors
    /// The key is not that of the root.
    pub fn restore(
        cluster: Uuid,
        key: Key,
        root: CertificateDer<'static>,
    ) -> Result<Self, TrustError> {
        let unreadable = |why: String| TrustError::Unreadable {
            what: "the cluster's root certificate",
            why,
        };
        let parsed = webpki::EndEntityCert::try_from(&root)
            .map_err(|error| unreadable(error.to_string()))?;
        if hash_of(&parsed.subject_public_key_info()) != key.hash() {
            return Err(unreadable("the authority's key is not its own".to_owned()));
        }
        Ok(Self { cluster, key, root })
    }

    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The certificates for `node` whose public key is `key`: its own, valid for
    /// [`CERTIFICATE_VALID`] from `at`, and the root.
    ///
    /// # Errors
    /// The library refuses them.
    pub fn issue(
        &self,
        node: NodeId,
        key: &PublicKey,
        at: Timestamp,
    ) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let uri = NodeUri {
            cluster: self.cluster,
            node,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri.to_string().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let signed = since_epoch(at);
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + signed.saturating_sub(VALID_BEFORE);
        params.not_after = epoch + signed + CERTIFICATE_VALID;
        let issuer = Issuer::new(root_params(self.cluster)?, &self.key.0);
        let own = params.signed_by(key, &issuer)?.der().clone();
        Ok(vec![own, self.root.clone()])
    }
}

/// SHA-256 of a whole certificate, as `openssl x509 -fingerprint -sha256` shows it.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> KeyHash {
    hash_of(certificate)
}

fn root_params(cluster: Uuid) -> Result<CertificateParams, TrustError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Holdfast cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(2_199, 12, 31);
    Ok(params)
}

fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(at.micros()).unwrap_or(0))
}
