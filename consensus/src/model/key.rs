//! Public keys, as the state names them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// SHA-256 of a public key in the form of a certificate's SubjectPublicKeyInfo (RFC 5280,
/// 4.1.2.7).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Display for KeyHash {
    /// Lower case hexadecimal, as `openssl` prints digests.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}
