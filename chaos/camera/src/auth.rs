//! Basic (RFC 7617) and Digest (RFC 2617 with MD5, with or without `qop`; RFC 7616 with SHA-256)
//! authentication, as IP cameras use it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt;

const REALM: &str = "holdfast-camera";

/// How a camera offers digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Offer {
    #[default]
    Plain,
    /// Marks the previous nonce as stale.
    Stale,
    /// Second to Basic, which the camera does not accept.
    BehindBasic,
    Sha256,
}

/// The login that a camera demands.
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
    /// The `WWW-Authenticate` headers of a 401; none for a camera without a login.
    pub(crate) fn challenges(&self, nonce: &str, offer: Offer) -> Vec<String> {
        let (basic, digest) = (
            format!("Basic realm=\"{REALM}\""),
            format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\""),
        );
        match (self, offer) {
            (Self::None, _) => Vec::new(),
            (Self::Basic { .. }, _) => vec![basic],
            (Self::Digest { .. }, Offer::Plain) => vec![digest],
            (Self::Digest { .. }, Offer::Stale) => vec![format!("{digest}, stale=TRUE")],
            (Self::Digest { .. }, Offer::BehindBasic) => vec![basic, digest],
            (Self::Digest { .. }, Offer::Sha256) => {
                vec![format!("{digest}, algorithm=SHA-256, qop=\"auth\"")]
            }
        }
    }

    /// Whether an `Authorization` header grants access to the camera for `method`. `nonce` is the
    /// one that this connection received.
    pub(crate) fn admits(
        &self,
        authorization: Option<&str>,
        method: &str,
        nonce: &str,
        offer: Offer,
    ) -> bool {
        match (
            self,
            authorization.and_then(|header| header.trim().split_once(' ')),
        ) {
            (Self::None, _) => true,
            (Self::Digest { user, password }, Some((scheme, rest)))
                if scheme.eq_ignore_ascii_case("digest") =>
            {
                let hash = if offer == Offer::Sha256 { sha256 } else { md5 };
                let login = Login {
                    user,
                    password,
                    hash,
                };
                login.matches(&parameters(rest), method, nonce)
            }
            (Self::Basic { user, password }, Some((scheme, token)))
                if scheme.eq_ignore_ascii_case("basic") =>
            {
                STANDARD.encode(format!("{user}:{password}")) == token.trim()
            }
            _ => false,
        }
    }
}

struct Login<'a> {
    user: &'a str,
    password: &'a str,
    hash: fn(&str) -> String,
}

impl Login<'_> {
    fn matches(&self, given: &HashMap<&str, String>, method: &str, nonce: &str) -> bool {
        let Self {
            user,
            password,
            hash,
        } = self;
        let of = |name: &str| given.get(name).map_or("", String::as_str);
        let secret = hash(&format!("{user}:{REALM}:{password}"));
        let request = hash(&format!("{method}:{}", of("uri")));
        let expected = match of("qop") {
            "" => hash(&format!("{secret}:{nonce}:{request}")),
            qop => hash(&format!(
                "{secret}:{nonce}:{}:{}:{qop}:{request}",
                of("nc"),
                of("cnonce")
            )),
        };
        of("username") == *user
            && of("nonce") == nonce
            && of("response").eq_ignore_ascii_case(&expected)
    }
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `name=value` pairs separated by commas; values may be quoted, and may then contain commas.
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
        Credentials::Digest {
            user: "ann".to_owned(),
            password: "p:w".to_owned(),
        }
    }

    fn answer(password: &str, nonce: &str, extra: &str, middle: &str) -> String {
        let secret = md5(&format!("ann:{REALM}:{password}"));
        let response = md5(&format!(
            "{secret}:{nonce}:{middle}{}",
            md5("DESCRIBE:rtsp://c/cam/1")
        ));
        format!(
            "Digest username=\"ann\", realm=\"{REALM}\", nonce=\"{nonce}\", \
             uri=\"rtsp://c/cam/1\"{extra}, response=\"{response}\""
        )
    }

    #[test]
    fn digest_admits_the_right_password_for_this_connection_and_method_only() {
        let good = answer("p:w", "n1", "", "");
        assert!(digest().admits(Some(&good), "DESCRIBE", "n1", Offer::Plain));
        assert!(!digest().admits(Some(&good), "SETUP", "n1", Offer::Plain));
        assert!(!digest().admits(Some(&good), "DESCRIBE", "n2", Offer::Plain));
        assert!(!digest().admits(
            Some(&answer("wrong", "n1", "", "")),
            "DESCRIBE",
            "n1",
            Offer::Plain
        ));
        assert!(!digest().admits(None, "DESCRIBE", "n1", Offer::Plain));
        let with_qop = answer(
            "p:w",
            "n1",
            ", qop=auth, nc=00000001, cnonce=\"a,b\"",
            "00000001:a,b:auth:",
        );
        assert!(digest().admits(Some(&with_qop), "DESCRIBE", "n1", Offer::Plain));
    }

    #[test]
    fn sha_256_is_asked_for_and_let_in() {
        let challenges = digest().challenges("n1", Offer::Sha256);
        assert_eq!(
            challenges,
            ["Digest realm=\"holdfast-camera\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\""]
        );
        let secret = sha256(&format!("ann:{REALM}:p:w"));
        let response = sha256(&format!(
            "{secret}:n1:00000001:c:auth:{}",
            sha256("PLAY:rtsp://c/")
        ));
        let answer = format!(
            "Digest username=\"ann\", nonce=\"n1\", uri=\"rtsp://c/\", qop=auth, nc=00000001, \
             cnonce=\"c\", response=\"{response}\""
        );
        assert!(digest().admits(Some(&answer), "PLAY", "n1", Offer::Sha256));
        assert!(!digest().admits(Some(&answer), "PLAY", "n1", Offer::Plain));
    }

    #[test]
    fn basic_may_be_offered_first() {
        assert_eq!(digest().challenges("n", Offer::BehindBasic).len(), 2);
        assert!(!digest().admits(Some("Basic YW5uOnA6dw=="), "PLAY", "n", Offer::BehindBasic));
        assert!(digest().challenges("n", Offer::Stale)[0].ends_with("stale=TRUE"));
    }

    #[test]
    fn the_hash_is_that_of_rfc_2617() {
        // RFC 2617, 3.5: HA1 of the example.
        assert_eq!(
            md5("Mufasa:testrealm@host.com:Circle Of Life"),
            "939e7578ed9e3c518a452acee763bce9"
        );
    }

    #[test]
    fn basic_admits_the_right_password_only() {
        let basic = Credentials::Basic {
            user: "ann".to_owned(),
            password: "pw".to_owned(),
        };
        assert!(basic.admits(Some("Basic YW5uOnB3"), "PLAY", "", Offer::Plain));
        assert!(!basic.admits(Some("Basic YW5uOnB4"), "PLAY", "", Offer::Plain));
        assert!(!basic.admits(Some("Basic"), "PLAY", "", Offer::Plain));
        assert!(Credentials::None.admits(None, "PLAY", "", Offer::Plain));
    }

    #[test]
    fn passwords_are_not_printed() {
        assert!(!format!("{:?}", digest()).contains("p:w"));
    }
}
