//! Basic (RFC 7617) and Digest (RFC 2617 with MD5, with or without `qop`) as IP cameras speak them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::fmt;

const REALM: &str = "holdfast-camera";

/// What a camera asks of its clients.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    None,
    Digest {
        user: String,
        password: String,
    },
    Basic {
        user: String,
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Digest { user, .. } => write!(f, "Digest({user}, ***)"),
            Self::Basic { user, .. } => write!(f, "Basic({user}, ***)"),
        }
    }
}

impl Credentials {
    /// The `WWW-Authenticate` header of a 401, `None` for a camera that asks for nothing.
    pub(crate) fn challenge(&self, nonce: &str) -> Option<String> {
        match self {
            Self::None => None,
            Self::Digest { .. } => Some(format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\"")),
            Self::Basic { .. } => Some(format!("Basic realm=\"{REALM}\"")),
        }
    }

    /// Whether an `Authorization` header opens the camera for `method`. `nonce` is what this connection was given.
    pub(crate) fn admits(&self, authorization: Option<&str>, method: &str, nonce: &str) -> bool {
        match (self, authorization.and_then(|header| header.trim().split_once(' '))) {
            (Self::None, _) => true,
            (Self::Digest { user, password }, Some((scheme, rest))) if scheme.eq_ignore_ascii_case("digest") => {
                digest_matches(user, password, &parameters(rest), method, nonce)
            }
            (Self::Basic { user, password }, Some((scheme, token))) if scheme.eq_ignore_ascii_case("basic") => {
                STANDARD.encode(format!("{user}:{password}")) == token.trim()
            }
            _ => false,
        }
    }
}

fn digest_matches(user: &str, password: &str, given: &HashMap<&str, String>, method: &str, nonce: &str) -> bool {
    let of = |name: &str| given.get(name).map_or("", String::as_str);
    let secret = hash(&format!("{user}:{REALM}:{password}"));
    let request = hash(&format!("{method}:{}", of("uri")));
    let expected = match of("qop") {
        "" => hash(&format!("{secret}:{nonce}:{request}")),
        qop => hash(&format!("{secret}:{nonce}:{}:{}:{qop}:{request}", of("nc"), of("cnonce"))),
    };
    of("username") == user && of("nonce") == nonce && of("response").eq_ignore_ascii_case(&expected)
}

fn hash(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `name=value` pairs parted by commas; values may be quoted and then hold commas.
fn parameters(header: &str) -> HashMap<&str, String> {
    let mut found = HashMap::new();
    let mut rest = header;
    while let Some((name, tail)) = rest.split_once('=') {
        let (value, after) = value_at(tail);
        found.insert(name.trim_matches([' ', ',']), value.to_owned());
        rest = after;
    }
    found
}

fn value_at(text: &str) -> (&str, &str) {
    let (value, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => text.split_once(',').unwrap_or((text, "")),
    };
    (value.trim(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Credentials {
        Credentials::Digest { user: "ann".to_owned(), password: "p:w".to_owned() }
    }

    fn answer(password: &str, nonce: &str, extra: &str, middle: &str) -> String {
        let secret = hash(&format!("ann:{REALM}:{password}"));
        let response = hash(&format!("{secret}:{nonce}:{middle}{}", hash("DESCRIBE:rtsp://c/cam/1")));
        format!(
            "Digest username=\"ann\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"rtsp://c/cam/1\"{extra}, response=\"{response}\""
        )
    }

    #[test]
    fn digest_admits_the_right_password_for_this_connection_and_method_only() {
        let good = answer("p:w", "n1", "", "");
        assert!(digest().admits(Some(&good), "DESCRIBE", "n1"));
        assert!(!digest().admits(Some(&good), "SETUP", "n1"));
        assert!(!digest().admits(Some(&good), "DESCRIBE", "n2"));
        assert!(!digest().admits(Some(&answer("wrong", "n1", "", "")), "DESCRIBE", "n1"));
        assert!(!digest().admits(None, "DESCRIBE", "n1"));
        let with_qop = answer("p:w", "n1", ", qop=auth, nc=00000001, cnonce=\"a,b\"", "00000001:a,b:auth:");
        assert!(digest().admits(Some(&with_qop), "DESCRIBE", "n1"));
    }

    #[test]
    fn the_hash_is_that_of_rfc_2617() {
        // RFC 2617, 3.5: HA1 of the example.
        assert_eq!(hash("Mufasa:testrealm@host.com:Circle Of Life"), "939e7578ed9e3c518a452acee763bce9");
    }

    #[test]
    fn basic_admits_the_right_password_only() {
        let basic = Credentials::Basic { user: "ann".to_owned(), password: "pw".to_owned() };
        assert!(basic.admits(Some("Basic YW5uOnB3"), "PLAY", ""));
        assert!(!basic.admits(Some("Basic YW5uOnB4"), "PLAY", ""));
        assert!(!basic.admits(Some("Basic"), "PLAY", ""));
        assert!(Credentials::None.admits(None, "PLAY", ""));
    }

    #[test]
    fn passwords_are_not_printed() {
        assert!(!format!("{:?}", digest()).contains("p:w"));
    }
}
