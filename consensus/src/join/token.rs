//! The token of an invitation: all that a newcomer needs to find and to recognise the cluster, and
//! the key that it was invited with.

use crate::codec::{self, Finalized, Format, first_version};
use crate::model::{HostPort, KeyHash};
use crate::peer::trust::TrustError;
use crate::peer::trust::keys::{Key, random_seed};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What every token begins with, so that it is recognised where it leaks.
const PREFIX: &str = "hfjoin_";
/// Addresses of members in a token.
const TOKEN_ADDRESSES_MAX: usize = 5;
/// Longer than any token, in characters.
const TOKEN_CHARS_MAX: usize = 4_096;

/// Only `Display` shows the secret in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Peer addresses of members: at least one.
    pub addresses: Vec<HostPort>,
    /// The fingerprint of the root of the cluster's authority: the newcomer sends nothing to a node
    /// that is not under it.
    pub root: KeyHash,
    seed: [u8; 32],
}

first_version!(JoinToken => "a token to join");

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token to join ({0}); copy it whole, as `holdfast node invite` printed it")]
pub struct NoToken(String);

impl JoinToken {
    /// A token with a new key. At most [`TOKEN_ADDRESSES_MAX`] of the addresses are used.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(mut addresses: Vec<HostPort>, root: KeyHash) -> Result<Self, TrustError> {
        addresses.truncate(TOKEN_ADDRESSES_MAX);
        Ok(Self {
            addresses,
            root,
            seed: random_seed()?,
        })
    }

    /// The key that was invited.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn key(&self) -> Result<Key, TrustError> {
        Key::from_seed(&self.seed)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = codec::encode(self, &Finalized::default()).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("addresses", &self.addresses)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let no_token = |why: &dyn fmt::Display| NoToken(why.to_string());
        let text = text.trim();
        if text.len() > TOKEN_CHARS_MAX {
            return Err(no_token(&"it is too long"));
        }
        let encoded = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| no_token(&format!("it does not begin with {PREFIX}")))?;
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|error| no_token(&error))?;
        let token: Self = codec::decode(&bytes).map_err(|error| no_token(&error))?;
        if token.addresses.is_empty() {
            return Err(no_token(&format!("{} names no address", Self::NAME)));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_from_its_text_and_does_not_print_its_secret() {
        let addresses = (1..9).map(|n| format!("10.0.0.{n}:8481").parse().unwrap());
        let token = JoinToken::new(addresses.collect(), KeyHash([3; 32])).unwrap();
        assert_eq!(token.addresses.len(), TOKEN_ADDRESSES_MAX);
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        let printed = format!("{token:?}");
        assert!(
            printed.contains("10.0.0.1:8481") && !printed.contains("seed"),
            "{printed}"
        );
        let other = JoinToken::new(token.addresses.clone(), token.root).unwrap();
        assert_ne!(other.key().unwrap().hash(), token.key().unwrap().hash());
    }

    #[test]
    fn what_is_no_token_is_refused_in_clear_words() {
        let token = JoinToken::new(vec!["n1:1".parse().unwrap()], KeyHash([3; 32])).unwrap();
        let text = token.to_string();
        for (bad, why) in [
            (String::new(), "does not begin with"),
            (text.replace("hfjoin_", ""), "does not begin with"),
            (text[..text.len() - 4].to_owned(), "no token"),
            (format!("{text}!"), "Invalid"),
            ("hfjoin_".to_owned() + &"A".repeat(5_000), "too long"),
        ] {
            let error = bad.parse::<JoinToken>().unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains("copy it whole"),
                "{bad}: {error}"
            );
        }
        let nowhere = JoinToken::new(Vec::new(), KeyHash([3; 32]))
            .unwrap()
            .to_string();
        assert!(nowhere.parse::<JoinToken>().is_err());
    }
}
