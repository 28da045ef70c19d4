//! Key pairs of nodes and invitations, and their hashes.

use super::TrustError;
use crate::model::KeyHash;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
pub use rustls::pki_types::CertificateDer;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use webpki::EndEntityCert;

/// An Ed25519 private key without its public key (RFC 8410, 7), up to the 32 bytes of the key.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The length of an uncompressed point on P-256 (SEC 1, 2.3.3).
const P256_POINT_BYTES: usize = 65;

/// A key pair. It never prints itself.
pub struct Key(pub(super) KeyPair);

impl Key {
    /// A new key on P-256.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self, TrustError> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// The Ed25519 key of an invitation.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, TrustError> {
        let pkcs8 = PrivatePkcs8KeyDer::from([&ED25519_PKCS8[..], seed].concat());
        Ok(Self(KeyPair::from_pkcs8_der_and_sign_algo(
            &pkcs8,
            &PKCS_ED25519,
        )?))
    }

    /// # Errors
    /// The bytes are no PKCS#8 key on P-256.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, TrustError> {
        let pkcs8 = PrivatePkcs8KeyDer::from(der.to_vec());
        Ok(Self(KeyPair::from_pkcs8_der_and_sign_algo(
            &pkcs8,
            &PKCS_ECDSA_P256_SHA256,
        )?))
    }

    /// PKCS#8 (RFC 5958). It is the secret itself.
    #[must_use]
    pub fn to_pkcs8(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    #[must_use]
    pub fn hash(&self) -> KeyHash {
        hash_of(&self.0.subject_public_key_info())
    }

    /// The public half of a key on P-256.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.der_bytes().to_vec())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.hash())
    }
}

/// The public key of a node: an uncompressed point on P-256.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        hash_of(&self.subject_public_key_info())
    }
}

impl TryFrom<Vec<u8>> for PublicKey {
    type Error = &'static str;

    fn try_from(point: Vec<u8>) -> Result<Self, Self::Error> {
        let is_point = point.len() == P256_POINT_BYTES && point.first() == Some(&4);
        is_point
            .then_some(Self(point))
            .ok_or("a public key is an uncompressed point on P-256, 65 bytes")
    }
}

impl From<PublicKey> for Vec<u8> {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A key, and the certificates that prove whose it is: its own first, then the root above it.
#[derive(Debug)]
pub struct Credentials {
    pub key: Key,
    pub chain: Vec<CertificateDer<'static>>,
}

impl Credentials {
    /// For a newcomer: the certificate says nothing, the key is what was invited.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn of_invitation(key: Key) -> Result<Self, TrustError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.self_signed(&key.0)?;
        Ok(Self {
            key,
            chain: vec![certificate.der().clone()],
        })
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.to_pkcs8()))
    }
}

/// For [`Key::from_seed`].
///
/// # Errors
/// The system has no randomness.
pub fn random_seed() -> Result<[u8; 32], TrustError> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| TrustError::NoRandomness)?;
    Ok(seed)
}

/// The key of a certificate, if it can be read.
#[must_use]
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<KeyHash> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    Some(hash_of(&parsed.subject_public_key_info()))
}

pub(super) fn hash_of(subject_public_key_info: &[u8]) -> KeyHash {
    let mut hash = KeyHash::default();
    hash.0
        .copy_from_slice(digest(&SHA256, subject_public_key_info).as_ref());
    hash
}
