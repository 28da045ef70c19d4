//! Digest authentication (RFC 7616; RFC 2069 if a camera names no `qop`). Pure: the client's nonce
//! is passed in.
//!
//! The camera's values are hashed and sent back byte for byte: realms come in UTF-8, in Latin-1 and
//! in no encoding at all, and a camera compares hashes.

use super::challenge::Challenge;
use aws_lc_rs::digest::{SHA256, SHA512_256, digest};
use md5::{Digest as _, Md5};
use std::fmt::Write;

/// More uses than a nonce can have.
const USES_MAX: u32 = 0x7fff_ffff;

/// A challenge that can be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    algorithm: Algorithm,
    /// `-sess`: the client's nonce is part of what the password is hashed with.
    is_session: bool,
    /// `None`: the camera counts no requests (RFC 2069).
    quality: Option<Quality>,
    /// The user's name goes as a hash.
    hashes_user: bool,
    /// Requests that were answered with this nonce.
    uses: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
    Sha512Half,
}

/// `qop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quality {
    Auth,
    /// The body is hashed, too. Requests to cameras have none.
    AuthInt,
}

/// The request, and the user that sends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
}

impl Digest {
    /// `None` if the challenge is of another scheme, lacks something, or requires something
    /// unknown.
    pub(crate) fn of(challenge: &Challenge) -> Option<Self> {
        if !challenge.scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let named = |name| challenge.get(name);
        let (algorithm, is_session) = match named("algorithm") {
            Some(name) => Algorithm::named(&name.to_ascii_lowercase())?,
            None => (Algorithm::Md5, false),
        };
        let quality = match named("qop") {
            Some(offered) => Some(Quality::best(offered)?),
            None => None,
        };
        Some(Self {
            realm: named("realm")?.to_vec(),
            nonce: named("nonce")?.to_vec(),
            opaque: named("opaque")
                .filter(|opaque| !opaque.is_empty())
                .map(<[u8]>::to_vec),
            algorithm,
            is_session,
            quality,
            hashes_user: named("userhash").is_some_and(|value| value.eq_ignore_ascii_case(b"true")),
            uses: 0,
        })
    }

    /// The value of `Authorization` for a request; `None` once the nonce is worn out. `nonce`: the
    /// client's, new for each request.
    pub(crate) fn answer(&mut self, asking: &Asking<'_>, nonce: &str) -> Option<Vec<u8>> {
        self.uses = self.uses.checked_add(1).filter(|uses| *uses <= USES_MAX)?;
        let count = format!("{:08x}", self.uses);
        let hash = |parts: &[&[u8]]| self.algorithm.hash(&parts.join(&b':'));
        let [user, password] = [asking.user, asking.password].map(str::as_bytes);
        let [method, uri] = [asking.method, asking.uri].map(str::as_bytes);
        let mut secret = hash(&[user, &self.realm, password]);
        if self.is_session {
            secret = hash(&[secret.as_bytes(), &self.nonce, nonce.as_bytes()]);
        }
        let asked = match self.quality {
            Some(Quality::AuthInt) => hash(&[method, uri, self.algorithm.hash(b"").as_bytes()]),
            Some(Quality::Auth) | None => hash(&[method, uri]),
        };
        let response = match self.quality {
            None => hash(&[secret.as_bytes(), &self.nonce, asked.as_bytes()]),
            Some(quality) => {
                let quality = quality.name().as_bytes();
                hash(&[
                    secret.as_bytes(),
                    &self.nonce,
                    count.as_bytes(),
                    nonce.as_bytes(),
                    quality,
                    asked.as_bytes(),
                ])
            }
        };

        let mut out = Parameters(b"Digest ".to_vec());
        if self.hashes_user {
            out.quoted("username", hash(&[user, &self.realm]).as_bytes());
            out.plain("userhash", "true");
        } else {
            out.quoted("username", user);
        }
        out.quoted("realm", &self.realm);
        out.quoted("uri", uri);
        out.quoted("nonce", &self.nonce);
        if let Some(quality) = self.quality {
            out.plain("algorithm", self.algorithm.name(self.is_session));
            out.plain("nc", &count);
            out.quoted("cnonce", nonce.as_bytes());
            out.plain("qop", quality.name());
        }
        out.quoted("response", response.as_bytes());
        if let Some(opaque) = &self.opaque {
            out.quoted("opaque", opaque);
        }
        Some(out.0)
    }
}

impl Algorithm {
    /// By its name in lower case, and whether it is of the `-sess` kind.
    fn named(name: &[u8]) -> Option<(Self, bool)> {
        let (plain, is_session) = match name.strip_suffix(b"-sess") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let algorithm = match plain {
            b"md5" => Self::Md5,
            b"sha-256" => Self::Sha256,
            b"sha-512-256" => Self::Sha512Half,
            _ => return None,
        };
        Some((algorithm, is_session))
    }

    fn name(self, is_session: bool) -> &'static str {
        match (self, is_session) {
            (Self::Md5, false) => "MD5",
            (Self::Md5, true) => "MD5-sess",
            (Self::Sha256, false) => "SHA-256",
            (Self::Sha256, true) => "SHA-256-sess",
            (Self::Sha512Half, false) => "SHA-512-256",
            (Self::Sha512Half, true) => "SHA-512-256-sess",
        }
    }

    /// In hexadecimal digits.
    fn hash(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hexadecimal(&Md5::digest(bytes)),
            Self::Sha256 => hexadecimal(digest(&SHA256, bytes).as_ref()),
            Self::Sha512Half => hexadecimal(digest(&SHA512_256, bytes).as_ref()),
        }
    }
}

impl Quality {
    /// The best of those that the camera offers.
    fn best(offered: &[u8]) -> Option<Self> {
        let offers = |name: &[u8]| {
            offered
                .split(|byte| *byte == b',')
                .any(|one| one.trim_ascii().eq_ignore_ascii_case(name))
        };
        let auth = offers(b"auth").then_some(Self::Auth);
        auth.or_else(|| offers(b"auth-int").then_some(Self::AuthInt))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The parameters of an `Authorization`.
struct Parameters(Vec<u8>);

impl Parameters {
    fn quoted(&mut self, name: &str, value: &[u8]) {
        self.begin(name);
        self.0.push(b'"');
        for byte in value {
            if matches!(byte, b'"' | b'\\') {
                self.0.push(b'\\');
            }
            self.0.push(*byte);
        }
        self.0.push(b'"');
    }

    fn plain(&mut self, name: &str, value: &str) {
        self.begin(name);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn begin(&mut self, name: &str) {
        let separator: &[u8] = if self.0.ends_with(b" ") { b"" } else { b", " };
        self.0.extend_from_slice(separator);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ingest::rtsp::challenge;
    use http_auth::{DigestClient, PasswordParams, parse_challenges};
    use proptest::prelude::*;

    const ASKING: Asking<'_> = Asking {
        user: "admin",
        password: "secret",
        method: "DESCRIBE",
        uri: "rtsp://cam/1",
    };

    fn answered(challenge: &[u8], asking: &Asking<'_>, nonce: &str) -> Vec<u8> {
        Digest::of(&challenge::parse(challenge)[0])
            .unwrap()
            .answer(asking, nonce)
            .unwrap()
    }

    fn has(answer: &[u8], part: &[u8]) -> bool {
        answer.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn the_example_of_the_standard_is_answered_as_there() {
        let nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let asking = Asking {
            user: "Mufasa",
            password: "Circle of Life",
            method: "GET",
            uri: "/dir/index.html",
        };
        for (algorithm, response) in [
            (
                "SHA-256",
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ] {
            let challenge = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
                 algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let answer = answered(challenge.as_bytes(), &asking, nonce);
            assert!(
                has(&answer, format!("response=\"{response}\"").as_bytes()),
                "{algorithm}"
            );
        }
    }

    /// The camera's side: it hashes its own bytes.
    #[test]
    fn a_realm_in_any_encoding_is_hashed_and_sent_back_as_it_came() {
        for realm in [
            "Eingang S\u{fc}d".as_bytes(),
            b"Eingang S\xfcd",
            b"\xb2\xe2\xca\xd4 ~7E \\\" x",
            "\u{6444}".as_bytes(),
        ] {
            let escaped: Vec<u8> = realm
                .iter()
                .flat_map(|byte| match byte {
                    b'"' | b'\\' => vec![b'\\', *byte],
                    _ => vec![*byte],
                })
                .collect();
            let challenge = [
                b"Digest realm=\"",
                &escaped[..],
                b"\", nonce=\"abc\", stale=FALSE",
            ]
            .concat();
            let answer = answered(&challenge, &ASKING, "");
            let secret = hexadecimal(&Md5::digest([b"admin:", realm, b":secret"].concat()));
            let asked = hexadecimal(&Md5::digest(b"DESCRIBE:rtsp://cam/1"));
            let response = hexadecimal(&Md5::digest(format!("{secret}:abc:{asked}")));
            assert!(
                has(&answer, format!("response=\"{response}\"").as_bytes()),
                "{}",
                String::from_utf8_lossy(realm)
            );
            assert!(
                has(&answer, &[b"realm=\"", &escaped[..], b"\""].concat()),
                "{}",
                String::from_utf8_lossy(&answer)
            );
        }
    }

    #[test]
    fn what_is_not_known_is_not_answered() {
        for challenge in [
            "Basic realm=\"a\"",
            "Digest realm=\"a\"",
            "Digest nonce=\"a\"",
            "Digest realm=\"a\", nonce=\"b\", algorithm=SHA3",
            "Digest realm=\"a\", nonce=\"b\", qop=\"later\"",
        ] {
            assert_eq!(
                Digest::of(&challenge::parse(challenge.as_bytes())[0]),
                None,
                "{challenge}"
            );
        }
    }

    proptest! {
        /// Another implementation says the same, as far as it goes.
        #[test]
        fn answers_are_those_of_http_auth(
            realm in "[ -~&&[^\"\\\\]]{0,12}",
            nonce in "[a-zA-Z0-9+/=]{1,12}",
            more in proptest::sample::select(vec![
                "", ", qop=\"auth\"", ", qop=\"auth,auth-int\", opaque=\"x\"",
                ", algorithm=MD5-sess, qop=auth", ", algorithm=SHA-256, qop=auth",
                ", algorithm=SHA-512-256", ", userhash=true, opaque=\"\"",
            ]),
            times in 1_usize..4,
        ) {
            let challenge = format!("Digest realm=\"{realm}\", nonce=\"{nonce}\"{more}");
            let mut ours = Digest::of(&challenge::parse(challenge.as_bytes())[0]).unwrap();
            let mut theirs =
                DigestClient::try_from(&parse_challenges(&challenge).unwrap()[0]).unwrap();
            let Asking { user, password, method, uri } = ASKING;
            let parameters = PasswordParams { username: user, password, uri, method, body: None };
            for _ in 0..times {
                let expected = theirs.respond_with_testing_cnonce(&parameters, "0a1b").unwrap();
                prop_assert_eq!(
                    String::from_utf8(ours.answer(&ASKING, "0a1b").unwrap()).unwrap(),
                    expected
                );
            }
        }
    }
}
